"""Steps that are kept stand for all that were simulated."""

import numpy as np
import pytest

from gradex.learners.kept_steps import KeptSteps, chances_of, shares_of


def equal_chances(sizes: np.ndarray, count: int) -> np.ndarray:
    """Stand in for `chances_of`, where the choice must not depend on advantages."""
    return np.full(len(sizes), count / len(sizes))


@pytest.mark.parametrize("unit", [1.0, 1e5])
def test_kept_steps_stand_for_all(unit: float) -> None:
    """The mean over draws of a sum over kept steps is that over all, and closer than with equal chances."""
    rng = np.random.default_rng(0)
    found = unit * rng.standard_t(3, size=(3, 800))
    weights, values = rng.uniform(size=(4, 3)), rng.normal(size=800)
    own = weights @ (found - found.mean(axis=1, keepdims=True))
    whole = own / own.std(axis=1, keepdims=True)
    sums, equal, environments = *np.empty((2, 400, 4)), np.arange(800) % 10
    for seed, chance in enumerate(rng.uniform(size=400)):
        kept = KeptSteps.of(found, np.abs(found).max(axis=1), weights, environments, 200, chance)
        assert len(set(kept.places)) == 200
        assert (np.bincount(environments[kept.places]) == 20).all()
        assert (np.diff(kept.places) > 0).all()
        sums[seed] = kept.advantages @ values[kept.places] / 200
        at_random = np.random.default_rng(seed).choice(800, 200, replace=False)
        equal[seed] = whole[:, at_random] @ values[at_random] / 200
    truth = whole @ values / 800
    np.testing.assert_allclose(kept.deviations, own.std(axis=1))
    assert (abs(sums.mean(axis=0) - truth) < 4 * sums.std(axis=0) / 20).all()
    assert (sums.std(axis=0) < 0.8 * equal.std(axis=0)).all()


@pytest.mark.parametrize("count", [1, 10, 99, 100])
def test_chances_are_in_proportion_and_at_most_1(count: int) -> None:
    sizes = np.random.default_rng(0).pareto(1.0, 100) + 0.1
    chances = chances_of(sizes, count)
    assert chances.sum() == pytest.approx(count)
    assert chances.max() <= 1 + 1e-12
    below = chances < 1 - 1e-9
    ratios = chances[below] / sizes[below]
    np.testing.assert_allclose(ratios, ratios[:1].repeat(len(ratios)))
    assert (sizes[~below] >= sizes[below].max(initial=0.0)).all()


def test_environments_keep_steps_in_proportion() -> None:
    assert shares_of(np.array([10, 10, 9, 10]), 4).tolist() == [1, 1, 1, 1]
    assert shares_of(np.array([30, 10, 10]), 10).tolist() == [6, 2, 2]
    assert shares_of(np.array([5, 5, 5]), 2).tolist() == [1, 1, 0]
    assert shares_of(np.array([1, 7]), 8).tolist() == [1, 7]
    assert shares_of(np.array([1, 40, 40]), 4).tolist() == [1, 1, 2]  # of each one at least


def test_where_no_advantage_is_larger_all_steps_have_the_same_chance() -> None:
    np.testing.assert_allclose(chances_of(np.full(40, 0.1), 10), 0.25)
    np.testing.assert_array_equal(chances_of(np.arange(1.0, 41.0), 40), 1.0)
