"""Errors of interactions at other numbers of clusters: as they are when clusters are really drawn."""

import numpy as np
import pytest

from gradex.surrogate import Interactions
from gradex.surrogate.interaction_noise import InteractionNoise

MEANS = np.outer([1, 1, -1], np.full(8, 0.3))


def drawn(rng: np.random.Generator, runs: int, common: bool) -> Interactions:
    """Tasks 0 and 1 agree, 2 is opposed; common clusters share half of their noise with each other."""
    shared = rng.normal(size=(runs, 8)) * common
    return Interactions(tuple(mean + rng.normal(size=(runs, 8)) + 0.5 * shared for mean in MEANS), common)


@pytest.mark.parametrize("common", [False, True])
@pytest.mark.parametrize("runs", [10, 80])
def test_a_pilot_tells_the_spread_at_any_number_of_clusters(runs: int, common: bool) -> None:
    rng = np.random.default_rng(0)
    real = np.var([drawn(rng, runs, common).matrix for _ in range(1000)], axis=0)
    pilots = [InteractionNoise.of(drawn(rng, 10, common), 40, seed) for seed in range(200)]
    told = np.mean([pilot.at(runs) ** 2 for pilot in pilots], axis=(0, 1))
    assert told.sum() == pytest.approx(real.sum(), rel=0.2)
    assert (told > 0.7 * real).all()  # one factor for all pairs is right on average only


def test_pairs_with_a_task_in_common_err_together() -> None:
    rng = np.random.default_rng(1)
    real = np.array([drawn(rng, 20, False).matrix for _ in range(1000)])
    pilots = [InteractionNoise.of(drawn(rng, 20, False), 40, seed).at(20) for seed in range(100)]
    told = np.concatenate(pilots)
    expected = np.corrcoef(real[:, 0, 1], real[:, 0, 2])[0, 1]
    assert np.corrcoef(told[:, 0, 1], told[:, 0, 2])[0, 1] == pytest.approx(expected, abs=0.15)
    assert expected < -0.2


def test_without_noise_there_are_no_errors() -> None:
    exact = Interactions(tuple(np.tile(mean, (5, 1)) for mean in MEANS), common=False)
    assert np.abs(InteractionNoise.of(exact, 3).at(5)).max() < 1e-12


def test_errors_are_symmetric_and_come_again_with_the_seed() -> None:
    pilot = drawn(np.random.default_rng(2), 6, False)
    first, again, other = (InteractionNoise.of(pilot, 2, seed).at(9) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, first.transpose(0, 2, 1))
    assert not np.allclose(first, other)
