"""Correlation clustering against all partitions of few tasks."""

from collections.abc import Iterator

import numpy as np
import pytest

from gradex.affinity import CorrelationGrouping, correlated_labels


def all_labels(n: int, k: int) -> Iterator[np.ndarray]:
    """Give every partition of n tasks into at most k groups, as labels in the order of first occurrence."""

    def extended(labels: list[int]) -> Iterator[list[int]]:
        if len(labels) == n:
            yield labels
            return
        for label in range(min(max(labels, default=-1) + 2, k)):
            yield from extended([*labels, label])

    yield from map(np.array, extended([]))


def sum_within(matrix: np.ndarray, labels: np.ndarray) -> float:
    pairs = np.triu_indices(len(labels), 1)
    return float(matrix[pairs][(labels[:, None] == labels)[pairs]].sum())


def drawn(n: int, seed: int) -> np.ndarray:
    matrix = np.random.default_rng(seed).normal(size=(n, n))
    return matrix + matrix.T


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_no_partition_has_a_larger_sum(k: int) -> None:
    for seed in range(20):
        matrix = drawn(7, seed)
        best = max(sum_within(matrix, labels) for labels in all_labels(7, k))
        assert sum_within(matrix, correlated_labels(matrix, k)) == pytest.approx(best)


def test_no_partition_is_above_the_bound() -> None:
    matrix = drawn(7, seed=4)
    partition = CorrelationGrouping().partition(matrix, k=7)
    sums = [sum_within(matrix, labels) for labels in all_labels(7, 7)]
    assert partition.objective == pytest.approx(max(sums))
    assert partition.objective <= partition.upper_bound
    assert 0 < partition.gap < 1
    sizes = [
        labels
        for labels in all_labels(7, 7)
        if sorted(np.bincount(labels)) == sorted(map(len, partition.groups))
    ]
    assert partition.chance == pytest.approx(np.mean([sum_within(matrix, labels) for labels in sizes]))


def test_without_a_limit_no_group_has_parts_that_harm_each_other() -> None:
    matrix = drawn(9, seed=1)
    partition = CorrelationGrouping().partition(matrix, k=9)
    for group in partition.groups:
        for labels in all_labels(len(group), 2):
            apart = labels[:, None] != labels
            assert matrix[np.ix_(group, group)][apart].sum() >= -1e-9


@pytest.mark.parametrize("groups", [5, 10])
def test_planted_groups_of_many_tasks_are_found(groups: int) -> None:
    planted = np.arange(100) % groups
    matrix = np.where(planted[:, None] == planted, 1.0, -0.2) + drawn(100, seed=3) / 2
    labels = correlated_labels(matrix, groups)
    assert ((labels[:, None] == labels) == (planted[:, None] == planted)).all()
    coarser = correlated_labels(matrix, groups - 1)
    assert sum_within(matrix, coarser) >= sum_within(matrix, planted % (groups - 1))


def test_neither_order_nor_unit_nor_diagonal_matters() -> None:
    matrix, order = drawn(8, seed=2), np.random.default_rng(0).permutation(8)
    labels = correlated_labels(matrix, 8)
    other = correlated_labels(7.0 * matrix[np.ix_(order, order)] + np.diag(np.arange(8.0)), 8)
    assert ((other[:, None] == other) == (labels[:, None] == labels)[np.ix_(order, order)]).all()


def test_where_all_help_each_other_there_is_one_group_however_many_may_be() -> None:
    assert CorrelationGrouping().partition(np.ones((5, 5)) + np.eye(5), k=4).k == 1
    assert CorrelationGrouping().partition(-np.ones((5, 5)), k=5).k == 5


def test_an_impossible_number_of_groups_is_refused() -> None:
    with pytest.raises(ValueError, match="k=6"):
        CorrelationGrouping().partition(np.ones((5, 5)), k=6)
