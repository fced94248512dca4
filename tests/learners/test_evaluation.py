"""What policies earn, against a loop over one simulator and against scripts."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from gymnasium.envs.registration import EnvSpec

from gradex.learners import PPO, ActorCritic, evaluate, run_episodes
from gradex.tasks import TaskSuite
from tests.environments import Scripted, scripted, scripted_suite
from tests.oracles.ppo import module

Fresh = Callable[[TaskSuite, list[int]], ActorCritic]
Limited = Callable[[TaskSuite, int], list[int]]


def test_cartpole_by_hand(fresh: Fresh) -> None:
    suite, episodes = TaskSuite.make("cartpole", n=3), 5
    agent = fresh(suite, [0, 1])
    table = evaluate(agent, suite, [[1], [2, 0]], episodes, [7, 8], choose="mode").set_index(
        ["policy", "task"]
    )
    for policy, task, seed in ((0, 1, 7), (1, 2, 8), (1, 0, 8)):
        actor = module(agent.policy.network, agent.actors[policy])
        simulator = suite[[task]].simulator(episodes, seed)
        observation, running = simulator.reset()[0], np.ones(episodes, dtype=bool)
        returns = np.zeros(episodes)
        while running.any():
            with torch.no_grad():
                actions = actor(torch.from_numpy(observation).double()).argmax(dim=1).numpy()
            observation, reward, terminated, truncated, _ = simulator.step(actions)
            returns += reward * running
            running &= ~(terminated | truncated)
        row = table.loc[(policy, suite.tasks[task].name)]
        assert row.return_mean == returns.mean()
        assert row.return_stderr == pytest.approx(returns.std(ddof=1) / np.sqrt(episodes))
        assert row.episode_length == returns.mean()
        assert np.isnan(row.success)


def test_whole_episodes_are_counted_once(fresh: Fresh) -> None:
    suite = scripted_suite(
        short=scripted([1, 2], success=0),
        long=scripted([0.5] * 150, ends="truncated", success=149),
        never=scripted([-1, -1, -1], success=7),
    )
    table = evaluate(fresh(suite, [0]), suite, [[0, 1, 2]], 3, [0])
    assert table.task.tolist() == ["short", "long", "never"]
    assert table.return_mean.tolist() == [3, 75, -3]
    assert table.return_stderr.tolist() == [0, 0, 0]
    assert table.episode_length.tolist() == [2, 150, 3]
    assert table.success.tolist() == [1, 1, 0]


class Rarely(Scripted):
    """Tells of success where it comes, and else nothing."""

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        *rest, info = super().step(action)
        return (*rest, info if info["success"] else {})  # type: ignore[return-value]


def test_success_of_a_task_that_tells_none_is_unknown_in_any_company(fresh: Fresh) -> None:
    suite = scripted_suite(
        tells=scripted([1.0, 1.0], success=7),
        silent=scripted([1.0, 1.0]),
        rarely=lambda: Rarely([1.0] * 70, success=69),
    )
    agent, learner = fresh(suite, [0]), PPO(steps=160, copies=2)
    for subset, expected in (([0, 1, 2], [0, np.nan, 1]), ([1], [np.nan]), ([2, 1], [1, np.nan])):
        found = evaluate(agent, suite, [subset], 3, [0]).success
        np.testing.assert_array_equal(found, expected)
        _, history = learner.train(agent, suite, [subset], 1, [0])
        curve = history.success if "success" in history else [np.nan]
        np.testing.assert_array_equal(curve, np.array(expected)[np.argsort(subset)])


def test_policies_with_equal_seeds_meet_equal_starts(fresh: Fresh) -> None:
    suite = TaskSuite.make("cartpole", n=3)
    agent = fresh(suite, [0]).repeat(3)
    table = evaluate(agent, suite, [[0, 1], [1], [1]], 4, [5, 5, 6], "mode").set_index(["policy", "task"])
    name = suite.tasks[1].name
    assert table.loc[(0, name)].return_mean == table.loc[(1, name)].return_mean
    assert table.loc[(0, name)].return_mean != table.loc[(2, name)].return_mean


def test_the_table_sums_up_the_episodes(fresh: Fresh, limited: Limited) -> None:
    suite, subsets, seeds = TaskSuite.make("navigation", n=3, horizon=20), [[1], [2, 0]], [7, 8]
    agent = fresh(suite, [0, 1])
    met = run_episodes(agent, suite, subsets, 6, seeds)
    table = evaluate(agent, suite, subsets, 6, seeds)
    assert met.returns.shape == (3, 6)
    np.testing.assert_array_equal(table.return_mean, met.returns.mean(axis=1))
    np.testing.assert_array_equal(table.success, met.success.mean(axis=1))
    np.testing.assert_array_equal(table.episode_length, met.lengths.mean(axis=1))
    # Fewer of them are the first ones where they come in the same pieces.
    limited(suite, 6)
    pieces, fewer = (run_episodes(agent, suite, subsets, count, seeds) for count in (6, 4))
    np.testing.assert_array_equal(pieces.returns[:, :4], fewer.returns)


def test_episodes_of_the_same_policy_can_be_paired(fresh: Fresh) -> None:
    suite = TaskSuite.make("navigation", n=3, horizon=20)
    one, other = fresh(suite, [0]), fresh(suite, [1])
    stack = ActorCritic.joined([one, other, one])
    met = run_episodes(stack, suite, [[2]] * 3, 4, [5] * 3)
    np.testing.assert_array_equal(met.returns[0], met.returns[2])
    assert (met.returns[0] != met.returns[1]).all()
    assert len(set(met.returns[0])) == 4


def test_one_episode_is_refused(fresh: Fresh) -> None:
    suite = TaskSuite.make("cartpole", n=1)
    with pytest.raises(ValueError, match="1 episodes have no standard error: ask for at least 2"):
        evaluate(fresh(suite, [0]), suite, [[0]], 1, [0])


class Claims(Scripted):
    """An episode of any length, although its `spec` claims a time limit."""

    spec = EnvSpec("Claims-v0", max_episode_steps=15)


@pytest.mark.parametrize(
    ("kind", "length", "steps"), [(Scripted, 1000, 128), (Claims, 1000, 192), (Claims, 150, None)]
)
def test_an_episode_that_never_ends_is_named(
    fresh: Fresh, monkeypatch: pytest.MonkeyPatch, kind: type[Scripted], length: int, steps: int | None
) -> None:
    monkeypatch.setattr("gradex.learners.evaluation._PATIENCE", 128)
    suite = scripted_suite(sisyphus=lambda: kind([0.0] * length))
    if steps is None:  # longer than claimed, but not for ever
        assert evaluate(fresh(suite, [0]), suite, [[0]], 2, [0]).episode_length.tolist() == [length]
        return
    with pytest.raises(
        ValueError,
        match=f"'sisyphus' has too few whole episodes after {steps} steps: give its environment a time",
    ):
        evaluate(fresh(suite, [0]), suite, [[0]], 2, [0])


def test_where_environments_do_not_fit_episodes_come_in_pieces(fresh: Fresh, limited: Limited) -> None:
    suite, subsets, seeds = TaskSuite.make("cartpole", n=3), [[1], [2, 0]], [7, 8]
    agent = fresh(suite, [0, 1])
    first = evaluate(agent, suite, subsets, 4, seeds)
    environments = limited(suite, 13)  # four episodes of three policies and tasks
    table = evaluate(agent, suite, subsets, 10, seeds)
    assert environments == [12, 12, 6]
    pd.testing.assert_frame_equal(evaluate(agent, suite, subsets, 4, seeds), first)
    # Means of ten, of which the first four are known: the other six are other episodes.
    others = (10 * table.return_mean - 4 * first.return_mean) / 6
    assert (others - first.return_mean).abs().min() > 0
    assert (others >= 1).all()
    again = evaluate(agent, suite, subsets, 10, seeds)
    pd.testing.assert_frame_equal(again, table)


@pytest.mark.parametrize("most", [None, 20, 7, 3])
def test_a_task_meets_the_same_starts_in_any_company_and_any_pieces(
    fresh: Fresh, monkeypatch: pytest.MonkeyPatch, most: int | None
) -> None:
    suite = TaskSuite.make("cartpole", n=3)
    agent = fresh(suite, [0])
    alone = evaluate(agent, suite, [[2]], 10, [7], "mode")
    monkeypatch.setattr(type(suite), "most_environments", most)
    company = evaluate(agent, suite, [[0, 1, 2]], 10, [7], "mode")
    pd.testing.assert_frame_equal(company.iloc[2:].reset_index(drop=True), alone)
