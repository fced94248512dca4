"""Interactions of tasks, and the variances of their estimates, by loops over tuples of clusters."""

from itertools import permutations, product

import numpy as np


def matrix(vectors: list[np.ndarray], common: bool, weights: list[np.ndarray] | None = None) -> np.ndarray:
    """Average products of two clusters, never of one with itself, by how many pairs of samples they have."""
    n = len(vectors)
    weights = weights or [np.ones(len(own)) for own in vectors]
    found = np.zeros((n, n))
    for i, j in product(range(n), repeat=2):
        pairs = product(range(len(vectors[i])), range(len(vectors[j])))
        apart = [(a, b) for a, b in pairs if a != b or (i != j and not common)]
        count = sum(weights[i][a] * weights[j][b] for a, b in apart)
        found[i, j] = sum(vectors[i][a] @ vectors[j][b] for a, b in apart) / count
    return found


def variance(
    vectors: list[np.ndarray], common: bool, i: int, j: int, weights: list[np.ndarray] | None = None
) -> float:
    """Square of the estimate less an unbiased estimate of the square of what it estimates.

    At least half of what the variance of single products alone contributes.
    """
    weights = weights or [np.ones(len(own)) for own in vectors]
    one_sample = i == j or common
    h = _products(vectors[i], vectors[j], one_sample)
    count = _products(weights[i][:, None], weights[j][:, None], one_sample)
    if one_sample:
        met = list(permutations(range(len(h)), 2))
        apart = list(permutations(range(len(h)), 4))
    else:
        met = list(product(range(len(h)), range(len(h.T))))
        apart = [
            (a, b, c, d)
            for a, c in permutations(range(len(h)), 2)
            for b, d in permutations(range(len(h.T)), 2)
        ]
    squared = sum(h[a, b] * h[c, d] for a, b, c, d in apart) / sum(
        count[a, b] * count[c, d] for a, b, c, d in apart
    )
    pairs = sum(count[a, b] for a, b in met)
    least = sum(h[a, b] ** 2 - squared * count[a, b] ** 2 for a, b in met) / pairs**2
    least /= 1 if one_sample else 2
    return float(max(matrix(vectors, common, weights)[i, j] ** 2 - squared, least))


def _products(own: np.ndarray, other: np.ndarray, one_sample: bool) -> np.ndarray:
    if not one_sample:
        return own @ other.T
    return np.array(
        [
            [(x @ v + y @ u) / 2 for y, v in zip(own, other, strict=True)]
            for x, u in zip(own, other, strict=True)
        ]
    )
