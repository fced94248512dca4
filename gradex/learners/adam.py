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

    def __post_init__(self) -> None:
        self._mean = torch.zeros_like(self.parameters)
        self._square = torch.zeros_like(self.parameters)

    def step(self, gradient: Float[Tensor, "policies parameters"], rate: Float[Tensor, " policies"]) -> None:
        """Move every row against its gradient."""
        rates = rate.tolist()
        arrays = self.parameters, gradient, self._mean, self._square
        if len(set(rates)) == 1:
            self._move(rates[0], [[array] for array in arrays])
        else:
            for each in set(rates):
                rows = [number for number, own in enumerate(rates) if own == each]
                self._move(each, [[array[row] for row in rows] for array in arrays])
        self._count += 1

    def _move(self, rate: float, arrays: list[list[Tensor]]) -> None:
        """Move tensors of one learning rate, in one pass through memory."""
        parameters, gradients, means, squares = arrays
        counts = parameters[0].new_full((len(parameters),), self._count + 1, dtype=torch.float32)
        slow, slower = self.decays
        # What torch.optim.Adam(fused=True) calls, without its looking for devices and types at every step.
        torch._fused_adam_(
            parameters, gradients, means, squares, [], list(counts.unbind()), lr=rate, beta1=slow,
            beta2=slower, weight_decay=0.0, eps=self.epsilon, amsgrad=False, maximize=False,
        )  # fmt: skip

    def state(self) -> dict[str, Tensor]:
        """Give the moments and the number of steps taken."""
        return {"mean": self._mean, "square": self._square, "count": torch.tensor(self._count)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a `state`; the parameters are the caller's to put back."""
        self._mean.copy_(state["mean"])
        self._square.copy_(state["square"])
        self._count = int(state["count"])
