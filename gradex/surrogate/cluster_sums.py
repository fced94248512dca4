"""Sums over pairs of clusters of two tasks, but for those that may depend on each other."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Float

from gradex.tensors import from_torch


class ClusterSums:
    """What clusters of n tasks make in pairs.

    Parameters
    ----------
    values : n arrays [clusters, d]
    common : bool
        Whether cluster c of one task and cluster c of another may depend on each other. All tasks then have
        equally many.
    """

    def __init__(self, values: Sequence[Float[np.ndarray, "_ d"]], common: bool) -> None:
        self.values, self.common = values, common

    def products(self, times: Sequence[Float[np.ndarray, " _"]]) -> Float[np.ndarray, "n n"]:
        """Sum the inner products of all pairs of different clusters, each taken so many times.

        Where clusters are common, those of all tasks are taken equally often.
        """
        sums = np.stack([own @ each for own, each in zip(times, self.values, strict=True)])
        return sums @ sums.T - self._with_themselves([own**2 for own in times])

    def _with_themselves(self, squares: Sequence[Float[np.ndarray, " _"]]) -> Float[np.ndarray, "n n"]:
        """Sum the products that are to be left out."""
        if not self.common:
            return np.diag([own @ each for own, each in zip(squares, self._lengths, strict=True)])
        if (squares[0] == 1).all():  # without a matrix for each cluster
            flat = np.stack([own.ravel() for own in self.values])
            return flat @ flat.T
        return np.tensordot(squares[0], self._alike, 1)

    @cached_property
    def _lengths(self) -> list[Float[np.ndarray, " _"]]:
        return [np.square(own).sum(axis=1) for own in self.values]

    @cached_property
    def _alike(self) -> Float[np.ndarray, "clusters n n"]:
        return np.stack([own @ own.T for own in np.stack(self.values, axis=1)])


def shares(
    weights: Sequence[Float[np.ndarray, "_ models"]], shapes: Sequence[tuple[int, int]]
) -> tuple[Float[np.ndarray, "_ models"], ...]:
    """Give weights of clusters with a mean of 1, or refuse by a ValueError those that do not fit."""
    given = [np.asarray(from_torch(each), dtype=np.float64) for each in weights]
    if [each.shape for each in given] != shapes:
        told = ", ".join(str(each.shape) for each in given)
        raise ValueError(f"weights have the shapes {told}: give one for each cluster of each task")
    if not all(np.isfinite(each).all() and (each > 0).all() for each in given):
        raise ValueError("weights are not all positive and finite: give each cluster its share")
    return tuple(each / each.mean(axis=0) for each in given)


def moments(h: Float[np.ndarray, "a b"], one_sample: bool) -> tuple[float, float, float]:
    """Give three sums over the products h of two clusters: of h, of h², and of h h' without one in common.

    If both have the same clusters, products are symmetrised, and none is of a cluster with itself.
    """
    if one_sample:
        h = (h + h.T) / 2
        np.fill_diagonal(h, 0.0)
        rows = columns = h.sum(axis=1)
        # A cluster in common: first with first or second, second with first or second.
        shared = 4
    else:
        rows, columns = h.sum(axis=1), h.sum(axis=0)
        shared = 2
    total, squares = float(h.sum()), float(np.vdot(h, h))
    overlaps = shared / 2 * (rows @ rows + columns @ columns) - shared / 2 * squares
    return total, squares, float(total**2 - overlaps)
