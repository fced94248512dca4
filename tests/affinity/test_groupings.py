"""What every way of grouping keeps to; `test_invariances` holds what none may depend on."""

import numpy as np
import pytest

from gradex.affinity.groupings import (
    ExhaustiveGrouping,
    KMeansGrouping,
    RandomGrouping,
    SemidefiniteGrouping,
)
from gradex.affinity.kernel_kmeans import KernelKMeans
from gradex.affinity.partition import canonical_labels
from tests.oracles.clustering import best_partition, best_penalised_partition, objective

GROUPINGS = [
    SemidefiniteGrouping(),
    ExhaustiveGrouping(),
    RandomGrouping(seed=0),
    RandomGrouping(seed=1),
    KMeansGrouping(np.random.default_rng(0).normal(size=(8, 2)), seed=0),
    KernelKMeans(),
]
pytestmark = pytest.mark.parametrize("seed", range(4))
every_grouping = pytest.mark.parametrize("grouping", GROUPINGS, ids=lambda g: type(g).__name__)


def symmetric(seed, n=8):
    matrix = np.random.default_rng(seed).standard_normal((n, n))
    return matrix + matrix.T


@every_grouping
def test_partition_is_canonical_and_certified(grouping, seed):
    matrix = symmetric(seed)
    for k in range(1, 9):
        partition = grouping.partition(matrix, k)
        np.testing.assert_array_equal(partition.labels, canonical_labels(partition.labels))
        assert partition.k == k == len(partition.groups)
        assert sorted(task for group in partition.groups for task in group) == list(range(8))
        assert partition.objective == pytest.approx(objective(matrix, partition.groups))
        assert partition.upper_bound >= best_partition(matrix, k)[0] - 1e-9
        assert partition.gap >= 0.0


@every_grouping
def test_group_count_outside_the_tasks(grouping, seed):
    for k in (0, 9):
        with pytest.raises(ValueError, match=f"k={k} groups .* from 1 to 8"):
            grouping.partition(symmetric(seed), k)


@pytest.mark.wrong_types
@every_grouping
def test_what_is_no_affinity_matrix_is_refused(grouping, seed):
    """Local search would never end on a matrix that is not symmetric."""
    skew = symmetric(seed) + np.triu(symmetric(seed + 1))
    for matrix, message in (
        (skew, r"give \(U \+ U.T\) / 2"),
        (np.where(np.eye(8) > 0, np.nan, symmetric(seed)), r"affinity \[0, 0\] is nan"),
        (symmetric(seed)[:, :7], r"shape \(8, 7\) is not square"),
    ):
        with pytest.raises(ValueError, match=message):
            grouping.partition(matrix, 3)
    tables = [symmetric(seed).tolist(), symmetric(seed).astype(np.float32)]
    assert len({grouping.partition(matrix, 3).groups for matrix in tables}) == 1


def test_penalty_finds_the_best_number_of_groups(seed):
    matrix = symmetric(seed, n=7)
    for penalty in (-1.0, 0.5, 2.0):
        partition = SemidefiniteGrouping().partition(matrix, trace_penalty=penalty)
        assert partition.objective == pytest.approx(best_penalised_partition(matrix, penalty)[0])


def test_penalty_finds_number_and_members_of_planted_groups(seed):
    rng = np.random.default_rng(seed)
    k = 2 + seed % 3
    labels = rng.permutation(np.arange(8) % k)
    matrix = (labels[:, None] == labels) + 0.05 * symmetric(seed)
    partition = SemidefiniteGrouping().partition(matrix, trace_penalty=0.8)
    np.testing.assert_array_equal(partition.labels, canonical_labels(labels))
    best, _ = best_penalised_partition(matrix, 0.8)
    assert partition.objective == pytest.approx(best)
    assert best - 1e-9 <= partition.upper_bound <= best + 1e-4
    assert partition.gap < 1e-4
    together = SemidefiniteGrouping().partition(matrix, trace_penalty=5.0)
    assert (together.k, together.gap) == (1, pytest.approx(0.0, abs=1e-4))
    shifted = SemidefiniteGrouping().partition(matrix + np.eye(8), trace_penalty=1.8)
    np.testing.assert_array_equal(shifted.labels, partition.labels)


