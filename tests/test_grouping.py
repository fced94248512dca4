"""PolicyGradEx from a suite to groups and their policies, on small budgets."""

import json
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.metrics import normalized_mutual_info_score

from gradex import MetaPolicy, PolicyGradEx, TaskSuite, grouping
from gradex.affinity import AffinityGraph, PairwiseAffinity
from gradex.learners import PPO, SAC, Learner, ppo
from gradex.surrogate import Interactions, SubsetScores
from tests.environments import Fork, scripted, scripted_suite

N = 6


def small(**settings: Any) -> PolicyGradEx:
    defaults: dict[str, Any] = {
        "k": 3,
        "subset_size": 3,
        "projection_dim": 100,
        "steps_per_task": 1024,
        "meta_steps": 20_000,
        "bootstrap": 2,
    }
    return PolicyGradEx(**{**defaults, "group_steps": 0, **settings})


@pytest.fixture(scope="module")
def suite() -> TaskSuite:
    return TaskSuite.make("navigation", n=N)


@pytest.fixture(scope="module")
def fitted(suite: TaskSuite, tmp_path_factory: pytest.TempPathFactory) -> PolicyGradEx:
    checkpoint = tmp_path_factory.mktemp("run") / "meta.safetensors"
    grouping = small(group_steps=6_000, bootstrap=20)
    assert grouping.fit(suite, checkpoint=checkpoint) is grouping
    assert checkpoint.is_file()
    return grouping


def test_planted_groups_are_recovered(suite: TaskSuite, fitted: PolicyGradEx) -> None:
    assert normalized_mutual_info_score(suite.labels, fitted.labels_) == pytest.approx(1)


@pytest.mark.parametrize("seed", [1, 2])
def test_planted_groups_are_recovered_for_other_seeds(seed: int) -> None:
    suite = TaskSuite.make("navigation", n=N, seed=seed)
    labels = small(seed=seed).fit(suite).labels_
    assert normalized_mutual_info_score(suite.labels, labels) == pytest.approx(1)


def test_what_was_learned_fits_together(suite: TaskSuite, fitted: PolicyGradEx) -> None:
    assert sorted(task for group in fitted.groups_ for task in group) == list(range(N))
    for number, group in enumerate(fitted.groups_):
        assert (fitted.labels_[list(group)] == number).all()
    assert fitted.suite_ is suite
    assert fitted.scores_.subsets[:N] == tuple((task,) for task in range(N))
    assert len(fitted.scores_.together().subsets) == 20  # all subsets of three
    assert [len(each.samples_) for each in fitted.surrogates_] == [N * 1024 // len(fitted.meta_.path_)] * len(
        fitted.meta_.path_
    )
    assert fitted.graph_.matrix.shape == (N, N)
    assert (fitted.coverage_[np.triu_indices(N, 1)] == 4).all()
    assert list(fitted.seconds_) == [
        "subsets", "meta-policy", "transitions", "gradients", "subset scores", "uncertainty",
        "clustering", "group policies",
    ]  # fmt: skip
    assert min(fitted.seconds_.values()) > 0


def test_groups_come_with_their_uncertainty(fitted: PolicyGradEx) -> None:
    assert fitted.scores_.draws.shape == (20, 20 + N, N)
    assert len(fitted.bootstrap_) == 20  # all subsets were scored, so that only episodes are drawn
    assert (fitted.bootstrap_.stderr[np.triu_indices(N, 1)] > 0).all()
    np.testing.assert_array_equal(
        fitted.partition_.co_assignment > 0.5, fitted.labels_[:, None] == fitted.labels_
    )


