"""Networks made of networks: observations on a common scale, and two in one evaluation."""

import numpy as np
import pytest
import torch

from gradex import TaskSuite
from gradex.learners import ActorCritic
from gradex.policies import MLP, Standardised, Tape, Twin
from gradex.seeds import Streams

INNER = MLP(features=3, outputs=2, layers=3, width=5, tasks=2, gain=1.0)
NETWORK = MLP(features=4, outputs=2, layers=3, width=5, tasks=3, gain=1.0)
OUTER = Standardised(INNER, centre=(1.0, -2.0, 0.5), spread=(0.1, 3.0, 1.0))


def test_the_network_sees_the_distance_from_the_centre_in_units_of_the_spread() -> None:
    parameters = OUTER.initial(Streams([0, 1])).double()
    assert torch.equal(parameters, INNER.initial(Streams([0, 1])).double())
    rng = np.random.default_rng(0)
    observations = torch.from_numpy(rng.normal(size=(2, 4, 3)))
    tasks = torch.tensor([[0, 1, 1, 0], [1, 0, 0, 1]])
    scaled = observations.clone()
    scaled[..., 0] = (observations[..., 0] - 1.0) / 0.1
    scaled[..., 1] = (observations[..., 1] + 2.0) / 3.0
    scaled[..., 2] = observations[..., 2] - 0.5
    tape = Tape()
    ours = OUTER.forward(parameters, observations, tasks, tape)
    torch.testing.assert_close(ours, INNER.forward(parameters, scaled, tasks), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(tape.inputs["0"][..., :3], scaled, rtol=1e-12, atol=1e-12)
    assert OUTER.shapes == INNER.shapes
    assert OUTER.size == INNER.size


def test_a_spread_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"a spread of 0.0 scales nothing: give positive numbers"):
        Standardised(INNER, centre=(0.0, 0.0, 0.0), spread=(1.0, 0.0, 1.0))


def test_suites_that_know_their_scale_use_it() -> None:
    suite = TaskSuite.make("mt10", n=2)
    agent = ActorCritic.initial(suite, [0], network="multi_head", layers=2, width=4)
    known = suite.typical_observation
    assert known is not None
    for network in (agent.policy.network, agent.critic):
        assert isinstance(network, Standardised)
        assert (network.centre, network.spread) == known
        assert len(network.centre) == suite.observation_space.shape[0]
    plain = ActorCritic.initial(TaskSuite.make("cartpole", n=2), [0])
    assert isinstance(plain.policy.network, MLP)


def test_what_meta_world_shows_is_of_order_one_on_this_scale() -> None:
    suite = TaskSuite.make("mt10")
    centre, spread = suite.typical_observation or ((), ())
    simulator = suite.simulator(copies=2, seed=0)
    observations, _ = simulator.reset()
    simulator.close()
    scaled = (observations - np.array(centre)) / np.array(spread)
    # What is not there reads 0, and is the farthest off.
    assert np.abs(scaled).max() < 4
    raw, ours = observations.std(axis=0), scaled.std(axis=0)
    assert np.median(ours[raw > 0]) > 2 * np.median(raw[raw > 0])


# ---------------------------------------------------------------------- twins
def test_both_halves_of_a_row_are_networks_of_their_own() -> None:
    twin = Twin(NETWORK)
    rows = twin.initial(Streams([0, 1]))
    assert rows.shape == (2, twin.size) and twin.size == 2 * NETWORK.size
    generator = torch.Generator().manual_seed(0)
    observations = torch.randn(2, 6, 4, generator=generator)
    tasks = torch.tensor([[0, 1, 2, 0, 1, 2], [2, 2, 2, 0, 0, 0]])
    both = twin.forward(rows, observations, tasks)
    halves = [NETWORK.forward(half, observations, tasks) for half in rows.split(NETWORK.size, dim=1)]
    torch.testing.assert_close(both, torch.cat(halves, dim=-1))
    assert not torch.equal(halves[0], halves[1])
    named = twin.split(rows)
    assert torch.equal(named["second.1.weight"], NETWORK.split(rows[:, NETWORK.size :])["1.weight"])


def test_a_tape_is_refused() -> None:
    twin = Twin(NETWORK)
    with pytest.raises(ValueError, match="put each network on a tape of its own"):
        twin.forward(
            twin.initial(Streams([0])), torch.zeros(1, 1, 4), torch.zeros(1, 1, dtype=torch.int64), Tape()
        )
