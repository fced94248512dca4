"""What an affinity between tasks is, what it is estimated from, and its additive part."""

from abc import ABC, abstractmethod
from typing import Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Float, Num
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from gradex.affinity.subsets import Subsets, entries, membership
from gradex.tensors import from_torch

#: Sums of squares of larger affinities overflow.
_MOST = 1e150


@runtime_checkable
class SubsetScoresLike(Protocol):
    """Scores of subsets of tasks, as a surrogate estimates them or real training measures them.

    Two attributes more are used where they are there: ``per_task``, array [m, n], the score of each task when
    trained with the subset, nan outside of it; and ``draws``, array [draws, m, n] or [draws, m], the same
    from data drawn again.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> from gradex.affinity import AffinityGraph, SubsetScoresLike
    >>> scores = SimpleNamespace(subsets=[(0, 1), (0, 2), (1, 2)], score=np.array([2.0, 1.0, 0.0]))
    >>> isinstance(scores, SubsetScoresLike)
    True
    >>> AffinityGraph.from_scores(scores, "mean").matrix[0]
    array([1.5, 2. , 1. ])
    """

    @property
    def subsets(self) -> Subsets:
        """The m subsets of task indices."""

    @property
    def score(self) -> Float[np.ndarray, " m"]:
        """Score of each subset, [m]: the mean over its tasks; higher is better."""


@runtime_checkable
class InteractionsLike(Protocol):
    """Affinities that come with their standard errors.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> from gradex.affinity import AffinityGraph
    >>> found = SimpleNamespace(matrix=np.eye(2) - 0.5, stderr=np.full((2, 2), 0.1), freedom=30)
    >>> found.noise = lambda count, seed: np.random.default_rng(seed).normal(0, 0.1, (count, 2, 2))
    >>> AffinityGraph.from_interactions(found).conflicts()[0]
    array([False,  True])
    """

    @property
    def matrix(self) -> Float[np.ndarray, "n n"]:
        """Affinities, symmetric."""

    @property
    def stderr(self) -> Float[np.ndarray, "n n"]:
        """Their standard errors."""

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the standard errors."""

    def noise(self, count: int, seed: int = 0) -> Float[np.ndarray, "draws n n"]:
        """Affinities of so many draws that hold nothing but noise."""

    def draws(self, count: int, seed: int) -> Float[np.ndarray, "draws n n"]:
        """Estimate the affinities again, so many times, from data drawn again."""


class Affinity(ABC):
    """A way to estimate how much tasks help each other from scores of subsets.

    Examples
    --------
    Whatever the affinity, `matrix` is how it is used:

    >>> import numpy as np
    >>> from gradex.affinity import named_affinity
    >>> subsets, score = [(0, 1), (0, 2), (1, 2)], np.array([1.0, 2.0, 4.0])
    >>> named_affinity("mean").matrix(subsets, score, n=3)
    array([[1.5, 1. , 2. ],
           [1. , 2.5, 4. ],
           [2. , 4. , 3. ]])
    """

    #: Whether it takes the score of each task in each subset, [m, n], where there is one.
    per_task: bool = False

    @final
    def matrix(
        self, subsets: Subsets, score: Num[np.ndarray, "m *n"], n: int
    ) -> Float[np.ndarray, "{n} {n}"]:
        """Estimate the affinity between every two tasks: symmetric, and higher where they do better together.

        Parameters
        ----------
        subsets
            m subsets of task indices, not necessarily of one size.
        score : array [m], or [m, n] where the affinity is `per_task`
            Score of each subset, f(S) in the paper, the mean over its tasks; or score of each task in each
            subset, nan outside of it. Higher is better.
        n
            Number of tasks.

        Raises
        ------
        ValueError
            If the scores are not as many finite numbers, a subset is malformed, or a pair of tasks is in no
            subset.
        """
        return self._estimate(*self._checked(subsets, score, n))

    def settled(self, subsets: Subsets, score: Num[np.ndarray, "m *n"], n: int) -> "Affinity":
        """Return the affinity with all that it would choose from these scores chosen for good.

        For estimates from other draws of the same scores: in a draw with replacement copies of a subset tell
        of each other, so that cross-validation there would trust the scores too much.
        """
        return self

    def _checked(
        self, subsets: Subsets, score: Num[np.ndarray, "m *n"], n: int
    ) -> tuple[csr_array, Float[np.ndarray, " scores"]]:
        """Return membership and scores, by task in the order of `entries`; raise where they are no basis."""
        members = membership(subsets, n)
        score = np.asarray(from_torch(score), dtype=np.float64)
        by_task = self.per_task and score.ndim > 1
        if score.shape != (members.shape if by_task else members.shape[:1]):
            wanted = f"one score for each of {n} tasks" if by_task else "one score each"
            raise ValueError(f"{members.shape[0]} subsets need {wanted}; got {score.size}")
        subset = np.arange(len(score))
        if by_task:
            subset, task = entries(members)
            score = score[subset, task]
        if (wrong := np.flatnonzero(~np.isfinite(score))).size:
            raise ValueError(
                f"the score of subset {subset[wrong[0]]} is {score[wrong[0]]};"
                " drop the subset or score it again"
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


def without_rounding(estimate: np.ndarray, score: Float[np.ndarray, " scores"]) -> np.ndarray:
    """Return 0 for what is nothing but rounding beside the scores: it must not pass for an interaction."""
    return estimate if np.abs(estimate).max() > 1e-12 * np.abs(score).max() else np.zeros_like(estimate)


def additive_part(affinity: Float[np.ndarray, "n n"]) -> Float[np.ndarray, " n"]:
    """Return the b that minimises sum_{i<j} (U_ij - b_i - b_j)^2.

    Up to three tasks have no more pairs than that, so it would explain anything; there all b are the same.
    """
    n = len(affinity)
    rows = affinity.sum(axis=1) - np.diag(affinity)
    total = rows.sum() / (2 * (n - 1))  # sum of b
    return (rows - total) / (n - 2) if n > 3 else np.full(n, total / n)


def without_additive_part(affinity: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Return U_ij - b_i - b_j off the diagonal, and 0 on it."""
    b = additive_part(affinity)
    rest = affinity - b[:, None] - b
    np.fill_diagonal(rest, 0.0)
    return rest


