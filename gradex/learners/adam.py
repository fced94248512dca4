"""Adam on rows: every policy of a stack has its own moments and learning rate (Kingma and Ba 2015)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass
class Adam:
    """`torch.optim.Adam` takes one learning rate per tensor; a stack needs one per row.

    Attributes
    ----------
    parameters : Tensor [policies, parameters]
        Updated in place.
    """

    parameters: Float[Tensor, "policies parameters"]
    decays: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-5
    _mean: Tensor = field(init=False)
    _square: Tensor = field(init=False)
    _count: int = field(init=False, default=0)
    _size: Tensor = field(init=False)
    _way: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self._mean = torch.zeros_like(self.parameters)
        self._square = torch.zeros_like(self.parameters)
        # Memory for intermediate results: to ask for it at every step takes longer than the arithmetic.
        self._size, self._way = torch.empty_like(self.parameters), torch.empty_like(self.parameters)

    @torch.no_grad()
    def step(self, gradient: Float[Tensor, "policies parameters"], rate: Float[Tensor, " policies"]) -> None:
        """Move every row against its gradient."""
        self._count += 1
        slow, slower = self.decays
        self._mean.lerp_(gradient, 1 - slow)
        self._square.mul_(slower).addcmul_(gradient, gradient, value=1 - slower)
        torch.div(self._square, 1 - slower**self._count, out=self._size).sqrt_().add_(self.epsilon)
        torch.mul(rate.unsqueeze(1) / (1 - slow**self._count), self._mean, out=self._way).div_(self._size)
        self.parameters.sub_(self._way)

    def state(self) -> dict[str, Tensor]:
        """Give the moments and the number of steps taken."""
        return {"mean": self._mean, "square": self._square, "count": torch.tensor(self._count)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a `state`; the parameters are the caller's to put back."""
        self._mean.copy_(state["mean"])
        self._square.copy_(state["square"])
        self._count = int(state["count"])
