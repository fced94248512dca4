import numpy as np
import pytest

from gradex import AffinityGraph, MetaPolicy, SurrogateEstimator, TaskSuite
from gradex.learners import Transitions
from gradex.path_scores import score_along, stakes
from gradex.surrogate import Interactions, SubsetScores

SUBSETS = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)]


@pytest.fixture(scope="module")
def meta() -> MetaPolicy:
    return MetaPolicy(TaskSuite.make("cartpole", n=3), layers=2, width=8).fit(steps=20_000, snapshots=3)


def test_snapshots_count_alike_and_share_the_transitions(
    meta: MetaPolicy,
) -> None:
    estimator = SurrogateEstimator(16, seed=1)
    found = score_along(meta.path_, SUBSETS, estimator, steps_per_task=900)
    assert [len(each.samples_) for each in found.surrogates] == [900, 900, 900]
    apart = [SurrogateEstimator(16, seed=1).fit(one, one.transitions(300)) for one in meta.path_]
    scores = np.mean([each.scores(SUBSETS).per_task for each in apart], axis=0)
    np.testing.assert_allclose(found.scores.per_task, scores, rtol=1e-6)
    np.testing.assert_allclose(found.scores.score, np.nanmean(scores, axis=1), rtol=1e-6)
    each = [one.interactions().matrix for one in apart]
    np.testing.assert_allclose(found.interactions.matrix, sum(each), rtol=1e-6, atol=1e-12)
    at_stake = np.array([one.samples_.deviations * one.samples_.lengths for one in apart])
    weights = at_stake / at_stake.mean(axis=0)
    assert np.ptp(weights, axis=0).min() > 0.1
    weighted = sum(np.sqrt(np.outer(own, own)) * matrix for own, matrix in zip(weights, each, strict=True))
    np.testing.assert_allclose(found.by_return.matrix, weighted, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(found.path_by_return.sum(axis=0), weighted, rtol=1e-6, atol=1e-12)
    assert found.scores.draws.shape == (0, 6, 3)
    assert not hasattr(estimator, "features")


def test_draws_of_a_path_are_combinations_of_those_of_its_snapshots(meta: MetaPolicy) -> None:
    found = score_along(meta.path_, SUBSETS, SurrogateEstimator(16), 900, draws=40, seed=3)
    draws = found.scores.draws
    assert draws.shape == (40, 6, 3)
    assert len(np.unique(draws[:, 3, 0])) > 30  # of few draws of each snapshot
    np.testing.assert_allclose(draws.mean(axis=0), found.scores.per_task, rtol=0.05, atol=0.05)
    single = score_along(meta.path_[-1:], SUBSETS, SurrogateEstimator(16), 900, draws=5)
    np.testing.assert_array_equal(single.scores.draws, single.surrogates[0].score_draws(SUBSETS, 5))


def test_the_mean_spreads_like_independent_parts() -> None:
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(8):
        centre = rng.normal(size=(50, 2))
        parts.append(
            SubsetScores(((0, 1),) * 50, centre, centre.mean(axis=1), centre + rng.normal(size=(4, 50, 2)))
        )
    mean = SubsetScores.mean(parts, draws=400)
    assert np.mean(mean.draws.std(axis=0) ** 2) == pytest.approx(1 / 8, rel=0.1)
    np.testing.assert_allclose(mean.per_task, np.mean([part.per_task for part in parts], axis=0))


def test_stakes_are_relative_to_each_tasks_own_mean() -> None:
    def surrogate(deviations: list[float] | None, lengths: list[float] | None = None) -> SurrogateEstimator:
        rng, deviated = np.random.default_rng(0), deviations and np.array(deviations)
        own = {"observations": rng.normal(size=(40, 1)), "actions": np.zeros(40, int), "deviations": deviated}
        own["lengths"] = lengths and np.array(lengths)
        tasks = np.arange(40) % 2
        transitions = Transitions(advantages=rng.normal(size=40), tasks=tasks, episodes=np.arange(40), **own)
        return SurrogateEstimator(4).fit_features(rng.normal(size=(40, 3)), transitions)

    found = stakes([surrogate([1.0, 300.0]), surrogate([3.0, 100.0])])
    np.testing.assert_allclose(found, [[0.5, 1.5], [1.5, 0.5]])
    # A task that never pays has no mean to be relative to, and others no part in that.
    found = stakes([surrogate([0.0, 300.0]), surrogate([0.0, 100.0])])
    np.testing.assert_allclose(found, [[1.0, 1.5], [1.0, 0.5]])
    np.testing.assert_array_equal(stakes([surrogate(None)] * 3), np.ones((3, 2)))
    # What a step gains is gained on every step of an episode.
    found = stakes([surrogate([8.0, 1.0], [20.0, 50.0]), surrogate([0.4, 1.0], [400.0, 50.0])])
    np.testing.assert_allclose(found, [[1.0, 1.0], [1.0, 1.0]])


def test_tasks_that_pull_apart_where_nothing_is_at_stake_are_no_conflict() -> None:
    rng = np.random.default_rng(1)
    early = Interactions(tuple(rng.normal((1.0, 0.0), 1.0, (2, 40, 2))), common=False)
    late = Interactions((rng.normal((0, 3), 1, (40, 2)), rng.normal((0, -3), 1, (40, 2))), common=False)
    alike = AffinityGraph.from_interactions(Interactions.joined([early, late]))
    assert alike.conflict().p_value < 0.05
    assert alike.conflict().strength > 0.5
    weighted = Interactions.joined([early, late], [np.array([1.9, 1.9]), np.array([0.1, 0.1])])
    assert AffinityGraph.from_interactions(weighted).conflict().strength < 0
