"""Which subsets of tasks to score: balanced, distinct, every pair covered (PolicyGradEx, Algorithm 2).

The paper draws m subsets of size alpha at random, with m = O(n^2) or O(n log n) so that every pair of tasks
meets. A draw that balances how often pairs meet gets there with fewer subsets, and gives every entry of the
affinity matrix about the same noise.
"""

from collections.abc import Collection, Iterator
from itertools import chain, combinations, islice
from math import comb
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Int
from scipy.sparse import csr_array

from gradex.seeds import generator_for
from gradex.settings import as_seed, as_task, shown, whole

Subsets = Collection[Collection[SupportsIndex]]

# Small subsets are few numbers a meeting: below this the groups of a suite are not told apart reliably.
_MEETINGS = 5


def sample_subsets(n: int, count: int | None, size: int, seed: int) -> list[tuple[int, ...]]:
    """Draw distinct subsets, each sorted, of ``size`` out of ``n`` tasks in which every pair of tasks meets.

    All C(n, size) subsets in lexicographic order when there are at most ``count``; otherwise ``count``
    balanced random ones, built one after the other: each starts from the task with the most pairs that met
    least often and grows by the task that met the present members least often, ties broken at random.
    Without a count, the draw ends as soon as every pair has met in ``size`` subsets, or in 5 if that is more:
    every task is then in about n of them, and has as many scores as there are tasks to tell apart.

    Parameters
    ----------
    n
        Number of tasks.
    count
        Number of subsets, m in the paper; None for as many as it takes, about n^2 / size or more.
    size
        Tasks in a subset, alpha in the paper.
    seed
        Of the random draw.

    Raises
    ------
    ValueError
        If ``n < 2``, if ``size`` is outside 2..n, or if ``count`` subsets leave a pair uncovered: at once
        when no design could do better (Schönheim's bound), otherwise with a count that covers every pair
        under this seed.

    Examples
    --------
    >>> from gradex.affinity import sample_subsets
    >>> sample_subsets(4, count=100, size=3, seed=0)  # there are no more than four
    [(0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3)]
    >>> len(sample_subsets(10, count=30, size=3, seed=0))
    30
    """
    n, size, seed = whole("n", n), whole("size", size), as_seed(seed)
    count = None if count is None else whole("count", count)
    if n < 2:
        raise ValueError(f"n={n} leaves no pair of tasks to compare; give at least 2 tasks")
    if not 2 <= size <= n:
        raise ValueError(f"size={size} is out of range for {n} tasks; give a number from 2 to {n}")
    total = comb(n, size)
    if count is None:
        return _until_met(n, size, max(size, _MEETINGS), seed)
    if count >= total:
        return list(combinations(range(n), size))
    needed = -(-n * -(-(n - 1) // (size - 1)) // size)  # J. Schönheim, On coverings, 1964
    if count < needed:
        raise ValueError(
            f"count={count} subsets of size {size} cannot cover all {comb(n, 2)} pairs of {n} tasks;"
            f" every design needs at least {needed} (Schönheim's bound): take more, or larger ones"
        )
    draw = _balanced_subsets(n, size, generator_for(seed, "subsets"))
    if 2 * count > total:
        # All subsets together are perfectly balanced: leaving out a balanced few keeps the balance.
        left_out = list(islice(draw, total - count))
        subsets = sorted(set(combinations(range(n), size)) - set(left_out))
        draw = reversed(left_out)
    else:
        subsets = list(islice(draw, count))
    uncovered = {(int(i), int(j)) for i, j in np.argwhere(pair_coverage(subsets, n) == 0) if i < j}
    if uncovered:
        left, enough = set(uncovered), count
        while left:
            left.difference_update(combinations(next(draw), 2))
            enough += 1
        raise ValueError(
            f"count={count} subsets of size {size} left {len(uncovered)} of {comb(n, 2)} pairs uncovered;"
            f" count={enough} covers all with seed={seed}"
        )
    return subsets


def _until_met(n: int, size: int, meetings: int, seed: int) -> list[tuple[int, ...]]:
    """Draw balanced subsets until every pair has met often enough; all of them if they are no more."""
    if meetings >= comb(n - 2, size - 2):
        return list(combinations(range(n), size))
    met = np.zeros((n, n), dtype=np.int64)
    np.fill_diagonal(met, meetings)
    missing = n * (n - 1)
    subsets = []
    draw = _balanced_subsets(n, size, generator_for(seed, "subsets"))
    while missing:
        subsets.append(next(draw))
        pairs = np.ix_(subsets[-1], subsets[-1])
        met[pairs] += 1
        missing -= int(np.count_nonzero(met[pairs] == meetings))
    return subsets


def pair_coverage(subsets: Subsets, n: int) -> Int[np.ndarray, "{n} {n}"]:
    """Count in how many subsets each pair of tasks meets; on the diagonal, in how many each task occurs.

    Parameters
    ----------
    subsets, n
        Subsets of task indices, not necessarily of one size, and the number of tasks.

    Raises
    ------
    ValueError
        If a subset is empty, names a task twice or names anything else than tasks 0..n-1.

    Examples
    --------
    >>> from gradex.affinity import pair_coverage
    >>> pair_coverage([(0, 1), (0, 1, 2)], n=3)
    array([[2, 2, 1],
           [2, 2, 1],
           [1, 1, 1]])
    """
    members = membership(subsets, n)
    return (members.T @ members).toarray().astype(np.int64)


def membership(subsets: Subsets, n: int) -> csr_array:
    """Return the indicators [m, n] of the subsets: 1 where a task belongs to one; raise for what is none."""
    try:
        sizes = np.array([len(subset) for subset in subsets], dtype=np.int64)
    except TypeError:
        raise ValueError(f"subsets are {shown(subsets)}: give a sequence of sequences of indices") from None
    if sizes.size == 0 or sizes.min() == 0:
        raise ValueError("a list of subsets needs at least one subset, and every subset at least one task")
    given: list[Any] = list(chain.from_iterable(subsets))
    if set(map(type, given)) != {int}:  # reading one by one takes longer
        given = [as_task(task) for task in given]
    if min(given) < 0 or max(given) >= n:
        wrong = min(given) if min(given) < 0 else max(given)
        raise ValueError(f"a subset names task {wrong}, outside 0..{n - 1}; use the indices of the {n} tasks")
    tasks = np.array(given, dtype=np.int64)
    members = csr_array((np.ones(tasks.size), tasks, np.r_[0, np.cumsum(sizes)]), shape=(len(sizes), n))
    members.sum_duplicates()
    if members.nnz < tasks.size:
        subset = int(np.flatnonzero(np.diff(members.indptr) < sizes)[0])
        raise ValueError(f"subset {subset} names a task twice; list each of its tasks once")
    return members


def entries(members: csr_array) -> tuple[Int[np.ndarray, " scores"], Int[np.ndarray, " scores"]]:
    """Return subset and task of every membership, in the order in which they are stored."""
    return np.repeat(np.arange(members.shape[0]), np.diff(members.indptr)), members.indices


def alone_at(members: csr_array) -> Int[np.ndarray, " n"] | None:
    """Return the row in which each task is alone, the first one; None if there is not one for every task."""
    rows = np.flatnonzero(np.diff(members.indptr) == 1)
    tasks, first = np.unique(members.indices[members.indptr[rows]], return_index=True)
    return rows[first] if len(tasks) == members.shape[1] else None


def _balanced_subsets(n: int, size: int, rng: np.random.Generator) -> Iterator[tuple[int, ...]]:
    """Yield distinct subsets without end; each covers some of the pairs that met least often so far."""
    # A meeting divides a pair's urgency by more than n, so no number of pairs that met often outweighs one
    # that met less.
    decay = 1.0 / (2 * n)
    urgency = np.ones((n, n))
    np.fill_diagonal(urgency, 0.0)
    total_urgency = urgency.sum(axis=1)
    drawn: set[tuple[int, ...]] = set()
    while True:
        noise = 1e-9  # breaks ties only; grows until the subset is a new one, at 100 the draw is uniform
        subset = _most_urgent(urgency, total_urgency, size, np.exp(noise * rng.standard_normal(n)))
        while subset in drawn:
            noise = min(10 * noise, 100.0)
            subset = _most_urgent(urgency, total_urgency, size, np.exp(noise * rng.standard_normal(n)))
        drawn.add(subset)
        yield subset
        members = np.array(subset)
        urgency[np.ix_(members, members)] *= decay
        total_urgency[members] = urgency[members].sum(axis=1)
        if total_urgency.max() < 1e-100:
            urgency *= 1e100
            total_urgency *= 1e100


def _most_urgent(
    urgency: np.ndarray, total_urgency: np.ndarray, size: int, preference: np.ndarray
) -> tuple[int, ...]:
    """Grow a subset from its most urgent task by the task of most urgent pairs with the members."""
    first = int(np.argmax(total_urgency * preference))
    members = [first]
    gain = urgency[first].copy()
    gain[first] = -np.inf
    while len(members) < size:
        task = int(np.argmax(gain * preference))
        members.append(task)
        gain += urgency[task]
        gain[task] = -np.inf
    return tuple(sorted(members))
