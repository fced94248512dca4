"""Networks as one operation against automatic differentiation through their layers."""

import pytest
import torch

from gradex.policies import CARE, MLP, Network, Standardised, Tape, Twin
from gradex.streams import Streams

SMALL = MLP(features=5, outputs=3, layers=4, width=7, tasks=2, gain=1.0)
NETWORKS = {
    "mlp": SMALL,
    "one layer": MLP(features=5, outputs=3, layers=1, gain=1.0),
    "twin": Twin(Standardised(SMALL, centre=(0.1,) * 5, spread=(2.0,) * 5)),
    # Large enough to be evaluated one by one, by another library in single precision.
    "large": Twin(MLP(features=5, outputs=2, layers=4, width=96, gain=1.0)),
}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-4)])
@pytest.mark.parametrize("name", NETWORKS)
def test_values_and_gradients_are_those_of_the_network(
    name: str, dtype: torch.dtype, tolerance: float
) -> None:
    network = NETWORKS[name]
    generator = torch.Generator().manual_seed(0)
    batch = 128 if name == "large" else 6
    rows = network.initial(Streams([0, 1])).to(dtype)
    rows = (rows + 0.1 * torch.randn(rows.shape, generator=generator).to(dtype)).requires_grad_()
    observations = torch.randn(2, batch, 5, generator=generator).to(dtype).requires_grad_()
    tasks = torch.randint(2, (2, batch), generator=generator)
    plain = network.forward(rows, observations, tasks)
    fused = network.fused().forward(rows, observations, tasks)
    torch.testing.assert_close(fused, plain, rtol=tolerance, atol=tolerance)
    weights = torch.randn(plain.shape, generator=generator).to(dtype)
    for inputs in ((rows, observations), (rows,), (observations,)):
        expected = torch.autograd.grad(plain, inputs, weights, retain_graph=True)
        given = torch.autograd.grad(fused, inputs, weights, retain_graph=True)
        torch.testing.assert_close(given, expected, rtol=tolerance, atol=tolerance)


def test_it_is_differentiated_once() -> None:
    rows = SMALL.initial(Streams([0])).requires_grad_()
    observations, tasks = torch.ones(1, 2, 5), torch.zeros(1, 2, dtype=torch.int64)
    total = SMALL.fused().forward(rows, observations, tasks).sum()
    (gradient,) = torch.autograd.grad(total, rows, create_graph=True)
    assert not gradient.requires_grad


def test_a_tape_notes_every_layer() -> None:
    rows, tape = SMALL.initial(Streams([0])), Tape()
    SMALL.fused().forward(rows, torch.ones(1, 2, 5), torch.zeros(1, 2, dtype=torch.int64), tape)
    assert list(tape.outputs) == ["0", "1", "2", "3"]


def test_other_networks_stay_as_they_are() -> None:
    network: Network = CARE(features=4, outputs=2, tasks=3)
    assert network.fused() is network
