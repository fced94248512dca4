"""Networks bound to their parameters against automatic differentiation of their forward evaluation."""

import pytest
import torch
from torch import Tensor

from gradex.policies import (
    CARE,
    MLP,
    MultiHead,
    Network,
    PaCo,
    SoftModularization,
    Standardised,
    Twin,
    kernels,
)
from gradex.seeds import Streams

FEATURES, TASKS = 5, 3
SCALE = {"centre": (0.1,) * FEATURES, "spread": (2.0,) * FEATURES}
MLP_SMALL = MLP(FEATURES, outputs=2, layers=4, width=7, tasks=TASKS, gain=1.0)
NETWORKS: dict[str, Network] = {
    "mlp": MLP_SMALL,
    "task-blind mlp": MLP(FEATURES, outputs=2, layers=3, width=7, gain=1.0),
    "one layer": MLP(FEATURES, outputs=2, layers=1, gain=1.0),
    "multi-head": MultiHead(FEATURES, outputs=2, tasks=TASKS, width=7, gain=1.0),
    "soft modularization": SoftModularization(FEATURES, outputs=2, tasks=TASKS, width=6, gain=1.0),
    "paco": PaCo(FEATURES, outputs=2, tasks=TASKS, width=6, gain=1.0),
    "care": CARE(FEATURES, outputs=2, tasks=TASKS, width=6, gain=1.0),
    "standardised": Standardised(MLP_SMALL, **SCALE),
    "twin": Twin(Standardised(MLP_SMALL, **SCALE)),
    "twin of heads": Twin(MultiHead(FEATURES, outputs=2, tasks=TASKS, width=7, gain=1.0)),
    # Large enough for oneDNN, where that is the faster library.
    "large": Twin(MLP(FEATURES, outputs=2, layers=4, width=96, gain=1.0)),
}


def rows_of(network: Network, dtype: torch.dtype) -> Tensor:
    rows = network.initial(Streams([0, 1])).to(dtype)
    return rows + 0.1 * torch.randn(rows.shape, generator=torch.Generator().manual_seed(1)).to(dtype)


def batch_of(size: int, dtype: torch.dtype, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    observations = torch.randn(2, size, FEATURES, generator=generator).to(dtype)
    return observations, torch.randint(TASKS, (2, size), generator=generator)


def expected_of(
    network: Network, rows: Tensor, observations: Tensor, tasks: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    rows, observations = rows.clone().requires_grad_(), observations.clone().requires_grad_()
    outputs = network.forward(rows, observations, tasks)
    return outputs.detach(), *torch.autograd.grad(outputs, (rows, observations), weights)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 3e-4)])
@pytest.mark.parametrize(("name", "onednn"), [*((name, False) for name in NETWORKS), ("large", True)])
def test_values_and_derivatives_are_those_of_the_network(
    name: str, onednn: bool, dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if onednn and not kernels.AVAILABLE:
        pytest.skip("torch comes without oneDNN here")
    monkeypatch.setattr(kernels, "_FASTER", onednn)
    network, rows = NETWORKS[name], rows_of(NETWORKS[name], dtype)
    bound = network.bind(rows)
    # Batches of two sizes, with parameters that moved in between: memory is used again where it fits.
    for seed, size in enumerate((128, 6, 6)):
        rows += 0.01
        observations, tasks = batch_of(size, dtype, seed)
        weights = batch_of(size, dtype, seed + 10)[0][..., : bound(observations, tasks).shape[2]]
        expected = expected_of(network, rows, observations, tasks, weights)
        outputs, pullback = bound.vjp(observations, tasks)
        given = outputs, pullback.to_parameters(weights), pullback.to_inputs(weights)
        torch.testing.assert_close(given, expected, rtol=tolerance, atol=tolerance)
        assert not any(tensor.requires_grad for tensor in (*given, bound(observations, tasks)))


def test_an_evaluation_leaves_its_arguments_alone() -> None:
    for network in NETWORKS.values():
        rows, (observations, tasks) = rows_of(network, torch.float64), batch_of(6, torch.float64, 0)
        outputs, pullback = network.bind(rows).vjp(observations, tasks)
        weights = torch.ones_like(outputs)
        before = [tensor.clone() for tensor in (rows, observations, tasks, weights)]
        pullback.to_parameters(weights)
        pullback.to_inputs(weights)
        after = rows, observations, tasks, weights
        assert all(torch.equal(was, now) for was, now in zip(before, after, strict=True))


def test_rows_may_be_part_of_longer_ones() -> None:
    """As those of an actor beside its critic."""
    network = NETWORKS["mlp"]
    whole = torch.linspace(-1, 1, 2 * (network.size + 4), dtype=torch.float64).reshape(2, -1)
    observations, tasks = batch_of(6, torch.float64, 0)
    weights = torch.ones(2, 6, 2, dtype=torch.float64)
    rows = whole[:, 1 : network.size + 1]
    _, pullback = network.bind(rows).vjp(observations, tasks)
    _, expected, _ = expected_of(network, rows, observations, tasks, weights)
    torch.testing.assert_close(pullback.to_parameters(weights), expected, rtol=1e-12, atol=1e-12)


def test_twins_that_would_be_copied_are_refused() -> None:
    twin = NETWORKS["twin"]
    with pytest.raises(ValueError, match="not one block of memory"):
        twin.bind(torch.zeros(2, twin.size + 1)[:, 1:])
