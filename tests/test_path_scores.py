import numpy as np
import pytest

from gradex import MetaPolicy, SurrogateEstimator, TaskSuite
from gradex.path_scores import score_along
from gradex.surrogate import SubsetScores

SUBSETS = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)]


@pytest.fixture(scope="module")
def meta() -> MetaPolicy:
    return MetaPolicy(TaskSuite.make("cartpole", n=3), layers=2, width=8).fit(steps=20_000, snapshots=3)


def test_snapshots_count_alike_and_share_the_transitions(meta: MetaPolicy) -> None:
    estimator = SurrogateEstimator(16, seed=1)
    found = score_along(meta.path_, SUBSETS, estimator, steps_per_task=900)
    assert [len(each.samples_) for each in found.surrogates] == [900, 900, 900]
    apart = [SurrogateEstimator(16, seed=1).fit(one, one.transitions(300)) for one in meta.path_]
    scores = np.mean([each.scores(SUBSETS).per_task for each in apart], axis=0)
    np.testing.assert_allclose(found.scores.per_task, scores, rtol=1e-6)
    np.testing.assert_allclose(found.scores.score, np.nanmean(scores, axis=1), rtol=1e-6)
    interactions = sum(each.interactions().matrix for each in apart)
    np.testing.assert_allclose(found.interactions.matrix, interactions, rtol=1e-6, atol=1e-12)
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
