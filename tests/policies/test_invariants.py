"""What holds for every architecture."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gradex.policies import MLP, Categorical, Gaussian, MultiHead, Network, Policy, SoftModularization, Tape
from gradex.policies.policy import gradient_layout, log_prob_gradients
from gradex.seeds import Streams
from gradex.surrogate import KhatriRaoProjection
from tests.oracles import networks as oracle
from tests.oracles import surrogate as surrogate_oracle

POLICIES, BATCH, TASKS = 3, 7, 3


def parameters(net: Network) -> torch.Tensor:
    """Away from the start, so that biases count and outputs are not small."""
    noise = torch.randn(POLICIES, net.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return net.initial(Streams(range(POLICIES))).double() + 0.3 * noise


def samples(batch: int = BATCH) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    observations = torch.randn(POLICIES, batch, 4, generator=generator, dtype=torch.float64)
    return observations, torch.randint(TASKS, (POLICIES, batch), generator=generator)


def close(ours: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


# ---------------------------------------------------------------------- the function
def test_equals_the_papers_formulas_sample_by_sample(net: Network) -> None:
    rows, (observations, tasks) = parameters(net), samples()
    close(net.forward(rows, observations, tasks), oracle.forward(net, rows, observations, tasks))


def test_a_stack_equals_separate_policies(net: Network) -> None:
    rows, (observations, tasks) = parameters(net), samples()
    together = net.forward(rows, observations, tasks)
    assert together.shape == (POLICIES, BATCH, net.outputs)
    for index in range(POLICIES):
        own = slice(index, index + 1)
        close(together[own], net.forward(rows[own], observations[own], tasks[own]))


def test_a_policy_does_not_depend_on_its_company(net: Network) -> None:
    rows, (observations, tasks) = parameters(net), samples()
    before = net.forward(rows, observations, tasks)
    rows[1:] += 1
    observations[1:] *= -3
    tasks[1:] = (tasks[1:] + 1) % TASKS
    after = net.forward(rows, observations, tasks)
    close(after[0], before[0])
    assert (after[1:] != before[1:]).any(dim=2).all()


def test_a_sample_does_not_depend_on_its_batch(net: Network) -> None:
    rows, (observations, tasks) = parameters(net), samples()
    whole = net.forward(rows, observations, tasks)
    order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(2))[: BATCH - 2]
    close(net.forward(rows, observations[:, order], tasks[:, order]), whole[:, order])


def test_tasks_differ_where_the_network_sees_them(net: Network) -> None:
    rows, (observations, _) = parameters(net), samples()
    each = [net.forward(rows, observations, torch.full((POLICIES, BATCH), task)) for task in range(TASKS)]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        blind = isinstance(net, MLP) and net.tasks == 0
        assert torch.equal(each[first], each[second]) if blind else (each[first] != each[second]).all()


def test_single_precision_rounds_the_same_function(net: Network) -> None:
    rows, (observations, tasks) = parameters(net), samples()
    single = net.forward(rows.float(), observations.float(), tasks)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), net.forward(rows, observations, tasks), rtol=1e-3, atol=1e-4)


# ---------------------------------------------------------------------- the tape and gradients
def test_every_parameter_is_in_a_layer_on_the_tape(net: Network) -> None:
    tape, rows = Tape(), parameters(net)
    net.forward(rows, *samples(), tape)
    named = net.split(rows)
    assert {name.rpartition(".")[0] for name in net.shapes} == set(tape.inputs) == set(tape.outputs)
    for layer, inputs in tape.inputs.items():
        product = inputs @ named[f"{layer}.weight"]
        if f"{layer}.bias" in named:
            product = product + named[f"{layer}.bias"].unsqueeze(1)
        close(tape.outputs[layer], product)


@pytest.mark.parametrize("distribution", [Categorical(2), Gaussian(2)], ids=["categorical", "gaussian"])
def test_per_sample_gradients_equal_autograd(net: Network, distribution: Categorical | Gaussian) -> None:
    policy = Policy(net, distribution)
    observations, tasks = (x[0] for x in samples())
    generator = torch.Generator().manual_seed(3)
    theta = torch.cat([parameters(net)[0], torch.zeros(policy.size - net.size, dtype=torch.float64)])
    if isinstance(distribution, Categorical):
        actions = torch.arange(BATCH) % 2
    else:
        actions = torch.randn(BATCH, 2, generator=generator, dtype=torch.float64)
    gradients = log_prob_gradients(policy, theta, observations, tasks, actions)
    whole = gradients.dense()
    close(whole, surrogate_oracle.log_prob_gradients(policy, theta, observations, tasks, actions))

    # What is built from the factors, without the whole.
    layout = gradient_layout(policy)
    assert layout == [block.shape for block in gradients.parts]
    for start in range(0, policy.size, 5):
        assert torch.equal(gradients.columns(start, min(start + 7, policy.size)), whole[:, start : start + 7])
    projection = KhatriRaoProjection(layout, 10, seed=0)
    matrix = projection.lift(torch.eye(10, dtype=torch.float64)).T
    close(projection.project(gradients), whole @ matrix)


def slopes(net: Network, tasks: torch.Tensor) -> dict[str, torch.Tensor]:
    """Differentiate a random function of the outputs at a fresh start."""
    rows = net.initial(Streams(range(len(tasks)))).double().requires_grad_()
    generator = torch.Generator().manual_seed(1)
    observations = torch.randn(*tasks.shape, net.features, generator=generator, dtype=torch.float64)
    outputs = net.forward(rows, observations, tasks)
    weights = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return net.split(torch.autograd.grad((weights * outputs).sum(), rows)[0])


def test_gradients_reach_every_parameter_from_the_start(net: Network) -> None:
    for name, slope in slopes(net, torch.arange(100).expand(20, -1) % TASKS).items():
        reached = slope != 0
        # A unit of ReLU may start without any sample that activates it, but not in every policy.
        assert reached.any(dim=0).all() if isinstance(net, SoftModularization) else reached.all(), name


def test_a_task_leaves_what_other_tasks_own_alone(net: Network) -> None:
    for name, slope in slopes(net, torch.zeros(20, 100, dtype=torch.int64)).items():
        others = torch.zeros(slope.shape[1:], dtype=torch.bool)
        if name in ("task.weight", "composition.weight", "embedding.weight"):
            others[1:] = True
        elif isinstance(net, MultiHead) and name.startswith("heads."):
            others[..., net.outputs :] = True
        elif isinstance(net, MLP) and net.tasks and name == "0.weight":
            others[net.features + 1 :] = True
        assert torch.equal((slope == 0).all(dim=0), others), name


# ---------------------------------------------------------------------- the start
def test_a_seed_gives_the_same_start_in_any_company(net: Network) -> None:
    state = torch.random.get_rng_state()
    first = net.initial(Streams([5, 6, 5]))
    np.random.seed(0)  # noqa: NPY002
    assert first.dtype == torch.float32
    assert torch.equal(net.initial(Streams([5]))[0], first[0])
    assert torch.equal(first[0], first[2])
    assert not torch.equal(first[0], first[1])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_gain_scales_the_start_and_nothing_else(net: Network) -> None:
    observations, tasks = samples()
    small, unit = (
        other.forward(other.initial(Streams(range(POLICIES))).double(), observations, tasks)
        for other in (replace(net, gain=0.01), replace(net, gain=1.0))
    )
    torch.testing.assert_close(100 * small, unit, rtol=1e-4, atol=1e-5)


def test_the_scale_of_an_observation_is_kept_on_the_way(net: Network) -> None:
    net = replace(net, features=39, width=64, gain=1.0)
    observations = torch.randn(5, 200, 39, generator=torch.Generator().manual_seed(1))
    outputs = net.forward(
        net.initial(Streams(range(5))), observations, torch.arange(200).expand(5, -1) % TASKS
    )
    assert 0.3 < outputs.square().mean().sqrt() < 1.2


def test_layers_start_orthogonal_or_as_they_say(net: Network) -> None:
    named = net.split(net.initial(Streams(range(POLICIES))).double())
    for name, layer in net.table.items():
        for block in named[f"{name}.weight"].split(layer.outputs, dim=2):
            if name == "composition":
                expected = torch.ones(POLICIES, TASKS, dtype=torch.float64)
                torch.testing.assert_close(block.norm(dim=2), expected, rtol=1e-6, atol=1e-6)
                continue
            short = block.mT @ block if block.shape[1] >= block.shape[2] else block @ block.mT
            expected = layer.gain**2 * torch.eye(short.shape[1], dtype=torch.float64).expand_as(short)
            torch.testing.assert_close(short, expected, rtol=1e-5, atol=1e-5)
            if layer.bias is None:
                assert abs(block.square().mean() - 1) < 1e-5
        if layer.bias is not None:
            assert (named[f"{name}.bias"] == layer.bias).all()
