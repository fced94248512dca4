"""How sure affinities are: the bootstrap over what they were estimated from (Efron 1979).

Affinities are uncertain because other episodes would have scored the subsets otherwise, and because other
subsets could have been scored. Each draw renews both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import comb

import numpy as np
from jaxtyping import Float, Int, Num

from gradex.affinity.affinity import Affinity
from gradex.affinity.rivals import Grouping
from gradex.affinity.rounding import propose_groups
from gradex.affinity.subsets import membership
from gradex.seeds import generator_for


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Affinities of the same tasks, estimated from scores that were drawn again.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> from gradex.affinity import AffinityGraph, sample_subsets
    >>> subsets = sample_subsets(8, count=30, size=3, seed=0)
    >>> noise = np.random.default_rng(0).normal(0, 0.1, len(subsets))
    >>> score = np.array([len({task % 2 for task in s}) == 1 for s in subsets]) + noise
    >>> per_task = np.full((len(subsets), 8), np.nan)
    >>> for row, subset in enumerate(subsets):
    ...     per_task[row, list(subset)] = score[row]
    >>> graph = AffinityGraph.from_scores(SimpleNamespace(subsets=subsets, score=score, per_task=per_task))
    >>> draws = graph.bootstrap(draws=10, seed=0)
    >>> len(draws), draws.stderr.shape
    (10, (8, 8))
    >>> graph.partition(k=2, bootstrap=draws).groups
    ((0, 2, 4, 6), (1, 3, 5, 7))
    """

    matrices: Float[np.ndarray, "draws n n"]
    """Affinities of each draw, two draws or more."""

    @cached_property
    def stderr(self) -> Float[np.ndarray, "n n"]:
        """Standard error of each affinity, in its units."""
        return self.matrices.std(axis=0, ddof=1)

    def groups(self, k: int, method: Grouping | None = None) -> Int[np.ndarray, "draws n"]:
        """Group the tasks in every draw.

        Parameters
        ----------
        k
            Number of groups, 1..n.
        method
            How to group. By default `propose_groups`, which finds what the semidefinite relaxation finds, or
            nearly, in a fraction of its time.

        Returns
        -------
        array [draws, n] of int
            Group of each task, 0..k-1.
        """
        if method is None:
            return np.array([propose_groups(matrix, k) for matrix in self.matrices])
        return np.array([method.partition(matrix, k).labels for matrix in self.matrices])

    def __len__(self) -> int:
        return len(self.matrices)


def free_subsets(subsets: Sequence[tuple[int, ...]], n: int) -> int:
    """Return how many of m subsets, of the M of their sizes in all, a draw renews: m (1 - m / M).

    The others stay, and the variance of a mean has the factor 1 - m / M of samples without replacement
    (Cochran 1977, Sec. 2.6). Where all were scored none could have been another.
    """
    m, possible = len(subsets), sum(comb(n, size) for size in {len(subset) for subset in subsets})
    free = m - round(m * m / possible)
    return free if free > 1 else 0


def bootstrap(
    subsets: Sequence[tuple[int, ...]],
    score: Num[np.ndarray, "m *n"],
    score_draws: Num[np.ndarray, "score_draws m *n"],
    n: int,
    affinity: Affinity,
    draws: int,
    seed: int,
) -> Bootstrap:
    """Estimate the affinities again from scores and subsets that were drawn again.

    A draw takes one of the draws of the scores, by turns. Of the subsets some stay, chosen at random, and
    in place of the others, see `free_subsets`, as many are drawn with replacement from among them. Subsets
    without which a pair of tasks would be in none are kept besides.

    Parameters
    ----------
    subsets, score, n, affinity
        m subsets, their scores, the number of tasks and the `Affinity` to estimate.
    score_draws : array [score draws, m] or [score draws, m, n]
        Scores from data that were drawn again, if any.
    draws
        Number of draws; where all subsets stay, no more than there are draws of the scores.
    seed
        Seed of the draws.

    Raises
    ------
    ValueError
        If there are fewer than 2 draws, or nothing to draw from.
    """
    if draws < 2:
        raise ValueError(f"draws={draws} tell no spread; choose at least 2")
    free = free_subsets(subsets, n)
    if not free:
        draws = min(draws, len(score_draws))
    if draws < 2:
        raise ValueError(
            f"all {len(subsets)} subsets of their sizes were scored, once: nothing can be drawn again;"
            " give scores with draws, such as SurrogateEstimator.scores(subsets, draws=20)"
        )
    variants = np.asarray(score_draws if len(score_draws) else score[None], dtype=np.float64)
    rng = generator_for(seed, "bootstrap of affinities")
    matrices = np.empty((draws, n, n))
    for draw in range(draws):
        chosen = _drawn(subsets, n, free, rng)
        matrices[draw] = affinity.matrix(
            [subsets[row] for row in chosen], variants[draw % len(variants)][chosen], n
        )
    return Bootstrap(matrices)


def _drawn(
    subsets: Sequence[tuple[int, ...]], n: int, free: int, rng: np.random.Generator
) -> Int[np.ndarray, " drawn"]:
    """Renew ``free`` of the subsets so that every pair of tasks stays in one; return the numbers of all."""
    order = rng.permutation(len(subsets))
    others = order[:free]
    chosen = np.concatenate([order[free:], others[rng.integers(max(free, 1), size=free)]])
    members = membership([subsets[row] for row in chosen], n)
    covered = (members.T @ members).toarray() > 0
    needed = []
    for row in np.setdiff1d(others, chosen):
        pairs = np.ix_(subsets[row], subsets[row])
        if not covered[pairs].all():
            needed.append(row)
            covered[pairs] = True
    return np.sort(np.concatenate([chosen, np.array(needed, dtype=np.int64)]))
