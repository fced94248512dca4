"""The best partition of few tasks, by dynamic programming over all subsets."""

from typing import final

import numpy as np
from jaxtyping import Float, Int

from gradex.affinity.bound import centred, check_group_count
from gradex.affinity.partition import Partition, canonical_labels, group_objective
from gradex.affinity.rivals import Grouping

_MOST_TASKS = 14


@final
class ExhaustiveGrouping(Grouping):
    """Find the partition of highest objective among all, for at most 14 tasks.

    The best way to make c groups of a set is some group with its first task, and the best way to make c - 1
    of the rest: 3^n steps for all sets and c. Says how far a relaxation and its rounding are from the
    optimum.
    """

    def partition(self, matrix: Float[np.ndarray, "n n"], k: int) -> Partition:
        n = len(matrix)
        check_group_count(n, k, None)
        if n > _MOST_TASKS:
            raise ValueError(
                f"{n} tasks have too many partitions to try all; use SemidefiniteGrouping above {_MOST_TASKS}"
            )
        labels = canonical_labels(_best_labels(centred(matrix), k))
        optimum = group_objective(matrix, labels)
        return Partition.of(matrix, labels, upper_bound=optimum, status="exhaustive")


def _best_labels(matrix: Float[np.ndarray, "n n"], k: int) -> Int[np.ndarray, " n"]:
    """Return the groups of highest objective; a set of tasks is an integer with one bit per task."""
    n = len(matrix)
    everything = 2**n - 1
    members = (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(np.float64)
    worth = ((members @ matrix) * members).sum(axis=1) / np.maximum(members.sum(axis=1), 1.0)
    best = np.full((2**n, k + 1), -np.inf)  # [set, c]: objective of the best c groups of the set
    best[0, 0] = 0.0
    choice = np.zeros((2**n, k + 1), dtype=np.int64)  # the group with the set's first task
    for whole in range(1, 2**n):
        groups = _subsets_with_first(whole)
        objectives = worth[groups][:, None] + best[whole ^ groups, :-1]
        found = objectives.argmax(axis=0)
        best[whole, 1:] = objectives[found, np.arange(k)]
        choice[whole, 1:] = groups[found]
    labels = np.empty(n, dtype=np.int64)
    left = everything
    for count in range(k, 0, -1):
        group = choice[left, count]
        labels[members[group] > 0] = count - 1
        left ^= int(group)
    return labels


def _subsets_with_first(whole: int) -> Int[np.ndarray, " subsets"]:
    """Return all subsets of the set that have its lowest bit."""
    first = whole & -whole
    subsets = np.array([first])
    rest = whole ^ first
    while rest:
        bit = rest & -rest
        subsets = np.concatenate([subsets, subsets | bit])
        rest ^= bit
    return subsets
