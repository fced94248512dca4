"""Descent on rows against torch.optim.Adam, one optimiser per row."""

import pytest
import torch
from torch import Tensor

from gradex.learners.adam import Adam

#: Numbers of very different size, so that ε counts in some places.
SLOPES = torch.logspace(-7, 2, 5, dtype=torch.float64)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def losses(rows: Tensor, step: int) -> Tensor:
    """Give each row a loss of its own, far steeper for the last."""
    steepness = torch.tensor([1.0, 1.0, 100.0], dtype=torch.float64)
    return steepness * (normal(3, 5, seed=step) * SLOPES * (rows + rows**2)).sum(dim=1)


@pytest.mark.parametrize("max_norm", [None, 50.0])
def test_rows_move_as_torch_moves_each(max_norm: float | None) -> None:
    start = normal(3, 5, seed=99)
    before = start.clone()
    ours = Adam(start, epsilon=1e-5, max_norm=max_norm)
    theirs = [row.clone().requires_grad_() for row in start]
    optimisers = [torch.optim.Adam([row], lr=1.0, eps=1e-5) for row in theirs]
    clipped = []
    for step in range(20):
        ours.learning_rate = 0.1 / (1 + step)
        ours.descend(losses(ours.parameters, step))
        for optimiser in optimisers:
            optimiser.zero_grad()
            optimiser.param_groups[0]["lr"] = 0.1 / (1 + step)
        losses(torch.stack(theirs), step).sum().backward()
        for row, optimiser in zip(theirs, optimisers, strict=True):
            if max_norm is not None:
                clipped.append(bool(torch.nn.utils.clip_grad_norm_([row], max_norm) > max_norm))
            optimiser.step()
    expected = torch.stack(theirs).detach()
    torch.testing.assert_close(ours.rows, expected, rtol=1e-12, atol=1e-12)
    assert max_norm is None or {True, False} == set(clipped)
    assert torch.equal(start, before)  # is copied


def test_a_state_is_gone_on_from_to_the_same_bits() -> None:
    whole, begun = (Adam(normal(3, 5, seed=99)) for _ in range(2))
    for step in range(3):
        whole.descend(losses(whole.parameters, step))
        begun.descend(losses(begun.parameters, step))
    kept = {name: tensor.clone() for name, tensor in begun.state().items()}
    begun.descend(losses(begun.parameters, 7))
    resumed = Adam(normal(3, 5, seed=0))
    resumed.restore(kept)
    for step in range(3, 6):
        whole.descend(losses(whole.parameters, step))
        resumed.descend(losses(resumed.parameters, step))
    assert torch.equal(resumed.rows, whole.rows)
    assert not torch.equal(resumed.rows, begun.rows)
    assert resumed.rows.data_ptr() == resumed.parameters.data_ptr() and not resumed.rows.requires_grad
