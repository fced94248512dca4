"""Architectures by name, matched sizes, and what cannot be."""

import pytest
import torch

from gradex.policies import (
    ARCHITECTURES,
    CARE,
    MLP,
    MultiHead,
    Network,
    PaCo,
    SoftModularization,
    Tape,
    matched_width,
    network,
)
from gradex.seeds import Streams


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mlp", MLP(4, 2, 3, 16, gain=1.0)),
        ("one_hot_mlp", MLP(4, 2, 3, 16, tasks=5, gain=1.0)),
        ("multi_head", MultiHead(4, 2, 5, 3, 16, gain=1.0)),
        ("soft_modularization", SoftModularization(4, 2, 5, 3, 16, gain=1.0, module_layers=2, modules=2)),
        ("paco", PaCo(4, 2, 5, 3, 16, gain=1.0, sets=5)),
        ("care", CARE(4, 2, 5, 3, 16, gain=1.0, encoders=6, encoder_layers=2)),
    ],
)
def test_names_stand_for_networks(name: str, expected: Network) -> None:
    assert network(name, 4, 2, 5, 3, 16, gain=1.0) == expected
    assert name in ARCHITECTURES


def test_unknown_names_are_answered_with_the_known() -> None:
    with pytest.raises(ValueError, match=r"^unknown network 'cnn': choose 'mlp', 'one_hot_mlp', .*, 'care'$"):
        network("cnn", 4, 2, 5)
    with pytest.raises(ValueError, match="unknown network 'cnn'"):
        matched_width("cnn", 4, 2, 5, 4, 1000)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_network_for_no_task_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="tasks=0 is too few for a network: give at least 1"):
        network(name, 4, 2, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MultiHead(4, 2, 0), "tasks=0 is too small for MultiHead: give at least 1"),
        (lambda: MultiHead(4, 2, 3, layers=0), "layers=0 is too small for MultiHead: give at least 1"),
        (lambda: PaCo(4, 2, 3, width=0), "width=0 is too small for PaCo: give at least 1"),
        (lambda: PaCo(4, 2, 3, sets=0), "sets=0 is too small for PaCo: give at least 1"),
        (lambda: CARE(4, 2, 3, encoders=1), "encoders=1 is too small for CARE: give at least 2"),
        (lambda: CARE(4, 2, 3, layers=2), "layers=2 is too small for CARE: give at least 3"),
        (
            lambda: SoftModularization(4, 2, 3, layers=2),
            "layers=2 is too small for SoftModularization: give at least 3",
        ),
        (
            lambda: SoftModularization(4, 2, 3, modules=1),
            "modules=1 is too small for SoftModularization: give at least 2",
        ),
        (
            lambda: SoftModularization(4, 2, 3, module_layers=1),
            "module_layers=1 is too small for SoftModularization: give at least 2",
        ),
    ],
)
def test_impossible_networks_are_named(make, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()


# ---------------------------------------------------------------------- matched sizes
@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("target", [1, 500, 3000, 12345, 40000])
def test_the_matched_width_is_the_nearest(name: str, target: int) -> None:
    sizes = [network(name, 4, 2, 10, 4, width).size for width in range(1, 250)]
    assert sizes[-1] > target and sizes == sorted(set(sizes))
    width = matched_width(name, 4, 2, 10, 4, target)
    distances = [abs(size - target) for size in sizes]
    assert width == 1 + distances.index(min(distances))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_size_that_exists_is_found(name: str) -> None:
    for width in (1, 2, 17, 400):
        assert matched_width(name, 39, 4, 10, 4, network(name, 39, 4, 10, 4, width).size) == width


def test_what_cannot_be_matched_is_refused() -> None:
    with pytest.raises(ValueError, match="parameters=0 is too few to match: give at least 1"):
        matched_width("paco", 4, 2, 3, 4, 0)
    with pytest.raises(
        ValueError, match="'multi_head' with layers=1 has no hidden layer to match: give at least 2"
    ):
        matched_width("multi_head", 4, 2, 3, 1, 100)


# ---------------------------------------------------------------------- at the start
def test_composed_weights_have_the_scale_of_a_plain_layer() -> None:
    """E[WᵀW] = 2 I for W = Σ_k w_k W_k, over policies and tasks."""
    net = PaCo(6, 2, tasks=8, layers=3, width=6)
    named = net.split(net.initial(Streams(range(500))).double())
    sets = named["sets.1.weight"].unflatten(2, (net.sets, net.width))
    composed = torch.einsum("ptk,piko->ptio", named["composition.weight"], sets).flatten(0, 1)
    squares = (composed.mT @ composed).unflatten(0, (500, 8)).mean(dim=1)
    error = squares.std(dim=0) / 500**0.5
    assert (abs(squares.mean(dim=0) - 2 * torch.eye(6, dtype=torch.float64)) < 5 * error + 1e-6).all()
    assert error.max() < 0.05


def test_routing_starts_close_to_even() -> None:
    net, tape = SoftModularization(4, 2, tasks=3, layers=6, module_layers=4, modules=3), Tape()
    observations = torch.from_numpy(Streams([0]).normals(100, 4)).float()
    net.forward(net.initial(Streams([0])), observations, torch.arange(100)[None] % 3, tape)
    for level in range(3):
        shares = torch.softmax(tape.outputs[f"routing.{level}.down"].unflatten(-1, (3, 3)), dim=-1)
        assert 0 < (shares - 1 / 3).abs().max() < 0.2
