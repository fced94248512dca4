"""What every way of grouping keeps to; `test_invariances` holds what none may depend on."""

import numpy as np
import pytest

from gradex.affinity.groupings import ExhaustiveGrouping, RandomGrouping, SemidefiniteGrouping
from gradex.affinity.partition import canonical_labels
from tests.oracles.clustering import best_partition, best_penalised_partition, objective

GROUPINGS = [
    SemidefiniteGrouping(),
    ExhaustiveGrouping(),
    RandomGrouping(seed=0),
    RandomGrouping(seed=1),
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
