"""How sure affinities are: the bootstrap over what they were estimated from (Efron 1979).

Affinities are uncertain because other episodes would have scored the subsets otherwise, and because other
subsets could have been scored. Each draw renews both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import comb

import numpy as np
from jaxtyping import Float, Int

from gradex.affinity.affinity import Affinity, SubsetScoresLike, checked_matrix
from gradex.affinity.groupings import Grouping
from gradex.affinity.rounding import propose_groups
from gradex.affinity.subsets import membership
from gradex.seeds import generator_for
from gradex.settings import as_task
from gradex.tensors import from_torch


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
    >>> graph = AffinityGraph.from_scores(SimpleNamespace(subsets=subsets, score=score))
    >>> draws = graph.bootstrap(draws=10, seed=0)
    >>> len(draws), draws.stderr.shape
    (10, (8, 8))
    >>> graph.partition(k=2, bootstrap=draws).groups
    ((0, 2, 4, 6), (1, 3, 5, 7))
    """

    matrices: Float[np.ndarray, "draws n n"]
    """Affinities of each draw, two draws or more; read-only."""

    def __post_init__(self) -> None:
        own = np.asarray(self.matrices).view()  # whoever made them may go on writing
        if own.ndim != 3:
            raise ValueError(f"matrices have the shape {own.shape}: give [draws, n, n]")
        for matrix in own:
            checked_matrix(matrix)
        own.setflags(write=False)
        object.__setattr__(self, "matrices", own)

    @cached_property
    def stderr(self) -> Float[np.ndarray, "n n"]:
        """Standard error of each affinity, in its units."""
        stderr = self.matrices.std(axis=0, ddof=1)
        stderr.setflags(write=False)
        return stderr

    def groups(self, k: int, method: Grouping | None = None) -> Int[np.ndarray, "draws n"]:
        """Group the tasks in each draw, into groups 0..k-1.

        By default with spectral clustering and local search, which find what the relaxation finds, or nearly,
        in a fraction of its time.
        """
        if method is None:
            return np.array([propose_groups(matrix, k) for matrix in self.matrices])
        return np.array([method.partition(matrix, k).labels for matrix in self.matrices])

    def __len__(self) -> int:
        return len(self.matrices)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the affinities of n tasks were estimated from."""

    scores: SubsetScoresLike
    affinity: Affinity
    n: int

    @cached_property
    def subsets(self) -> list[tuple[int, ...]]:
        """The subsets that were scored."""
        return [tuple(map(as_task, subset)) for subset in self.scores.subsets]

    @property
    def score(self) -> Float[np.ndarray, "m *n"]:
        """The scores that the affinity takes: of each task where it can and they are there."""
        by_task = getattr(self.scores, "per_task", None) if self.affinity.per_task else None
        return from_torch(self.scores.score if by_task is None else by_task)

    @property
    def draws(self) -> Float[np.ndarray, "draws m *n"]:
        """The same from data drawn again; the scores themselves where there are no draws."""
        draws = np.asarray(from_torch(getattr(self.scores, "draws", ())), dtype=np.float64)
        if not len(draws):
            return np.asarray(self.score, dtype=np.float64)[None]
        shape = np.shape(self.score)
        if draws.ndim == 3 and draws.shape[1:2] == shape:
            return np.nanmean(draws, axis=2)
        if draws.shape[1:] != shape:
            wanted = ", ".join(map(str, ("draws", *shape)))
            raise ValueError(f"draws of shape {draws.shape} do not fit scores of {shape}: give [{wanted}]")
        return draws

    @property
    def free(self) -> int:
        """How many of the m subsets, of the M of their sizes in all, a draw renews: m (1 - m / M).

        The others stay, and the variance of a mean has the factor 1 - m / M of samples without replacement
        (Cochran 1977, Sec. 2.6). Where all were scored none could have been another. Tasks by themselves do
        not count: they stay in every draw, as a diagonal is measured on them.
        """
        company = [subset for subset in self.subsets if len(subset) > 1]
        m, sizes = len(company), {len(subset) for subset in company}
        free = m - round(m * m / sum(comb(self.n, size) for size in sizes))
        return free if free > 1 else 0

    def matrix(self) -> Float[np.ndarray, "n n"]:
        """Estimate the affinities."""
        return self.affinity.matrix(self.subsets, self.score, self.n)

    def varies(self) -> bool:
        """Say whether there is anything to draw again."""
        return self.free > 0 or len(self.draws) > 1

    def bootstrap(self, draws: int, seed: int) -> Bootstrap:
        """Estimate the affinities again from scores and subsets that were drawn again.

        A draw takes one of the draws of the scores, by turns. Of the subsets some stay, chosen at random, and
        in place of the others, see `free`, as many are drawn with replacement from among them. Subsets
        without which a pair of tasks would be in none are kept besides.
        """
        if draws < 2:
            raise ValueError(f"draws={draws} is too few to tell a spread: give at least 2")
        variants, free = self.draws, self.free
        if not free:
            draws = min(draws, len(variants))
        if draws < 2:
            raise ValueError(
                f"all {len(self.subsets)} subsets of their sizes were scored, once: nothing can be drawn"
                " again; give scores with draws, such as SurrogateEstimator.scores(subsets, draws=20)"
            )
        affinity = self.affinity.settled(self.subsets, self.score, self.n)
        rng = generator_for(seed, "bootstrap of affinities")
        matrices = np.empty((draws, self.n, self.n))
        for draw in range(draws):
            chosen = _drawn(self.subsets, self.n, free, rng)
            subsets = [self.subsets[row] for row in chosen]
            matrices[draw] = affinity.matrix(subsets, variants[draw % len(variants)][chosen], self.n)
        return Bootstrap(matrices)


def _drawn(
    subsets: Sequence[tuple[int, ...]], n: int, free: int, rng: np.random.Generator
) -> Int[np.ndarray, " drawn"]:
    """Renew ``free`` of the subsets so that every pair of tasks stays in one; return the numbers of all."""
    sizes = np.array([len(subset) for subset in subsets])
    order = rng.permutation(np.flatnonzero(sizes > 1))
    others = order[:free]
    chosen = np.concatenate(
        [np.flatnonzero(sizes == 1), order[free:], others[rng.integers(max(free, 1), size=free)]]
    )
    members = membership([subsets[row] for row in chosen], n)
    covered = (members.T @ members).toarray() > 0
    needed = []
    for row in np.setdiff1d(others, chosen):
        pairs = np.ix_(subsets[row], subsets[row])
        if not covered[pairs].all():
            needed.append(row)
            covered[pairs] = True
    return np.sort(np.concatenate([chosen, np.array(needed, dtype=np.int64)]))