def test_random_groups_are_even_and_seeded(seed):
    matrix = symmetric(seed, n=11)
    partition = RandomGrouping(seed).partition(matrix, 3)
    assert sorted(map(len, partition.groups)) == [3, 4, 4]
    np.random.seed(seed)  # noqa: NPY002
    np.testing.assert_array_equal(RandomGrouping(seed).partition(matrix, 3).labels, partition.labels)
    assert len({RandomGrouping(other).partition(matrix, 3).groups for other in range(20)}) > 10


def test_random_pairs_meet_equally_often(seed):
    labels = [RandomGrouping(100 * seed + draw).partition(np.eye(6), 2).labels for draw in range(100)]
    together = np.mean([label[:, None] == label for label in labels], axis=0)[np.triu_indices(6, 1)]
    assert np.abs(together - 0.4).max() < 0.2  # four standard errors


def clustered(seed, k, size=4):
    """Give points around k centres, in columns of very different units, and their clusters."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(k * size) % k)
    centres = np.stack([np.arange(k), np.arange(k)[::-1]], axis=1)
    return (centres[labels] + 0.02 * rng.normal(size=(k * size, 2))) * [1e-3, 1e4], labels


def test_kmeans_finds_clusters_in_any_units(seed):
    features, labels = clustered(seed, 2 + seed % 3)
    n, k = len(features), 2 + seed % 3
    for known in (features, features[:, :1], np.c_[features, np.full(n, 7.0)]):
        partition = KMeansGrouping(known, seed).partition(np.eye(n), k)
        np.testing.assert_array_equal(partition.labels, canonical_labels(labels))
    assert partition.status == "k-means"


def test_kmeans_counts_every_column_alike(seed):
    """Tasks of two kinds, and of two sizes in a smaller unit: both matter as much."""
    rng = np.random.default_rng(seed)
    kind, size = rng.permutation(np.arange(8) % 2), rng.permutation(np.arange(8) % 2)
    features = np.c_[1000.0 * kind, 0.001 * size]
    spread = len(np.unique(features, axis=0))
    found = KMeansGrouping(features, seed).partition(np.eye(8), spread).labels
    np.testing.assert_array_equal(found, canonical_labels(2 * kind + size))


def test_kmeans_takes_no_rounding_for_a_difference(seed):
    kind = np.random.default_rng(seed).permutation(np.arange(6) % 2)
    rounding = np.where(np.arange(6) < 3, 0.3, 0.1 + 0.2)
    columns = [1e6 * rounding, rounding, -rounding]
    found = KMeansGrouping(np.column_stack([1e-9 * kind, *columns]), seed).partition(np.eye(6), 2).labels
    np.testing.assert_array_equal(found, canonical_labels(kind))
    for alone, count in ((rounding, 1), (kind + rounding, 2)):
        with pytest.raises(ValueError, match=f"{count} different rows of features make no 3 groups: choose"):
            KMeansGrouping(alone[:, None], seed).partition(np.eye(6), 3)
    assert KMeansGrouping(rounding[:, None], seed).partition(np.eye(6), 1).groups == ((0, 1, 2, 3, 4, 5),)


def test_kmeans_is_seeded_and_leaves_global_generators_alone(seed):
    features, matrix = np.random.default_rng(seed).normal(size=(12, 3)), np.eye(12)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one, other = (KMeansGrouping(features, seed).partition(matrix, 3).labels for _ in range(2))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_features_that_do_not_do_are_refused(seed):
    for features in (np.zeros((3, 1)), np.full((4, 1), np.nan)):
        with pytest.raises(
            ValueError, match=r"features of shape .* do not fit 4 tasks: give finite rows, one each"
        ):
            KMeansGrouping(features).partition(np.eye(4), 2)
    alike = np.array([[0.0], [0.0], [1.0], [1.0]]) + seed
    with pytest.raises(ValueError, match="2 different rows of features make no 3 groups: choose k=2"):
        KMeansGrouping(alike).partition(np.eye(4), 3)
    assert KMeansGrouping(alike).partition(np.eye(4), 2).groups == ((0, 1), (2, 3))
