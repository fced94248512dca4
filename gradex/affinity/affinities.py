"""From scores of subsets to affinities between tasks: the paper's average, and a regression.

The score of a subset is mostly the mean of how hard its tasks are. Which groups are best depends only on what
is left, the interaction of the tasks, and on the diagonal, which acts as a reward for leaving a task alone.
"""

import difflib
from typing import final

import numpy as np
from jaxtyping import Float, Num
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator

from gradex.affinity.affinity import (
    Affinity,
    with_additive_diagonal,
    without_additive_part,
    without_rounding,
)
from gradex.affinity.ridge import DenseRidge, IterativeRidge, Ridge, best_strength
from gradex.affinity.subsets import Subsets, alone_at

# The ridge is solved densely up to this many entries of the pair design (160 MB) and this rank (seconds).
_DENSE_ENTRIES = 20_000_000
_DENSE_RANK = 1_500


@final
class MeanAffinity(Affinity):
    """Mean score of the subsets that contain both tasks (PolicyGradEx, Eq. (5)).

    U_ij = mean of f(S) over the subsets S with i and j, and U_ii that over the subsets with i. This diagonal
    does not continue the additive part of the other entries, so it acts as a wrong penalty per task, and the
    difficulty of tasks moves the groups.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity import MeanAffinity
    >>> MeanAffinity().matrix([(0, 1), (0, 2), (1, 2)], np.array([2.0, 1.0, 0.0]), n=3)[0]
    array([1.5, 2. , 1. ])
    """

    def _estimate(self, members: csr_array, score: Float[np.ndarray, " m"]) -> Float[np.ndarray, "n n"]:
        total = (members.T @ members.multiply(score[:, None]).tocsr()).toarray()
        mean = total / (members.T @ members).toarray()
        return (mean + mean.T) / 2


