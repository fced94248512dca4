import numpy as np
import pytest
from scipy import stats

from gradex.affinity import AffinityMatrix

N, PAIRS = 8, np.triu_indices(8, 1)


def symmetric(values: np.ndarray) -> np.ndarray:
    matrix = np.zeros((N, N))
    matrix[PAIRS] = values
    return matrix + matrix.T


def drawn(rng: np.random.Generator, truth: np.ndarray, freedom: int = 12) -> AffinityMatrix:
    """Estimates with errors of 1 that are themselves estimated."""
    count = len(truth)
    errors = np.sqrt(rng.chisquare(freedom, count) / freedom)
    return AffinityMatrix(symmetric(truth + rng.normal(size=count)), None, symmetric(errors), freedom)


def test_significant_pairs_are_those_of_benjamini_and_hochberg() -> None:
    affinities = drawn(np.random.default_rng(0), np.linspace(-6, 6, len(PAIRS[0])))
    p = 2 * stats.t.sf(np.abs(affinities.matrix / np.where(np.eye(N), 1, affinities.stderr))[PAIRS], 12)
    order = np.sort(p)
    accepted = np.flatnonzero(order <= 0.1 * np.arange(1, len(p) + 1) / len(p))
    expected = p <= order[accepted[-1]]
    assert 5 < expected.sum() < len(p)
    found = affinities.significant(fdr=0.1)
    np.testing.assert_array_equal(found[PAIRS], expected)
    np.testing.assert_array_equal(found, found.T)
    assert not found.diagonal().any()


def test_no_more_than_the_wanted_share_is_named_wrongly() -> None:
    rng = np.random.default_rng(1)
    truth = np.where(np.arange(len(PAIRS[0])) < 10, 5.0, 0.0)
    shares = []
    for _ in range(300):
        named = drawn(rng, truth).significant(fdr=0.2)[PAIRS]
        shares.append(named[truth == 0].sum() / max(named.sum(), 1))
    assert 0.05 < np.mean(shares) < 0.2


def test_a_conflict_is_rarely_named_where_there_is_none() -> None:
    rng = np.random.default_rng(2)
    nothing, help_each_other = np.zeros(len(PAIRS[0])), np.full(len(PAIRS[0]), 1.0)
    wrong = [drawn(rng, nothing).conflicts(level=0.2).any() for _ in range(400)]
    assert 0.1 < np.mean(wrong) < 0.26
    assert np.mean([drawn(rng, help_each_other).conflicts(level=0.2).any() for _ in range(400)]) < 0.05


def test_holm_goes_on_where_bonferroni_stops() -> None:
    p = np.full(len(PAIRS[0]), 0.9)
    p[:2] = 0.04 / len(p), 0.04 / (len(p) - 1.5)
    affinities = AffinityMatrix(symmetric(stats.norm.ppf(p)), None, symmetric(np.ones(len(p))))
    assert affinities.conflicts(0.041)[PAIRS].sum() == 2
    assert affinities.conflicts(0.039)[PAIRS].sum() == 0


def test_what_has_no_error_differs_for_certain_or_not_at_all() -> None:
    affinities = AffinityMatrix([[0, -1, 0], [-1, 0, 2], [0, 2, 0]], None, np.zeros((3, 3)))
    assert affinities.significant().tolist() == [
        [False, True, False],
        [True, False, True],
        [False, True, False],
    ]
    assert affinities.conflicts()[0].tolist() == [False, True, False]


@pytest.mark.parametrize(("ask", "name"), [("significant", "fdr"), ("conflicts", "level")])
def test_says_what_a_share_may_be(ask: str, name: str) -> None:
    affinities = AffinityMatrix(np.eye(2), None, np.ones((2, 2)))
    with pytest.raises(ValueError, match=f"{name}=1.5 is invalid; give a number between 0 and 1"):
        getattr(affinities, ask)(1.5)


def test_errors_fit_the_matrix_or_are_refused() -> None:
    with pytest.raises(ValueError, match=r"of shape \(2, 2\) do not fit 3 tasks"):
        AffinityMatrix(
            np.diag([1.0, 2, 3]) + np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]), None, np.ones((2, 2))
        )
    with pytest.raises(ValueError, match="a matrix by itself has no standard errors"):
        _ = AffinityMatrix(np.eye(2)).stderr
