"""Slow and obvious clustering: the best partition by looking at every one."""

from collections.abc import Iterator

import numpy as np


def set_partitions(n: int) -> Iterator[list[list[int]]]:
    """Yield all partitions of 0..n-1 into non-empty groups."""
    if n == 0:
        yield []
        return
    for partition in set_partitions(n - 1):
        for c in range(len(partition)):
            yield [[*group, n - 1] if c == d else group for d, group in enumerate(partition)]
        yield [*partition, [n - 1]]


def objective(matrix: np.ndarray, groups: list[list[int]]) -> float:
    """Sum over groups of the affinities within, diagonal included, by group size."""
    return sum(sum(matrix[i, j] for i in group for j in group) / len(group) for group in groups)


def best_partition(matrix: np.ndarray, k: int) -> tuple[float, list[list[int]]]:
    """Return the highest objective of a partition into k groups, and one that has it."""
    candidates = [groups for groups in set_partitions(len(matrix)) if len(groups) == k]
    return max(((objective(matrix, groups), groups) for groups in candidates), key=lambda pair: pair[0])


def best_penalised_partition(matrix: np.ndarray, trace_penalty: float) -> tuple[float, list[list[int]]]:
    """Return the highest objective less trace_penalty per group, and a partition that has it."""
    candidates = [(best_partition(matrix, k), k) for k in range(1, len(matrix) + 1)]
    return max(
        ((value - trace_penalty * k, groups) for (value, groups), k in candidates), key=lambda pair: pair[0]
    )
