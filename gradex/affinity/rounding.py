"""Groups of high objective: candidates by clustering, each improved by local search."""

import warnings
from functools import lru_cache
from math import comb, factorial

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn import config_context
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from gradex.affinity.affinity import checked_matrix
from gradex.affinity.certificate import centred, mean_eigenvalue
from gradex.affinity.partition import canonical_labels, group_objective
from gradex.threads import kmeans_threads_for

# Above this many tasks local search is slow, and improves only the best few candidates to the end.
_TASKS_ALL_SWAPPED = 100
_CANDIDATES_SWAPPED = 3
# Of few tasks all groups are looked through, which takes up to twice as long as the relaxation. Of more, the
# best groups are shaken this often: without structure there are many local optima.
_TASKS_TRIED = 10
# Of so few tasks at most so many groupings, as of twelve into two groups, are compared faster than found.
_TASKS_COMPARED, _COMPARED = 12, 2500
_TASKS_SHAKEN = 50
_SHAKES = 24


def propose_groups(
    matrix: Float[np.ndarray, "n n"], k: int | None, price: float | None = None
) -> Int[np.ndarray, " n"]:
    """Find groups of high objective without the relaxation: spectral clustering, then `local_search`.

    Where there are few groupings, as of twelve tasks into two groups, all are compared. Groups are numbered
    0..k-1, and none is empty.

    Parameters
    ----------
    matrix : array [n, n]
        Symmetric affinities U.
    k
        Number of groups, 1..n.
    price
        Price of a group instead of ``k``, lambda in the paper. Around as many groups are tried as eigenvalues
        exceed it.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity import propose_groups
    >>> matrix = np.array([[0, 2, -1, 0], [2, 0, 0, -1], [-1, 0, 0, 1], [0, -1, 1, 0.0]])
    >>> labels = propose_groups(matrix, k=2)
    >>> bool(labels[0] == labels[1] != labels[2] == labels[3])
    True
    """
    matrix, n = checked_matrix(matrix), len(matrix)
    shape = centred(matrix)
    eigenvalues, vectors = np.linalg.eigh(shape)
    counts = {k} if k is not None else set()
    if price is not None:
        guess = 1 + int((eigenvalues > price - mean_eigenvalue(matrix)).sum())
        counts = {count for count in (1, guess - 1, guess, guess + 1) if 1 <= count <= n}
    candidates = []
    for count in sorted(counts):
        if (every := _all_labels(n, count)) is not None:
            labels = every[np.argmax(_objectives(shape, every, count))].copy()
        else:
            # e has eigenvalue 0 and is constant: what separates k groups is k - 1 vectors.
            starts = _kmeans_labels(vectors[:, n - count + 1 :], count, starts=3)
            labels = _improved(shape, starts, count, swapped=1)
        candidates.append((group_objective(matrix, labels) - (price or 0.0) * count, labels))
    return max(candidates, key=lambda candidate: candidate[0])[1]


def round_relaxation(
    matrix: Float[np.ndarray, "n n"], relaxed: Float[np.ndarray, "n n"], k: int
) -> Int[np.ndarray, " n"]:
    """Find k non-empty groups of high objective near the solution of the relaxation, numbered 0..k-1.

    Candidates are average linkage with X as similarity, and what k-means on the k leading eigenvectors of X
    finds from four starts; `local_search` improves each, above a hundred tasks the best three, and the best
    is kept. Where the relaxation is tight they coincide. Where it is not, up to ten tasks get the best of all
    groups, and up to fifty local search is iterated from random changes of the best. Deterministic.

    Parameters
    ----------
    matrix : array [n, n]
        Symmetric affinities U.
    relaxed : array [n, n]
        Solution X of the relaxation.
    k
        Number of groups, 1..n.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity import round_relaxation, solve_relaxation
    >>> matrix = np.array([[0, 2, -1, 0], [2, 0, 0, -1], [-1, 0, 0, 1], [0, -1, 1, 0.0]])
    >>> labels = round_relaxation(matrix, solve_relaxation(matrix, k=2).X, k=2)
    >>> bool(labels[0] == labels[1] != labels[2] == labels[3])
    True
    """
    matrix, n = checked_matrix(matrix), len(matrix)
    if k in (1, n):
        return np.arange(n) % k
    leading = np.linalg.eigh(relaxed)[1][:, -k:]
    candidates = [linkage_labels(relaxed, k), *_kmeans_labels(leading, k, starts=4)]
    shape = centred(matrix)
    best = _improved(
        shape, candidates, k, len(candidates) if n <= _TASKS_ALL_SWAPPED else _CANDIDATES_SWAPPED
    )
    # Groups that are worth as much as the relaxation cannot be improved; with another trace it may be less.
    missed = abs(float(np.vdot(shape, relaxed)) - group_objective(shape, best))
    if missed <= 1e-6 * np.abs(shape).max() or n > _TASKS_SHAKEN:
        return best
    return best_labels(shape, k) if n <= _TASKS_TRIED else _shaken(shape, best)


