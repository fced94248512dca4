"""What an affinity between tasks is, and its additive part."""

from abc import ABC, abstractmethod
from typing import final

import numpy as np
from jaxtyping import Float, Num
from scipy.sparse import csr_array

from gradex.affinity.designs import entries
from gradex.affinity.subsets import Subsets, membership


class Affinity(ABC):
    """A way to estimate how much tasks help each other from scores of subsets.

    Examples
    --------
    Whatever the affinity, `matrix` is how it is used:

    >>> import numpy as np
    >>> from gradex.affinity import named_affinity
    >>> named_affinity("mean").per_task, named_affinity("transfer").per_task
    (False, True)
    >>> subsets, score = [(0, 1), (0, 2), (1, 2)], np.array([1.0, 2.0, 4.0])
    >>> named_affinity("mean").matrix(subsets, score, n=3)
    array([[1.5, 1. , 2. ],
           [1. , 2.5, 4. ],
           [2. , 4. , 3. ]])
    """

    #: Whether it takes the score of each task in each subset instead of their mean.
    per_task: bool = False

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
        return without_rounding(estimate, score)

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
