"""Interactions of tasks, and the variances of their estimates, by loops over tuples of clusters."""

from itertools import permutations, product

import numpy as np


def matrix(vectors: list[np.ndarray], common: bool) -> np.ndarray:
    """Average products of two clusters, never of one with itself."""
    n = len(vectors)
    found = np.zeros((n, n))
    for i, j in product(range(n), repeat=2):
        pairs = product(range(len(vectors[i])), range(len(vectors[j])))
        apart = [(a, b) for a, b in pairs if a != b or (i != j and not common)]
        found[i, j] = np.mean([vectors[i][a] @ vectors[j][b] for a, b in apart])
    return found


def variance(vectors: list[np.ndarray], common: bool, i: int, j: int) -> float:
    """Square of the estimate less an unbiased estimate of the square of what it estimates.

    At least half of what the variance of single products alone contributes.
    """
    own, other = vectors[i], vectors[j]
    one_sample = i == j or common
    if one_sample:
        h = np.array(
            [
                [(x @ v + y @ u) / 2 for y, v in zip(own, other, strict=True)]
                for x, u in zip(own, other, strict=True)
            ]
        )
        met = [h[a, b] ** 2 for a, b in permutations(range(len(own)), 2)]
        apart = [h[a, b] * h[c, d] for a, b, c, d in permutations(range(len(own)), 4)]
    else:
        h = own @ other.T
        met = (h**2).ravel().tolist()
        apart = [
            h[a, b] * h[c, d]
            for a, c in permutations(range(len(own)), 2)
            for b, d in permutations(range(len(other)), 2)
        ]
    least = (np.mean(met) - np.mean(apart)) / len(met) / (1 if one_sample else 2)
    return float(max(matrix(vectors, common)[i, j] ** 2 - np.mean(apart), least))
