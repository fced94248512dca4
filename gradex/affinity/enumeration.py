"""The best groups of few tasks, by dynamic programming over all subsets."""

import numpy as np
from jaxtyping import Float, Int


def best_labels(matrix: Float[np.ndarray, "n n"], k: int) -> Int[np.ndarray, " n"]:
    """Find the k groups of highest objective among all.

    The best way to make c groups of a set is some group with its first task, and the best way to make c - 1
    of the rest: 3^n steps for all sets and c.

    Parameters
    ----------
    matrix : array [n, n]
        Symmetric affinities U.
    k
        Number of groups, 1..n.

    Returns
    -------
    array [n] of int
        Group of each task, 0..k-1.
    """
    # A set of tasks is an integer with one bit per task.
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
