"""Adam on rows against torch.optim.Adam, one optimiser per row."""

import torch

from gradex.learners.adam import Adam


def test_rows_move_as_torch_moves_them() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    rates = torch.tensor([1e-3, 0.0, 0.3], dtype=torch.float64)
    ours = Adam(start.clone())
    theirs = [row.clone().requires_grad_() for row in start]
    optimisers = [
        torch.optim.Adam([row], lr=float(rate), eps=1e-5) for row, rate in zip(theirs, rates, strict=True)
    ]
    for _ in range(20):
        # Numbers of very different size, so that ε counts in some places.
        gradient = torch.randn(3, 5, generator=generator, dtype=torch.float64) * torch.logspace(-7, 2, 5)
        ours.step(gradient, rates)
        for row, optimiser, each in zip(theirs, optimisers, gradient, strict=True):
            row.grad = each
            optimiser.step()
    torch.testing.assert_close(ours.parameters, torch.stack(theirs).detach(), rtol=1e-12, atol=1e-12)
    assert torch.equal(ours.parameters[1], start[1])
