"""Ways to group tasks: the semidefinite relaxation, and rivals to compare it to (PolicyGradEx, Sec. 4)."""

from abc import ABC, abstractmethod
from typing import final

import numpy as np
from jaxtyping import Float

from gradex.affinity.partition import Partition
from gradex.affinity.relaxation import certified_upper_bound, check_group_count, solve_relaxation
from gradex.affinity.rounding import round_relaxation


class Grouping(ABC):
    """A way to partition tasks by their affinities."""

    @abstractmethod
    def partition(self, matrix: Float[np.ndarray, "n n"], k: int) -> Partition:
        """Partition the tasks into ``k`` groups.

        Parameters
        ----------
        matrix : array [n, n]
            Symmetric affinities U; higher is better.
        k
            Number of groups, 1..n; none is empty.

        Returns
        -------
        Partition
            The groups, their objective and a certified bound on it.

        Raises
        ------
        ValueError
            If ``k`` is outside 1..n.
        """


@final
class SemidefiniteGrouping(Grouping):
    """Solve the semidefinite relaxation, then round (PolicyGradEx, Algorithm 2 and Appendix A, Eq. (7))."""

    def partition(
        self, matrix: Float[np.ndarray, "n n"], k: int | None = None, trace_penalty: float | None = None
    ) -> Partition:
        """Partition the tasks into ``k`` groups, or into as many as a price per group makes worthwhile.

        Parameters
        ----------
        matrix : array [n, n]
            Symmetric affinities U; higher is better.
        k
            Number of groups, 1..n; none is empty.
        trace_penalty
            Price of a group in units of U, lambda in the paper, instead of ``k``. Numbers of groups near the
            trace of the relaxation are rounded, and the best is kept.

        Returns
        -------
        Partition
            The groups, their objective and the certified bound of the relaxation.

        Raises
        ------
        ValueError
            Unless exactly one of ``k``, in 1..n, and ``trace_penalty`` is given.
        RuntimeError
            If no solver returns a solution.
        """
        relaxation = solve_relaxation(matrix, k, trace_penalty)
        if k is None:
            trace = np.trace(relaxation.X)
            counts = range(max(1, int(np.floor(trace)) - 1), min(len(matrix), int(np.ceil(trace)) + 1) + 1)
        else:
            counts = range(k, k + 1)
        candidates = [
            Partition.of(
                matrix,
                round_relaxation(matrix, relaxation.X, count),
                upper_bound=relaxation.upper_bound,
                status=relaxation.status,
                trace_penalty=trace_penalty,
            )
            for count in counts
        ]
        return max(candidates, key=lambda candidate: candidate.objective)


@final
class RandomGrouping(Grouping):
    """Deal the tasks out at random to groups of sizes as equal as possible; the affinities play no part.

    Parameters
    ----------
    seed
        Seed of the random order; the same seed gives the same groups.
    """

    def __init__(self, seed: int = 0):
        self.seed = seed

    def partition(self, matrix: Float[np.ndarray, "n n"], k: int) -> Partition:
        n = len(matrix)
        check_group_count(n, k, None)
        # A branch of its own: the same seed may have planted the groups by the same permutation.
        labels = np.random.default_rng([self.seed, 1]).permutation(np.arange(n) % k)
        return Partition.of(matrix, labels, upper_bound=certified_upper_bound(matrix, k), status="random")
