"""A sample's number must not depend on chance, nor on the other samples of its batch."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import grad

#: Share by which the number of a sample may differ when it comes with others: more than rounding, even on a
#: GPU, and less than dropout or a batch's own statistics change.
_ROUNDING = 0.01
#: What depends on chance or on other samples in evaluation mode, too.
_NOISE = "turn off noise, such as functional.dropout without `training`, and statistics of the batch"


def unsteady(module: nn.Module) -> str:
    """Say that a sample's number depends on more than the sample, and what may help."""
    training = any(part.training for part in module.modules())
    where, remedy = ("in training mode ", "call module.eval() first") if training else ("", _NOISE)
    return f"{where}the module's number for a sample depends on chance or on other samples: {remedy}"


def check_numbers(module: nn.Module, alone: Float[Tensor, " k"], together: Float[Tensor, " k"]) -> None:
    """Refuse a module whose numbers for some samples are others when these come together."""
    if (alone - together).abs().max() > _ROUNDING * together.abs().max():
        raise ValueError(unsteady(module))


def check_gradients(
    module: nn.Module,
    numbers: Callable[[dict[str, Tensor], Any], Float[Tensor, " k"]],
    differentiate: Callable[[dict[str, Tensor], Any], dict[str, Float[Tensor, "k ..."]]],
    parameters: dict[str, Tensor],
    batch: Any,
) -> None:
    """Refuse a module whose gradients for some samples are others when these come together.

    `differentiate` gives those of each sample alone. The numbers themselves would tell less: those of a fresh
    head hardly depend on what it sees, and a log-ratio that is 0 by design is nothing but rounding.
    """

    def total(named: dict[str, Tensor]) -> Tensor:
        found = numbers(named, batch)
        return _weighed(found).sum()

    alone = [each.detach() for each in differentiate(parameters, batch).values()]
    together = torch.cat([each.flatten() for each in grad(total)(parameters).values()])
    expected = torch.cat([_weighed(each) for each in alone])
    scale = torch.cat([_weighed(each.abs()) for each in alone])
    if (together - expected).abs().max() > _ROUNDING * scale.max():
        raise ValueError(unsteady(module))


def _weighed(rows: Float[Tensor, "k ..."]) -> Float[Tensor, " entries"]:
    """Add samples up by different weights, so that what one takes from another does not cancel."""
    weights = torch.arange(1, len(rows) + 1, device=rows.device).to(rows.dtype)
    return torch.tensordot(weights, rows, dims=1).flatten()
