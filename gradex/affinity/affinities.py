"""From scores of subsets to affinities between tasks: four estimators, one interface.

The score of a subset is mostly the mean of how hard its tasks are. Which groups are best depends only on what
is left, the interaction of the tasks, and on the diagonal, which acts as a reward for leaving a task alone.
`MeanAffinity` is the paper's average; `InteractionAffinity` averages what the difficulty of tasks does not
explain; `PairwiseAffinity` fits difficulties and interactions together; `TransferAffinity` fits them to the
score of each task instead of their mean.
"""

import difflib
from abc import ABC, abstractmethod
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float, Num
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator

from gradex.affinity.designs import companion_design, entries, pair_design
from gradex.affinity.ridge import DenseRidge, IterativeRidge, Ridge
from gradex.affinity.subsets import Subsets, membership

# The ridge is solved densely up to this many entries of the pair design (160 MB) and this rank (seconds).
_DENSE_ENTRIES = 20_000_000
_DENSE_RANK = 1_500


class Affinity(ABC):
    """A way to estimate how much tasks help each other from scores of subsets."""

    #: Whether it takes the score of each task in each subset instead of their mean.
    per_task: ClassVar[bool] = False

    @final
    def matrix(
        self, subsets: Subsets, score: Num[np.ndarray, "m *n"], n: int
    ) -> Float[np.ndarray, "{n} {n}"]:
        """Estimate the affinity between every two tasks.

        Parameters
        ----------
        subsets
            m subsets of task indices, not necessarily of one size.
        score : array [m], or [m, n] where the affinity is `per_task`
            Score of each subset, f(S) in the paper, the mean over its tasks; or score of each task in each
            subset, nan outside of it. Higher is better.
        n
            Number of tasks.

        Returns
        -------
        array [n, n]
            Symmetric, in units of the score; a higher entry says that the two tasks do better together.

        Raises
        ------
        ValueError
            If the scores are not as many finite numbers, a subset is malformed, or a pair of tasks is in no
            subset.
        """
        members, score = self._checked(subsets, score, n)
        estimate = self._estimate(members, score)
        # What rounding leaves where there is no interaction must not pass for one.
        return estimate if np.abs(estimate).max() > 1e-12 * np.abs(score).max() else np.zeros((n, n))

    def settled(self, subsets: Subsets, score: Num[np.ndarray, "m *n"], n: int) -> "Affinity":
        """Return the affinity with all that it would choose from these scores chosen for good.

        For estimates from other draws of the same scores: in a draw with replacement copies of a subset tell
        of each other, so that cross-validation there would trust the scores too much.

        Parameters
        ----------
        subsets, score, n
            As for `matrix`.
        """
        return self

    def _checked(
        self, subsets: Subsets, score: Num[np.ndarray, "m *n"], n: int
    ) -> tuple[csr_array, Float[np.ndarray, " scores"]]:
        """Return membership and scores, by task in the order of `entries`; raise where they are no basis."""
        members = membership(subsets, n)
        score = np.asarray(score, dtype=np.float64)
        if score.shape != (members.shape if self.per_task else members.shape[:1]):
            wanted = f"one score for each of {n} tasks" if self.per_task else "one score each"
            raise ValueError(f"{members.shape[0]} subsets need {wanted}; got {score.size}")
        subset, task = entries(members)
        score = score[subset, task] if self.per_task else score
        if not np.isfinite(score).all():
            place = int(np.flatnonzero(~np.isfinite(score))[0])
            wrong = int(subset[place]) if self.per_task else place
            raise ValueError(
                f"the score of subset {wrong} is {score[place]}; drop the subset or score it again"
            )
        missing = [(int(i), int(j)) for i, j in np.argwhere((members.T @ members).toarray() == 0) if i < j]
        if missing:
            shown = ", ".join(map(str, missing[:3])) + (", ..." if len(missing) > 3 else "")
            raise ValueError(
                f"{len(missing)} pairs of tasks are in no subset: {shown};"
                " score more subsets (sample_subsets covers all pairs)"
            )
        return members, score

    @abstractmethod
    def _estimate(self, members: csr_array, score: Float[np.ndarray, " scores"]) -> Float[np.ndarray, "n n"]:
        """Estimate from valid input in which every pair is covered."""