@final
class PairwiseAffinity(Affinity):
    """Ridge regression of scores on tasks and pairs of tasks, by default normalised.

    From the score f_i(S) of each task in each subset, [m, n], it solves

        min over b, c of  sum_S sum_{i in S} (f_i(S) - b_i - mean_{j in S, j != i} c_ij)^2
                          + mu sum_{i<j} c_ij^2

    for difficulties b and symmetric c. A subset of alpha tasks has alpha such scores, each about pairs of its
    own, so n^2 / (2 alpha) subsets tell all pairs apart. Where only their mean f(S) is given, [m], it takes
    n^2 / 2 subsets and

        min over b, c of  sum_S (f(S) - mean_{i in S} b_i - mean_{i<j in S} c_ij)^2 + mu sum_{i<j} c_ij^2.

    The diagonal is measured where every task was scored alone, too: c_ii = f({i}) - b_i, what a task has of
    training alone. Without it a task that conflicts with all others is invisible: it does equally badly in
    every group. Where tasks were not scored alone, the diagonal continues the additive part of the other
    entries: a group of one neither gains nor loses. Two tasks have one pair and no other to compare it with;
    there U_01 = c_01, diagonal 0.

    Normalised, U_ij = c_ij / √(s_i s_j), with s_i the root of the mean of c_ij² over j: what others do to a
    task depends on how strong its gradients are, and those of a slow task are weak. Else groups follow the
    strong tasks and may put a weak one anywhere. Without a measured diagonal c_ij is taken without its
    additive part here. The price: where a task does not interact at all, its noise counts as much as the
    interactions of others.

    Parameters
    ----------
    ridge
        Strength mu, in units of the mean squared norm of a score's row of the pair design. In these units the
        best strength is the variance of a score that pairs do not explain over the variance that they do,
        whatever the scale of the scores and the number and size of the subsets. ``"gcv"`` takes it from 1e-4
        to 1e3, in half decades, by generalised cross-validation.
    normalise
        ``"task"``: by how much each task usually reacts. None: U_ij = c_ij, in units of the score.

    Raises
    ------
    ValueError
        If the ridge is not positive and finite, or there is no such normalisation.

    Examples
    --------
    >>> from itertools import combinations
    >>> import numpy as np
    >>> from gradex.affinity import PairwiseAffinity
    >>> subsets = list(combinations(range(5), 3))  # tasks 0 and 1 help each other, task 3 is hard
    >>> score = np.array([float({0, 1} <= set(subset)) - 9 * (3 in subset) for subset in subsets])
    >>> PairwiseAffinity(ridge=1e-6, normalise=None).matrix(subsets, score, n=5)[0, 1:].round(2)
    array([ 1.5, -0.5, -0.5, -0.5])
    >>> PairwiseAffinity().matrix(subsets, score, n=5)[0, 1:].round(2)
    array([ 1.73, -0.76, -0.76, -0.76])
    """

    per_task = True
    strengths = np.logspace(-4, 3, 15)

    def __init__(self, ridge: float | str = "gcv", normalise: str | None = "task"):
        if ridge != "gcv" and (isinstance(ridge, str) or not 0 < ridge < np.inf):
            raise ValueError(f"ridge={ridge!r} is invalid; give a positive number or 'gcv'")
        if normalise not in ("task", None):
            raise ValueError(f"normalise={normalise!r} is unknown; give 'task' or None")
        self.ridge = ridge
        self.normalise = normalise

    def settled(self, subsets: Subsets, score: Num[np.ndarray, "m *n"], n: int) -> "PairwiseAffinity":
        members, score = self._checked(subsets, score, n)
        if self._measures_diagonal(members):
            members, score = _in_company(members, score)
        regression = self._regression(members, score)
        if regression is None:
            return self
        return PairwiseAffinity(self._strength(*regression) / regression[1], self.normalise)

    def _estimate(self, members: csr_array, score: Float[np.ndarray, " scores"]) -> Float[np.ndarray, "n n"]:
        n = members.shape[1]
        if self._measures_diagonal(members):
            return self._measured(members, score)
        c = np.zeros((n, n))
        if (regression := self._regression(members, score)) is not None:
            c[np.triu_indices(n, 1)] = regression[0].coefficients(self._strength(*regression))
        c = without_rounding(c + c.T, score)
        # There is a gauge: adding a_i + a_j to c_ij adds twice the mean of a over S to the score of S (of two
        # tasks or more), which b takes up. Of all these c the ridge picks the smallest, the one with row sums
        # 0, and its additive diagonal is 0. Scores by task leave one number of a, the same for all.
        if n == 2 or (self.normalise is None and len(score) < members.nnz):
            return c
        return with_additive_diagonal(c if self.normalise is None else normalised(c, score))

    @staticmethod
    def _measures_diagonal(members: csr_array) -> bool:
        """Say whether every task was scored alone, too, and there is other company to compare with."""
        return members.shape[1] > 2 and alone_at(members) is not None

    def _measured(self, members: csr_array, score: Float[np.ndarray, " scores"]) -> Float[np.ndarray, "n n"]:
        """Regress on company what was scored in company; read the diagonal off tasks by themselves."""
        n, by_task = members.shape[1], len(score) == members.nnz
        others, own = _in_company(members, score)
        c = np.zeros((n, n))
        if (regression := self._regression(others, own)) is not None:
            c[np.triu_indices(n, 1)] = regression[0].coefficients(self._strength(*regression))
        explained = pair_design(others, by_task) @ c[np.triu_indices(n, 1)]
        c = c + c.T
        difficulty = _Difficulty.of(others, by_task).coefficients(own - explained)
        places = alone_at(members)
        np.fill_diagonal(c, score[members.indptr[places] if by_task else places] - difficulty)
        c = without_rounding(c, score)
        if self.normalise is None:
            return c
        return _divided(c, np.sqrt(np.square(c).mean(axis=1)), score)

    def _strength(self, problem: Ridge, unit: float) -> float:
        if isinstance(self.ridge, str):
            return best_strength(problem, unit * self.strengths)
        return unit * self.ridge

    def _regression(
        self, members: csr_array, score: Float[np.ndarray, " scores"]
    ) -> tuple[Ridge, float] | None:
        """Set up the regression, with the unit of its strength; None where there is nothing to explain.

        Difficulties carry no penalty, so they are projected out of scores and pairs first.
        """
        by_task, rows = len(score) == members.nnz, len(score)
        difficulty = _Difficulty.of(members, by_task)
        residual = difficulty.residual(score)
        if not residual.any():
            return None
        pairs = pair_design(members, by_task)
        return _pair_ridge(pairs, residual, difficulty), float(pairs.power(2).sum()) / rows


_NAMES: dict[str, type[Affinity]] = {"mean": MeanAffinity, "pairwise": PairwiseAffinity}


def named_affinity(affinity: str | Affinity) -> Affinity:
    """Return the affinity of a name, with its default options; an affinity is returned as it is.

    Raises
    ------
    ValueError
        If there is none of this name.

    Examples
    --------
    >>> from gradex.affinity import named_affinity
    >>> type(named_affinity("mean")).__name__
    'MeanAffinity'
    """
    if not isinstance(affinity, str):
        return affinity
    if affinity not in _NAMES:
        near = difflib.get_close_matches(affinity, _NAMES, n=1, cutoff=0.0)[0]
        raise ValueError(f"affinity={affinity!r} is unknown; did you mean {near!r} of {', '.join(_NAMES)}?")
    return _NAMES[affinity]()