def local_search(matrix: Float[np.ndarray, "n n"], labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Make the best move of one task or, where none helps, the best swap of two, until neither helps.

    Parameters
    ----------
    matrix : array [n, n]
        Symmetric affinities U.
    labels : array [n] of int
        Group of each task, 0..k-1, no group empty; as many are returned.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity import local_search
    >>> matrix = np.array([[0, 2, -1, 0], [2, 0, 0, -1], [-1, 0, 0, 1], [0, -1, 1, 0.0]])
    >>> local_search(matrix, np.array([0, 1, 0, 1])).tolist()
    [1, 1, 0, 0]
    """
    matrix, labels = checked_matrix(matrix), np.asarray(labels)
    numbers = np.unique(labels)
    if labels.shape != matrix.shape[:1] or not np.array_equal(numbers, np.arange(len(numbers))):
        raise ValueError(
            f"labels of shape {labels.shape} with numbers {numbers.tolist()} do not fit {len(matrix)} tasks: "
            "give each the number of its group, from 0 on without gaps"
        )
    return _searched(matrix, labels.astype(np.int64))


def _searched(matrix: Float[np.ndarray, "n n"], labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    own = np.diag(matrix)
    tolerance = 1e-10 * np.abs(matrix).max()
    while True:
        labels = _moved(matrix, labels)
        members = np.eye(int(labels.max()) + 1)[labels]
        size = members.sum(axis=0)[labels]
        to_group = matrix @ members
        # [i, j]: what the group of i gains when j takes the place of i there.
        gained = 2 * (to_group[:, labels].T - matrix) + own
        lost = 2 * to_group[np.arange(len(labels)), labels] - own
        replaced = (gained - lost[:, None]) / size[:, None]
        swap = replaced + replaced.T
        swap[labels[:, None] == labels] = -np.inf
        if swap.max() <= tolerance:
            return labels
        pair = list(np.unravel_index(np.argmax(swap), swap.shape))
        labels[pair] = labels[pair[::-1]]


def best_labels(matrix: Float[np.ndarray, "n n"], k: int) -> Int[np.ndarray, " n"]:
    """Find the k groups of highest objective among all, by dynamic programming over all sets of tasks.

    The best way to make c groups of a set is some group with its first task, and the best way to make c - 1
    of the rest: 3^n steps for all sets and c.
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


@lru_cache(maxsize=32)
def _all_labels(n: int, k: int) -> Int[np.ndarray, "groupings n"] | None:
    """List all groupings of n tasks into k groups, numbered as they first occur; None if they are many."""
    if k in (1, n):
        return np.arange(n)[None] % k
    if n > _TASKS_COMPARED or k > n or _count(n, k) > _COMPARED:
        return None
    alone, joined = _all_labels(n - 1, k - 1), _all_labels(n - 1, k)
    assert alone is not None and joined is not None  # for the type checker
    last = np.concatenate([np.full(len(alone), k - 1), np.tile(np.arange(k), len(joined))])
    return np.column_stack([np.concatenate([alone, np.repeat(joined, k, axis=0)]), last])


def _count(n: int, k: int) -> int:
    """Count the groupings of n tasks into k groups (Stirling numbers of the second kind)."""
    return sum((-1) ** (k - j) * comb(k, j) * j**n for j in range(k + 1)) // factorial(k)


def _objectives(
    shape: Float[np.ndarray, "n n"], groupings: Int[np.ndarray, "groupings n"], k: int
) -> Float[np.ndarray, " groupings"]:
    """Give the objective of each grouping."""
    members = np.eye(k)[groupings]
    return ((np.tensordot(members, shape, (1, 0)).mT * members).sum(axis=1) / members.sum(axis=1)).sum(axis=1)


def _moved(matrix: Float[np.ndarray, "n n"], labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Make the best move of one task until none raises the objective."""
    labels = labels.copy()
    tasks = np.arange(len(labels))
    own = np.diag(matrix)
    tolerance = 1e-10 * np.abs(matrix).max()
    members = np.eye(int(labels.max()) + 1)[labels]
    size = members.sum(axis=0)
    to_group = matrix @ members  # [task, group]: sum of the task's affinities to the group
    within = (members * to_group).sum(axis=0)
    while True:
        # A task leaves its group, unless that would be left empty, and joins another.
        to_own, value = to_group[tasks, labels], within / size
        remaining = size[labels] - 1
        leave = (within[labels] - 2 * to_own + own) / np.maximum(remaining, 1) - value[labels]
        leave[remaining == 0] = -np.inf
        move = leave[:, None] + (within + 2 * to_group + own[:, None]) / (size + 1) - value
        move[tasks, labels] = -np.inf
        task, target = np.unravel_index(np.argmax(move), move.shape)
        if move[task, target] <= tolerance:
            return labels
        source = labels[task]
        within[source] -= 2 * to_group[task, source] - own[task]
        within[target] += 2 * to_group[task, target] + own[task]
        to_group[:, source] -= matrix[:, task]
        to_group[:, target] += matrix[:, task]
        size[source] -= 1
        size[target] += 1
        labels[task] = target


def _shaken(shape: Float[np.ndarray, "n n"], labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Iterate local search from the best groups, by turns with a quarter and all tasks put elsewhere."""
    rng = np.random.default_rng(0)
    n, k = len(labels), int(labels.max()) + 1
    value = group_objective(shape, labels)
    for shake in range(_SHAKES):
        tasks = rng.permutation(n)[: n if shake % 2 else -(-n // 4)]
        trial = labels.copy()
        trial[tasks] = rng.integers(k, size=len(tasks))
        trial = _searched(shape, fill_empty_groups(trial, k))
        if (trial_value := group_objective(shape, trial)) > value + 1e-12 * abs(value):
            labels, value = trial, trial_value
    return labels


def _improved(
    shape: Float[np.ndarray, "n n"], candidates: list[Int[np.ndarray, " n"]], k: int, swapped: int
) -> Int[np.ndarray, " n"]:
    """Improve all candidates by moves and the best few to the end; return the best."""
    filled = np.unique([canonical_labels(fill_empty_groups(labels, k)) for labels in candidates], axis=0)
    moved = sorted(
        (_moved(shape, labels) for labels in filled), key=lambda labels: -group_objective(shape, labels)
    )
    improved = [_searched(shape, labels) for labels in moved[:swapped]]
    return max(improved, key=lambda labels: group_objective(shape, labels))


def _kmeans_labels(
    vectors: Float[np.ndarray, "n dimensions"], k: int, starts: int
) -> list[Int[np.ndarray, " n"]]:
    """Cluster the rows by k-means, from several starts."""
    # Of a clustering of few rows, which are known to be finite, the checks would take a fifth of the time.
    quick = config_context(assume_finite=True, skip_parameter_validation=True)
    with warnings.catch_warnings(), kmeans_threads_for(len(vectors)), quick:
        # Fewer than k distinct rows: empty groups are filled later.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return [
            KMeans(k, n_init=1, random_state=start).fit(vectors).labels_.astype(np.int64)
            for start in range(starts)
        ]


def linkage_labels(
    similarity: Float[np.ndarray, "n n"], k: int, least: float | None = None
) -> Int[np.ndarray, " n"]:
    """Cluster by average linkage into k groups, or fewer while groups are `least` alike on average."""
    distance = np.maximum(similarity.max() - similarity, 0.0)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), method="average")
    if least is not None:
        k = min(k, 1 + int(np.sum(tree[:, 2] > similarity.max() - least)))
    return fcluster(tree, k, criterion="maxclust").astype(np.int64) - 1


def fill_empty_groups(labels: Int[np.ndarray, " n"], k: int) -> Int[np.ndarray, " n"]:
    """Give every empty group one task of the group that is largest then."""
    labels = labels.copy()
    for group in np.setdiff1d(np.arange(k), labels):
        labels[np.flatnonzero(labels == np.bincount(labels).argmax())[-1]] = group
    return labels