@pytest.mark.parametrize("stage", ["score_along", "find_groups"])
def test_a_second_fit_that_is_cut_off_leaves_no_mixture(
    fitted: PolicyGradEx, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = copy(fitted)
    with pytest.raises(ValueError, match="twice: leave it out"):
        again.fit(fitted.suite_[[0, 0, 1, 2]])
    assert again.report() == fitted.report()  # nothing had begun

    def cut_off(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(grouping, stage, cut_off)
    with pytest.raises(KeyboardInterrupt):
        again.set_params(meta_steps=2_000).fit(fitted.suite_[:4])
    with pytest.raises(NotFittedError):
        _ = again.groups_


def test_group_policies_train_on_from_the_meta_policy(fitted: PolicyGradEx) -> None:
    again = fitted.meta_.adapt_each(fitted.groups_, 6_000)
    for group, policy, same in zip(fitted.groups_, fitted.policies_, again, strict=True):
        np.testing.assert_array_equal(policy.parameters, same.parameters)
        assert np.abs(policy.parameters - fitted.meta_.parameters).max() > 1e-2
        assert set(policy.history_.task) == set(group)


def test_evaluate_compares_with_the_meta_policy(suite: TaskSuite, fitted: PolicyGradEx) -> None:
    table = fitted.evaluate(episodes=4)
    columns = ["policy", "group", "task", "return_mean", "return_stderr", "success", "episode_length"]
    assert list(table.columns) == columns
    names = [task.name for task in suite.tasks]
    for policy in ("meta", "group"):
        rows = table[table.policy == policy]
        assert sorted(rows.task) == sorted(names)
        assert [fitted.labels_[names.index(task)] for task in rows.task] == rows.group.tolist()
    pd.testing.assert_series_equal(
        table[table.policy == "meta"].return_mean, fitted.meta_.evaluate(4).return_mean
    )


def test_evaluate_compares_fairly(fitted: PolicyGradEx) -> None:
    before = fitted.report()["comparison"]
    comparison = fitted.evaluate(episodes=4, compare=True)
    assert before is None and comparison is fitted.comparison_
    assert all(
        ours is theirs for ours, theirs in zip(comparison.policies["groups"], fitted.policies_, strict=True)
    )
    assert comparison.subsets["groups"] == fitted.groups_
    assert len(set(comparison.steps.values())) == 1
    assert comparison.returns.shape == (4, N, 4)
    report = fitted.report()
    assert report["comparison"] == comparison.summary()
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["seconds"]["comparison"] > 0
    assert list(fitted.evaluate(episodes=4).policy.unique()) == ["meta", "group"]


def test_a_new_fit_has_no_comparison_yet_and_without_steps_there_is_none(
    suite: TaskSuite, fitted: PolicyGradEx
) -> None:
    run = small(group_steps=6_000, bootstrap=0).fit(suite, meta=fitted.meta_)
    run.evaluate(episodes=2, compare=True)
    assert run.fit(suite, meta=fitted.meta_).comparison_ is None
    with pytest.raises(ValueError, match="group_steps=0 trains no policies to compare: give at least 1"):
        small().fit(suite, meta=fitted.meta_).evaluate(compare=True)
    with pytest.raises(NotFittedError):
        small().evaluate(compare=True)


def test_a_folder_keeps_the_trainings_of_the_groups(
    suite: TaskSuite, fitted: PolicyGradEx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small(group_steps=6_000, bootstrap=0)
    first = run.fit(suite, meta=fitted.meta_, folder=tmp_path).policies_
    assert list(tmp_path.rglob("training.safetensors"))

    def train(*arguments: object) -> None:
        raise AssertionError("a finished training went on")

    monkeypatch.setattr(ppo._Training, "run_round", train)
    for ours, theirs in zip(run.fit(suite, meta=fitted.meta_, folder=tmp_path).policies_, first, strict=True):
        np.testing.assert_array_equal(ours.parameters, theirs.parameters)


def test_the_report_is_plain_json_and_complete(suite: TaskSuite, fitted: PolicyGradEx) -> None:
    report = fitted.report()
    assert json.loads(json.dumps(report)) == report
    assert {
        "suite", "tasks", "labels", "groups", "k", "objective", "upper_bound", "gap", "first_order_error",
        "planted_nmi", "seconds", "stability", "verdict",
    } <= set(report)  # fmt: skip
    assert report["suite"] == "navigation"
    explained = fitted.meta_.history_.groupby("task").explained_variance.last()
    assert list(report["explained_variance"]) == report["tasks"]
    assert all(share <= 1 for share in report["explained_variance"].values())
    assert len(explained) == len(suite)
    assert report["tasks"] == [task.name for task in suite.tasks]
    assert report["labels"] == fitted.labels_.tolist()
    assert report["groups"] == [list(group) for group in fitted.groups_]
    assert report["k"] == 3
    assert report["upper_bound"] >= report["objective"] - 1e-9
    assert report["gap"] >= 0
    assert report["planted_nmi"] == pytest.approx(1)
    assert 0 < report["first_order_error"] < report["first_order_error_of_change"] < 1
    assert report["stability"] == pytest.approx(fitted.partition_.stability)
    assert report["verdict"].startswith("stable: the same groups in ")
    assert report["coverage"] == {"subsets": 20, "fewest": 4, "most": 4}


@pytest.mark.parametrize("k", [3, "auto"])
def test_draws_can_be_few_or_none_and_change_no_score(
    suite: TaskSuite, fitted: PolicyGradEx, k: int | str
) -> None:
    without = small(k=k, bootstrap=0, recursive=False).fit(suite, meta=fitted.meta_)
    few = small(k=k, subsets=12, bootstrap=2, recursive=False).fit(suite, meta=fitted.meta_)
    assert without.bootstrap_ is None
    assert ("uncertainty" in few.seconds_) and callable(few.scores_.drawn)
    assert ("draws" in vars(few.scores_)) == (k == 3)  # nobody has asked for what groups do not come from
    np.testing.assert_array_equal(without.scores_.score, fitted.scores_.score)
    assert (without.report()["stability"], without.report()["verdict"]) == (None, None)
    assert len(few.bootstrap_) == 10  # other subsets in each, or other episodes
    assert few.partition_.resampled.shape == (10, N)
    clustered = few.graph_ if k == 3 else few.interactions_
    np.testing.assert_array_equal(few.bootstrap_.matrices, clustered.bootstrap(10).matrices)
    assert few.scores_.draws.shape == (2, 12 + N, N)


@pytest.mark.parametrize(("network", "asked"), [("mlp", True), ("multi_head", False)])
def test_a_policy_that_sees_the_task_can_learn_what_has_nothing_in_common(network: str, asked: bool) -> None:
    suite = TaskSuite.make("cartpole", n=4)
    run = small(k="auto", network=network, meta_steps=4_000, bootstrap=0, recursive=False).fit(suite)
    assert run.conflicts_[0] > 0.05
    assert (run.unrelated_ is not None) == asked


def test_a_suite_without_planted_groups_and_a_run_without_group_policies() -> None:
    suite = TaskSuite.make("cartpole", n=4)
    grouping = small(k=2, subset_size=2, meta_steps=2_000, steps_per_task=256).fit(suite)
    assert grouping.report()["planted_nmi"] is None
    assert grouping.policies_ == []
    assert set(grouping.evaluate(2).policy) == {"meta"}


def test_the_sampler_chooses_how_many_subsets() -> None:
    suite = TaskSuite.make("navigation", n=12, groups=4)
    grouping = small(
        k=4,
        subsets=None,
        subset_size=4,
        projection="khatri-rao",
        meta_steps=50_000,
        bootstrap=0,
    )
    subsets = grouping.check(suite)
    grouping.fit(suite)
    assert len(grouping.scores_.subsets) == len(subsets)
    assert grouping.report()["coverage"]["fewest"] == 5
    assert grouping.config["subsets"] is None
    assert grouping.report()["planted_nmi"] == pytest.approx(1)


# ---------------------------------------------------------------------- two tasks and three
#: Two goals of six in one direction, and one in the other, by the place of the pair.
TRIOS = {(0, 1): [0, 2, 1], (0, 2): [0, 1, 2], (1, 2): [1, 0, 2]}


@pytest.fixture(scope="module", params=TRIOS, ids=str)
def trio(request: pytest.FixtureRequest) -> tuple[tuple[int, int], MetaPolicy]:
    suite = TaskSuite.make("navigation", n=6, groups=2)[TRIOS[request.param]]
    return request.param, MetaPolicy(suite).fit(10_000)


@pytest.mark.parametrize("affinity", ["pairwise", "mean"])
def test_the_pair_of_three_tasks_is_found(trio: tuple[tuple[int, int], MetaPolicy], affinity: str) -> None:
    pair, meta = trio
    found = small(k=2, affinity=affinity, steps_per_task=2048).fit(meta.suite, meta)
    assert pair in found.groups_
    assert found.graph_.interaction().matrix[pair] > 0
    assert found.report()["planted_nmi"] == 1


def test_pairs_alone_tell_of_three_tasks_who_goes_with_whom() -> None:
    """From the score of each task: what company does to it, however hard it is."""
    subsets, score = [(0, 1), (0, 2), (1, 2)], np.full((3, 3), np.nan)
    score[0, [0, 1]], score[1, [0, 2]], score[2, [1, 2]] = [5.0, 3.0], [6.0, -7.0], [3.0, -8.0]
    for affinity in (PairwiseAffinity(1e-6, normalise=None), PairwiseAffinity(1e-6)):
        scores = SubsetScores(tuple(subsets), score, np.nanmean(score, axis=1))
        graph = AffinityGraph.from_scores(scores, affinity)
        assert graph.partition(k=2).groups == ((0, 2), (1,))
        interaction = graph.interaction().matrix
        assert interaction[0, 2] > 0 > interaction[0, 1] == pytest.approx(interaction[1, 2])


@pytest.mark.parametrize("k", [1, 2, "auto"])
@pytest.mark.parametrize("n", [2, 3])
def test_few_tasks_are_grouped_without_much_ado(n: int, k: int | str) -> None:
    suite = TaskSuite.make("navigation", n=n, groups=2)
    found = small(k=k, meta_steps=2_000, steps_per_task=256).fit(suite)
    assert sorted(task for group in found.groups_ for task in group) == list(range(n))
    assert k == "auto" or len(found.groups_) == k


# ---------------------------------------------------------------------- the meta-policy, trained once
@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(self: MetaPolicy, steps: int = 0) -> MetaPolicy:
        raise AssertionError("a meta-policy was trained")

    monkeypatch.setattr(MetaPolicy, "fit", fit)


@pytest.mark.usefixtures("no_training")
def test_a_checkpoint_is_read_instead_of_training(
    suite: TaskSuite, fitted: PolicyGradEx, tmp_path: Path
) -> None:
    fitted.meta_.save(tmp_path / "meta.safetensors")
    again = small().fit(suite, checkpoint=tmp_path / "meta.safetensors")
    np.testing.assert_array_equal(again.meta_.parameters, fitted.meta_.parameters)
    np.testing.assert_array_equal(again.graph_.matrix, fitted.graph_.matrix)
    assert again.groups_ == fitted.groups_


@pytest.mark.usefixtures("no_training")
def test_a_meta_policy_can_be_given(suite: TaskSuite, fitted: PolicyGradEx) -> None:
    again = small().fit(suite, meta=fitted.meta_)
    assert again.meta_ is fitted.meta_
    assert again.groups_ == fitted.groups_


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 1}, "lineage seed 0 instead of 1"),
        ({"network": "multi_head"}, 'network "mlp" instead of "multi_head"'),
        ({"learner": PPO(learning_rate=0.01)}, "learner learning_rate 0.001 instead of 0.01"),
        ({"meta_steps": 40_000}, "lineage steps 24576 instead of 43008"),
        ({"meta_steps": None}, "lineage steps 24576 instead of 202752"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(
    suite: TaskSuite, fitted: PolicyGradEx, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    path = tmp_path / "meta.safetensors"
    fitted.meta_.save(path)
    with pytest.raises(
        ValueError, match=f"holds a meta-policy of other settings, with {message}: choose"
    ) as caught:
        small(**settings).fit(suite, checkpoint=path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_was_trained_on_is_refused(
    suite: TaskSuite, fitted: PolicyGradEx, tmp_path: Path
) -> None:
    path = tmp_path / "meta.safetensors"
    half = MetaPolicy(suite).fit(10_000)
    half.adapt(range(N), 10_000).save(path)
    found = MetaPolicy.load(path).lineage
    assert (found.seed, found.steps) == (fitted.meta_.seed, fitted.meta_.steps)
    with pytest.raises(ValueError, match=f'lineage parent "{half.agent_.fingerprint[:50]}.* instead of null'):
        small().fit(suite, checkpoint=path)


@pytest.mark.usefixtures("no_training")
def test_a_meta_policy_for_other_tasks_is_refused(
    suite: TaskSuite, fitted: PolicyGradEx, tmp_path: Path
) -> None:
    fitted.meta_.save(tmp_path / "meta.safetensors")
    others = TaskSuite.make("navigation", n=N, seed=5)
    for other in (suite[[1, 0, 2, 3, 4, 5]], others, TaskSuite.make("cartpole", n=N)):
        for given in ({"meta": fitted.meta_}, {"checkpoint": tmp_path / "meta.safetensors"}):
            with pytest.raises(ValueError, match=r"for other tasks, with (names|family|options|parameters)"):
                small().fit(other, **given)
    with pytest.raises(NotFittedError, match="this MetaPolicy is not fitted"):
        small().fit(suite, meta=MetaPolicy(suite))


def test_two_checkpoints_share_a_folder(suite: TaskSuite, tmp_path: Path) -> None:
    class CutOffError(Exception):
        pass

    tiny = {"meta_steps": 12_288, "bootstrap": 0, "steps_per_task": 128}
    paths = [tmp_path / name for name in ("a.safetensors", "b.safetensors", "a.policy")]
    improve, visits = PPO._improve, []

    def stop_after_a_round(self: PPO, *arguments: Any, **keywords: Any) -> Any:
        visits.append(1)
        if len(visits) % 2 == 0:
            raise CutOffError
        return improve(self, *arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PPO, "_improve", stop_after_a_round)
        patch.setattr("gradex.learners.continuation.Continuation.due", lambda *_: True)
        for seed, path in enumerate(paths):
            with pytest.raises(CutOffError):
                small(seed=seed, **tiny).fit(suite, checkpoint=path)
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {f"unfinished-{path.name}-meta" for path in paths}
    for seed, path in enumerate(paths):
        small(seed=seed, **tiny).fit(suite, checkpoint=path)
        kept = kept - {f"unfinished-{path.name}-meta"} | {path.name}
        assert {each.name for each in tmp_path.iterdir()} == kept


# ---------------------------------------------------------------------- what cannot work
@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 7}, "k is 7 for 6 tasks: choose 1 to 6"),
        ({"k": 0}, "k is 0 for 6 tasks: choose 1 to 6"),
        ({"subset_size": 7}, "size=7 is out of range for 6 tasks; give a number from 2 to 6"),
        ({"subset_size": 1}, "size=1 is out of range for 6 tasks; give a number from 2 to 6"),
        ({"bootstrap": 1}, "bootstrap=1 is too small: give at least 2 draws, or 0 for none"),
        ({"bootstrap": -2}, "bootstrap=-2 is too small: give at least 2 draws, or 0 for none"),
        ({"subsets": 3}, "count=3 subsets of size 3 cannot cover all 15 pairs of 6 tasks"),
        ({"subset_size": 6}, "subset_size is all 6 tasks, which tells no pair"),
        ({"affinity": "transfer"}, "affinity='transfer' is unknown; did you mean"),
        ({"common_share": 1.0}, "common_share=1.0 is no share: give at least 0, and less than 1"),
        ({"weighting": "late"}, "unknown weighting 'late': choose one of"),
        ({"projection": "gausian"}, "unknown projection 'gausian': choose one of"),
        ({"network": "lstm"}, "unknown network 'lstm': choose 'mlp', 'one_hot_mlp'"),
        ({"learner": "a2c"}, "unknown learner 'a2c': choose 'maml', 'ppo', 'sac'"),
    ],
)
def test_what_cannot_work_is_refused_before_training(
    suite: TaskSuite, settings: dict[str, int | str], message: str
) -> None:
    grouping = small(**settings)
    for refuse in (grouping.check, grouping.fit):
        with pytest.raises(ValueError, match=message) as caught:
            refuse(suite)
        assert "\n" not in str(caught.value)
    with pytest.raises(NotFittedError):
        _ = grouping.labels_


