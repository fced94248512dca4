"""Laws of preferences."""

from collections.abc import Callable
from itertools import product
from math import comb

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from gradex.tasks import preferences


@pytest.mark.parametrize(("n", "objectives"), [(1, 3), (2, 2), (7, 2), (10, 3), (11, 3), (40, 4), (100, 6)])
def test_a_lattice_is_thinned_evenly(n: int, objectives: int) -> None:
    points = preferences.lattice(n, objectives)
    assert points.shape == (n, objectives)
    np.testing.assert_allclose(points.sum(axis=1), 1)
    assert len(np.unique(points, axis=0)) == n
    if n == 1:
        assert (points == 1 / objectives).all()
        return
    parts = next(h for h in range(1, 100) if comb(h + objectives - 1, objectives - 1) >= n)
    whole = [each for each in product(range(parts + 1), repeat=objectives) if sum(each) == parts]
    places = [whole.index(tuple(each)) for each in np.round(points * parts).astype(int).tolist()]
    assert places[0] == 0 and places[-1] == len(whole) - 1
    assert set(np.diff(places)) <= {(len(whole) - 1) // (n - 1), (len(whole) - 1) // (n - 1) + 1}


def test_centres_are_farther_from_each_other_than_draws() -> None:
    rng = np.random.default_rng(0)
    chosen = preferences.centres(4, 3, rng)
    np.testing.assert_allclose(chosen.sum(axis=1), 1)

    def nearest(points: np.ndarray) -> float:
        return min(np.linalg.norm(points[i] - points[j]) for i in range(len(points)) for j in range(i))

    assert nearest(chosen) > 2 * np.mean([nearest(preferences.dirichlet(4, 3, rng)) for _ in range(50)])


@pytest.mark.parametrize(("groups", "objectives"), [(2, 2), (5, 2), (3, 3), (4, 4), (10, 6), (1, 3)])
def test_planted_groups_can_be_told_apart(groups: int, objectives: int) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        around = preferences.centres(groups, objectives, rng)
        drawn, labels = preferences.planted(100, around, rng)
        np.testing.assert_allclose(drawn.sum(axis=1), 1)
        assert np.ptp(np.bincount(labels)) <= 1
        means = np.stack([drawn[labels == group].mean(axis=0) for group in range(groups)])
        np.testing.assert_allclose(means, around, atol=0.1)
        found = KMeans(groups, init=around, n_init=1).fit_predict(drawn)
        assert groups == 1 or normalized_mutual_info_score(labels, found) > 0.95


def test_groups_are_as_wide_as_stated() -> None:
    around = np.array([[0.2, 0.8], [0.8, 0.2]])
    assert preferences.concentration(around) == 100
    drawn, labels = preferences.planted(4000, around, np.random.default_rng(0))
    np.testing.assert_allclose(drawn[labels == 0].var(axis=0), 0.2 * 0.8 / 101, rtol=0.1)
    near = np.array([[0.5, 0.5], [0.6, 0.4]])
    assert preferences.concentration(near) == pytest.approx(36 / 0.02)


def test_the_sum_does_not_depend_on_the_company() -> None:
    rng = np.random.default_rng(0)
    weights, objectives = preferences.dirichlet(50, 6, rng), rng.normal(size=(7, 11, 6))
    paid = preferences.weigh(weights, objectives)
    assert paid.shape == (50, 7, 11)
    np.testing.assert_allclose(paid, np.einsum("nk,abk->nab", weights, objectives))
    np.testing.assert_array_equal(paid[3:4, 2, 5], preferences.weigh(weights[3:4], objectives[2, 5]))


def test_normalising_twice_changes_nothing() -> None:
    drawn = preferences.dirichlet(500, 5, np.random.default_rng(0))
    once = preferences.read_weights("weights", 7.3 * drawn)
    np.testing.assert_allclose(once, drawn)
    assert preferences.read_weights("weights", once) == once


def test_marginal_weights_are_the_gradients_of_utilities() -> None:
    at = np.array([2.0, -3.0, 0.5])
    w = np.array([0.2, 0.5, 0.3])
    utilities = [lambda v: float(w @ v), lambda v: -float(np.exp(-v) @ w), lambda v: float(v.min())]
    expected = np.array([w, w * np.exp(-at) / (w * np.exp(-at)).sum(), [0.0, 1.0, 0.0]])
    np.testing.assert_allclose(preferences.marginal_weights(utilities, at), expected, atol=1e-7)


@pytest.mark.parametrize("unit", [1e6, 1.0, 1e-3, 1e-6, 1e-12])
def test_marginal_weights_are_the_same_in_every_unit_of_returns(unit: float) -> None:
    (weights,) = preferences.marginal_weights([lambda v: float(np.log(v).sum())], [unit, 2 * unit])
    np.testing.assert_allclose(weights, [2 / 3, 1 / 3], atol=1e-7)


def test_utilities_of_no_return_at_all_have_marginal_weights() -> None:
    (weights,) = preferences.marginal_weights([lambda v: v[0] + 3 * v[1]], [0.0, 0.0])
    np.testing.assert_allclose(weights, [0.25, 0.75], atol=1e-7)


@pytest.mark.parametrize(
    ("utility", "returns", "message"),
    [
        (lambda v: v[0] - v[1], [1.0, 2.0], r"utility 1 has slopes in the ratio of \[1.0, -1.0\] at"),
        (
            lambda v: 3.0,
            [1.0, 2.0],
            r"utility 1 has slopes in the ratio of \[0.0, 0.0\] at .* grows with some",
        ),
        (lambda v: np.nan, [1.0, 2.0], r"utility 1 is not finite near \[1.0, 2.0\]"),
        (sum, [[1.0, 2.0]], "give a finite number for each objective"),
        (sum, [1.0, np.inf], "give a finite number for each objective"),
    ],
)
def test_utilities_that_weights_cannot_stand_for_are_refused(
    utility: Callable[[np.ndarray], float], returns: list, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        preferences.marginal_weights([sum, utility], returns)
