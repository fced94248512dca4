"""Scores by evaluation: as each policy alone, with common random numbers."""

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from gradex import MetaPolicy, PolicyGradEx, SurrogateEstimator, TaskSuite
from gradex.path_scores import score_along
from gradex.rollout_scores import RolloutScore, score_by_rollout
from gradex.seeds import child
from tests.environments import scripted, scripted_suite
from tests.oracles import rollout_scores as oracle

SUBSETS = [(0,), (0, 1), (2, 1), (0, 1, 2), (1, 0)]


def fitted(meta: MetaPolicy) -> SurrogateEstimator:
    return SurrogateEstimator(16).fit(meta, meta.transitions(512, sharing="none"))


@pytest.fixture(scope="module")
def meta() -> MetaPolicy:
    return MetaPolicy(TaskSuite.make("navigation", n=3), layers=2, width=8).fit(6_000, snapshots=2)


@pytest.fixture(scope="module")
def surrogate(meta: MetaPolicy) -> SurrogateEstimator:
    return fitted(meta)


def test_scores_are_those_of_each_policy_run_alone(meta: MetaPolicy, surrogate: SurrogateEstimator) -> None:
    scores = score_by_rollout(surrogate, meta, SUBSETS, divergence=0.05, episodes=6, seed=3)
    expected = oracle.gains(surrogate, meta, SUBSETS, 0.05, 6, child(3, "rollouts"))
    np.testing.assert_allclose(scores.per_task, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(scores.score, np.nanmean(expected, axis=1), rtol=1e-3, atol=1e-4)
    assert scores.subsets == ((0,), (0, 1), (1, 2), (0, 1, 2), (0, 1))
    assert np.nanmax(np.abs(expected)) > 0.01


def test_a_subset_scores_the_same_twice_and_in_any_batch(
    meta: MetaPolicy, surrogate: SurrogateEstimator, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = score_by_rollout(surrogate, meta, SUBSETS, episodes=4)
    np.testing.assert_array_equal(scores.per_task[1], scores.per_task[4])
    monkeypatch.setattr("gradex.rollout_scores._TOGETHER", 8)  # two places at once
    batched = score_by_rollout(surrogate, meta, SUBSETS, episodes=4)
    np.testing.assert_allclose(batched.per_task, scores.per_task, atol=1e-4)
    other = score_by_rollout(surrogate, meta, SUBSETS, episodes=4, seed=1)
    assert (other.per_task[3] != scores.per_task[3]).all()


def test_a_step_of_no_length_scores_0(
    meta: MetaPolicy, surrogate: SurrogateEstimator, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = surrogate.steps(SUBSETS, 0.05)
    steps[1] = 0
    monkeypatch.setattr(surrogate, "steps", lambda *_: steps)
    scores = score_by_rollout(surrogate, meta, SUBSETS, episodes=4)
    np.testing.assert_array_equal(scores.per_task[1], [0, 0, np.nan])
    assert (scores.per_task[3] != 0).all()


def test_where_all_earn_the_same_there_is_nothing_to_score() -> None:
    suite = scripted_suite(a=scripted([1, 2, 1]), b=scripted([2, 1, 2]))
    meta = MetaPolicy(suite, layers=2, width=8).fit(500)
    features = np.random.default_rng(0).normal(size=(40, len(meta.parameters)))
    samples = meta.transitions(20)
    advantages = np.random.default_rng(1).normal(size=len(samples))
    own = type(samples)(**{**vars(samples), "advantages": advantages})
    surrogate = SurrogateEstimator(16, folds=1).fit_features(features[: len(samples)], own)
    scores = score_by_rollout(surrogate, meta, [(0, 1), (1,)], episodes=4)
    np.testing.assert_array_equal(scores.per_task, [[0, 0], [np.nan, 0]])


def test_draws_spread_like_episodes_and_are_paired(meta: MetaPolicy, surrogate: SurrogateEstimator) -> None:
    many = score_by_rollout(surrogate, meta, SUBSETS, 0.05, episodes=64, draws=400)
    assert many.draws.shape == (400, 5, 3)
    np.testing.assert_array_equal(many.draws[:, 1], many.draws[:, 4])  # the same episodes
    seeds = [
        score_by_rollout(surrogate, meta, SUBSETS[:4], 0.05, 64, seed=seed).per_task for seed in range(30)
    ]
    inside = ~np.isnan(many.per_task[:4])
    spread, wanted = many.draws[:, :4].std(axis=0)[inside], np.std(seeds, axis=0)[inside]
    assert 0.7 < np.exp(np.mean(np.log(spread / wanted))) < 1.4
    np.testing.assert_allclose(
        many.draws.mean(axis=0)[:4][inside], many.per_task[:4][inside], atol=spread.max()
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"episodes": 1}, "episodes=1 is too small: give at least 2"),
        ({"draws": -1}, "draws=-1 is too small: give at least 0"),
        ({"divergence": 0.0}, r"divergence is 0.0: choose a positive number"),
        ({"subsets": [(0, 3)]}, r"\[0, 3\] is not a subset of 3 tasks"),
        ({"subsets": []}, "no subset was given"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    meta: MetaPolicy, surrogate: SurrogateEstimator, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        score_by_rollout(surrogate, meta, **{"subsets": SUBSETS, **settings})
    assert "\n" not in str(caught.value)


def test_a_surrogate_of_another_policy_is_refused(surrogate: SurrogateEstimator) -> None:
    other = MetaPolicy(TaskSuite.make("navigation", n=4), layers=2, width=8).fit(500)
    with pytest.raises(ValueError, match=r"the surrogate has 3 tasks and \d+ parameters, the policy 4 and"):
        score_by_rollout(surrogate, other, SUBSETS)


# ---------------------------------------------------------------------- along a path, and in PolicyGradEx
def test_along_a_path_the_mean_counts(meta: MetaPolicy) -> None:
    how = RolloutScore(divergence=0.05, episodes=4)
    found = score_along(meta.path_, SUBSETS, SurrogateEstimator(16), 512, draws=6, rollouts=how)
    assert len(meta.path_) == 2 and found.scores.draws.shape == (6, 5, 3)
    apart = []
    for number, (surrogate, snapshot) in enumerate(zip(found.surrogates, meta.path_, strict=True)):
        seed = child(child(snapshot.seed, "collection", 0), "rollouts", number)
        apart.append(how.scores(surrogate, snapshot, SUBSETS, seed=seed).per_task)
    np.testing.assert_allclose(found.scores.per_task, np.mean(apart, axis=0), atol=1e-12)
    again = score_along(meta.path_, SUBSETS, SurrogateEstimator(16), 512, rollouts=how, replicate=1)
    assert (again.scores.per_task[3] != found.scores.per_task[3]).all()
    by_loss = score_along(meta.path_, SUBSETS, SurrogateEstimator(16), 512)
    np.testing.assert_array_equal(found.interactions.matrix, by_loss.interactions.matrix)


def small(**settings: Any) -> PolicyGradEx:
    return PolicyGradEx(
        **{"k": 2, "projection_dim": 100, "steps_per_task": 1024, "group_steps": 0, "meta_steps": 20_000}
        | settings
    )


def test_planted_groups_are_found_by_evaluation() -> None:
    suite = TaskSuite.make("navigation", n=6, groups=2)
    run = small(score=RolloutScore(episodes=4), bootstrap=2).fit(suite)
    assert run.report()["planted_nmi"] == pytest.approx(1)
    assert run.seconds_["rollouts"] > 0
    assert run.bootstrap_ is not None
    loss = small(bootstrap=0).fit(suite, run.meta_)
    np.testing.assert_array_equal(run.conflicts_[0], loss.conflicts_[0])
    assert run.surrogate_.score == "loss"
    with pytest.raises(
        ValueError, match="score='rollout' errs by its episodes, not by transitions: plan with"
    ):
        run.plan()


def test_the_settings_are_plain_and_can_be_cloned() -> None:
    run = small(score=RolloutScore(episodes=4))
    assert clone(run).get_params()["score"] == RolloutScore(episodes=4)
    assert clone(run).config == run.config
    assert run.config["score"] == {
        "class": "gradex.rollout_scores.RolloutScore", "divergence": 0.01, "episodes": 4,
    }  # fmt: skip
    assert small(score="rollout").config["score"] == "rollout"
    assert RolloutScore.named("rollout") == RolloutScore()
    assert RolloutScore.named("loss") is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"score": "rolout"}, r"unknown score 'rolout': choose one of \['loss', 'improvement', 'rollout'\]"),
        ({"score": "rollout", "literal": True}, "literal=True scores by the loss: choose score='loss', or"),
        (
            {"score": RolloutScore(), "literal": True},
            "literal=True scores by the loss: choose score='loss', or",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused_before_training(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**settings).check(TaskSuite.make("navigation", n=6))


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"episodes": 1}, ValueError, "episodes=1 is too small: give at least 2"),
        ({"episodes": 2.5}, ValueError, "episodes is 2.5: give a whole number"),
        ({"divergence": -1.0}, ValueError, "divergence is -1.0: choose a positive number"),
        ({"divergence": None}, TypeError, "divergence is None: give a number"),
    ],
)
def test_a_rollout_score_that_cannot_be_is_refused(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        RolloutScore(**settings)


def test_the_surrogate_knows_no_rollouts() -> None:
    with pytest.raises(ValueError, match="unknown score 'rollout'"):
        SurrogateEstimator(score="rollout")
