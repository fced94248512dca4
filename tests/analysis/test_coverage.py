"""What the study of coverage measures, where the answer is known."""

import numpy as np
import pytest

from analysis.coverage import _Repetitions, hessian, measured, turned_around
from gradex import Samples, SurrogateEstimator
from gradex.surrogate import Interactions
from gradex.surrogate.interactions import first_order_interactions


@pytest.mark.parametrize("shared", [False, True])
def test_the_metric_is_that_of_the_surrogate(shared: bool) -> None:
    rng = np.random.default_rng(0)
    features, tasks, episodes = rng.normal(size=(120, 4)), np.arange(120) % 3, np.arange(120) // 6 * 3
    advantages = rng.normal(size=(3, 120) if shared else 120)
    samples = Samples(advantages, None if shared else tasks, episodes if shared else episodes + tasks)
    surrogate = SurrogateEstimator(regularization=0.1).fit_features(features, samples)
    found = first_order_interactions(features, samples, hessian(surrogate), 0.1)
    np.testing.assert_allclose(found.matrix, surrogate.interactions().matrix, rtol=1e-6)


def gaussian(count: int, stderr: float) -> _Repetitions:
    """Estimates of three interactions by nine clusters each; standard errors as often as not too large."""
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(count, 3, 3)) + 5.0
    chi = np.sqrt(rng.chisquare(9, size=(count, 3, 3)) / 9)
    return _Repetitions(matrix, stderr * chi, 9, np.zeros((count, 3, 3), dtype=bool))


def test_exact_errors_cover_as_often_as_they_say() -> None:
    pairs, diagonal = measured(gaussian(2000, stderr=1.0))
    for row in (pairs, diagonal):
        assert abs(row["coverage"] - 0.95) < 4 * row["coverage_stderr"]
        assert row["coverage_stderr"] < 0.004
        assert row["stderr_ratio"] == pytest.approx(0.97, abs=0.04)  # mean of a root of χ²/9
    assert [row["entries"] for row in (pairs, diagonal)] == ["pairs", "diagonal"]


def test_errors_that_are_too_small_cover_less() -> None:
    pairs, diagonal = measured(gaussian(500, stderr=0.5))
    assert max(pairs["coverage"], diagonal["coverage"]) < 0.8
    assert pairs["stderr_ratio"] == pytest.approx(0.49, abs=0.04)


def test_the_truth_comes_from_the_other_repetitions_and_errs() -> None:
    """Of two repetitions each is as far from the other as both err, and intervals say so."""
    matrix = np.array([[[0.0, 1.0], [1.0, 0.0]], [[2.0, 3.0], [3.0, 2.0]]])
    wide, narrow = (
        measured(_Repetitions(matrix, np.full((2, 2, 2), error), 10**9, np.zeros((2, 2, 2), dtype=bool)))[0]
        for error in (2 / (1.96 * np.sqrt(2)) * 1.001, 2 / (1.96 * np.sqrt(2)) * 0.999)
    )
    assert (wide["coverage"], narrow["coverage"]) == (1.0, 0.0)


def test_a_conflict_is_false_where_the_truth_is_above_0() -> None:
    repetitions = gaussian(4, stderr=1.0)
    assert measured(repetitions)[0]["false_conflicts"] == 0
    repetitions.conflicts[0, 0, 1] = True
    assert measured(repetitions)[0]["false_conflicts"] == 0.25
    below = _Repetitions(-repetitions.matrix, repetitions.stderr, 9, repetitions.conflicts)
    assert measured(below)[0]["false_conflicts"] == 0


@pytest.mark.parametrize("common", [False, True])
def test_clusters_that_may_depend_on_each_other_turn_together(common: bool) -> None:
    vectors = tuple(np.full((64, 1), 2.0) for _ in range(2))
    first, second = turned_around(Interactions(vectors, common), seed=0, repetition=0).vectors
    assert set(np.unique(first)) == {-2.0, 2.0}
    assert np.array_equal(first, second) == common
    other, _ = turned_around(Interactions(vectors, common), seed=0, repetition=1).vectors
    assert not np.array_equal(first, other)