def test_every_snapshot_has_an_episode_for_each_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = {"projection_dim": 20, "bootstrap": 0, "group_steps": 0, "recursive": False}
    cartpole = TaskSuite.make("cartpole", n=4)
    meta = MetaPolicy(cartpole, layers=2, width=8, learner=PPO(steps=16, copies=2)).fit(2_000)
    assert len(meta.path_) == 8
    PolicyGradEx(steps_per_task=32, **tiny).fit(cartpole, meta)
    PolicyGradEx(steps_per_task=8, snapshots=1, **tiny).fit(cartpole, meta)
    monkeypatch.setattr(PPO, "train", None)
    with pytest.raises(
        ValueError, match="=31 is too small for 4 folds at each of 8 snapshots: give at least 32"
    ):
        PolicyGradEx(steps_per_task=31, **tiny).fit(cartpole, meta)
    with pytest.raises(ValueError, match="=31 is too small for 4 folds at each of 8 snapshots"):
        PolicyGradEx(steps_per_task=31, **tiny).check(
            cartpole
        )  # as the command does before it makes a folder


@pytest.mark.usefixtures("no_training")
def test_a_task_that_is_there_twice_is_refused_before_training(suite: TaskSuite) -> None:
    with pytest.raises(ValueError, match=f"the suite has task {suite.tasks[3].name!r} twice: leave it out"):
        small().fit(suite[[0, 3, 4, 3]])


