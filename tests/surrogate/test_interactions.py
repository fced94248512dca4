import numpy as np
import pytest
import torch
from scipy import stats

from gradex.surrogate import Interactions, Samples
from gradex.surrogate.interactions import first_order_interactions
from tests.oracles import interactions as oracle

D, LAMBDA = 8, 0.2
COMMON = pytest.mark.parametrize("common", [False, True])
UNEVEN = pytest.mark.parametrize("uneven", [False, True])


def drawn(
    rng: np.random.Generator, common: bool, clusters: int = 7, dependent: float = 0.0, uneven: bool = False
) -> Interactions:
    """Clusters of three tasks: 0 and 1 are alike, 2 is opposed to them; uneven, of 1 to 20 samples each."""
    means = np.outer([1.0, 1.0, -1.0], np.full(D, 0.5))
    sizes = [clusters] * 3 if common else [clusters, clusters - 1, clusters + 2]
    alike = rng.normal(size=(max(sizes), D))
    samples = [rng.integers(1, 21, size) if uneven else np.ones(size) for size in sizes]
    weights = [each[:, None] / each.mean() for each in samples]
    noise = [rng.normal(size=(size, D)) + dependent * alike[:size] for size in sizes]
    own = [
        weight * mean + np.sqrt(weight) * each
        for mean, weight, each in zip(means, weights, noise, strict=True)
    ]
    return Interactions(tuple(own), common, tuple(weights) if uneven else ())


def weights_of(interactions: Interactions) -> list[np.ndarray]:
    return [own[:, 0] for own in interactions.weights]


@COMMON
@UNEVEN
def test_no_product_has_two_factors_from_one_cluster(common: bool, uneven: bool) -> None:
    interactions = drawn(np.random.default_rng(0), common, uneven=uneven)
    expected = oracle.matrix(list(interactions.vectors), common, weights_of(interactions))
    np.testing.assert_allclose(interactions.matrix, expected, rtol=1e-10)


@COMMON
@UNEVEN
def test_standard_errors_are_those_of_all_tuples_of_clusters(common: bool, uneven: bool) -> None:
    interactions = drawn(np.random.default_rng(1), common, clusters=8, uneven=uneven)
    for i, j in [(0, 0), (0, 1), (0, 2), (1, 2)]:
        expected = oracle.variance(list(interactions.vectors), common, i, j, weights_of(interactions))
        assert interactions.stderr[i, j] ** 2 == pytest.approx(expected, rel=1e-9)
        assert interactions.stderr[j, i] == interactions.stderr[i, j]


@UNEVEN
@pytest.mark.parametrize(("common", "dependent"), [(False, 0.0), (True, 0.0), (True, 1.0)])
def test_intervals_cover_and_estimates_are_unbiased(common: bool, dependent: float, uneven: bool) -> None:
    rng = np.random.default_rng(2)
    truth = np.outer([1, 1, -1], [1, 1, -1]) * D * 0.25
    size = 60 if uneven else 30  # uneven ones count as fewer
    found = [drawn(rng, common, size, dependent, uneven) for _ in range(400)]
    matrices = np.array([each.matrix for each in found])
    errors = np.array([each.stderr for each in found])
    reach = stats.t.ppf(0.975, [[each.freedom] for each in found])[..., None]
    covered = np.abs(matrices - truth) <= reach * errors
    assert np.abs(matrices.mean(axis=0) - truth).max() < 4 * (matrices.std(axis=0) / 20).max()
    assert 0.93 < covered.mean() < 0.97


def test_episodes_that_began_alike_would_pass_for_friends() -> None:
    # What two tasks have in common by chance is no interaction: only `common` knows.
    rng = np.random.default_rng(3)
    noise = [rng.normal(size=(8, D)) for _ in range(300)]
    naive = np.mean([Interactions((each, each), common=False).matrix[0, 1] for each in noise])
    right = [Interactions((each, each), common=True).matrix[0, 1] for each in noise]
    assert naive == pytest.approx(D / 8, rel=0.2)
    assert abs(np.mean(right)) < 4 * np.std(right) / np.sqrt(300)


@COMMON
def test_noise_is_the_estimate_from_clusters_turned_around(common: bool) -> None:
    interactions = drawn(np.random.default_rng(4), common)
    noise = interactions.noise(2000, seed=5)
    np.testing.assert_array_equal(noise[:3], interactions.noise(3, seed=5))
    # Nobody has a direction left, and what is left is as wide as the products of single clusters make it.
    assert (np.abs(noise.mean(axis=0)) < 4 * noise.std(axis=0) / np.sqrt(2000)).all()
    vectors = interactions.vectors
    h = vectors[0] @ vectors[1].T
    if common:
        np.fill_diagonal(h, 0.0)
        expected = ((h + h.T) ** 2).sum() / 2 / (len(h) * (len(h) - 1)) ** 2
    else:
        expected = (h**2).sum() / h.size**2
    assert noise[:, 0, 1].var() == pytest.approx(expected, rel=0.15)


