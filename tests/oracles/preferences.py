"""Slow and obvious versions of direct preference optimisation, in float64, a pair at a time."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn


def log_prob(module: nn.Module, prompt: Sequence[int], answer: Sequence[int]) -> Tensor:
    """Add up the log-probabilities of an answer's tokens, each after what stands before it."""
    total = torch.zeros((), dtype=torch.float64)
    for place, token in enumerate(answer):
        before = torch.tensor([[*prompt, *answer[:place]]])
        total = total + module(before)[0, -1].log_softmax(-1)[token]
    return total


def log_odds(module: nn.Module, prompt: Sequence[int], first: Sequence[int], second: Sequence[int]) -> Tensor:
    """D(θ) of one pair."""
    return log_prob(module, prompt, first) - log_prob(module, prompt, second)


def gradients(
    module: nn.Module, names: Sequence[str], prompts: list, first: list, second: list
) -> np.ndarray:
    """∇D of each pair, one after the other, [N, p]."""
    chosen = [module.get_parameter(name) for name in names]
    rows = []
    for pair in zip(prompts, first, second, strict=True):
        found = torch.autograd.grad(log_odds(module, *pair), chosen)
        rows.append(torch.cat([each.flatten() for each in found]).numpy())
    return np.array(rows)


def loss(margins: np.ndarray, labels: np.ndarray) -> float:
    """Mean of -log σ(y z) over the pairs that are labelled."""
    known = [y * z for y, z in zip(labels, margins, strict=True) if not np.isnan(y)]
    return float(np.mean([-np.log(1 / (1 + np.exp(-signed))) for signed in known]))


def linearised_loss(
    labels: np.ndarray, start: np.ndarray, features: np.ndarray, step: np.ndarray, objectives: Sequence[int]
) -> float:
    """Mean over objectives of the DPO loss of the model that is linear around its start."""
    margins = start + features @ step
    return float(np.mean([loss(margins, labels[objective]) for objective in objectives]))


def minimise(objective: Callable[[Tensor], Tensor], size: int) -> np.ndarray:
    """Minimise a convex function of a vector by a general method."""
    theta = torch.zeros(size, dtype=torch.float64, requires_grad=True)
    stop = {"max_iter": 2000, "tolerance_grad": 1e-12, "tolerance_change": 1e-16}
    optimizer = torch.optim.LBFGS([theta], **stop, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = objective(theta)
        value.backward()
        return value

    optimizer.step(closure)
    return theta.detach().numpy()
