"""Stacked PPO against separate runs, and against the slow version."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from gradex.learners import PPO, ActorCritic, evaluate
from gradex.tasks import TaskSuite
from tests.environments import scripted, scripted_suite
from tests.oracles.ppo import OnePolicyPPO
from tests.tasks.families import drift

Fresh = Callable[[TaskSuite, list[int]], ActorCritic]

SUITES = {
    # Episodes that terminate, with discrete actions and random starts.
    "cartpole": lambda: TaskSuite.make("cartpole", n=4, reversed="half"),
    # Continuous actions.
    "navigation": lambda: TaskSuite.make("navigation", n=4, groups=2, horizon=11),
    # Episodes that are truncated, too.
    "custom": lambda: TaskSuite.from_gymnasium({str(speed): drift(speed) for speed in (0.1, 0.2, 0.4, 0.8)}),
}
# The range of the ratio is narrow, so that it is clipped often.
SETTINGS = PPO(
    steps=48, copies=2, epochs=2, minibatches=4, learning_rate=3e-3, gae_lambda=0.9, clip_range=0.02,
    standardise="policy"
)  # fmt: skip


BY_TASK = replace(SETTINGS, standardise="task")


@pytest.fixture(params=SUITES)
def suite(request: pytest.FixtureRequest) -> TaskSuite:
    return SUITES[request.param]()


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("settings", [SETTINGS, BY_TASK], ids=["by policy", "by task"])
def test_a_stack_trains_to_the_parameters_of_separate_runs(
    suite: TaskSuite, fresh: Fresh, settings: PPO
) -> None:
    subsets, seeds = [[1], [2, 0], [3, 0, 2, 1]], [5, 0, 7]
    rollouts, per_task = 4, SETTINGS.steps * SETTINGS.copies
    start = fresh(suite, seeds)
    stack, history = settings.train(start, suite, subsets, rollouts * per_task * 7, seeds)
    for index, (subset, seed) in enumerate(zip(subsets, seeds, strict=True)):
        steps = rollouts * per_task * len(subset)
        alone, own = settings.train(start[index], suite, [subset], steps, [seed])
        close(stack.actors[index], alone.actors[0], 1e-9)
        close(stack.critics[index], alone.critics[0], 1e-9)
        close(stack.return_mean[index], alone.return_mean[0], 1e-9)
        close(stack.return_scale[index], alone.return_scale[0], 1e-9)
        assert (stack.actors[index] - start.actors[index]).abs().max() > 5 * settings.learning_rate
        ours = history[history.policy == index].drop(columns=["policy", "steps"]).reset_index(drop=True)
        pd.testing.assert_frame_equal(ours, own.drop(columns=["policy", "steps"]))


@pytest.mark.parametrize("settings", [SETTINGS, BY_TASK], ids=["by policy", "by task"])
def test_equals_the_slow_version(suite: TaskSuite, fresh: Fresh, settings: PPO) -> None:
    subset, seed, rollouts = [2, 0], 3, 2
    start = fresh(suite, [seed])
    slow = OnePolicyPPO(start, suite, subset, seed, settings)
    slow.train(rollouts)
    steps = rollouts * SETTINGS.steps * SETTINGS.copies * len(subset)
    fast, history = settings.train(start, suite, [subset], steps, [seed])
    close(fast.actors[0], slow.actors, 1e-8)
    close(fast.critics[0], slow.critics, 1e-8)
    for task, moments in slow.moments.items():
        ours = torch.stack([fast.return_mean[0, task], fast.return_scale[0, task]])
        close(ours, torch.tensor(moments, dtype=ours.dtype), 1e-9)
    assert history.episodes.sum() > 0  # or ends of episodes would not have been compared


def test_returns_that_a_policy_comes_with_count_nine_tenths(suite: TaskSuite, fresh: Fresh) -> None:
    first, _ = SETTINGS.train(fresh(suite, [0]), suite, [[0]], 1, [0])
    # A critic of zeros expects the mean everywhere; then the returns of the rollout are those of `first`.
    known = torch.zeros(1, len(suite), dtype=torch.float64)
    known[0, 0] = 1.0
    start = replace(fresh(suite, [0]), return_mean=0 * known, return_scale=known)
    start.critics.zero_()
    second, _ = SETTINGS.train(start, suite, [[0]], 1, [0])
    mean, square = (float(rows[0, 0]) for rows in (first.return_mean, first.return_scale**2))
    assert float(second.return_mean[0, 0]) == pytest.approx(0.1 * mean, rel=1e-9)
    expected = 0.9 + 0.1 * (square + mean**2) - (0.1 * mean) ** 2
    assert float(second.return_scale[0, 0]) == pytest.approx(expected**0.5, rel=1e-9)
    assert not second.return_scale[0, 1:].any()  # tasks that it did not meet


@pytest.mark.parametrize("factor", [1e-9, 1e3])
def test_the_unit_of_one_tasks_rewards_changes_nothing(fresh: Fresh, factor: float) -> None:
    def trained(scale: float) -> tuple[ActorCritic, pd.DataFrame]:
        tasks = {"a": scripted([scale * reward for reward in (1, -2, 3, 0.5)]), "b": scripted([0, 1, 2])}
        suite = scripted_suite(**tasks)
        return SETTINGS.train(fresh(suite, [0]), suite, [[0, 1]], 3 * 48 * 4, [0])

    (one, history), (other, theirs) = trained(1.0), trained(factor)
    close(other.actors, one.actors, 1e-6)
    close(other.critics, one.critics, 1e-6)
    close(other.return_scale[0, 0], factor * one.return_scale[0, 0], 1e-9)
    np.testing.assert_allclose(theirs.explained_variance, history.explained_variance, atol=1e-6)


def test_training_leaves_its_start_alone_and_gives_contiguous_rows(suite: TaskSuite, fresh: Fresh) -> None:
    start = fresh(suite, [0, 1])
    before = start.actors.clone(), start.critics.clone()
    trained, _ = SETTINGS.train(start, suite, [[0], [1]], 1, [0, 1])
    assert torch.equal(start.actors, before[0])
    assert torch.equal(start.critics, before[1])
    assert trained.actors.is_contiguous()
    assert trained.critics.is_contiguous()


@pytest.mark.parametrize(
    ("family", "options", "gain"),
    [("cartpole", {"n": 1, "half_length": 0.5}, 100.0), ("navigation", {"n": 1, "groups": 1}, 15.0)],
)
def test_policies_learn(family: str, options: dict[str, Any], gain: float) -> None:
    suite = TaskSuite.make(family, **options)
    start = ActorCritic.initial(suite, [0], layers=3)
    trained, _ = PPO(minibatches=8).train(start, suite, [[0]], 10_000, [0])
    before, after = (evaluate(agent, suite, [[0]], 16, [5]).return_mean[0] for agent in (start, trained))
    assert after - before > gain


def test_steps_are_rounded_up_to_rollouts(fresh: Fresh) -> None:
    suite = SUITES["navigation"]()
    per_rollout = SETTINGS.steps * SETTINGS.copies
    _, history = SETTINGS.train(fresh(suite, [0]), suite, [[0]], per_rollout + 1, [0])
    assert set(history.steps) == {per_rollout, 2 * per_rollout}


def test_an_observer_sees_every_rollout_and_may_keep_it(fresh: Fresh) -> None:
    suite = SUITES["navigation"]()
    per_rollout = 2 * SETTINGS.steps * SETTINGS.copies
    seen: list[tuple[int, ActorCritic]] = []
    trained, _ = SETTINGS.train(
        fresh(suite, [0, 1]), suite, [[0], [1]], 3 * per_rollout, [0, 1],
        observe=lambda steps, agents: seen.append((steps, agents)),
    )  # fmt: skip
    assert [steps for steps, _ in seen] == [per_rollout, 2 * per_rollout, 3 * per_rollout]
    # What was kept did not move on with the training.
    first, second, last = (agents for _, agents in seen)
    torch.testing.assert_close(last.actors, trained.actors, rtol=0, atol=0)
    torch.testing.assert_close(last.critics, trained.critics, rtol=0, atol=0)
    assert not torch.equal(first.actors, second.actors) and not torch.equal(second.critics, last.critics)
    unseen, _ = SETTINGS.train(fresh(suite, [0, 1]), suite, [[0], [1]], 3 * per_rollout, [0, 1])
    torch.testing.assert_close(unseen.actors, trained.actors, rtol=0, atol=0)


def test_the_rate_falls_linearly_towards_a_tenth(
    suite: TaskSuite, fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    monkeypatch.setattr(PPO, "_improve", lambda self, *arguments: seen.append(arguments[-1].learning_rate))
    SETTINGS.train(fresh(suite, [0]), suite, [[0]], 4 * SETTINGS.steps * SETTINGS.copies, [0])
    np.testing.assert_allclose(seen, SETTINGS.learning_rate * np.array([1, 0.775, 0.55, 0.325]))


def test_bad_settings_are_named(fresh: Fresh) -> None:
    suite = SUITES["navigation"]()
    with pytest.raises(ValueError, match="7 minibatches do not divide 48 steps: choose a divisor"):
        PPO(steps=48, minibatches=7)
    for setting in ("steps", "copies", "epochs", "minibatches", "learning_rate", "max_norm"):
        for value in (0, -16):
            with pytest.raises(ValueError, match=f"{setting} is {value}: it must be positive"):
                PPO(**{setting: value})
    with pytest.raises(ValueError, match="standardise is 'episode': choose 'policy' or 'task'"):
        PPO(standardise="episode")
    with pytest.raises(ValueError, match="cannot train for 0 environment steps: ask for at least 1"):
        SETTINGS.train(fresh(suite, [0]), suite, [[0]], 0, [0])


@pytest.mark.parametrize("standardise", ["task", "policy"])
def test_a_rollout_that_only_resets_teaches_nothing(fresh: Fresh, standardise: str) -> None:
    suite = scripted_suite(one=scripted([1.0]), long=scripted([1.0, 2.0, 0.5]))
    learner = PPO(steps=1, copies=4, minibatches=1, standardise=standardise)
    agent, history = learner.train(fresh(suite, [0, 0]), suite, [[0], [1]], 48, [0, 0])
    assert all(bool(torch.isfinite(each).all()) for each in (agent.actors, agent.critics))
    assert history.return_mean[history.policy == 0].tolist() == [1.0] * 3
