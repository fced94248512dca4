"""What surrogates of objectives say of preferences is what surrogates of the preferences say."""

from dataclasses import replace

import numpy as np
import pytest

from gradex import MetaPolicy, SurrogateEstimator, TaskSuite
from gradex.learners import Transitions
from gradex.path_objectives import PathObjectives, objectives_along, single_objectives
from gradex.surrogate import Samples
from tests.learners.test_kept_steps import equal_chances

pytest.importorskip("mo_gymnasium")


@pytest.fixture(scope="module")
def suite() -> TaskSuite:
    return TaskSuite.make("mo-deep-sea-treasure", n=7, seed=3, scale=[20.0, 15.0], horizon=20)


@pytest.fixture(scope="module")
def meta(suite: TaskSuite) -> MetaPolicy:
    return MetaPolicy(suite, layers=2, width=8).fit(4_000, snapshots=2)


@pytest.fixture(scope="module")
def found(meta: MetaPolicy) -> PathObjectives:
    return objectives_along(meta.path_, SurrogateEstimator(20), steps_per_task=1024)


def test_preferences_have_advantages_of_one_size_in_all_steps_that_were_simulated(
    suite: TaskSuite, meta: MetaPolicy
) -> None:
    found = objectives_along(meta.path_, SurrogateEstimator(20), steps_per_task=64)
    for surrogate, mixture in zip(found.surrogates, found.mixtures(suite.weights), strict=True):
        samples = surrogate.samples_
        assert isinstance(samples, Transitions) and samples.chances is not None
        assert samples.chances.min() < 0.9
        assert samples.chances.max() > 1.1
        mixed = mixture @ samples.advantages
        assert np.sqrt((mixed**2 * samples.chances).mean(axis=1)).mean() == pytest.approx(1.0)


def test_the_objectives_are_the_preferences_at_the_corners(suite: TaskSuite) -> None:
    assert single_objectives(suite).weights.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert single_objectives(suite).options == suite.options


def test_mixtures_give_the_advantages_of_the_preferences_themselves(
    suite: TaskSuite, meta: MetaPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Which steps are kept depends on who they are for.
    monkeypatch.setattr("gradex.learners.kept_steps.chances_of", equal_chances)
    found = objectives_along(meta.path_, SurrogateEstimator(20), steps_per_task=1024)
    for snapshot, surrogate, mixture in zip(
        meta.path_, found.surrogates, found.mixtures(suite.weights), strict=True
    ):
        mixed = mixture @ surrogate.samples_.advantages
        assert mixed.std(axis=1).mean() == pytest.approx(1.0, abs=0.02)
        own = snapshot.transitions(len(surrogate.samples_), seed=None)
        assert own.advantages.shape == mixed.shape
        np.testing.assert_array_equal(own.observations, surrogate.samples_.observations)
        sizes = np.linalg.norm(mixed, axis=1) / np.linalg.norm(own.advantages, axis=1)
        np.testing.assert_allclose(mixed / sizes[:, None], own.advantages, atol=1e-6)


def test_products_of_factors_are_interactions_of_mixed_gradients(
    suite: TaskSuite, found: PathObjectives
) -> None:
    mixtures = found.mixtures(suite.weights)
    rows, expected = found.factors(mixtures).rows, np.zeros((7, 7))
    for interactions, mixture in zip(found.estimates, mixtures, strict=True):
        values, vectors = np.linalg.eigh(interactions.matrix)
        expected += mixture @ (vectors * values.clip(min=0)) @ vectors.T @ mixture.T
    np.testing.assert_allclose(rows @ rows.T, expected, rtol=1e-9, atol=1e-12)


def test_transfers_are_those_of_a_fit_for_each_preference(suite: TaskSuite, found: PathObjectives) -> None:
    mixtures, expected = found.mixtures(suite.weights), np.zeros((7, 7))
    for surrogate, mixture in zip(found.surrogates, mixtures, strict=True):
        samples = surrogate.samples_
        own = Samples(mixture @ samples.advantages, episodes=samples.episodes, clusters=samples.clusters)
        fits = SurrogateEstimator(regularization=surrogate.regularization_)
        expected += fits.fit_features(surrogate.features, own).transfers()
    np.testing.assert_allclose(found.transfers(mixtures), expected, rtol=1e-9)


def test_draws_spread_around_the_factors(suite: TaskSuite, found: PathObjectives) -> None:
    mixtures = found.mixtures(suite.weights)
    drawn = np.stack([each.matrix() for each in found.factor_draws(mixtures, draws=30, seed=0)])
    matrix = found.factors(mixtures).matrix()
    assert drawn.std(axis=0).min() > 0
    assert (np.abs(drawn.mean(axis=0) - matrix) < 2 * drawn.std(axis=0)).all()


def test_gradients_that_differ_are_told_from_noise(suite: TaskSuite, found: PathObjectives) -> None:
    assert found.p_value(found.mixtures(suite.weights), draws=99, seed=0) == 0.01


def test_noise_is_taken_for_noise(found: PathObjectives) -> None:
    """Advantages that have nothing to do with actions make p-values that are uniform, or nearly."""
    values = []
    for seed in range(20):
        rng, surrogates = np.random.default_rng(seed), []
        for surrogate in found.surrogates:
            samples = surrogate.samples_
            signs = rng.choice([-1.0, 1.0], size=(1, samples.clusters.max() + 1))[:, samples.clusters]
            noise = signs * np.abs(samples.advantages) * rng.choice([-1.0, 1.0], size=(2, len(samples)))
            own = replace(samples, advantages=noise)
            fits = SurrogateEstimator(regularization=surrogate.regularization_)
            surrogates.append(fits.fit_features(surrogate.features, own))
        again = PathObjectives(tuple(surrogates), tuple(one.interactions() for one in surrogates))
        values.append(again.p_value(again.mixtures(np.eye(2)), draws=99, seed=seed))
    assert np.mean(np.array(values) <= 0.1) <= 0.3
    assert 0.25 < np.mean(values) < 0.75
