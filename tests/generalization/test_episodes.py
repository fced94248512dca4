from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch

from gradex.generalization import collect_episodes
from gradex.learners import ActorCritic, Collector
from gradex.tasks import TaskSuite
from tests.environments import scripted, scripted_suite
from tests.oracles import episodes as oracle

COPIES, STEPS = 3, 120


@pytest.fixture(scope="module")
def suite() -> TaskSuite:
    return TaskSuite.make("cartpole", n=3)


def agents(suite: TaskSuite, seeds: list[int]) -> ActorCritic:
    return ActorCritic.initial(suite, seeds, layers=2, width=4)


def test_equals_going_through_episodes_step_by_step(suite: TaskSuite) -> None:
    agent = agents(suite, [0])
    (found,) = collect_episodes(agent, suite, [[0, 2]], STEPS, COPIES, [5])
    collector = Collector(suite, [[0, 2]], COPIES, [5])
    rollout = collector.collect(agent, 64)
    while True:
        try:
            used = oracle.used_episodes(rollout, COPIES, STEPS)
            break
        except (AssertionError, KeyError):
            more = collector.collect(agent, 64)
            joined = {
                name: np.concatenate([getattr(rollout, name), getattr(more, name)])
                for name in ("rewards", "terminated", "ended", "real")
            }
            observations = torch.cat([rollout.observations[:-1], more.observations])
            rollout = replace(
                rollout,
                observations=observations,
                actions=torch.cat([rollout.actions, more.actions]),
                **joined,
            )
    expected = oracle.advantages(rollout, used, COPIES, suite.discount)
    assert list(np.unique(found.tasks)) == [0, 2] and (np.bincount(found.tasks)[[0, 2]] == STEPS).all()
    raw = np.empty(len(found))
    seen = set()
    for sample in range(len(found)):
        number, environment = divmod(int(found.episodes[sample]), 2 * COPIES)
        assert [0, 2][environment // COPIES] == found.tasks[sample]
        times = used[environment, number]
        rows = rollout.observations[times, 0, environment].numpy()
        (time,) = np.flatnonzero((rows == found.observations[sample]).all(axis=1))
        assert rollout.actions[times[time], 0, environment] == found.actions[sample]
        raw[sample] = expected[environment, number][time]
        seen.add((environment, number, time))
    assert len(seen) == len(found)
    for task in (0, 2):
        own = found.tasks == task
        normalised = (raw[own] - raw[own].mean()) / raw[own].std()
        np.testing.assert_allclose(found.advantages[own], normalised, atol=1e-6)


def test_a_policy_meets_the_same_in_any_company(suite: TaskSuite) -> None:
    stack = agents(suite, [0, 1])
    both = collect_episodes(stack, suite, [[0, 1], [2, 1]], STEPS, COPIES, [7, 8])
    np.random.seed(0)  # noqa: NPY002 - nothing draws from the global generators
    torch.manual_seed(0)
    for row, (subset, seed) in enumerate([([0, 1], 7), ([2, 1], 8)]):
        (alone,) = collect_episodes(stack[row], suite, [subset], STEPS, COPIES, [seed])
        for name, value in vars(alone).items():
            np.testing.assert_array_equal(getattr(both[row], name), value, err_msg=name)


def test_where_actions_change_nothing_advantages_are_zero() -> None:
    same = scripted_suite(a=scripted([1.0, 5.0, 2.0]), b=scripted([0.0, -1.0, 0.0, 3.0], ends="truncated"))
    (found,) = collect_episodes(agents(same, [0]), same, [[0, 1]], 12, 4, [0])
    np.testing.assert_array_equal(found.advantages, 0)
    assert sorted(found.observations[found.tasks == 0, 0]) == sorted([0, 1, 2] * 4)


def test_the_unit_of_rewards_does_not_matter() -> None:
    def paid_in(unit: float) -> np.ndarray:
        def make() -> gymnasium.Env:
            return gymnasium.wrappers.TransformReward(gymnasium.make("CartPole-v1"), lambda paid: unit * paid)

        suite = TaskSuite.from_gymnasium({"only": make})
        (found,) = collect_episodes(agents(suite, [0]), suite, [[0]], STEPS, COPIES, [0])
        return found.advantages

    for unit in (1e-9, 1e-12, 1e9):
        np.testing.assert_allclose(paid_in(unit), paid_in(1.0), rtol=1e-6, atol=1e-6)


def test_refuses_what_has_no_others(suite: TaskSuite) -> None:
    with pytest.raises(ValueError, match="cannot keep 100 steps of 1 copies"):
        collect_episodes(agents(suite, [0]), suite, [[0]], 100, 1, [0])


def test_refuses_episodes_that_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradex.learners.evaluation._PATIENCE", 128)
    endless = scripted_suite(short=scripted([0.0]), endless=scripted([0.0] * 10_000))
    for subsets in ([[0, 1]], [[0], [1]]):
        stack = agents(endless, list(range(len(subsets))))
        with pytest.raises(ValueError, match=r"task 'endless' has too few whole episodes after 128 steps"):
            collect_episodes(stack, endless, subsets, 4, 2, list(range(len(subsets))))
    # A time limit that is claimed and not kept: ten times it and the steps that are kept, in whole chunks.
    monkeypatch.setattr(type(endless), "horizon", 15)
    with pytest.raises(ValueError, match=r"task 'endless' has too few whole episodes after 192 steps"):
        collect_episodes(agents(endless, [0]), endless, [[0, 1]], 4, 2, [0])


def test_continuous_actions_are_kept_whole() -> None:
    space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    suite = scripted_suite(a=scripted([1.0, 2.0], action_space=space))
    (found,) = collect_episodes(agents(suite, [0]), suite, [[0]], 6, 4, [0])
    assert found.actions.shape == (6, 2) and len(np.unique(found.actions)) == 12