@final
class MeanAffinity(Affinity):
    """Mean score of the subsets that contain both tasks (PolicyGradEx, Eq. (5)).

    Parameters
    ----------
    diagonal
        ``"mean"``, as in the paper: the mean score of all subsets with the task. It does not continue the
        additive part of the other entries, so it acts as a wrong penalty per task, and the difficulty of
        tasks moves the groups. ``"additive"``: 2 b_i, where U_ij is about b_i + b_j by least squares over i <
        j. When all subsets of one size are scored, the difficulty of tasks then cancels; over a random few it
        remains as sampling noise.
    """

    def __init__(self, diagonal: str = "mean"):
        if diagonal not in ("mean", "additive"):
            raise ValueError(f"diagonal={diagonal!r} is unknown; choose 'mean' or 'additive'")
        self.diagonal = diagonal

    def _estimate(self, members: csr_array, score: Float[np.ndarray, " m"]) -> Float[np.ndarray, "n n"]:
        affinity = _mean_over_subsets(members, score)
        return affinity if self.diagonal == "mean" else _with_additive_diagonal(affinity)


@final
class InteractionAffinity(Affinity):
    """Mean over the subsets with both tasks of what the difficulty of tasks does not explain of the score.

    Difficulties b solve least squares f(S) = mean of b_i over i in S; the residual takes the place of f in
    Eq. (5). The diagonal continues the additive part of the result, so that it adds no penalty per task.
    """

    def _estimate(self, members: csr_array, score: Float[np.ndarray, " m"]) -> Float[np.ndarray, "n n"]:
        return _with_additive_diagonal(_mean_over_subsets(members, _Difficulty(members).residual(score)))


class RidgeAffinity(Affinity):
    """Ridge regression of scores on tasks and pairs of tasks; the affinity is a pair's coefficient.

    Parameters
    ----------
    ridge
        Strength mu of the ridge, in units of the mean squared norm of a score's row of the pair design. In
        these units the best strength is the variance of a score that pairs do not explain over the variance
        that they do, whatever the scale of the scores and the number and size of the subsets. ``"gcv"`` takes
        it from 1e-4 to 1e3, in half decades, by generalised cross-validation.
    """

    strengths = np.logspace(-4, 3, 15)

    def __init__(self, ridge: float | str = "gcv"):
        if ridge != "gcv" and (isinstance(ridge, str) or not 0 < ridge < np.inf):
            raise ValueError(f"ridge={ridge!r} is no strength; give a positive number or 'gcv'")
        self.ridge = ridge

    @final
    def settled(self, subsets: Subsets, score: Num[np.ndarray, "m *n"], n: int) -> "RidgeAffinity":
        regression = self._regression(*self._checked(subsets, score, n))
        return self if regression is None else type(self)(self._strength(*regression) / regression[1])

    @final
    def _coefficients(
        self, members: csr_array, score: Float[np.ndarray, " scores"]
    ) -> Float[np.ndarray, "n n"]:
        n = members.shape[1]
        affinity = np.zeros((n, n))
        if (regression := self._regression(members, score)) is not None:
            affinity[np.triu_indices(n, 1)] = regression[0].coefficients(self._strength(*regression))
        return affinity + affinity.T

    def _strength(self, problem: Ridge, unit: float) -> float:
        if isinstance(self.ridge, str):
            return problem.best_strength(unit * self.strengths)
        return unit * self.ridge

    def _regression(
        self, members: csr_array, score: Float[np.ndarray, " scores"]
    ) -> tuple[Ridge, float] | None:
        """Set up the regression, with the unit of its strength; None where there is nothing to explain.

        Difficulties carry no penalty, so they are projected out of scores and pairs first.
        """
        pairs, difficulty = self._designs(members)
        residual = difficulty.residual(score)
        if not residual.any():
            return None
        return _pair_ridge(pairs, residual, difficulty), float(pairs.power(2).sum()) / len(residual)

    @abstractmethod
    def _designs(self, members: csr_array) -> "tuple[csr_array, _Difficulty]":
        """Return how scores depend on pairs, in the order of `numpy.triu_indices`, and on single tasks."""


@final
class PairwiseAffinity(RidgeAffinity):
    """Ridge regression of the scores of subsets on tasks and pairs of tasks.

    Solves  min over b, c of  sum_S (f(S) - mean_{i in S} b_i - mean_{i<j in S} c_ij)^2 + mu sum_{i<j} c_ij^2
    and gives U_ij = c_ij, diagonal 0.

    Parameters
    ----------
    ridge
        Strength mu, see `RidgeAffinity`.
    """

    def _estimate(self, members: csr_array, score: Float[np.ndarray, " scores"]) -> Float[np.ndarray, "n n"]:
        # There is a gauge: adding a_i + a_j to c_ij adds twice the mean of a over S to the score of S (of two
        # tasks or more), which b takes up. Of all these c the ridge picks the smallest, the one with row sums
        # 0, and its additive diagonal is 0.
        return self._coefficients(members, score)

    def _designs(self, members: csr_array) -> "tuple[csr_array, _Difficulty]":
        return pair_design(members), _Difficulty(members)


