"""From scores of subsets to affinities between tasks: several estimators, one interface.

The score of a subset is mostly the mean of how hard its tasks are. Which groups are best depends only on what
is left, the interaction of the tasks, and on the diagonal, which acts as a reward for leaving a task alone.
`MeanAffinity` is the paper's average; `InteractionAffinity` averages what the difficulty of tasks does not
explain; `PairwiseAffinity` fits difficulties and interactions together; `TransferAffinity` fits them to the
score of each task instead of their mean. `NormalisedAffinity` puts tasks that react much and little on one
scale.
"""

import difflib
from abc import abstractmethod
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
from gradex.affinity.designs import companion_design, pair_design
from gradex.affinity.ridge import DenseRidge, IterativeRidge, Ridge
from gradex.affinity.subsets import Subsets

# The ridge is solved densely up to this many entries of the pair design (160 MB) and this rank (seconds).
_DENSE_ENTRIES = 20_000_000
_DENSE_RANK = 1_500


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

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity import MeanAffinity
    >>> MeanAffinity().matrix([(0, 1), (0, 2), (1, 2)], np.array([2.0, 1.0, 0.0]), n=3)[0]
    array([1.5, 2. , 1. ])
    """

    def __init__(self, diagonal: str = "mean"):
        if diagonal not in ("mean", "additive"):
            raise ValueError(f"diagonal={diagonal!r} is unknown; choose 'mean' or 'additive'")
        self.diagonal = diagonal

    def _estimate(self, members: csr_array, score: Float[np.ndarray, " m"]) -> Float[np.ndarray, "n n"]:
        affinity = _mean_over_subsets(members, score)
        return affinity if self.diagonal == "mean" else with_additive_diagonal(affinity)


@final
class InteractionAffinity(Affinity):
    """Mean over the subsets with both tasks of what the difficulty of tasks does not explain of the score.

    Difficulties b solve least squares f(S) = mean of b_i over i in S; the residual takes the place of f in
    Eq. (5). The diagonal continues the additive part of the result, so that it adds no penalty per task.

    Examples
    --------
    >>> from itertools import combinations
    >>> import numpy as np
    >>> from gradex.affinity import InteractionAffinity
    >>> subsets = list(combinations(range(5), 3))  # tasks 0 and 1 help each other, task 3 is hard
    >>> score = np.array([float({0, 1} <= set(subset)) - 9 * (3 in subset) for subset in subsets])
    >>> InteractionAffinity().matrix(subsets, score, n=5)[0, 1:].round(2)
    array([ 0.17, -0.06, -0.06, -0.06])
    """

    def _estimate(self, members: csr_array, score: Float[np.ndarray, " m"]) -> Float[np.ndarray, "n n"]:
        return with_additive_diagonal(_mean_over_subsets(members, _Difficulty(members).residual(score)))


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

    Examples
    --------
    >>> from itertools import combinations
    >>> import numpy as np
    >>> from gradex.affinity import PairwiseAffinity
    >>> subsets = list(combinations(range(5), 3))  # tasks 0 and 1 help each other, task 3 is hard
    >>> score = np.array([float({0, 1} <= set(subset)) - 9 * (3 in subset) for subset in subsets])
    >>> PairwiseAffinity(ridge=1e-6).matrix(subsets, score, n=5)[0, 1:].round(2)
    array([ 1.5, -0.5, -0.5, -0.5])
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

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity import TransferAffinity
    >>> nan = np.nan  # tasks 0 and 1 help each other
    >>> score = np.array([[1.0, 1.0, nan], [0.0, nan, 0.0], [nan, 0.0, 0.0]])
    >>> affinity = TransferAffinity(ridge=1e-6).matrix([(0, 1), (0, 2), (1, 2)], score, n=3)
    >>> bool(affinity[0, 1] > affinity[0, 2])
    True
    """

    per_task = True

    def _estimate(self, members: csr_array, score: Float[np.ndarray, " scores"]) -> Float[np.ndarray, "n n"]:
        return with_additive_diagonal(self._coefficients(members, score))

    def _designs(self, members: csr_array) -> "tuple[csr_array, _Difficulty]":
        rows = members.nnz
        alone = csr_array((np.ones(rows), members.indices, np.arange(rows + 1)), (rows, members.shape[1]))
        return companion_design(members), _Difficulty(alone)


@final
class NormalisedAffinity(Affinity):
    """Interactions by another affinity, each divided by how large those of its two tasks usually are.

    U_ij = C_ij / √(s_i s_j), with C the other affinity without its additive part, and s_i the root of the
    mean of C_ij² over j. The diagonal continues the additive part of the result.

    How much company does to a task depends on how strong its gradients are; those of a slow task are weak.
    Groups then follow the strong tasks and may put a weak one anywhere. The price: where a task does not
    interact at all, its noise counts as much as the interactions of others.

    Parameters
    ----------
    affinity
        The other affinity, `TransferAffinity` by default.

    Examples
    --------
    >>> from itertools import combinations
    >>> import numpy as np
    >>> from gradex.affinity import InteractionAffinity, NormalisedAffinity
    >>> subsets = list(combinations(range(4), 2))
    >>> score = np.array([0.01, -0.01, 0.0, 0.0, -1.0, 1.0])  # task 0 reacts little
    >>> NormalisedAffinity(InteractionAffinity()).matrix(subsets, score, n=4)[0, 1:3].round(2)
    array([ 1.22, -1.22])
    """

    def __init__(self, affinity: Affinity | None = None):
        self.affinity = TransferAffinity() if affinity is None else affinity
        self.per_task = self.affinity.per_task

    def settled(self, subsets: Subsets, score: Num[np.ndarray, "m *n"], n: int) -> "NormalisedAffinity":
        return NormalisedAffinity(self.affinity.settled(subsets, score, n))

    def _estimate(self, members: csr_array, score: Float[np.ndarray, " scores"]) -> Float[np.ndarray, "n n"]:
        interactions = without_rounding(without_additive_part(self.affinity._estimate(members, score)), score)
        sizes = np.sqrt(np.square(interactions).sum(axis=1) / (len(interactions) - 1))
        usual = np.sqrt(np.outer(sizes, sizes))
        # Where a task has no interactions there is nothing to divide.
        scaled = np.divide(interactions, usual, out=np.zeros_like(usual), where=usual > 0)
        return with_additive_diagonal(scaled)


_NAMES: dict[str, type[Affinity]] = {
    "mean": MeanAffinity,
    "interaction": InteractionAffinity,
    "pairwise": PairwiseAffinity,
    "transfer": TransferAffinity,
    "normalised": NormalisedAffinity,
}


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
        return without_rounding(self.project_out(self.project_out(score)), score)


def _mean_over_subsets(members: csr_array, score: Float[np.ndarray, " m"]) -> Float[np.ndarray, "n n"]:
    """Average the scores of the subsets that contain i and j."""
    total = (members.T @ members.multiply(score[:, None]).tocsr()).toarray()
    mean = total / (members.T @ members).toarray()
    return (mean + mean.T) / 2


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
