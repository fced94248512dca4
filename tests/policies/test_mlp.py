"""The stacked multilayer perceptron against torch.nn, one network at a time."""

import pytest
import torch

from gradex.policies import MLP, Tape
from gradex.seeds import Streams
from tests.oracles.ppo import module

POLICIES, BATCH = 3, 6


def network(layers: int = 3, tasks: int = 0) -> MLP:
    return MLP(features=4, outputs=2, layers=layers, width=5, tasks=tasks)


def parameters(net: MLP) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(POLICIES, net.size, generator=generator, dtype=torch.float64)


def inputs(net: MLP) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    observations = torch.randn(POLICIES, BATCH, net.features, generator=generator, dtype=torch.float64)
    return observations, torch.randint(max(net.tasks, 1), (POLICIES, BATCH), generator=generator)


@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("tasks", [0, 3])
def test_equals_torch_row_by_row(layers: int, tasks: int) -> None:
    net = network(layers, tasks)
    rows, (observations, index) = parameters(net), inputs(net)
    ours = net.forward(rows, observations, index)
    for policy in range(POLICIES):
        hot = torch.eye(tasks, dtype=torch.float64)[index[policy]] if tasks else observations[policy, :, :0]
        expected = module(net, rows[policy])(torch.cat([observations[policy], hot], dim=1))
        torch.testing.assert_close(ours[policy], expected, rtol=1e-12, atol=1e-12)
        alone = net.forward(
            rows[policy : policy + 1], observations[policy : policy + 1], index[policy : policy + 1]
        )
        torch.testing.assert_close(ours[policy], alone[0], rtol=1e-12, atol=1e-12)


def test_small_activations_keep_their_digits_in_single_precision() -> None:
    """On any processor."""
    net = MLP(features=4, outputs=2, layers=2, width=5)
    rows, (observations, index) = 1e-3 * parameters(net), inputs(net)
    rows[:, 20:25] = 0  # biases of the hidden layer
    rows[:, -2:] = 0  # and of the outputs
    observations = 1e-3 * observations
    expected = net.forward(rows, observations, index)
    found = net.forward(rows.float(), observations.float(), index)
    error = (found.double() - expected).abs() / expected.abs().amax()
    assert error.max() < 1e-6


def test_the_tape_holds_what_passed_through_each_layer() -> None:
    net, tape = network(3), Tape()
    rows, (observations, index) = parameters(net), inputs(net)
    result = net.forward(rows, observations, index, tape)
    named = net.split(rows)
    assert list(tape.inputs) == list(tape.outputs) == ["0", "1", "2"]
    assert torch.equal(tape.inputs["0"], observations)
    assert torch.equal(tape.outputs["2"], result)
    for layer in ("0", "1", "2"):
        product = tape.inputs[layer] @ named[f"{layer}.weight"] + named[f"{layer}.bias"].unsqueeze(1)
        torch.testing.assert_close(tape.outputs[layer], product, rtol=1e-12, atol=1e-12)
    for layer, following in (("0", "1"), ("1", "2")):
        torch.testing.assert_close(tape.outputs[layer].tanh(), tape.inputs[following], rtol=1e-12, atol=1e-12)


def test_parameters_split_into_their_shapes_and_back() -> None:
    net = network(3, tasks=2)
    rows = parameters(net)
    named = net.split(rows)
    assert {name: tuple(piece.shape[1:]) for name, piece in named.items()} == dict(net.shapes)
    assert net.shapes["0.weight"] == (6, 5)
    assert net.size == (6 * 5 + 5) + (5 * 5 + 5) + (5 * 2 + 2)
    assert torch.equal(torch.cat([piece.flatten(1) for piece in named.values()], dim=1), rows)
    named["1.bias"].zero_()  # views, so that a change by name is a change of the row
    assert (rows == 0).sum() == POLICIES * 5


@pytest.mark.parametrize("gain", [0.01, 1.0])
def test_the_start_is_orthogonal(gain: float) -> None:
    net = MLP(features=7, outputs=3, layers=3, width=5, gain=gain)
    named = net.split(net.initial(Streams([0, 1, 0])))
    for layer, scale in (("0", 2**0.5), ("1", 2**0.5), ("2", gain)):
        weight = named[f"{layer}.weight"].double()
        short = weight.mT @ weight if weight.shape[1] >= weight.shape[2] else weight @ weight.mT
        torch.testing.assert_close(
            short, scale**2 * torch.eye(short.shape[1]).double().expand_as(short), rtol=1e-5, atol=1e-5
        )
        assert (named[f"{layer}.bias"] == 0).all()
        assert torch.equal(weight[0], weight[2])
        assert not torch.equal(weight[0], weight[1])


def test_the_start_has_no_preferred_sign() -> None:
    """Entries of a uniform orthogonal matrix have mean 0 and mean square 1 / size, the diagonal as well."""
    net = MLP(features=4, outputs=4, layers=1, gain=1.0)
    weights = net.split(net.initial(Streams(range(2000))))["0.weight"].double()
    assert weights.mean(dim=0).abs().max() < 4 * 0.5 / 2000**0.5
    assert (weights.square().mean(dim=0) - 0.25).abs().max() < 4 * 0.25 / 2000**0.5


@pytest.mark.parametrize(("layers", "width", "wrong"), [(0, 64, "layers"), (3, 0, "width")])
def test_impossible_networks_are_named(layers: int, width: int, wrong: str) -> None:
    with pytest.raises(ValueError, match=f"^{wrong}=0 is too small for MLP: give at least 1$"):
        MLP(4, 2, layers, width)