def pair_design(members: csr_array, by_task: bool) -> csr_array:
    """Return how scores depend on pairs, in the order of `numpy.triu_indices`: [scores, n(n-1)/2].

    A row averages over a subset's pairs, or with scores by task, in the order of `entries`, over the pairs of
    one member with the others.
    """
    n = members.shape[1]
    sizes = np.diff(members.indptr)
    rows, columns, values = [], [], []
    for size in np.unique(sizes[sizes > 1]):
        chosen = np.flatnonzero(sizes == size)
        entry = members.indptr[chosen][:, None] + np.arange(size)
        tasks = members.indices[entry].astype(np.int64)
        first, second = np.nonzero(~np.eye(size, dtype=bool)) if by_task else np.triu_indices(size, 1)
        i, j = np.sort([tasks[:, first], tasks[:, second]], axis=0)
        columns.append((i * (2 * n - i - 1) // 2 + j - i - 1).ravel())
        rows.append((entry[:, first] if by_task else chosen[:, None].repeat(len(first), axis=1)).ravel())
        values.append(np.full(i.size, 1.0 / ((size - 1) if by_task else len(first))))
    stored = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return csr_array(stored, shape=(members.nnz if by_task else len(sizes), n * (n - 1) // 2))


def _in_company(
    members: csr_array, score: Float[np.ndarray, " scores"]
) -> tuple[csr_array, Float[np.ndarray, " others"]]:
    """Leave out what tasks score by themselves."""
    sizes = np.diff(members.indptr)
    rows = np.repeat(sizes > 1, sizes) if len(score) == members.nnz else sizes > 1
    return members[sizes > 1], score[rows]


class _Difficulty:
    """The additive model f(S) = mean of b_i over i in S, and the projection onto what it cannot explain."""

    def __init__(self, members: csr_array):
        self._design = members.multiply(1.0 / members.sum(axis=1)[:, None]).tocsr()
        squares, vectors = np.linalg.eigh((self._design.T @ self._design).toarray())
        kept = squares > 1e-12 * squares[-1]
        self._whiten = vectors[:, kept] / np.sqrt(squares[kept])
        self.rank = int(kept.sum())

    @classmethod
    def of(cls, members: csr_array, by_task: bool) -> "_Difficulty":
        """Set it up for scores of subsets, or by task for one score of each member."""
        if not by_task:
            return cls(members)
        rows = members.nnz
        return cls(csr_array((np.ones(rows), members.indices, np.arange(rows + 1)), (rows, members.shape[1])))

    def coefficients(self, values: Float[np.ndarray, "m *columns"]) -> Float[np.ndarray, "n *columns"]:
        """Give the b of least squares, the shortest where there are several."""
        return self._whiten @ (self._whiten.T @ (self._design.T @ values))

    def project_out(self, values: Float[np.ndarray, "m *columns"]) -> Float[np.ndarray, "m *columns"]:
        """Take what the additive model explains out of each column."""
        return values - self._design @ self.coefficients(values)

    def residual(self, score: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        """Take what the additive model explains out of the scores; exactly 0 where only rounding is left."""
        # The second time removes the rounding that a large additive part leaves.
        return without_rounding(self.project_out(self.project_out(score)), score)


def _pair_ridge(pairs: csr_array, residual: Float[np.ndarray, " scores"], difficulty: _Difficulty) -> Ridge:
    """Set up the regression of the residual on what the additive model cannot explain of the pairs."""
    m, unknowns = pairs.shape
    if m * unknowns <= _DENSE_ENTRIES and min(m, unknowns) <= _DENSE_RANK:
        return DenseRidge(difficulty.project_out(pairs.toarray()), residual, freedom=m - difficulty.rank)
    design = LinearOperator(
        shape=pairs.shape,
        matvec=lambda x: difficulty.project_out(pairs @ x.ravel()),
        rmatvec=lambda y: pairs.T @ difficulty.project_out(y.ravel()),
        dtype=np.float64,
    )
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=m)
    return IterativeRidge(design, residual, probe=difficulty.project_out(signs))


def normalised(c: Float[np.ndarray, "n n"], score: Float[np.ndarray, " scores"]) -> Float[np.ndarray, "n n"]:
    """Divide each interaction by how large those of its two tasks usually are."""
    interactions = without_rounding(without_additive_part(c), score)
    sizes = np.sqrt(np.square(interactions).sum(axis=1) / (len(c) - 1))
    return _divided(interactions, sizes, score)


def _divided(
    c: Float[np.ndarray, "n n"], sizes: Float[np.ndarray, " n"], score: Float[np.ndarray, " scores"]
) -> Float[np.ndarray, "n n"]:
    """Divide by the sizes of both tasks; 0 where a size is nothing but rounding."""
    sizes = np.where(sizes > 1e-12 * np.abs(score).max(), sizes, 0.0)
    usual = np.sqrt(np.outer(sizes, sizes))
    return np.divide(c, usual, out=np.zeros_like(usual), where=usual > 0)
