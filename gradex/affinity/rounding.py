"""From the solution of the relaxation to groups: candidates by clustering, each improved by local search."""

import warnings

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from gradex.affinity.partition import canonical_labels, group_objective
from gradex.affinity.relaxation import centred


def round_relaxation(
    matrix: Float[np.ndarray, "n n"], relaxed: Float[np.ndarray, "n n"], k: int
) -> Int[np.ndarray, " n"]:
    """Find k non-empty groups of high objective near the solution of the relaxation.

    Candidates are average linkage with X as similarity, and what k-means on the k leading eigenvectors of X
    finds from ten starts; `local_search` improves each, and the best is kept. Where the relaxation is tight
    they coincide. Deterministic.

    Parameters
    ----------
    matrix : array [n, n]
        Symmetric affinities U.
    relaxed : array [n, n]
        Solution X of the relaxation.
    k
        Number of groups, 1..n.

    Returns
    -------
    array [n] of int
        Group of each task, 0..k-1.
    """
    n = len(matrix)
    if k in (1, n):
        return np.arange(n) % k
    shape = centred(matrix)
    candidates = np.stack([_linkage_labels(relaxed, k), *_spectral_labels(relaxed, k)])
    filled = [canonical_labels(_fill_empty_groups(labels, k)) for labels in candidates]
    improved = [local_search(shape, labels) for labels in np.unique(filled, axis=0)]
    return max(improved, key=lambda labels: group_objective(shape, labels))


def local_search(matrix: Float[np.ndarray, "n n"], labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Make the best move of one task, or the best swap of two, until none raises the objective.

    Parameters
    ----------
    matrix : array [n, n]
        Symmetric affinities U.
    labels : array [n] of int
        Group of each task, 0..k-1, no group empty.

    Returns
    -------
    array [n] of int
        Group of each task, with the same k non-empty groups.
    """
    labels = labels.copy()
    k = int(labels.max()) + 1
    tasks = np.arange(len(labels))
    own = np.diag(matrix)
    tolerance = 1e-10 * np.abs(matrix).max()
    while True:
        members = np.eye(k)[labels]
        size = members.sum(axis=0)
        to_group = matrix @ members  # [task, group]: sum of the task's affinities to the group
        within = (members * to_group).sum(axis=0)
        to_own = to_group[tasks, labels]

        # A task leaves its group, unless that would be left empty, and joins another.
        remaining = size[labels] - 1
        leave = (within[labels] - 2 * to_own + own) / np.maximum(remaining, 1) - (within / size)[labels]
        leave[remaining == 0] = -np.inf
        join = (within + 2 * to_group + own[:, None]) / (size + 1) - within / size
        move = leave[:, None] + join
        move[tasks, labels] = -np.inf

        # [i, j]: what the group of i gains when j takes the place of i there.
        gained = 2 * (to_group[:, labels].T - matrix) + own
        lost = 2 * to_own - own
        replaced = (gained - lost[:, None]) / size[labels][:, None]
        swap = replaced + replaced.T
        swap[labels[:, None] == labels] = -np.inf

        if max(move.max(), swap.max()) <= tolerance:
            return labels
        if move.max() >= swap.max():
            task, group = np.unravel_index(np.argmax(move), move.shape)
            labels[task] = group
        else:
            pair = list(np.unravel_index(np.argmax(swap), swap.shape))
            labels[pair] = labels[pair[::-1]]


def _spectral_labels(relaxed: Float[np.ndarray, "n n"], k: int) -> list[Int[np.ndarray, " n"]]:
    """Cluster the rows of the k leading eigenvectors by k-means, from ten starts."""
    vectors = np.linalg.eigh(relaxed)[1][:, -k:]
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # fewer than k distinct rows: empty groups are filled later
        return [
            KMeans(k, n_init=1, random_state=start).fit(vectors).labels_.astype(np.int64)
            for start in range(10)
        ]


def _linkage_labels(relaxed: Float[np.ndarray, "n n"], k: int) -> Int[np.ndarray, " n"]:
    """Cluster by average linkage with X as similarity."""
    distance = np.maximum(relaxed.max() - relaxed, 0.0)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), method="average")
    return fcluster(tree, k, criterion="maxclust").astype(np.int64) - 1


def _fill_empty_groups(labels: Int[np.ndarray, " n"], k: int) -> Int[np.ndarray, " n"]:
    """Give every empty group one task of the group that is largest then."""
    labels = labels.copy()
    for group in np.setdiff1d(np.arange(k), labels):
        labels[np.flatnonzero(labels == np.bincount(labels).argmax())[-1]] = group
    return labels