@final
class TransferAffinity(RidgeAffinity):
    """Ridge regression of each task's own score on the tasks that it was trained with.

    Solves  min over b, c of  sum_S sum_{i in S} (f_i(S) - b_i - mean_{j in S, j != i} c_ij)^2
    + mu sum_{i<j} c_ij^2,  c symmetric, and gives U_ij = c_ij; the diagonal continues their additive part.

    f_i(S), the score of task i after training on S, has the mean f(S) over i in S. A subset of alpha tasks
    has alpha such scores, each about pairs of its own. So n^2 / (2 alpha) subsets tell all pairs apart, where
    `PairwiseAffinity` needs n^2 / 2.

    Parameters
    ----------
    ridge
        Strength mu, see `RidgeAffinity`.
    """

    per_task = True

    def _estimate(self, members: csr_array, score: Float[np.ndarray, " scores"]) -> Float[np.ndarray, "n n"]:
        return _with_additive_diagonal(self._coefficients(members, score))

    def _designs(self, members: csr_array) -> "tuple[csr_array, _Difficulty]":
        rows = members.nnz
        alone = csr_array((np.ones(rows), members.indices, np.arange(rows + 1)), (rows, members.shape[1]))
        return companion_design(members), _Difficulty(alone)


_NAMES: dict[str, type[Affinity]] = {
    "mean": MeanAffinity,
    "interaction": InteractionAffinity,
    "pairwise": PairwiseAffinity,
    "transfer": TransferAffinity,
}


def named_affinity(affinity: str | Affinity) -> Affinity:
    """Return the affinity of a name, with its default options; an affinity is returned as it is.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    if not isinstance(affinity, str):
        return affinity
    if affinity not in _NAMES:
        near = difflib.get_close_matches(affinity, _NAMES, n=1, cutoff=0.0)[0]
        raise ValueError(f"affinity={affinity!r} is unknown; did you mean {near!r} of {', '.join(_NAMES)}?")
    return _NAMES[affinity]()


class _Difficulty:
    """The additive model f(S) = mean of b_i over i in S, and the projection onto what it cannot explain."""

    def __init__(self, members: csr_array):
        self._design = members.multiply(1.0 / members.sum(axis=1)[:, None]).tocsr()
        squares, vectors = np.linalg.eigh((self._design.T @ self._design).toarray())
        kept = squares > 1e-12 * squares[-1]
        self._whiten = vectors[:, kept] / np.sqrt(squares[kept])
        self.rank = int(kept.sum())

    def project_out(self, values: Float[np.ndarray, "m *columns"]) -> Float[np.ndarray, "m *columns"]:
        """Take what the additive model explains out of each column."""
        explained = self._whiten @ (self._whiten.T @ (self._design.T @ values))
        return values - self._design @ explained

    def residual(self, score: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        """Take what the additive model explains out of the scores; exactly 0 where only rounding is left."""
        # The second time removes the rounding that a large additive part leaves.
        residual = self.project_out(self.project_out(score))
        return residual if np.abs(residual).max() > 1e-12 * np.abs(score).max() else np.zeros_like(score)


def _mean_over_subsets(members: csr_array, score: Float[np.ndarray, " m"]) -> Float[np.ndarray, "n n"]:
    """Average the scores of the subsets that contain i and j."""
    total = (members.T @ members.multiply(score[:, None]).tocsr()).toarray()
    mean = total / (members.T @ members).toarray()
    return (mean + mean.T) / 2


def additive_part(affinity: Float[np.ndarray, "n n"]) -> Float[np.ndarray, " n"]:
    """Return the b that minimises sum_{i<j} (U_ij - b_i - b_j)^2."""
    n = len(affinity)
    rows = affinity.sum(axis=1) - np.diag(affinity)
    total = rows.sum() / (2 * (n - 1))  # sum of b
    return (rows - total) / (n - 2) if n > 2 else rows / 2


def _with_additive_diagonal(affinity: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Set U_ii = 2 b_i."""
    return affinity + np.diag(2 * additive_part(affinity) - np.diag(affinity))


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