@COMMON
@UNEVEN
def test_along_a_path_interactions_add_up(common: bool, uneven: bool) -> None:
    rng = np.random.default_rng(5)
    parts = [drawn(rng, common, uneven=uneven) for _ in range(3)]
    joined = Interactions.joined(parts)
    np.testing.assert_allclose(joined.matrix, sum(part.matrix for part in parts), rtol=1e-10)
    for again in (lambda each: each.noise(2, seed=1), lambda each: each.draws(2, seed=1)):
        np.testing.assert_allclose(again(joined), sum(again(part) for part in parts), rtol=1e-8)
    twice = Interactions.joined([parts[0], parts[0]])
    np.testing.assert_allclose(twice.stderr, 2 * parts[0].stderr, rtol=1e-8)


def test_only_equally_many_clusters_add_up() -> None:
    rng = np.random.default_rng(5)
    parts = [drawn(rng, common=True)]
    with pytest.raises(ValueError, match="take equally many"):
        Interactions.joined([parts[0], drawn(rng, common=True, clusters=8)])


@COMMON
def test_weights_of_a_pair_are_the_geometric_mean_of_both_tasks(common: bool) -> None:
    rng = np.random.default_rng(5)
    parts = [drawn(rng, common) for _ in range(3)]
    weights = [rng.uniform(0.1, 3.0, size=len(parts[0])) for _ in parts]
    joined = Interactions.joined(parts, weights)
    expected = sum(
        np.sqrt(np.outer(weight, weight)) * part.matrix for weight, part in zip(weights, parts, strict=True)
    )
    np.testing.assert_allclose(joined.matrix, expected, rtol=1e-10, atol=1e-12)
    alone = Interactions.joined(parts[:1], [np.full(len(parts[0]), 4.0)])
    np.testing.assert_allclose(alone.stderr, 4 * parts[0].stderr, rtol=1e-10)


def samples(rng: np.random.Generator, **changes: np.ndarray) -> tuple[np.ndarray, Samples]:
    count = 90
    arrays = {
        "tasks": np.arange(count) % 3,
        "episodes": np.arange(count) // 3 % 6 + 6 * (np.arange(count) % 3),
    }
    return rng.normal(size=(count, D)), Samples(rng.normal(size=count), **{**arrays, **changes})


def test_they_are_those_of_mean_gradients_in_the_metric_of_the_hessian() -> None:
    rng = np.random.default_rng(6)
    features, own = samples(rng, offsets=rng.normal(size=90))
    hessian = np.cov(features.T)
    found = first_order_interactions(features, own, hessian, LAMBDA)
    assert not found.common and [len(each) for each in found.vectors] == [6, 6, 6]
    pulls = own.advantages.clip(min=0) - np.abs(own.advantages) / (1 + np.exp(-own.offsets))
    means = [(pulls[:, None] * features)[own.tasks == task].mean(axis=0) for task in range(3)]
    inverse = np.linalg.inv(hessian + LAMBDA * np.eye(D))
    for i, j in [(0, 1), (1, 2)]:
        assert found.matrix[i, j] == pytest.approx(means[i] @ inverse @ means[j], rel=1e-8)


def test_an_episode_counts_by_its_samples() -> None:
    # Without noise a task has as much in common with itself as with another one that is like it.
    lengths = np.array([300, 20, 20, 20, 20])
    episodes = np.repeat(np.arange(10), np.tile(lengths, 2))
    own = Samples(np.ones(760), tasks=np.repeat([0, 1], 380), episodes=episodes)
    found = first_order_interactions(np.ones((760, 1)), own, np.eye(1), LAMBDA)
    np.testing.assert_allclose(found.matrix, 0.25 / (1 + LAMBDA), rtol=1e-10)


