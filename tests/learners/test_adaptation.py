"""Adaptation that keeps returns only, against adaptation that keeps all."""

import gc
from contextlib import closing
from dataclasses import replace
from weakref import WeakSet

import numpy as np
import pytest
import torch

from gradex.learners import MAML, ActorCritic, Adaptation, Collector, Rollout, adaptation, batch
from gradex.tasks import TaskSuite
from tests.environments import scripted, scripted_suite
from tests.tasks.families import CASES, drift

ROWS, UPDATES = 5, 4
SETTINGS = MAML(inner_rate=0.4, trajectories=3, gae_lambda=0.9)
SUITES = {
    "navigation": lambda: TaskSuite.make("navigation", n=4, groups=2, horizon=11),
    "cartpole": lambda: TaskSuite.make("cartpole", n=4, horizon=30),
    "custom": lambda: TaskSuite.from_gymnasium({str(speed): drift(speed) for speed in (0.1, 0.3, 0.5, 0.8)}),
}
TASKS, SEEDS = [2, 0, 3, 2, 1], [4, 4, 5, 6, 7]


@pytest.fixture(params=SUITES)
def suite(request: pytest.FixtureRequest) -> TaskSuite:
    return SUITES[request.param]()


def start(suite: TaskSuite, seeds: list[int]) -> ActorCritic:
    agent = ActorCritic.initial(suite, seeds, layers=2, width=8)
    return replace(agent, actors=agent.actors.double())


def first_episodes(rollout: Rollout) -> list[float]:
    """Give the mean return of the first episode of every trajectory, one step after the other."""
    steps, rows, environments = rollout.rewards.shape
    told = []
    for row in range(rows):
        paid = []
        for place in range(environments):
            total = 0.0
            for t in range(steps):
                total += rollout.rewards[t, row, place]
                if rollout.ended[t, row, place]:
                    break
            paid.append(total)
        told.append(np.mean(paid))
    return told


def test_returns_are_those_of_adaptation_that_keeps_everything(suite: TaskSuite) -> None:
    agent = start(suite, [0, 1, 2, 3, 4])
    _, rollouts = SETTINGS.adapt(agent, suite, TASKS, SEEDS, UPDATES)
    returns = SETTINGS.adaptation().returns(agent, suite, TASKS, SEEDS, UPDATES)
    np.testing.assert_array_equal(returns, [first_episodes(rollout) for rollout in rollouts])
    some = SETTINGS.adaptation().returns(agent, suite, TASKS, SEEDS, UPDATES, at=(4, 1))
    np.testing.assert_array_equal(some, returns[[4, 1]])


