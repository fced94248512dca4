"""A number for each sample as a torch module's own output."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn

from gradex.settings import shown
from gradex.tensors import leaves


def unbatched(instead: str, error: RuntimeError) -> str:
    """Say what is done where vmap fails."""
    why = str(error).partition("\n")[0]
    return f"torch.func.vmap cannot batch this module, so {instead}, which is slow; it says: {why}"


class Scored(nn.Module):
    """The log-probability as a module's own output, so that its parameters can be exchanged for a call.

    What is done `then` with it happens before the parameters are back: differentiation, for instance, where
    layers are worked out once more for it, as by `torch.utils.checkpoint`.
    """

    def __init__(self, module: nn.Module, log_prob: Callable[[nn.Module, Any], Tensor]) -> None:
        super().__init__()
        self.module, self._log_prob = module, log_prob

    def forward(self, batch: Any, then: Callable[[Tensor], Any] | None = None) -> Any:
        found = self._log_prob(self.module, batch)
        count = len(next(leaves(batch)))
        if not isinstance(found, Tensor):
            raise TypeError(f"log_prob gives {shown(found)}: give a tensor of shape ({count},)")
        if (shape := tuple(np.shape(found))) != (count,):
            raise ValueError(
                f"log_prob gives the shape {shape} for a batch of {count}: give ({count},), one number each"
            )
        return found if then is None else then(found)
