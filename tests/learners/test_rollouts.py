"""Collecting steps: who acts where, what a reset step counts, and what simulators may not return."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from gradex.learners import ActorCritic, Collector, Layout, Rollout
from gradex.tasks import TaskSuite
from tests.environments import Scripted, scripted, scripted_suite
from tests.tasks.families import drift

Fresh = Callable[[TaskSuite, list[int]], ActorCritic]

FIELDS = ("rewards", "terminated", "ended", "real", "tasks")


def ragged() -> TaskSuite:
    return TaskSuite.from_gymnasium({"slow": drift(0.2), "fast": drift(0.5), "fastest": drift(0.9)})


def test_layout_of_ragged_subsets() -> None:
    layout = Layout.of([[2], [0, 1, 2]], copies=2)
    assert layout.tasks.tolist() == [[2, 2, 0, 0, 0, 0], [0, 0, 1, 1, 2, 2]]
    assert layout.real.tolist() == [[True] * 2 + [False] * 4, [True] * 6]
    spread = layout.spread(np.arange(1, 17).reshape(8, 2))
    assert spread.shape == (2, 6, 2)
    assert spread[0, :, 0].tolist() == [1, 3, 0, 0, 0, 0]
    assert spread[1, :, 0].tolist() == [5, 7, 9, 11, 13, 15]


def test_a_reset_step_is_not_real_and_carries_nothing(fresh: Fresh) -> None:
    suite = scripted_suite(two=scripted([1, 2]), three=scripted([3, 4, 5], ends="truncated"))
    rollout = Collector(suite, [[0, 1]], 1, [0]).collect(fresh(suite, [0]), 8)
    assert rollout.rewards[:, 0, 0].tolist() == [1, 2, 0, 1, 2, 0, 1, 2]
    assert rollout.rewards[:, 0, 1].tolist() == [3, 4, 5, 0, 3, 4, 5, 0]
    assert rollout.real[:, 0].T.tolist() == [
        [True, True, False] * 2 + [True] * 2,
        [True, True, True, False] * 2,
    ]
    # The observation that ends an episode is seen as it is; then comes the start of the next one.
    assert rollout.observations[:, 0, 0, 0].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2]
    assert rollout.ended[:, 0, 1].tolist() == [False, False, True, False] * 2
    assert not rollout.terminated[:, 0, 1].any()
    assert rollout.terminated[:, 0, 0].tolist() == [False, True, False] * 2 + [False, True]
    assert rollout.steps == 12
    assert rollout.success is None


def test_rollouts_go_on_where_the_last_one_stopped(fresh: Fresh) -> None:
    suite = ragged()
    agent = fresh(suite, [0])
    whole = Collector(suite, [[0, 2]], 2, [3]).collect(agent, 60, "mode")
    collector = Collector(suite, [[0, 2]], 2, [3])
    parts = [collector.collect(agent, steps, "mode") for steps in (1, 24, 35)]
    assert whole.ended.any()
    for field in FIELDS[:-1]:
        joined = np.concatenate([getattr(part, field) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, field), err_msg=field)
    observations = torch.cat([part.observations[:-1] for part in parts])
    assert torch.equal(observations, whole.observations[:-1])


def test_resets_may_be_done_between_rollouts(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = {name: scripted([1, 2, 3], ends="truncated") for name in ("one", "other")}
    suite = scripted_suite(**scripts)
    agent = fresh(suite, [0, 1])

    def following(first: int, steps: int, together: bool) -> Rollout:
        monkeypatch.setattr(type(suite), "resets_together", together)
        collector = Collector(suite, [[0], [0, 1]], 2, [0, 1])
        collector.collect(agent, first)
        collector.begin_resets()
        return collector.collect(agent, steps)

    ahead, within = following(3, 3, together=True), following(3, 4, together=False)
    assert ahead.real[:, 1].all() and not within.real[0].any()
    assert ahead.observations[:, 1, :, 0].T.tolist() == [[0, 1, 2, 3]] * 4
    for field in ("observations", "rewards", "ended", "real"):
        assert np.array_equal(getattr(ahead, field), getattr(within, field)[1:])
    # In the middle of an episode there is nothing to reset.
    assert np.array_equal(following(2, 3, together=True).rewards, following(2, 3, together=False).rewards)


def test_a_policy_acts_alike_in_any_company(fresh: Fresh) -> None:
    suite, subsets, seeds = ragged(), [[1], [2, 0, 1], [0, 2]], [4, 4, 9]
    agent = fresh(suite, seeds)
    collector = Collector(suite, subsets, 2, seeds)
    for _ in range(2):
        together = collector.collect(agent, 40)
    for index, (subset, seed) in enumerate(zip(subsets, seeds, strict=True)):
        single = Collector(suite, [subset], 2, [seed])
        for _ in range(2):
            alone = single.collect(agent[index], 40)
        places = slice(0, 2 * len(subset))
        assert torch.equal(together.actions[:, index, places], alone.actions[:, 0])
        torch.testing.assert_close(together.observations[:, index, places], alone.observations[:, 0])
        np.testing.assert_array_equal(together.rewards[:, index, places], alone.rewards[:, 0])
        np.testing.assert_array_equal(together.real[:, index, places], alone.real[:, 0])
    assert not together.real[:, 0, 2:].any()
    assert (together.rewards[:, 0, 2:] == 0).all()


@pytest.mark.parametrize("dtype", [np.int64, np.int32])
def test_discrete_actions_are_those_of_the_space(fresh: Fresh, dtype: type[np.integer]) -> None:
    made: list[Scripted] = []

    def make() -> Scripted:
        made.append(scripted([0] * 50, action_space=spaces.Discrete(3, start=-1, dtype=dtype))())
        return made[-1]

    suite = scripted_suite(only=make)
    agent = fresh(suite, [0])
    rollout = Collector(suite, [[0]], 1, [0]).collect(agent, 30)
    assert set(rollout.actions.unique().tolist()) == {0, 1, 2}
    assert all(made[-1].action_space.contains(action) for action in made[-1].actions)
    assert [int(action) for action in made[-1].actions] == (rollout.actions[:, 0, 0] - 1).tolist()


def test_continuous_actions_are_clipped_for_the_simulator_only(fresh: Fresh) -> None:
    made: list[Scripted] = []

    def make() -> Scripted:
        box = spaces.Box(np.array([-0.1, -2.0], np.float32), np.array([0.2, 0.0], np.float32))
        made.append(scripted([0] * 50, action_space=box)())
        return made[-1]

    suite = scripted_suite(only=make)
    agent = fresh(suite, [0])
    rollout = Collector(suite, [[0]], 1, [0]).collect(agent, 30)
    wanted, given = rollout.actions[:, 0, 0].numpy(), np.stack(made[-1].actions)
    assert wanted.max() > 0.2
    np.testing.assert_array_equal(given, np.clip(wanted, [-0.1, -2.0], [0.2, 0.0]).astype(np.float32))


def test_whole_numbers_are_the_nearest(fresh: Fresh) -> None:
    made: list[Scripted] = []

    def make() -> Scripted:
        made.append(scripted([0] * 50, action_space=spaces.Box(0, 255, (1,), np.uint8))())
        return made[-1]

    suite = scripted_suite(only=make)
    agent = fresh(suite, [0])
    rollout = Collector(suite, [[0]], 1, [0]).collect(agent, 30)
    wanted, given = rollout.actions[:, 0, 0].numpy(), np.stack(made[-1].actions)
    assert given.dtype == np.uint8
    assert np.abs(np.clip(wanted, 0, 255) - given).max() <= 0.5
    # Standard normal in units of half the range: about a third lies beyond it.
    assert 5 < ((given > 0) & (given < 255)).sum() < 30


def test_a_simulator_is_closed_where_a_run_fails(fresh: Fresh) -> None:
    closed: list[object] = []

    class Fails(Scripted):
        def close(self) -> None:
            closed.append(self)

    def make() -> Scripted:
        return Fails([0, 0, np.nan, 0])

    suite = scripted_suite(sound=make, other=make)
    agent = fresh(suite, [0])
    closed.clear()
    collector = Collector(suite, [[0, 1]], 1, [0])
    with pytest.raises(ValueError, match="returned a reward that is not finite"):
        collector.collect(agent, 10)
    assert len(closed) == 2
    closed.clear()
    with pytest.raises(ValueError, match="copies=100000000 is too large: give at most 500000"):
        Collector(suite, [[0, 1]], 10**8, [0])


def test_the_mode_needs_no_noise(fresh: Fresh) -> None:
    suite = TaskSuite.make("navigation", n=2, groups=2)
    agent = fresh(suite, [0])
    one, other = (Collector(suite, [[0]], 1, [seed]).collect(agent, 5, "mode") for seed in (0, 1))
    assert torch.equal(one.actions, other.actions)
    outputs, _ = agent.policy.outputs(agent.actors, one.observations[0], torch.zeros(1, 1, dtype=torch.int64))
    assert torch.equal(one.actions[0], outputs)


def test_success_is_reported_where_the_suite_reports_it(fresh: Fresh) -> None:
    suite = scripted_suite(some=scripted([1, 1, 1], success=1))
    rollout = Collector(suite, [[0]], 1, [0]).collect(fresh(suite, [0]), 6)
    assert rollout.success is not None
    assert rollout.success[:, 0, 0].tolist() == [False, True, False, False, False, True]


@pytest.mark.parametrize(
    ("what", "broken"),
    [
        ("reward", scripted([0, 0, 0, np.nan, 0])),
        ("reward", scripted([0, 0, 0, np.inf, 0])),
        ("observation", scripted([0] * 5, observed={4: np.nan})),
    ],
)
def test_what_is_not_finite_is_named(fresh: Fresh, what: str, broken: Callable[[], Scripted]) -> None:
    suite = scripted_suite(sound=scripted([0] * 5), broken=broken)
    collector = Collector(suite, [[0], [0, 1]], 2, [0, 0])
    line = f"^task 'broken' returned a {what} that is not finite: check its environment$"
    with pytest.raises(ValueError, match=line):
        collector.collect(fresh(suite, [0, 0]), 10)


def test_an_action_that_is_not_finite_is_the_policys(fresh: Fresh) -> None:
    suite = TaskSuite.make("navigation", n=2, goals="uniform")
    agent = fresh(suite, [0, 0])
    agent.actors[1] = 1e308  # finite, but what it gives is not
    line = f"^the policy chose an action that is not finite in task '{suite.tasks[1].name}': its training"
    with pytest.raises(ValueError, match=line):
        Collector(suite, [[0], [1]], 2, [0, 0]).collect(agent, 10)


@pytest.mark.parametrize("suite", ["navigation", "cartpole"])  # by discrete actions nan does not show
def test_parameters_that_are_not_finite_are_named(fresh: Fresh, suite: str) -> None:
    made = TaskSuite.make(suite, n=2)
    agent = fresh(made, [0, 0])
    agent.actors[1, 3] = np.nan
    line = (
        f"^a policy of task '{made.tasks[1].name}' has parameters that are not finite: its training diverged"
    )
    with pytest.raises(ValueError, match=line):
        Collector(made, [[0], [1]], 2, [0, 0]).collect(agent, 10)


def test_bad_use_is_named(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = ragged()
    with pytest.raises(ValueError, match="actions are chosen by 'best': use 'sample' or 'mode'"):
        Collector(suite, [[0]], 1, [0]).collect(fresh(suite, [0]), 1, "best")
    build = suite[[0]].build

    def same_step(*arguments: object) -> object:
        simulator = build(*arguments)  # type: ignore[arg-type]
        simulator.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        return simulator

    monkeypatch.setattr(type(suite), "build", lambda self, *arguments: same_step(*arguments))
    with pytest.raises(
        ValueError, match=r"resets by AutoresetMode.SAME_STEP: give one with AutoresetMode.NEXT_STEP"
    ):
        Collector(suite, [[0]], 1, [0])
