"""MetaPolicy: fitting, adapting, looking at it, and keeping it on disk."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from gymnasium import spaces
from sklearn.exceptions import NotFittedError

from gradex import PPO, GroundTruth, MetaPolicy, TaskSuite
from gradex.learners import MAML, ActorCritic, evaluate
from tests.environments import Scripted, scripted, scripted_suite

LEARNER = PPO(steps=32, copies=2, minibatches=4)
#: Environment steps of one rollout in one task.
ROLLOUT = 64


def small(suite: TaskSuite, seed: int = 0) -> MetaPolicy:
    return MetaPolicy(suite, learner=LEARNER, seed=seed, layers=3, width=8)


@pytest.fixture(scope="module")
def meta() -> MetaPolicy:
    return small(TaskSuite.make("navigation", n=4, horizon=10)).fit(20 * ROLLOUT)


@pytest.fixture(scope="module")
def cartpole() -> MetaPolicy:
    return small(TaskSuite.make("cartpole", n=3)).fit(6 * ROLLOUT)


@pytest.fixture(scope="module")
def custom() -> MetaPolicy:
    return small(scripted_suite(a=scripted([1, 2]), b=scripted([3, 4, 5]))).fit(2 * ROLLOUT)


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


def assert_same_path(ours: Sequence[MetaPolicy], theirs: Sequence[MetaPolicy]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.agent_.fingerprint == other.agent_.fingerprint
        assert one.config == other.config
        pd.testing.assert_frame_equal(one.history_, other.history_)


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


# ---------------------------------------------------------------------- fitting to each of many subsets
def test_the_last_snapshot_of_all_tasks_is_what_fit_gives(meta: MetaPolicy) -> None:
    [[early, last]] = small(meta.suite).fit_each([range(4)], 20 * ROLLOUT, snapshots=2)
    np.testing.assert_array_equal(last.parameters, meta.parameters)
    assert torch.equal(last.agent_.critics, meta.agent_.critics)
    assert torch.equal(last.agent_.return_scale, meta.agent_.return_scale)
    pd.testing.assert_frame_equal(last.history_, meta.history_)
    assert early.history_.steps.max() <= 8 * ROLLOUT  # 2 of 5 rollouts of four tasks
    pd.testing.assert_frame_equal(early.history_, meta.history_[meta.history_.steps <= 8 * ROLLOUT])
    assert not np.allclose(early.parameters, last.parameters, atol=1e-3)


def test_a_subset_is_fitted_alike_alone_and_in_company(meta: MetaPolicy) -> None:
    subsets, seeds, rollouts = [[3], [0, 2], [1], [2, 0]], [0, 0, 7, 7], 4
    fresh = small(meta.suite)
    together = fresh.fit_each(subsets, rollouts * 6 * ROLLOUT, 2, seeds)
    assert not hasattr(fresh, "agent_")
    for subset, seed, policies in zip(subsets, seeds, together, strict=True):
        steps = rollouts * len(subset) * ROLLOUT
        [alone] = small(meta.suite, seed).fit_each([subset], steps, 2)
        for one, other in zip(policies, alone, strict=True):
            np.testing.assert_allclose(one.parameters, other.parameters, rtol=0, atol=1e-5)
            assert one.seed == other.seed == seed
            assert set(one.history_.task) <= set(subset)
            assert one.history_.steps.tolist() == other.history_.steps.tolist()
        assert policies[-1].history_.steps.max() == steps
    assert not np.allclose(together[1][-1].parameters, together[3][-1].parameters, atol=1e-3)


def test_fitting_starts_from_the_weights_of_its_seed(meta: MetaPolicy) -> None:
    frozen = MetaPolicy(meta.suite, learner=replace(LEARNER, learning_rate=1e-12), layers=3, width=8)
    subsets, seeds = [[1, 2], [0], [3]], [5, 5, 6]
    for [policy], seed in zip(frozen.fit_each(subsets, 4 * ROLLOUT, seeds=seeds), seeds, strict=True):
        start = ActorCritic.initial(meta.suite, [seed], layers=3, width=8)
        np.testing.assert_allclose(policy.parameters, start.actors[0].numpy(), rtol=0, atol=1e-7)


def test_snapshots_do_not_move_on_with_the_training(meta: MetaPolicy) -> None:
    [policies] = small(meta.suite).fit_each([[1, 2]], 8 * ROLLOUT, snapshots=4)
    start = ActorCritic.initial(meta.suite, [0], layers=3, width=8).actors[0].numpy()
    travelled = [np.linalg.norm(policy.parameters - start) for policy in policies]
    assert 0 < travelled[0] < travelled[-1]
    assert len({policy.parameters.tobytes() for policy in policies}) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subsets": []}, "no subset was given: give at least one"),
        ({"subsets": [[4]]}, "is not a subset of 4 tasks"),
        ({"subsets": [[0], [1]], "seeds": [1]}, "2 subsets have 1 seeds: give one for each"),
        ({"snapshots": 3}, "cannot keep 3 snapshots of 2 rounds: take 1 to 2, or more steps"),
        ({"snapshots": 0}, "cannot keep 0 snapshots of 2 rounds"),
        ({"steps": 0}, "cannot train for 0 environment steps"),
    ],
)
def test_what_cannot_be_fitted_is_refused(meta: MetaPolicy, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(meta.suite).fit_each(**{"subsets": [[0]], "steps": 2 * ROLLOUT, **settings})


# ---------------------------------------------------------------------- adapting
def test_a_subset_adapts_alike_alone_and_in_company(meta: MetaPolicy) -> None:
    subsets, rollouts = [[3], [0, 2], [1, 3, 0]], 3
    together = meta.adapt_each(subsets, rollouts * 6 * ROLLOUT)
    for subset, policy in zip(subsets, together, strict=True):
        alone = meta.adapt(subset, rollouts * len(subset) * ROLLOUT)
        np.testing.assert_allclose(policy.parameters, alone.parameters, rtol=0, atol=1e-5)
        assert np.abs(alone.parameters - meta.parameters).max() > 1e-2
        assert (policy.history_.policy == 0).all()
        assert set(policy.history_.task) == set(subset)


def test_adapting_leaves_the_meta_policy_alone(meta: MetaPolicy) -> None:
    before = meta.parameters
    adapted = meta.adapt([1], ROLLOUT)
    np.testing.assert_array_equal(meta.parameters, before)
    assert adapted.suite is meta.suite
    assert adapted.learner is meta.learner


def test_seeds_of_adaptation(meta: MetaPolicy) -> None:
    one, other = meta.adapt_each([[1], [1]], 2 * ROLLOUT, seeds=[3, 5])
    np.testing.assert_allclose(one.parameters, meta.adapt([1], ROLLOUT, seed=3).parameters, atol=1e-5)
    np.testing.assert_allclose(other.parameters, meta.adapt([1], ROLLOUT, seed=5).parameters, atol=1e-5)
    assert not np.allclose(one.parameters, other.parameters, atol=1e-4)
    assert (one.seed, other.config["lineage"]["seed"]) == (3, 5)


def test_what_trains_on_meets_no_random_number_again(meta: MetaPolicy) -> None:
    """Or the second half of a training would repeat the starts and the noise of the first."""
    default = meta.adapt([1], ROLLOUT)
    assert default.seed == meta.seed
    assert not np.allclose(default.parameters, meta.adapt([1], ROLLOUT, seed=0).parameters, atol=1e-4)
    np.testing.assert_array_equal(default.parameters, meta.adapt([1], ROLLOUT).parameters)


@pytest.mark.parametrize("subset", [[], [0, 0], [4], [-1]])
def test_what_is_not_a_subset_is_refused(meta: MetaPolicy, subset: list[int]) -> None:
    with pytest.raises(ValueError, match="is not a subset of 4 tasks: give different indices from 0 to 3"):
        meta.adapt(subset, ROLLOUT)


@pytest.mark.parametrize("subset", [{2, 1}, frozenset({1, 2}), {2: 0, 1: 0}.keys(), np.array([1, 2])])
@pytest.mark.wrong_types
def test_any_collection_is_a_subset_and_a_set_is_in_order(meta: MetaPolicy, subset: Any) -> None:
    expected = meta.adapt([1, 2], ROLLOUT)
    adapted = meta.adapt(subset, ROLLOUT)
    assert adapted.lineage.subset == (1, 2)
    np.testing.assert_array_equal(adapted.parameters, expected.parameters)
    pd.testing.assert_frame_equal(meta.evaluate(2, subset=subset), meta.evaluate(2, subset=[1, 2]))


@pytest.mark.wrong_types
def test_what_can_be_gone_through_only_once_is_no_subset(meta: MetaPolicy) -> None:
    told = "a generator is not a subset of 4 tasks: give different indices from 0 to 3"
    with pytest.raises(ValueError, match=told):
        meta.adapt((task for task in (0, 1)), ROLLOUT)
    with pytest.raises(ValueError, match=told):
        meta.evaluate(2, subset=(task for task in (0, 1)))
    for other, shown in ((np.array(3), "a ndarray"), ({7}, r"\[7\]"), ("01", "01")):
        with pytest.raises(ValueError, match=f"{shown} is not a subset of 4 tasks"):
            meta.evaluate(2, subset=other)


def test_with_parameters(meta: MetaPolicy) -> None:
    before = meta.parameters
    other = meta.with_parameters(before + 1)
    np.testing.assert_allclose(other.parameters, before + 1)
    np.testing.assert_array_equal(meta.parameters, before)
    assert torch.equal(other.agent_.critics, meta.agent_.critics)
    before[:] = 0  # what leaves is a copy
    assert np.abs(meta.parameters).max() > 0
    with pytest.raises(ValueError, match=rf"of shape \({len(before) - 1},\): give {len(before)} numbers"):
        meta.with_parameters(before[1:])


@pytest.mark.wrong_types
def test_with_parameters_takes_a_copy(meta: MetaPolicy) -> None:
    expected = meta.parameters
    array, tensor = expected.copy(), torch.from_numpy(expected.copy())
    others = [meta.with_parameters(each) for each in (array, tensor)]
    array[:], tensor[:] = 0, 0
    fixed = expected.copy()
    fixed.flags.writeable = False
    backwards = expected[::-1].copy()[::-1]
    for each in (fixed, backwards, torch.from_numpy(expected.copy()).requires_grad_()):
        others.append(meta.with_parameters(each))
    for other in others:
        np.testing.assert_array_equal(other.parameters, expected)


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
