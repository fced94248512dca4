"""How often groups are found among affinities with errors: the power of an estimate, by simulation.

Groups are found where the conflict test finds a conflict, and clustering gives the groups that it gives
without errors.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from gradex.affinity.partition import canonical_labels
from gradex.affinity.rounding import local_search, propose_groups

#: Sizes of an estimate that are tried: powers of 2.
_SMALLEST, _LARGEST = 4, 1024
#: One of so many draws is looked at first.
_ROUGHLY = 4


@dataclass(frozen=True)
class GroupPower:
    """The power to find groups, by the size E of an estimate.

    Attributes
    ----------
    k : int
        Number of groups.
    errors : callable
        Gives draws [draws, n, n] of the errors at size E, the same draws at each.
    critical : float
        The mean between two halves must be below critical / E for a conflict: so noise falls, where there is
        nothing else.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity.power import GroupPower, reached
    >>> signal = np.kron([[1.0, -1.0], [-1.0, 1.0]], np.ones((3, 3)))
    >>> noise = np.random.default_rng(0).normal(size=(200, 6, 6))
    >>> noise = noise + noise.transpose(0, 2, 1)
    >>> power = GroupPower(2, lambda size: 6 * noise / size, critical=-9.0).curve(signal, 0.9)
    >>> power
    {4: 0.04, 8: 0.42, 16: 0.99}
    >>> round(reached(power, 0.9), 1)
    14.3
    """

    k: int
    errors: Callable[[float], Float[np.ndarray, "draws n n"]]
    critical: float

    def curve(
        self, signal: Float[np.ndarray, "n n"], power: float, draws: int | None = None
    ) -> dict[int, float]:
        """Give the share of draws in which groups are found by size, up to the first at which it suffices.

        Parameters
        ----------
        signal : array [n, n]
            Affinities without errors.
        power : float
            The share that suffices.
        draws : int, optional
            So many of the draws of errors; by default all.
        """
        if not signal.any():
            return {_LARGEST: 0.0}
        truth, size, shares = self.groups(signal), _SMALLEST, dict[int, float]()
        while size <= _LARGEST and (not shares or shares[size // 2] < power):
            drawn = signal + self.errors(size)[:draws]
            found = [self._found(matrix, truth, size) for matrix in drawn[::_ROUGHLY]]
            if np.mean(found) > power / 2:  # else it is far from enough, however many are looked at
                found = [self._found(matrix, truth, size) for matrix in drawn]
            shares[size] = float(np.mean(found))
            size *= 2
        return shares

    def groups(self, matrix: Float[np.ndarray, "n n"]) -> Int[np.ndarray, " n"]:
        """Cluster affinities, groups numbered in the order of first occurrence."""
        return canonical_labels(propose_groups(matrix, self.k))

    def _found(self, matrix: Float[np.ndarray, "n n"], truth: Int[np.ndarray, " n"], size: int) -> bool:
        # Groups that a move or a swap improves are not the best: no need to look for these.
        if (canonical_labels(local_search(matrix, truth)) != truth).any():
            return False
        if (self.groups(matrix) != truth).any():
            return False
        halves = truth if self.k == 2 else propose_groups(matrix, 2)
        return float(matrix[halves[:, None] != halves].mean()) <= self.critical / size


def reached(power_of: Mapping[int, float], power: float) -> float:
    """Interpolate, in the logarithm of the size, where the power is reached; infinite where it is not.

    Below the smallest size that was tried nothing is known: the answer then is that size.
    """
    sizes, shares = np.array([*power_of]), np.array([*power_of.values()])
    if shares[-1] < power:
        return np.inf
    if len(sizes) == 1:
        return float(sizes[0])
    share = (power - shares[-2]) / (shares[-1] - shares[-2])
    return float(sizes[-2] * (sizes[-1] / sizes[-2]) ** share)


def shrunk(
    matrix: Float[np.ndarray, "n n"], errors: Float[np.ndarray, "draws n n"]
) -> Float[np.ndarray, "n n"]:
    """Shrink affinities by what their errors add to how much they differ between tasks.

    Affinities with errors differ more than those without: squares, centred over tasks, are larger by those
    of the errors. Where these alone are as large, nothing is left.
    """
    measured = float((_centred(matrix) ** 2).sum())
    added = float((_centred(errors) ** 2).sum(axis=(1, 2)).mean())
    return matrix * np.sqrt(max(0.0, 1 - added / measured)) if measured > 0 else np.zeros_like(matrix)


def _centred(matrices: Float[np.ndarray, "*draws n n"]) -> Float[np.ndarray, "*draws n n"]:
    """Take the means over tasks out of rows and columns."""
    apart = matrices - matrices.mean(axis=-1, keepdims=True)
    return apart - apart.mean(axis=-2, keepdims=True)
