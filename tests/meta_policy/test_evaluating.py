"""What a policy earns, and its transitions."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from gymnasium import spaces

from gradex import MetaPolicy, TaskSuite
from gradex.learners import evaluate
from tests.environments import Scripted, scripted, scripted_suite
from tests.meta_policy.small import LEARNER, ROLLOUT, small


# ---------------------------------------------------------------------- looking at it
def test_evaluate_gives_one_row_per_task(meta: MetaPolicy, cartpole: MetaPolicy) -> None:
    columns = ["task", "return_mean", "return_stderr", "success", "episode_length"]
    table = meta.evaluate(episodes=3)
    assert list(table.columns) == columns
    assert table.task.tolist() == [task.name for task in meta.suite.tasks]
    assert (table.episode_length == 10).all()
    assert table.success.between(0, 1).all()
    assert cartpole.evaluate(episodes=3).success.isna().all()
    assert meta.evaluate(3, subset=[2, 0]).task.tolist() == [
        meta.suite.tasks[2].name,
        meta.suite.tasks[0].name,
    ]
    pd.testing.assert_frame_equal(table, meta.evaluate(episodes=3))
    assert not table.equals(meta.evaluate(episodes=3, seed=1))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            spaces.Discrete(3),
            r"other actions, Discrete\(3\) instead of Discrete\(2\): give tasks with the same",
        ),
        (spaces.Box(-1.0, 1.0, (1,)), "other actions, Box.* instead of Discrete"),
    ],
)
def test_evaluate_refuses_other_actions(custom: MetaPolicy, space: spaces.Space, message: str) -> None:
    other = scripted_suite(a=scripted([1, 2], action_space=space))
    with pytest.raises(ValueError, match=f"fitted on 'custom', 'custom' has {message}"):
        custom.evaluate(2, suite=other)


def test_evaluate_on_unseen_tasks(cartpole: MetaPolicy) -> None:
    unseen = cartpole.suite.unseen(5, seed=0)
    table = cartpole.evaluate(2, "mode", seed=3, suite=unseen)
    expected = evaluate(cartpole.agent_, unseen, [range(5)], 2, [3], "mode").drop(columns="policy")
    pd.testing.assert_frame_equal(table, expected)
    assert table.task.tolist() == [task.name for task in unseen.tasks]


def test_a_network_that_sees_the_task_is_evaluated_on_its_own_ones(cartpole: MetaPolicy) -> None:
    suite = cartpole.suite
    heads = MetaPolicy(suite, "multi_head", learner=LEARNER, layers=3, width=8).fit(6 * ROLLOUT)
    pd.testing.assert_frame_equal(
        heads.evaluate(2, suite=TaskSuite.from_config(suite.config)), heads.evaluate(2)
    )
    for others in (suite.unseen(3, seed=0), suite.unseen(5, seed=0), suite[[1, 0, 2]], suite[[0]]):
        with pytest.raises(
            ValueError, match="a 'multi_head' network knows the tasks it was fitted on and no"
        ):
            heads.evaluate(2, suite=others)


@pytest.mark.parametrize("subset", [[], [0, 0], [3], [-1]])
def test_only_tasks_of_the_suite_are_evaluated(cartpole: MetaPolicy, subset: list[int]) -> None:
    with pytest.raises(ValueError, match="is not a subset of 3 tasks: give different indices from 0 to 2"):
        cartpole.evaluate(2, subset=subset)


def test_evaluation_counts_the_script(custom: MetaPolicy) -> None:
    table = custom.evaluate(episodes=4)
    assert table.return_mean.tolist() == [3, 12]
    assert table.episode_length.tolist() == [2, 3]


def test_transitions(meta: MetaPolicy, cartpole: MetaPolicy) -> None:
    for policy, action_shape in ((meta, (2,)), (cartpole, ())):
        n = len(policy.suite)
        transitions = policy.transitions(steps_per_task=50, copies=4, sharing="none")
        assert len(transitions) == 50 * n
        assert transitions.observations.shape == (50 * n, *policy.suite.observation_space.shape)
        assert transitions.actions.shape == (50 * n, *action_shape)
        assert np.bincount(transitions.tasks).tolist() == [50] * n
        pairs = pd.DataFrame({"episode": transitions.episodes, "task": transitions.tasks})
        assert (pairs.groupby("episode").task.nunique() == 1).all()
        by_task = pd.Series(transitions.advantages).groupby(transitions.tasks)
        np.testing.assert_allclose(by_task.mean(), 0, atol=0.3)
        np.testing.assert_allclose(by_task.std(ddof=0), 1, atol=0.3)
    other = cartpole.transitions(steps_per_task=50, copies=4, seed=1)
    assert not np.array_equal(other.observations, transitions.observations)
    # Navigation's goals differ in what they pay, so one set of steps serves all of them.
    shared = meta.transitions(steps_per_task=50, copies=4)
    assert shared.tasks is None and shared.n == len(meta.suite)
    assert len(shared) == 50


@pytest.mark.parametrize(
    ("what", "broken"),
    [("reward", scripted([0, 0, 0, np.nan])), ("observation", scripted([0] * 4, observed={3: np.nan}))],
)
def test_an_environment_that_breaks_is_named(what: str, broken: Callable[[], Scripted]) -> None:
    suite = scripted_suite(sound=scripted([1] * 4), broken=broken)
    line = f"^task 'broken' returned a {what} that is not finite: check its environment$"
    with pytest.raises(ValueError, match=line):
        small(suite).fit(ROLLOUT)
