"""Transitions: what is kept of a simulation, and its advantages against the slow version."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gradex.learners import ActorCritic, Collector, Rollout, Transitions, collect_transitions
from gradex.learners.advantages import cross_fitted_advantages
from gradex.tasks import TaskSuite
from tests.environments import scripted, scripted_suite
from tests.learners.test_advantages import random_rollout
from tests.learners.test_kept_steps import equal_chances
from tests.oracles.advantages import cross_fitted

Fresh = Callable[[TaskSuite, list[int]], ActorCritic]
Limited = Callable[[TaskSuite, int], list[int]]


def collect(
    agent: ActorCritic,
    suite: TaskSuite,
    steps: int,
    copies: int | None,
    seed: int = 0,
    gae_lambda: float = 0.9,
    sharing: str = "none",
) -> Transitions:
    agent = replace(agent, actors=agent.actors.float(), critics=agent.critics.float())
    return collect_transitions(agent, suite, steps, copies, seed, gae_lambda, sharing)


def episodes_of(rollout: Rollout) -> np.ndarray:
    before = np.cumsum(rollout.ended, axis=0) - rollout.ended
    return before * rollout.tasks.size + np.arange(rollout.tasks.size).reshape(rollout.tasks.shape)


@pytest.mark.parametrize(("steps", "environments"), [(32, 8), (512, 16), (10_000, 64)])
def test_many_episodes_begin_unless_a_number_is_asked_for(
    fresh: Fresh, steps: int, environments: int
) -> None:
    endless = TaskSuite.make("navigation", n=2, groups=2, horizon=10_000)
    found = collect(fresh(endless, [0]), endless, steps, None)
    assert [len(set(found.episodes[found.tasks == task])) for task in (0, 1)] == [environments] * 2


@pytest.mark.parametrize("copies", [1, 3])
def test_equally_many_real_steps_of_every_task(fresh: Fresh, copies: int) -> None:
    suite = TaskSuite.make("navigation", n=3, horizon=5)
    transitions = collect(fresh(suite, [0]), suite, 40, copies)
    assert len(transitions) == 120
    assert np.bincount(transitions.tasks).tolist() == [40, 40, 40]
    # Navigation observes the time that is left: 0 belongs to the step that resets.
    assert transitions.observations[:, 2].min() > 0
    for task in range(3):
        advantages = transitions.advantages[transitions.tasks == task]
        assert abs(advantages.mean()) < 0.1
        assert advantages.std() == pytest.approx(1, abs=0.1)
    owners = {
        episode: set(transitions.tasks[transitions.episodes == episode])
        for episode in set(transitions.episodes)
    }
    assert all(len(tasks) == 1 for tasks in owners.values())
    assert len(owners) >= 3 * 8
    # Within an episode of five steps, no two steps are the same.
    steps = np.column_stack([transitions.episodes, np.round(transitions.observations[:, 2] * 5)])
    assert len(np.unique(steps, axis=0)) == len(steps)


def test_episodes_of_one_step_suffice(fresh: Fresh) -> None:
    suite = scripted_suite(one=scripted([1]), two=scripted([1, 2]))
    transitions = collect(fresh(suite, [0]), suite, 1000, 3)
    assert np.bincount(transitions.tasks).tolist() == [1000, 1000]
    first = transitions.tasks == 0
    assert len(np.unique(transitions.episodes[first])) == 1000
    assert (transitions.observations[first] == 0).all()
    assert transitions.observations[~first].max() == 1
    # What always pays the same has no advantages, and no noise in their place.
    assert not transitions.advantages[first].any()


class Costly(gymnasium.Env):
    """Every step costs 1, for 80 steps or until a number that follows the actions is large."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, goal: float) -> None:
        self.goal = goal

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.time = float(self.np_random.normal()), 0
        return np.array([self.place], np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.place += 2 * int(action) - 1 + float(self.np_random.normal())
        self.time += 1
        there = self.place > self.goal
        return np.array([self.place], np.float32), -1.0, there, self.time == 80, {}


def test_nothing_is_at_stake_where_all_is_paid_alike(fresh: Fresh) -> None:
    """Though a baseline misses a little of it."""
    suite = TaskSuite.from_gymnasium({"near": partial(Costly, 10.0), "never": partial(Costly, np.inf)})
    found = collect(fresh(suite, [0]), suite, 256, 8)
    assert found.deviations is not None
    assert found.deviations[0] > 0 and found.deviations[1] == 0


@pytest.mark.parametrize("horizon", [4, 15, 100, 10_000])
def test_four_times_as_deep_as_is_kept_unless_whole_episodes_are_shorter(
    fresh: Fresh, monkeypatch: pytest.MonkeyPatch, horizon: int
) -> None:
    suite = TaskSuite.make("navigation", n=3, horizon=horizon)
    simulated: list[int] = []
    gather = Collector.collect

    def spy(self: Collector, *arguments: object) -> Rollout:
        rollout = gather(self, *arguments)  # type: ignore[arg-type]
        simulated.append(rollout.steps)
        return rollout

    monkeypatch.setattr(Collector, "collect", spy)
    transitions = collect(fresh(suite, [0]), suite, 40, 8)
    # Every fifth step of the shortest only resets.
    assert sum(simulated) == 3 * 8 * (min(4 * 5, horizon) if horizon > 5 else 5)
    assert len(transitions) == 3 * 40
    assert transitions.observations[:, 2].min() < 1 - 0.7 * min(20, horizon) / horizon


def test_it_tells_how_long_episodes_are(fresh: Fresh) -> None:
    suite = scripted_suite(short=scripted([1.0] * 3), long=scripted([1.0] * 8), longer=scripted([1.0] * 500))
    found = collect(fresh(suite, [0]), suite, 48, 4)
    assert found.lengths is not None
    np.testing.assert_allclose(found.lengths[:2], [3.0, 8.0])
    # No episode of 500 ended; the other tasks reset so often that 63 steps of it pass meanwhile.
    assert found.lengths[2] == 63
    shared = TaskSuite.make("navigation", n=3, horizon=7)
    found = collect(fresh(shared, [0]), shared, 70, 4, sharing="auto")
    assert found.lengths is not None and found.lengths.shape == (3,)
    assert (found.lengths <= 7).all()
    assert (found.lengths == found.lengths[0]).all()


def test_steps_late_in_an_episode_are_kept(fresh: Fresh) -> None:
    """Each environment keeps 32 steps, of episodes of 60."""
    suite = TaskSuite.make("navigation", n=2, groups=2, horizon=60)
    found = collect(fresh(suite, [0]), suite, 512, 16)
    left = np.round(found.observations[:, 2] * 60)
    assert left.min() == 1 and left.max() == 60
    assert np.histogram(left, 4)[0].min() > len(found) / 10


@pytest.mark.parametrize("gae_lambda", [0.0, 0.8, 1.0])
@pytest.mark.parametrize("ends", [0.0, 0.3])
def test_advantages_are_those_of_the_slow_version(ends: float, gae_lambda: float) -> None:
    rollout = random_rollout(ends, steps=40)
    ours = cross_fitted_advantages(rollout, rollout.rewards, episodes_of(rollout), 0.9, gae_lambda)
    for task in range(2):
        own = {
            name: getattr(rollout, name)[:, task : task + 1]
            for name in ("observations", "actions", "rewards", "terminated", "ended", "real")
        }
        slow = cross_fitted(replace(rollout, **own, tasks=rollout.tasks[task : task + 1]), 0.9, gae_lambda)
        real = rollout.real[:, task]
        np.testing.assert_allclose(ours[:, task][real], slow[real], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("unit", [1e-9, 1e6])
def test_the_unit_of_a_task_changes_nothing(fresh: Fresh, unit: float) -> None:
    def transitions(scale: float) -> Transitions:
        rewards = [[1.0, -2.0, 3.0, 0.5], [0.0, 1.0, 0.0, 4.0]]
        space = spaces.Box(-1, 1, (1,), np.float32)
        tasks = {
            str(task): scripted(
                [scale**task * reward for reward in own], observed={1: task}, action_space=space
            )
            for task, own in enumerate(rewards)
        }
        return collect(fresh(suite := scripted_suite(**tasks), [0]), suite, 50, 4)

    one, other = transitions(1.0), transitions(unit)
    np.testing.assert_allclose(other.advantages, one.advantages, atol=1e-6)


def test_a_constant_that_every_step_is_paid_changes_nothing(fresh: Fresh) -> None:
    """The simulation cuts off the third episode of each environment."""
    suite = TaskSuite.make("navigation", n=2, groups=2, horizon=7)
    with closing(Collector(suite, [(0,), (1,)], copies=12, seeds=[0, 0])) as collector:
        rollout = collector.collect(fresh(suite, [0, 0]), 20)
    assert not rollout.ended[-1].any()
    episodes = episodes_of(rollout)
    plain = cross_fitted_advantages(rollout, rollout.rewards, episodes, 1.0, 0.95)
    paid = rollout.rewards + 100.0 * rollout.real
    more = cross_fitted_advantages(replace(rollout, rewards=paid), paid, episodes, 1.0, 0.95)
    np.testing.assert_allclose(more[rollout.real], plain[rollout.real], atol=0.02 * plain.std())


def test_noise_of_an_episode_does_not_move_its_own_baseline() -> None:
    """Without cross-fitting a baseline with many features follows the returns that it is to judge."""
    rng = np.random.default_rng(0)
    steps, environments, features = 20, 12, 40
    shape = (steps, 1, environments)
    # Every episode sees a constant of its own and pays noise at the end.
    own = rng.normal(size=(1, 1, environments, features)) * np.ones((steps + 1, 1, 1, 1))
    rewards = np.zeros(shape)
    rewards[-1, 0] = rng.normal(size=environments)
    ended = np.zeros(shape, dtype=bool)
    ended[-1] = True
    rollout = Rollout(
        torch.from_numpy(own), torch.zeros(shape), rewards, ended, ended, np.ones(shape, dtype=bool), None,
        np.zeros((1, environments), dtype=np.int64),
    )  # fmt: skip
    advantages = cross_fitted_advantages(rollout, rollout.rewards, episodes_of(rollout), 1.0, 1.0)
    # A fit on all episodes would leave nothing of the returns; most of them must be left.
    assert np.corrcoef(advantages[0, 0], rewards[-1, 0])[0, 1] > 0.8
    assert advantages[0, 0].std() > 0.7 * rewards[-1, 0].std()


def test_where_environments_do_not_fit_tasks_come_in_pieces(fresh: Fresh, limited: Limited) -> None:
    suite = TaskSuite.make("navigation", n=5, horizon=5)
    agent = fresh(suite, [0])
    whole = collect(agent, suite, 40, 3)
    environments = limited(suite, 7)  # three copies of two tasks
    pieces = collect(agent, suite, 40, 3)
    assert environments == [6, 6, 3]
    assert pieces.tasks.tolist() == whole.tasks.tolist() == np.repeat(np.arange(5), 40).tolist()
    owners = {
        episode: set(pieces.tasks[pieces.episodes == episode]) for episode in set(pieces.episodes.tolist())
    }
    assert all(len(tasks) == 1 for tasks in owners.values())
    # The first two tasks begin like the whole; tasks of different pieces have other noise.
    starts, first = (each.observations[each.tasks == 0][:, :2] for each in (whole, pieces))
    assert np.isin(first.round(6), starts.round(6)).mean() > 0.2
    assert not np.array_equal(pieces.actions[pieces.tasks == 2], pieces.actions[pieces.tasks == 0])


def test_a_seed_fixes_them_and_another_one_gives_others(fresh: Fresh) -> None:
    suite = TaskSuite.make("cartpole", n=2)
    agent = fresh(suite, [0])
    one, again, other = (collect(agent, suite, 30, 4, seed) for seed in (1, 1, 2))
    for name in ("observations", "actions", "advantages", "tasks", "episodes"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
    assert not np.array_equal(one.observations, other.observations)


def test_bad_amounts_are_named(fresh: Fresh) -> None:
    suite = TaskSuite.make("cartpole", n=2)
    for steps, copies in ((1, 4), (20, 0)):
        with pytest.raises(
            ValueError, match=f"cannot keep {steps} steps of {copies} copies: ask for at least 2 steps"
        ):
            collect(fresh(suite, [0]), suite, steps, copies)
    with pytest.raises(ValueError, match=r"λ of the advantages is 1\.5: choose a number from 0 to 1"):
        collect(fresh(suite, [0]), suite, 20, 4, gae_lambda=1.5)


SHARED = {
    "navigation": lambda: TaskSuite.make("navigation", n=4, groups=2, horizon=7),
    "highway": lambda: TaskSuite.make("highway", n=3, vary="objective"),
    "halfcheetah": lambda: TaskSuite.make("halfcheetah", n=3, horizon=7),
    "ant-goal": lambda: TaskSuite.make("ant-goal", n=4, horizon=7),
}


@pytest.mark.parametrize("make", SHARED.values(), ids=SHARED.keys())
def test_steps_in_one_task_serve_all_where_only_rewards_differ(
    fresh: Fresh, monkeypatch: pytest.MonkeyPatch, make: Callable[[], TaskSuite]
) -> None:
    # Which steps are kept depends on what all tasks pay for them: here on chance alone.
    monkeypatch.setattr("gradex.learners.kept_steps.chances_of", equal_chances)
    suite = make()
    agent, n = fresh(suite, [0]), len(suite)
    shared = collect(agent, suite, 60, 6, sharing="auto")
    assert shared.tasks is None
    assert shared.advantages.shape == (n, 60)
    assert shared.observations.shape[0] == shared.actions.shape[0] == len(shared) == 60
    # The first task's own steps are these, and its advantages too.
    own = collect(agent, suite[[0]], 60, 6)
    for name in ("observations", "actions"):
        np.testing.assert_allclose(getattr(shared, name), getattr(own, name), atol=1e-6)
    np.testing.assert_array_equal(shared.episodes, own.episodes)
    np.testing.assert_allclose(shared.advantages[0], own.advantages, atol=1e-6)
    np.testing.assert_allclose(shared.advantages.mean(axis=1), 0, atol=0.4)
    np.testing.assert_allclose(shared.advantages.std(axis=1), 1, atol=0.4)


@pytest.mark.parametrize("make", SHARED.values(), ids=SHARED.keys())
def test_a_suite_knows_what_its_tasks_pay_for_steps_of_another(
    fresh: Fresh, make: Callable[[], TaskSuite]
) -> None:
    suite = make()
    collector = Collector(suite, [range(len(suite))], copies=5, seeds=[0])
    rollout = collector.collect(fresh(suite, [0]), 40)
    collector.close()
    paid = suite.rewards(rollout.objectives[:, 0])  # [tasks, steps, environments]
    real = rollout.real[:, 0]
    assert not real.all()
    own = paid[rollout.tasks[0], :, np.arange(real.shape[1])].T
    np.testing.assert_allclose(own[real], rollout.rewards[:, 0][real], atol=1e-6)


@pytest.mark.parametrize("gae_lambda", [0.8, 1.0])
def test_shared_advantages_are_those_of_every_task_by_itself(gae_lambda: float) -> None:
    rollout = random_rollout(0.3, steps=40)
    one = {
        name: getattr(rollout, name)[:, :1]
        for name in ("observations", "actions", "terminated", "ended", "real")
    }
    alone = replace(rollout, **one, rewards=rollout.rewards[:, :1], tasks=rollout.tasks[:1])
    rewards = np.random.default_rng(0).normal(size=(40, 3, rollout.rewards.shape[2])) * alone.real
    together = cross_fitted_advantages(alone, rewards, episodes_of(alone), 0.9, gae_lambda)
    assert together.shape == rewards.shape
    for task in range(3):
        slow = cross_fitted(replace(alone, rewards=rewards[:, task : task + 1]), 0.9, gae_lambda)
        real = alone.real[:, 0]
        np.testing.assert_allclose(together[:, task][real], slow[real], rtol=1e-6, atol=1e-8)


def test_what_cannot_be_shared_is_not(fresh: Fresh) -> None:
    suite = TaskSuite.make("navigation", n=3, horizon=5)
    seeing = ActorCritic.initial(suite, [0], layers=2, width=8, network="multi_head")
    assert collect(seeing, suite, 20, 2, sharing="auto").tasks is not None
    assert collect(fresh(suite, [0]), suite[[0]], 20, 2, sharing="auto").tasks is not None
    cartpoles = TaskSuite.make("cartpole", n=2)
    assert collect(fresh(cartpoles, [0]), cartpoles, 20, 2, sharing="auto").tasks is not None
    with pytest.raises(ValueError, match="sharing is 'all': choose 'auto' or 'none'"):
        collect(seeing, suite, 20, 2, sharing="all")
    with pytest.raises(ValueError, match="do not share their dynamics"):
        cartpoles.rewards(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="do not share their dynamics"):
        TaskSuite.make("highway", n=2).rewards(np.zeros((3, 3)))
