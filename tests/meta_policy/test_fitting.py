"""Construction and fitting, the path of a training, and stacks that take much memory."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from gradex import PPO, GroundTruth, MetaPolicy, TaskSuite
from gradex.learners import MAML, ActorCritic
from tests.meta_policy.small import ROLLOUT, assert_same_path, small


# ---------------------------------------------------------------------- construction and fitting
@pytest.mark.parametrize(
    "use",
    [
        lambda policy: policy.adapt([0], 10),
        lambda policy: policy.adapt_each([[0]], 10),
        lambda policy: policy.evaluate(2),
        lambda policy: policy.transitions(10),
        lambda policy: policy.parameters,
        lambda policy: policy.path_,
        lambda policy: policy.with_parameters(np.zeros(3)),
        lambda policy: policy.save("nowhere.safetensors"),
    ],
)
def test_an_unfitted_policy_says_so(use: Callable[[MetaPolicy], object]) -> None:
    policy = small(TaskSuite.make("navigation", n=3))
    with pytest.raises(NotFittedError, match=r"this MetaPolicy is not fitted: call fit\(steps=...\) first"):
        use(policy)


def test_unknown_choices_are_named() -> None:
    suite = TaskSuite.make("navigation", n=3)
    with pytest.raises(ValueError, match="unknown network 'transformer': choose 'mlp'"):
        MetaPolicy(suite, network="transformer")
    with pytest.raises(ValueError, match="unknown learner 'dqn': choose 'maml', 'ppo', 'sac', or"):
        MetaPolicy(suite, learner="dqn")


def test_fit_returns_self_and_records_learning_curves(meta: MetaPolicy) -> None:
    policy = small(meta.suite)
    assert policy.fit(20 * ROLLOUT) is policy
    np.testing.assert_array_equal(policy.parameters, meta.parameters)
    columns = ["steps", "policy", "task", "return_mean", "episodes", "success", "explained_variance"]
    assert list(policy.history_.columns) == columns
    assert policy.history_.explained_variance.max() <= 1
    assert set(policy.history_.task) == set(range(4))
    assert policy.history_.steps.max() == 20 * ROLLOUT
    other = small(meta.suite, seed=1).fit(20 * ROLLOUT)
    assert not np.allclose(other.parameters, meta.parameters)


def test_as_long_as_recommended_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    class AskedError(Exception):
        pass

    def train(*arguments: Any, **keywords: Any) -> None:
        raise AskedError(arguments[4])

    monkeypatch.setattr(PPO, "train", train)
    for name, steps in (("cartpole", 600_000), ("navigation", 200_000)):
        policy = MetaPolicy(TaskSuite.make(name, n=4))
        for given in ({}, {"steps": None}, {"steps": steps}):
            with pytest.raises(AskedError) as caught:
                policy.fit(**given)
            assert steps <= caught.value.args[0] < steps + 4 * 1024


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps=0 is too small: give at least 1"),
        ({"steps": -5}, "steps=-5 is too small: give at least 1"),
        ({"snapshots": 0}, "snapshots=0 is too small: give at least 1"),
        ({"snapshots": Path("folder")}, "snapshots is a .*Path: give a whole number"),
    ],
)
def test_training_that_makes_no_sense_is_refused(
    meta: MetaPolicy, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    for path in (None, tmp_path / "meta.safetensors"):
        if path is not None:
            meta.save(path)
        with pytest.raises((ValueError, TypeError), match=message):
            small(meta.suite).fit_or_load(**{"steps": 20 * ROLLOUT, "path": path, **settings})
    with pytest.raises((ValueError, TypeError), match=message):
        small(meta.suite).fit(**{"steps": 20 * ROLLOUT, **settings})


# ---------------------------------------------------------------------- the path of a training
@pytest.mark.parametrize(
    ("snapshots", "rounds"), [(1, [5]), (2, [1, 5]), (4, [1, 2, 3, 5]), (5, [1, 2, 3, 4, 5])]
)
def test_a_path_is_what_fit_each_keeps(meta: MetaPolicy, snapshots: int, rounds: list[int]) -> None:
    policy = small(meta.suite).fit(20 * ROLLOUT, snapshots)
    [every] = small(meta.suite).fit_each([range(4)], 20 * ROLLOUT, 5)
    expected = [every[number - 1] for number in rounds]
    assert [snapshot.steps for snapshot in policy.path_] == [4 * ROLLOUT * number for number in rounds]
    assert policy.path_[-1] is policy
    assert_same_path(policy.path_, expected)
    np.testing.assert_array_equal(policy.parameters, meta.parameters)


def test_there_are_no_more_snapshots_than_rounds(meta: MetaPolicy) -> None:
    assert len(meta.path_) == 5  # of eight
    assert len({policy.parameters.tobytes() for policy in meta.path_}) == 5
    one = small(meta.suite).fit(1)
    assert one.path_ == (one,)


def test_a_snapshot_is_a_whole_policy(meta: MetaPolicy) -> None:
    early = meta.path_[1]
    assert early.history_.steps.max() == early.steps == early.lineage.steps == 8 * ROLLOUT
    assert (early.seed, early.lineage.parent) == (meta.seed, None)
    transitions = early.transitions(20)
    rows = np.arange(3)
    assert next(early.gradients(transitions, rows, torch.float64)) is not None
    with_critic = early.adapt([0], ROLLOUT)
    assert with_critic.lineage.parent == early.agent_.fingerprint
    assert with_critic.steps == 9 * ROLLOUT
    assert not np.array_equal(with_critic.parameters, meta.adapt([0], ROLLOUT).parameters)


def test_what_fit_has_not_trained_is_its_own_path(meta: MetaPolicy) -> None:
    [[early, late]] = small(meta.suite).fit_each([[0, 1]], 4 * ROLLOUT, snapshots=2)
    moved = meta.with_parameters(meta.parameters + 1)
    for policy in (meta.adapt([1], ROLLOUT), moved, early, late, meta.path_[0]):
        assert policy.path_ == (policy,)
    twin = copy.copy(meta)
    assert twin.path_[-1] is twin and twin.path_[:-1] == meta.path_[:-1]


def test_fitting_anew_begins_another_path(meta: MetaPolicy) -> None:
    policy = small(meta.suite).fit(12 * ROLLOUT)
    before = policy.path_
    policy.fit(20 * ROLLOUT, snapshots=2)
    assert len(policy.path_) == 2
    assert not set(map(id, before[:-1])) & set(map(id, policy.path_))


def test_what_the_critic_explains_is_the_mean_of_the_last_tenth(meta: MetaPolicy) -> None:
    history = meta.history_
    late = history[history.steps > 0.9 * history.steps.max()]
    expected = [late[late.task == task].explained_variance.mean() for task in range(4)]
    np.testing.assert_allclose(list(meta.explained_variance.values()), expected)
    assert list(meta.explained_variance) == [task.name for task in meta.suite.tasks]
    one = meta.adapt([2], ROLLOUT).explained_variance
    assert [np.isnan(share) for share in one.values()] == [True, True, False, True]
    suite = TaskSuite.make("navigation", n=4, groups=2, horizon=5)
    assert MetaPolicy(suite, learner=MAML(trajectories=2, tasks=1)).fit(1).explained_variance is None


def test_a_name_takes_the_settings_of_the_family() -> None:
    assert MetaPolicy(TaskSuite.make("lunarlander", n=2)).learner.gae_lambda == 0.98
    assert MetaPolicy(TaskSuite.make("cartpole", n=2)).learner == PPO()


def test_maml_goes_the_whole_way(tmp_path: Path) -> None:
    suite = TaskSuite.make("navigation", n=3, horizon=8)
    learner = MAML(trajectories=2, tasks=2, epochs=1)
    policy = MetaPolicy(suite, learner=learner, layers=2, width=8).fit(3 * 2 * 2 * 8 * 2)
    assert policy.history_.inner_steps.max() == 1
    policy.save(tmp_path / "meta.safetensors")
    again = MetaPolicy.load(tmp_path / "meta.safetensors")
    assert again.learner == learner
    for one, other in ((policy, again), (policy.adapt([0, 2], 1), again.adapt([0, 2], 1))):
        np.testing.assert_array_equal(one.parameters, other.parameters)
    assert not np.array_equal(policy.parameters, policy.adapt([1], 1).parameters)
    assert policy.transitions(steps_per_task=10, copies=2).advantages.shape == (3, 10)
    assert MetaPolicy(suite, learner="maml").learner == MAML()
    truth = GroundTruth(steps_per_task=10, replicates=1, episodes=2).fit(policy, [[0], [1, 2]])
    # However few steps are asked for, each policy sees a whole meta-batch.
    assert truth.steps_ == 2 * 2 * 2 * 8 * 2


# ---------------------------------------------------------------------- what takes memory
def test_stacks_that_do_not_fit_are_trained_one_after_the_other(
    meta: MetaPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    subsets = [[0, 1], [2, 3], [0, 3], [1], [2]]
    together = meta.adapt_each(subsets, 3 * 8 * ROLLOUT)
    # Two policies with two tasks of two copies each.
    monkeypatch.setattr(type(meta.suite), "most_environments", 8)
    sizes = []
    train = PPO.train

    def spy(self: PPO, agent: ActorCritic, *arguments: object, **keywords: object) -> object:
        sizes.append(len(agent))
        return train(self, agent, *arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(PPO, "train", spy)
    apart = meta.adapt_each(subsets, 3 * 8 * ROLLOUT)
    assert sizes == [2, 2, 1]
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one.parameters, other.parameters, atol=1e-5)
        assert one.history_.steps.max() == other.history_.steps.max()
    truth = GroundTruth(ROLLOUT, replicates=1, episodes=2, jobs=1)
    truth.fit(meta, subsets)
    assert sizes[3:] == [2, 2, 1]