def with_additive_diagonal(affinity: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Set U_ii = 2 b_i."""
    return affinity + np.diag(2 * additive_part(affinity) - np.diag(affinity))


def checked_matrix(matrix: ArrayLike) -> Float[np.ndarray, "n n"]:
    """Return affinities as a symmetric array, or raise where they are none."""
    kind = type(matrix).__name__
    if np.ma.is_masked(matrix):
        raise ValueError("affinities are masked in places; every pair needs a finite number")
    try:
        matrix = from_torch(matrix)
        unreal = np.iscomplexobj(matrix)
        array = np.zeros(()) if unreal else np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        message = f"a {kind} is not an affinity matrix; give numbers, one row and column per task"
        raise TypeError(message) from None
    if unreal:
        raise TypeError("affinities are complex; give real numbers, such as their real parts")
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise ValueError(f"a matrix of shape {array.shape} is not square; give one row and column per task")
    n = len(array)
    if n < 2:
        raise ValueError(f"{n} task cannot be grouped; give the affinities of at least 2")
    if not np.isfinite(array).all():
        i, j = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(f"affinity [{i}, {j}] is {array[i, j]}; every pair needs a finite number")
    if (most := np.abs(array).max()) > _MOST:
        raise ValueError(
            f"affinities reach {most:.3g}, whose squares overflow; give U / {most:.0e} for the same groups"
        )
    skew = np.abs(array - array.T)
    if skew.max() > 1e-8 * np.abs(array).max():
        i, j = np.unravel_index(np.argmax(skew), skew.shape)
        raise ValueError(
            f"affinity [{i}, {j}] is {array[i, j]:.6g} but [{j}, {i}] is {array[j, i]:.6g};"
            " give (U + U.T) / 2"
        )
    return (array + array.T) / 2


def checked_errors(stderr: ArrayLike, n: int) -> Float[np.ndarray, "n n"]:
    """Return standard errors of n tasks as an array, or raise where they are none."""
    errors = np.array(from_torch(stderr), dtype=np.float64)
    if errors.shape != (n, n) or not (np.isfinite(errors).all() and errors.min() >= 0):
        raise ValueError(
            f"standard errors of shape {errors.shape} do not fit {n} tasks; give [n, n], none negative"
        )
    errors.setflags(write=False)
    return errors