def test_as_many_subsets_as_tasks_are_enough(suite: TaskSuite) -> None:
    for affinity, alone in (("mean", 0), ("pairwise", N)):
        assert len(small(subset_size=5, affinity=affinity).check(suite)) == 6 + alone


@pytest.mark.parametrize("use", ["groups_", "labels_", "report", "evaluate"])
def test_an_unfitted_object_says_so(use: str) -> None:
    with pytest.raises(NotFittedError, match=r"this PolicyGradEx is not fitted: call fit\(suite\) first"):
        value = getattr(PolicyGradEx(), use)
        value()


def test_a_suite_of_your_own() -> None:
    suite = scripted_suite(
        a=scripted([1, 2, 1]), b=scripted([2, 1, 2]), c=scripted([0, 5, 0]), d=scripted([1, 1])
    )
    report = small(k=2, subset_size=2, meta_steps=1_000).fit(suite).report()
    assert report["suite"] == "custom"
    assert report["tasks"] == ["a", "b", "c", "d"]


def test_the_settings_are_plain_json() -> None:
    config = PolicyGradEx(k=4, seed=3).config
    assert json.loads(json.dumps(config)) == config
    assert config["k"] == 4
    assert not any(name.endswith("_") for name in config)


@pytest.mark.parametrize(
    "learner",
    [
        PPO(steps=12, copies=2, minibatches=2, epochs=1),
        SAC(copies=2, updates=1, batch=8, start=24),
    ],
    ids=["ppo", "sac"],
)
def test_meta_world_is_grouped_off_either_learner(learner: Learner) -> None:
    pytest.importorskip("envpool")
    tasks = ["reach", "drawer-open", "drawer-close", "window-open"]
    suite = TaskSuite.make("mt10", tasks=tasks, horizon=12)
    meta = MetaPolicy(suite, "soft_modularization", learner, layers=3, width=8).fit(192)
    run = PolicyGradEx(
        k=2, subset_size=2, projection_dim=20, steps_per_task=48, bootstrap=0, group_steps=192, seed=0
    ).fit(suite, meta)
    assert np.isfinite(run.graph_.matrix[~np.eye(4, dtype=bool)]).all()
    for k in range(1, 5):
        groups = run.graph_.partition(k=k).groups
        assert len(groups) == k and sorted(task for group in groups for task in group) == [0, 1, 2, 3]
    assert len(run.policies_) == 2
    for policy, group in zip(run.policies_, run.groups_, strict=True):
        assert policy.network == "soft_modularization" and policy.learner == learner
        assert not np.array_equal(policy.parameters, meta.parameters)
        assert list(policy.evaluate(2, subset=group).task) == [suite.tasks[task].name for task in group]