def test_a_block_that_serves_all_tasks_shares_its_clusters() -> None:
    rng = np.random.default_rng(7)
    features = rng.normal(size=(60, D))
    shared = Samples(rng.normal(size=(3, 60)), episodes=np.arange(60) // 6)
    found = first_order_interactions(features, shared, np.eye(D), LAMBDA)
    assert found.common and len(found.vectors[0]) == 10
    alone = first_order_interactions(
        features, Samples(shared.advantages[1], episodes=shared.episodes), np.eye(D), 0.2
    )
    np.testing.assert_allclose(found.matrix[1, 1], alone.matrix[0, 0], rtol=1e-10)


def test_clusters_of_several_tasks_are_what_depends_on_each_other() -> None:
    rng = np.random.default_rng(8)
    features, own = samples(rng, clusters=np.arange(90) // 3 % 6)
    assert first_order_interactions(features, own, np.eye(D), LAMBDA).common
    mixed = np.where(own.tasks == 0, own.episodes + 6, own.episodes)
    with pytest.raises(ValueError, match="let all share them, or none"):
        first_order_interactions(features, samples(rng, clusters=mixed)[1], np.eye(D), LAMBDA)
    with pytest.raises(ValueError, match="2 independent episodes: give at least 4"):
        first_order_interactions(
            features, samples(rng, episodes=own.episodes % 2 + 2 * own.tasks)[1], np.eye(D), 0.2
        )


def test_many_clusters_are_put_together() -> None:
    rng = np.random.default_rng(9)
    features, advantages = rng.normal(size=(2000, D)), rng.normal(size=2000)
    found = first_order_interactions(features, Samples(advantages), np.eye(D), LAMBDA)
    assert len(found.vectors[0]) == 256
    mean = (0.5 * advantages[:, None] * features).mean(axis=0) / np.sqrt(1 + LAMBDA)
    np.testing.assert_allclose(found.vectors[0].mean(axis=0), mean, rtol=1e-9)


@pytest.mark.parametrize("common", [False, True])
def test_draws_spread_like_the_standard_errors(common: bool) -> None:
    rng = np.random.default_rng(5)
    shared = rng.normal(size=(80, 4)) if common else 0.0
    aims = np.array([[1.0, 0, 0, 0], [1.0, 0.5, 0, 0], [-1.0, 0, 1, 0]])
    own = Interactions(tuple(rng.normal(aim, 1.0, size=(80, 4)) + shared for aim in aims), common)
    draws = own.draws(400, seed=1)
    np.testing.assert_allclose(draws.std(axis=0) / own.stderr, 1.0, atol=0.25)
    np.testing.assert_allclose(draws.mean(axis=0), own.matrix, atol=0.3 * own.stderr.max())
    np.testing.assert_array_equal(draws, own.draws(400, seed=1))


def test_pooled_tasks_interact_as_they_do_on_average() -> None:
    rng = np.random.default_rng(6)
    own = Interactions(tuple(rng.normal(size=(30, 4)) for _ in range(4)), common=False)
    pooled = own.pooled([(0, 1), (2, 3)])
    assert pooled.matrix[0, 1] == pytest.approx(own.matrix[:2, 2:].mean())
    assert len(pooled.vectors[0]) == 60


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("vectors", "common", "message"),
    [
        ((), False, "vectors have the shapes none: give"),
        ((np.ones(9),) * 2, False, r"vectors have the shapes \(9,\): give \[clusters, d\] for each task"),
        ((np.ones((9, 2)), np.ones((9, 3))), False, r"the shapes \(9, 2\), \(9, 3\): give"),
        ((np.ones((9, 2)), np.ones((8, 2))), True, "tasks have 8 to 9 common clusters: give equally many"),
        ((np.ones((9, 2)), np.full((9, 2), np.nan)), False, "vectors of task 1 are not finite: check"),
        ((np.ones((3, 2)),) * 2, False, "a task has 3 independent episodes: give at least 4"),
    ],
)
def test_vectors_that_do_not_fit_are_named(vectors: tuple, common: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Interactions(vectors, common)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": (np.ones((9, 1)),)}, r"weights have the shapes \(9, 1\): give one for each cluster"),
        ({"weights": (np.ones((9, 1)), np.ones((8, 1)))}, r"the shapes \(9, 1\), \(8, 1\): give one for"),
        ({"weights": (np.ones((9, 1)), np.zeros((9, 1)))}, "weights are not all positive and finite: give"),
        ({"widths": (1, 2)}, r"widths are \(1, 2\) for vectors of 2 columns: give one for each model"),
    ],
)
def test_weights_of_clusters_that_do_not_fit_are_named(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Interactions((np.ones((9, 2)),) * 2, common=False, **changes)


@pytest.mark.wrong_types
def test_whole_numbers_and_tensors_are_vectors_too() -> None:
    numbers = np.random.default_rng(0).integers(-100, 100, (3, 20, 4))
    plain = Interactions(tuple(numbers.astype(float)), common=False)
    for other in (numbers.astype(np.int8), numbers.tolist(), torch.tensor(numbers, dtype=torch.float64)):
        found = Interactions(tuple(other), common=False)
        np.testing.assert_array_equal(found.matrix, plain.matrix)
        np.testing.assert_array_equal(found.stderr, plain.stderr)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([np.ones(2)], r"weights have the shape \(1, 2\) for 2 parts of 2 tasks: give a finite one for each"),
        ([np.ones(2), np.array([1, np.nan])], "give a finite one for each"),
        ([np.ones(2), np.array([1, -0.5])], r"weights go down to -0.5: give none below 0"),
    ],
)
def test_weights_that_do_not_fit_are_named(weights: list, message: str) -> None:
    part = Interactions((np.ones((5, 2)),) * 2, common=False)
    with pytest.raises(ValueError, match=message):
        Interactions.joined([part, part], weights)


def test_a_task_is_pooled_once_unless_no_cluster_meets_itself() -> None:
    vectors = tuple(np.random.default_rng(0).normal(size=(3, 20, 4)))
    with pytest.raises(
        ValueError, match="task 1 is in more than one group: its episodes would meet themselves"
    ):
        Interactions(vectors, common=False).pooled([(0, 1), (1, 2)])
    shared = Interactions(vectors, common=True).pooled([(0, 1), (1, 2)])
    assert abs(shared.matrix[0, 1]) < 3 * shared.stderr[0, 1]
