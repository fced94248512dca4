from itertools import permutations

import numpy as np
import pytest

from gradex.affinity.partition import Partition, canonical_labels
from tests.oracles.clustering import objective


def symmetric(n, seed):
    matrix = np.random.default_rng(seed).standard_normal((n, n))
    return matrix + matrix.T


def test_labels_are_numbered_by_first_occurrence():
    np.testing.assert_array_equal(canonical_labels(np.array([7, 2, 7, 5, 2, 0])), [0, 1, 0, 2, 1, 3])


def test_fields():
    matrix = symmetric(6, 0)
    partition = Partition.of(
        matrix, np.array([2, 0, 2, 1, 0, 0]), upper_bound=50.0, status="by hand", trace_penalty=0.5
    )
    assert partition.groups == ((0, 2), (1, 4, 5), (3,))
    np.testing.assert_array_equal(partition.labels, [0, 1, 0, 2, 1, 1])
    assert partition.k == 3
    assert partition.objective == pytest.approx(objective(matrix, partition.groups) - 3 * 0.5)
    assert repr(partition).startswith("Partition(6 tasks, k=3: {0, 2} {1, 4, 5} {3}; objective ")
    assert repr(partition).endswith(", by hand)")
    with pytest.raises(ValueError, match="read-only"):
        partition.labels[0] = 1


def test_chance_is_the_mean_over_all_ways_to_deal_the_tasks_out():
    matrix = symmetric(6, 0)
    for labels in ([0, 0, 1, 1, 1, 2], [0, 1, 2, 2, 2, 2]):
        dealt = [
            Partition.of(matrix, np.array(labels)[list(order)], upper_bound=0.0, status="")
            for order in permutations(range(6))
        ]
        assert dealt[0].chance == pytest.approx(np.mean([partition.objective for partition in dealt]))


def test_gap_runs_from_proved_to_chance():
    matrix, labels = symmetric(6, 0), np.array([0, 0, 1, 1, 2, 2])
    value = Partition.of(matrix, labels, upper_bound=0.0, status="")
    assert Partition.of(matrix, labels, upper_bound=value.objective, status="").gap == 0.0
    above = value.objective + (value.objective - value.chance)
    assert Partition.of(matrix, labels, upper_bound=above, status="").gap == pytest.approx(0.5)
    assert Partition.of(np.ones((4, 4)), np.array([0, 1, 1, 1]), upper_bound=4.0, status="").gap == 0.0


def test_agreement():
    partition = Partition.of(np.eye(6), np.array([0, 0, 1, 1, 2, 2]), upper_bound=3.0, status="")
    assert partition.agreement(np.array([5, 5, 3, 3, 4, 4])) == pytest.approx((1.0, 1.0))
    unrelated = partition.agreement(np.array([0, 1, 0, 1, 0, 1]))
    assert unrelated.nmi == pytest.approx(0.0, abs=1e-12)
    assert unrelated.ami < 0.0
    with pytest.raises(ValueError, match="one label per task"):
        partition.agreement(np.array([0, 1]))