def test_the_meta_policy_is_of_the_network_and_learner_asked_for(suite: TaskSuite) -> None:
    learner = PPO(steps=16, copies=2, minibatches=2, epochs=1)
    run = small(network="multi_head", learner=learner, meta_steps=192, bootstrap=0, seed=3).fit(suite)
    expected = MetaPolicy(suite, "multi_head", learner, seed=3).fit(192)
    np.testing.assert_array_equal(run.meta_.parameters, expected.parameters)
    assert json.loads(json.dumps(run.config)) == run.config
    assert run.config["network"] == "multi_head" and run.config["learner"]["minibatches"] == 2


def test_a_run_that_was_cut_off_leaves_what_it_goes_on_from(
    suite: TaskSuite, fitted: PolicyGradEx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "meta.safetensors"
    whole = MetaPolicy.adapt_each

    def cut_off(*arguments: Any, **keywords: Any) -> None:
        whole(*arguments, **keywords)
        raise KeyboardInterrupt

    grouping = small(group_steps=6_000)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(MetaPolicy, "adapt_each", cut_off)
        grouping.fit(suite, checkpoint=checkpoint)
    # The meta-policy has ended well; the groups' trainings are still there, and are taken over.
    assert {path.name for path in tmp_path.iterdir()} == {
        "meta.safetensors",
        "unfinished-meta.safetensors-groups",
    }
    monkeypatch.setattr(PPO, "_improve", None)
    grouping.fit(suite, checkpoint=checkpoint)
    assert [path.name for path in tmp_path.iterdir()] == ["meta.safetensors"]
    for one, other in zip(grouping.policies_, fitted.policies_, strict=True):
        np.testing.assert_array_equal(one.parameters, other.parameters)


def test_where_all_steps_pay_alike_nothing_is_known() -> None:
    """Acrobot pays -1 until it has swung up, which so little training hardly ever does.

    One seed in twenty may find a conflict in noise, and seed 0 does; of seeds 100 to 123 none did.
    """
    makers = {f"{number}": partial(gymnasium.make, "Acrobot-v1") for number in range(4)}
    run = PolicyGradEx(
        subset_size=2, meta_steps=4_000, steps_per_task=256, snapshots=2, bootstrap=0, group_steps=0, seed=1
    )
    run.fit(TaskSuite.from_gymnasium(makers))
    assert run.partition_.k == 1
    assert run.verdict_ is not None
    assert run.verdict_.startswith(
        "no groups: nothing is known of these tasks, as their gradients are no more"
    )
    strong = np.random.default_rng(0).standard_normal((4, 20, 3)) + 5.0
    run.interactions_ = AffinityGraph.from_interactions(Interactions(tuple(strong), common=False), [*makers])
    assert run.verdict_ == "no groups: one policy for all, as no tasks are in conflict that counts"
    strong[1] -= strong[1].mean(axis=0)
    run.interactions_ = AffinityGraph.from_interactions(Interactions(tuple(strong), common=False), [*makers])
    assert run.verdict_ == (
        "no groups: no tasks are in conflict that counts, but nothing is known of 1, as their gradients are "
        "no more than noise"
    )
    np.testing.assert_array_equal(run.interactions_.noise_p_values() > 0.05, [False, True, False, False])


class AllOrNothing(Fork):
    """A step costs 1, but for the last of three if each took the wanted action."""

    def __init__(self, wanted: int) -> None:
        super().__init__(reward_space=None)
        self.wanted = wanted

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.right = 0.0
        return super().reset(seed=seed)

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        seen, paid, ended, *rest = super().step(action)
        self.right += paid[self.wanted]
        return seen, float(self.right == 3) - 1, ended, *rest


def test_tasks_that_training_left_behind_are_named() -> None:
    """Three tasks pay for the first action, one for the second, which nobody takes any more in the end."""
    wanted = {"a": 0, "b": 0, "c": 0, "odd": 1}
    suite = TaskSuite.from_gymnasium({name: partial(AllOrNothing, action) for name, action in wanted.items()})
    run = PolicyGradEx(
        subset_size=2,
        meta_steps=40_000,
        steps_per_task=256,
        snapshots=4,
        bootstrap=2,
        group_steps=0,
        recursive=False,
    ).fit(suite)
    assert run.left_behind_ == [3]
    assert run.verdict_ is not None
    assert "; the policy for all learned nothing in odd, and nothing that it does there pays" in run.verdict_
    assert run.groups_ == ((0, 1, 2), (3,))
    assert run.verdict_.endswith(" by now: policies for such tasks alone begin anew")
    run.group_steps = 20_000
    comparison = run.evaluate(episodes=8, compare=True)
    [odd] = comparison.table[
        (comparison.table.arm == "groups") & (comparison.table.task == "odd")
    ].return_mean
    [none] = comparison.table[
        (comparison.table.arm == "all together") & (comparison.table.task == "odd")
    ].return_mean
    assert (none, odd) == (-3, -2)  # from the policy for all nothing is to be learned
    run.meta_.history_ = run.meta_.history_.assign(return_mean=run.meta_.history_.steps)
    assert run.left_behind_ == []  # it earned more and more