def test_rows_in_pieces_adapt_as_together(suite: TaskSuite, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, own = start(suite, [0, 1, 2, 3, 4]), SETTINGS.adaptation()
    together = own.returns(agent, suite, TASKS, SEEDS, UPDATES)
    one = own.returns(agent[1], suite, TASKS[1:2], SEEDS[1:2], UPDATES)
    np.testing.assert_allclose(one[:, 0], together[:, 1], rtol=1e-6)
    monkeypatch.setattr(adaptation, "_HELD", 2 * 3 * suite.horizon)
    made: list[int] = []
    monkeypatch.setattr(adaptation, "Collector", lambda *a: made.append(len(a[1])) or Collector(*a))
    apart = own.returns(agent, suite, TASKS, SEEDS, UPDATES)
    assert made == [2, 2, 1]  # a simulator for each piece, however many steps it takes
    np.testing.assert_allclose(apart, together, rtol=1e-6)
    shared = own.returns(agent[0], suite, TASKS, SEEDS, UPDATES)
    np.testing.assert_allclose(shared[:, 0], together[:, 0], rtol=1e-6)


def test_steps_are_the_same_however_few_rows_are_differentiated_at_a_time(
    suite: TaskSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = start(suite, [0, 1, 2, 3, 4])
    together, _ = SETTINGS.adapt(agent, suite, TASKS, SEEDS, UPDATES)
    made: list[int] = []
    gradient = adaptation._policy_gradient
    monkeypatch.setattr(adaptation, "_policy_gradient", lambda *a: made.append(len(a[1])) or gradient(*a))
    monkeypatch.setattr(batch, "_CACHED", 3 * suite.horizon)  # samples of a row
    apart, _ = SETTINGS.adapt(agent, suite, TASKS, SEEDS, UPDATES)
    assert made == [2, 2, 1] * UPDATES
    torch.testing.assert_close(apart.actors, together.actors, rtol=1e-9, atol=1e-12)


def test_who_learns_once_needs_no_probabilities_of_those_that_acted(suite: TaskSuite) -> None:
    agent, own = start(suite, [0, 1, 2, 3, 4]), SETTINGS.adaptation()
    once = list(own.phases(agent, suite, TASKS, SEEDS, UPDATES, once=True))
    kept = list(own.phases(agent, suite, TASKS, SEEDS, UPDATES))
    assert once[0].batch.log_probs is None
    assert kept[0].batch.log_probs is not None
    torch.testing.assert_close(once[-1].agent.actors, kept[-1].agent.actors, rtol=1e-9, atol=1e-12)


def test_no_rollout_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    suite, alive, most = SUITES["cartpole"](), WeakSet(), []
    collect = Collector.collect

    def watched(self: Collector, *args: object) -> Rollout:
        gc.collect()
        most.append(len(alive))
        rollout = collect(self, *args)
        alive.add(rollout.observations)
        return rollout

    monkeypatch.setattr(Collector, "collect", watched)
    SETTINGS.adaptation().returns(start(suite, [0]), suite, TASKS, SEEDS, UPDATES)
    assert most == [0] * (UPDATES + 1)


def test_a_falling_rate_takes_the_steps_that_it_states() -> None:
    falling = Adaptation(rate=0.4, slowing=2.0)
    assert [falling.size(step) for step in range(3)] == pytest.approx([0.4, 0.4 / 1.5, 0.2])
    suite = SUITES["navigation"]()
    agent = start(suite, [0])
    _, second, third = (phase.agent for phase in falling.phases(agent, suite, [1], [0], 2))
    again = list(Adaptation(rate=0.4).phases(agent, suite, [1], [0], 2))
    assert torch.equal(second.actors, again[1].agent.actors)
    same = second.actors + (again[2].agent.actors - again[1].agent.actors) / 1.5
    torch.testing.assert_close(third.actors, same, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_renewed_collector_does_as_a_new_one(name: str) -> None:
    """Where simulators can be seeded again; EnvPool's go on, the same way in any company."""
    case = CASES[name]
    suite = case.make()
    agent = ActorCritic.initial(suite, [0, 1], layers=2, width=8)
    each, steps = [[0], [len(suite) - 1]], min(case.steps, 25)

    def renewed(subsets: list[list[int]], stack: ActorCritic, seeds: list[int]) -> tuple[Collector, Rollout]:
        collector = Collector(suite, subsets, 2, seeds)
        collector.collect(stack, steps)
        collector.renew([seed + 10 for seed in seeds])
        return collector, collector.collect(stack, steps)

    collector, ours = renewed(each, agent, [3, 4])
    goes_on = hasattr(collector.simulator, "begin_episodes")
    collector.close()
    if goes_on:
        collector, alone = renewed(each[1:], agent[1], [4])
        theirs, ours_too = alone.observations[:, 0], ours.observations[:, 1]
    else:
        collector = Collector(suite, each, 2, [13, 14])
        theirs, ours_too = collector.collect(agent, steps).observations, ours.observations
    collector.close()
    torch.testing.assert_close(ours_too, theirs, rtol=1e-5, atol=1e-5)


def test_bad_input_is_named() -> None:
    suite = SUITES["navigation"]()
    agent = start(suite, [0, 1])
    with pytest.raises(ValueError, match="there are no returns after 3 of 2 steps"):
        Adaptation().returns(agent, suite, [0, 1], [0, 1], 2, at=(0, 3))
    with pytest.raises(ValueError, match="2 policies for 3 tasks"):
        Adaptation().returns(agent, suite, [0, 1, 1], [0, 1, 2], 2)
    with pytest.raises(ValueError, match="trajectories is 0: ask for at least 1"):
        Adaptation(trajectories=0)
    with pytest.raises(ValueError, match=r"slowing is 0\.0: it must be positive"):
        Adaptation(slowing=0.0)


@pytest.mark.parametrize("unit", [1e9, 1e-9, 1e-12])
def test_what_a_step_learns_from_depends_on_no_unit_of_rewards(unit: float) -> None:
    suite = TaskSuite.make("navigation", n=2, horizon=20)
    agent = start(suite, [0, 0])
    with closing(Collector(suite, [(0,), (1,)], 4, [0, 0])) as collector:
        rollout = collector.collect(agent, 20)
    usual = adaptation.Phase(agent, rollout, suite.discount, gae_lambda=0.95)
    other = replace(usual, rollout=replace(rollout, rewards=unit * rollout.rewards))
    torch.testing.assert_close(other.batch.advantages, usual.batch.advantages, rtol=0, atol=1e-3)


@pytest.mark.parametrize("reward", [0.1, 1e-9, 1e6, 0.0])
def test_where_all_is_paid_alike_nothing_is_learned(reward: float) -> None:
    suite = scripted_suite(bandit=scripted([reward]))
    with closing(Collector(suite, [(0,)], 4, [0])) as collector:
        rollout = collector.collect(agent := start(suite, [0]), 7)
    own = adaptation.Phase(agent, rollout, suite.discount, gae_lambda=0.95).batch
    assert own.advantages[own.weights > 0].abs().max() < 0.01
