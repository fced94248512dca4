"""What every family promises."""

import json
import random

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from gradex.tasks import TaskSuite

from .families import CASES, Case, Rollout, actions, assert_equal, roll

COPIES = 2


@pytest.fixture(params=CASES, scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(scope="module")
def suite(case: Case) -> TaskSuite:
    return case.make()


@pytest.fixture(scope="module")
def plan(case: Case, suite: TaskSuite) -> np.ndarray:
    """Actions for every environment of `run`."""
    return actions(suite, case.steps, len(suite) * COPIES)


@pytest.fixture(scope="module")
def run(suite: TaskSuite, plan: np.ndarray) -> Rollout:
    return roll(suite.simulator(COPIES, seed=3), plan)


def test_shapes_and_types(suite: TaskSuite) -> None:
    simulator = suite.simulator(COPIES, seed=1)
    n = len(suite) * COPIES
    assert simulator.num_envs == n
    assert simulator.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    assert simulator.single_observation_space == suite.observation_space
    assert simulator.single_action_space == suite.action_space
    observation, _ = simulator.reset()
    for chosen in actions(suite, 3, n):
        assert observation.shape == (n, *suite.observation_space.shape)
        assert observation.dtype == np.float32
        observation, reward, terminated, truncated, info = simulator.step(chosen)
        assert reward.shape == terminated.shape == truncated.shape == (n,)
        assert np.issubdtype(reward.dtype, np.floating)
        assert terminated.dtype == truncated.dtype == bool
        if "success" in info:
            assert info["success"].shape == (n,)
            assert info["success"].dtype == bool
    simulator.close()


def test_spaces_share_no_generator_with_other_simulators(suite: TaskSuite) -> None:
    one, other = suite.simulator(COPIES), suite.simulator(COPIES)
    drawn = [[simulator.action_space.sample() for _ in range(40)] for simulator in (one, other)]
    assert not np.array_equal(*drawn)
    one.close()
    other.close()


def test_the_step_after_an_end_only_resets(
    case: Case, suite: TaskSuite, plan: np.ndarray, run: Rollout
) -> None:
    resets = run.ended[:-1]
    assert resets.any()
    assert (run.rewards[1:][resets] == 0).all()
    assert not run.ended[1:][resets].any()
    # The action of that step counts for nothing.
    other = plan.copy()
    other[1:][resets] = actions(suite, case.steps, len(suite) * COPIES, seed=9)[1:][resets]
    assert_equal(run, roll(suite.simulator(COPIES, seed=3), other))


def test_no_episode_is_longer_than_the_horizon(suite: TaskSuite, run: Rollout) -> None:
    age = np.zeros(run.ended.shape[1], dtype=int)
    before = np.zeros_like(age, dtype=bool)
    for ended, truncated in zip(run.ended, run.truncated, strict=True):
        age = np.where(before, 0, age + 1)
        assert (age <= suite.horizon).all()
        assert (age[truncated] == suite.horizon).all()
        assert ended[age == suite.horizon].all()
        before = ended


def test_nothing_draws_from_global_generators(suite: TaskSuite, plan: np.ndarray, run: Rollout) -> None:
    def disturb() -> None:
        np.random.seed(0)  # noqa: NPY002
        random.seed(0)
        torch.manual_seed(0)

    assert_equal(run, roll(suite.simulator(COPIES, seed=3), plan, disturb))


def test_a_task_does_not_notice_its_neighbours(suite: TaskSuite, plan: np.ndarray, run: Rollout) -> None:
    last = slice((len(suite) - 1) * COPIES, len(suite) * COPIES)
    alone = roll(suite[[-1]].simulator(COPIES, seed=3), plan[:, last])
    assert_equal(run.of(last), alone)


def test_an_environment_does_not_notice_further_copies(case: Case, suite: TaskSuite) -> None:
    plan = actions(suite, case.steps, COPIES + 1)
    many = roll(suite[[0]].simulator(COPIES + 1, seed=3), plan)
    assert_equal(many.of(slice(COPIES)), roll(suite[[0]].simulator(COPIES, seed=3), plan[:, :COPIES]))


def test_each_task_has_its_seed(case: Case, suite: TaskSuite) -> None:
    plan = np.repeat(actions(suite, case.steps, 1), 3, axis=1)
    run = roll(suite[[0, 0, 0]].simulator(1, seed=[5, 5, 6]), plan)
    assert_equal(run.of([0]), run.of([1]))
    assert_equal(run.of([2]), roll(suite[[0]].simulator(1, seed=6), plan[:, :1]))
    assert np.array_equal(run.start[0], run.start[2]) != case.random_starts


def test_reset_without_a_seed_starts_again(
    case: Case, suite: TaskSuite, plan: np.ndarray, run: Rollout
) -> None:
    simulator = suite.simulator(COPIES, seed=3)
    assert_equal(run, roll(simulator, plan))
    assert_equal(run, roll(simulator, plan))
    start, _ = simulator.reset(seed=11)
    again, _ = simulator.reset(seed=list(range(11, 11 + simulator.num_envs)))
    np.testing.assert_array_equal(start, again)
    assert np.array_equal(start, run.start) != case.random_starts


def test_starts_do_not_depend_on_what_was_done_before(case: Case, suite: TaskSuite) -> None:
    """Common random numbers: episode k of an environment starts alike under any policy."""

    def starts(plan_seed: int) -> list[np.ndarray]:
        plan = actions(suite, case.steps, COPIES, plan_seed)
        run = roll(suite[[0]].simulator(COPIES, seed=3), plan)
        return [run.observations[1:, c][run.ended[:-1, c]] for c in range(COPIES)]

    compared = 0
    for ours, theirs in zip(starts(1), starts(2), strict=True):
        both = min(len(ours), len(theirs))
        np.testing.assert_array_equal(ours[:both], theirs[:both])
        compared += both
    assert compared > 0


def test_episodes_start_differently(case: Case, suite: TaskSuite) -> None:
    if not case.random_starts:
        pytest.skip("starts at the origin")
    run = roll(suite[[0]].simulator(4, seed=3), actions(suite, case.steps, 4))
    starts = np.concatenate([run.start, run.observations[1:][run.ended[:-1]]])
    assert len(starts) > 4
    assert len(np.unique(starts, axis=0)) == len(starts)


def test_config_rebuilds_the_suite(case: Case, suite: TaskSuite) -> None:
    if not case.rebuilds:
        with pytest.raises(ValueError, match="cannot be rebuilt from its config: give the suite itself"):
            TaskSuite.from_config(suite.config)
        return
    again = TaskSuite.from_config(json.loads(json.dumps(suite.config)))
    assert again.config == suite.config
    assert [task.name for task in again.tasks] == [task.name for task in suite.tasks]
    plan = actions(suite, 5, len(suite))
    assert_equal(roll(suite.simulator(1, seed=2), plan), roll(again.simulator(1, seed=2), plan))
    if suite.labels is not None:
        np.testing.assert_array_equal(again.labels, suite.labels)


@pytest.mark.filterwarnings("ignore:EnvPool's .* not quite Meta-World's")
def test_unseen_tasks_are_drawn_by_seed(case: Case, suite: TaskSuite) -> None:
    if not case.rebuilds:
        with pytest.raises(ValueError, match="cannot draw unseen tasks: make a second suite"):
            suite.unseen(3, seed=0)
        return
    first, again, other = suite.unseen(20, seed=4), suite.unseen(20, seed=4), suite.unseen(20, seed=5)
    assert first.config == again.config != other.config
    assert len(first) == 20
    assert first.tasks[0].parameters.keys() == suite.tasks[0].parameters.keys()
    assert (first.labels is None) == (suite.labels is None)
    assert first[[0]].simulator(1).reset()[0].shape == (1, *suite.observation_space.shape)


def test_repeated_tasks_and_order_of_a_sub_suite(suite: TaskSuite) -> None:
    part = suite[[1, 0, 1]]
    assert [task.name for task in part.tasks] == [suite.tasks[i].name for i in (1, 0, 1)]
    assert part.shared_dynamics == suite.shared_dynamics
    assert part.simulator(2).num_envs == 6
