"""Descent on the rows of a stack by Adam (Kingma and Ba 2015)."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.adam import adam

#: Decays of the means of the gradient and of its square.
_DECAYS = 0.9, 0.999


class Adam:
    """A matrix of parameters, one row per policy, that moves down the losses of its rows.

    `torch.optim.Adam` takes the same steps. Its function is called here because the class loads torch's
    compiler, which takes longer than many a training of ours, and keeps its moments out of sight.

    Losses are computed from `parameters`, a copy of `start` that moves in place; `rows` are the same memory,
    for whatever takes no derivatives. The gradient of each row is scaled down to `max_norm`. The
    `learning_rate` of all rows may be changed between steps.
    """

    def __init__(
        self,
        start: Float[Tensor, "policies parameters"],
        learning_rate: float = 1e-3,
        epsilon: float = 1e-5,
        max_norm: float | None = None,
    ) -> None:
        self.parameters = start.detach().clone().requires_grad_()
        self.rows = self.parameters.detach()
        self.learning_rate, self._epsilon, self._max_norm = learning_rate, epsilon, max_norm
        self._mean, self._square = torch.zeros_like(self.rows), torch.zeros_like(self.rows)
        self._count = torch.zeros((), dtype=torch.float32, device=start.device)

    def descend(self, losses: Float[Tensor, " policies"]) -> None:
        """Move every row against the gradient of its own loss."""
        self.step(torch.autograd.grad(losses.sum(), self.parameters)[0])

    def step(self, gradient: Float[Tensor, "policies parameters"]) -> None:
        """Move every row against a gradient that is already known."""
        if self._max_norm is not None:
            norm = gradient.norm(dim=1, keepdim=True)
            gradient = gradient * (self._max_norm / (norm + 1e-6)).clamp(max=1.0)
        slow, slower = _DECAYS
        adam(
            [self.rows], [gradient], [self._mean], [self._square], [], [self._count], fused=True,
            amsgrad=False, beta1=slow, beta2=slower, lr=self.learning_rate, weight_decay=0.0,
            eps=self._epsilon, maximize=False,
        )  # fmt: skip

    def state(self) -> dict[str, Tensor]:
        """Give the parameters, the moments and the number of steps taken; all of it moves in place."""
        moments = {"mean": self._mean, "square": self._square, "count": self._count}
        return {"parameters": self.rows, **moments}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a `state`."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
