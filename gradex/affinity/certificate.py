"""Certified bounds on every partition, and proofs that given groups are the best (PolicyGradEx, Appendix A).

The groups c solve the clustering relaxation, Eq. (7), if there are a price p, a vector a and Z >= 0, zero
inside groups, with

    M = p I + a e^T + e a^T - U - Z  positive semidefinite  and  M v_c = 0 for every indicator v_c

(Awasthi et al. 2015; Iguchi et al. 2017, "Probably certifiably correct k-means clustering"). M v_c = 0 inside
the groups fixes a for each p, and between the groups the sums of Z over each row of each block. Of the Z with
these sums Iguchi et al. take one of rank one; we take the one nearest to cancelling U between the groups,
which certifies noisier groups.
"""

from numbers import Integral
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gradex.affinity.affinity import checked_matrix

_BALANCING_ROUNDS = 30


def certified_upper_bound(
    matrix: Float[np.ndarray, "n n"],
    k: int | None = None,
    trace_penalty: float | None = None,
    multiplier: Float[np.ndarray, "n n"] | None = None,
) -> float:
    """Bound the objective of every partition by one eigendecomposition, up to rounding.

    Let Z >= 0 be symmetric, W = U + Z, Q = I - e e^T / n, and w_1 >= w_2 >= ... the eigenvalues of Q W Q on
    the complement of e. X has no negative entry and rows that sum to 1, and so, on that complement,
    eigenvalues in [0, 1] that add up to k - 1:

        <U, X>  <=  <W, X>  <=  e^T W e / n + sum_{i < k} w_i.

    With a trace penalty p in place of k each may be taken or left:

        <U, X> - p tr X  <=  e^T W e / n - p + sum_i max(0, w_i - p).

    Every Z gives a bound: Z = 0 the spectral one, the solver's multiplier of X >= 0 the best up to its
    accuracy.

    Parameters
    ----------
    matrix : array [n, n]
        Symmetric affinities U.
    k, trace_penalty
        As for `solve_relaxation`.
    multiplier : array [n, n]
        Z; its symmetric part is taken and negative entries are set to 0.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity import ExhaustiveGrouping, certified_upper_bound
    >>> matrix = np.array([[0, 2, -1, 0], [2, 0, 0, -1], [-1, 0, 0, 1], [0, -1, 1, 0.0]])
    >>> best = ExhaustiveGrouping().partition(matrix, k=2).objective
    >>> bool(best <= certified_upper_bound(matrix, k=2) + 1e-9)
    True
    """
    matrix, n = checked_matrix(matrix), len(matrix)
    check_group_count(n, k, trace_penalty)
    W = matrix if multiplier is None else matrix + np.maximum((multiplier + multiplier.T) / 2, 0.0)
    projected = project(W)
    # Pushing e below the rest puts its eigenvalue first, and there it is dropped.
    eigenvalues = np.linalg.eigvalsh(projected - 2 * np.linalg.norm(projected) / n)[1:]
    if trace_penalty is not None:
        gain = np.maximum(eigenvalues - trace_penalty, 0.0).sum() - trace_penalty
    elif k is not None:
        gain = eigenvalues[n - k :].sum()
    return float(W.sum() / n + gain)


def centred(matrix: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Return what partitions into k groups depend on: QUQ less its mean eigenvalue on the complement of e.

    Exactly 0 where only rounding is left: a search would climb on it forever.
    """
    n = len(matrix)
    shape = project(matrix) - mean_eigenvalue(matrix) * (np.eye(n) - 1.0 / n)
    return shape if np.abs(shape).max() > 1e-12 * np.abs(matrix).max() else np.zeros((n, n))


def project(matrix: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Return QUQ."""
    rows = matrix - matrix.mean(axis=1, keepdims=True)
    return rows - rows.mean(axis=0, keepdims=True)


def mean_eigenvalue(matrix: Float[np.ndarray, "n n"]) -> float:
    """Return the mean eigenvalue of QUQ on the complement of e."""
    return float((np.trace(matrix) - matrix.sum() / len(matrix)) / max(len(matrix) - 1, 1))


def check_group_count(n: int, k: int | None, trace_penalty: float | None) -> None:
    """Raise unless exactly one of ``k``, in 1..n, and a finite ``trace_penalty`` is given."""
    if (k is None) == (trace_penalty is None):
        raise ValueError(f"k={k} and trace_penalty={trace_penalty}: give exactly one of them")
    if k is not None and (isinstance(k, bool) or not isinstance(k, Integral)):
        raise ValueError(f"k={k!r} is no number of groups; give a whole number from 1 to {n}")
    if k is not None and not 1 <= k <= n:
        raise ValueError(f"k={k} groups cannot be made of {n} tasks; choose k from 1 to {n}")
    if trace_penalty is not None and not np.isfinite(trace_penalty):
        raise ValueError(f"trace_penalty={trace_penalty} is not finite; give a finite number")


class BlockMargins(NamedTuple):
    """Sums over the blocks of Z that make the groups stationary, linear in the price p.

    Sum over j in d of Z_ij = ``constant[i, d]`` - p ``slope[i, d]``; no meaning where i is in d.
    """

    constant: Float[np.ndarray, "n k"]
    slope: Float[np.ndarray, "n k"]
    lowest_price: float
    """Below it M is indefinite, whatever Z."""
    highest_price: float
    """Above it a block would need a negative entry. If this is the lower one, the groups are no solution."""


def block_margins(matrix: Float[np.ndarray, "n n"], labels: Int[np.ndarray, " n"]) -> BlockMargins:
    """Derive what the multiplier of optimal groups adds up to in each block, as a function of the price."""
    tasks = np.arange(len(labels))
    members = np.eye(int(labels.max()) + 1)[labels]
    size = members.sum(axis=0)
    to_group = matrix @ members
    # With h = sum of a over a group: h_c = (v_c^T U v_c / |c| - p) / 2, a_i = ((U v_c)_i - p - h_c) / |c|.
    half = (members * to_group).sum(axis=0) / size / 2
    constant = ((to_group[tasks, labels] - half[labels]) / size[labels])[:, None] * size + half - to_group
    slope = (size / size[labels][:, None] + 1) / 2
    between = members == 0
    highest = float((constant[between] / slope[between]).min()) if between.any() else np.inf
    # On vectors that sum to 0 over every group and live in one, Z and a drop out of M.
    mean = to_group / size
    inside = (
        matrix - mean[:, labels] - mean[:, labels].T + (members.T @ mean / size[:, None])[labels][:, labels]
    )
    lowest = float(np.linalg.eigvalsh(np.where(labels[:, None] == labels, inside, 0.0))[-1])
    return BlockMargins(constant, slope, lowest, highest)


def partition_multiplier(
    matrix: Float[np.ndarray, "n n"], labels: Int[np.ndarray, " n"], margins: BlockMargins, price: float
) -> Float[np.ndarray, "n n"]:
    """Return a multiplier Z >= 0 of X >= 0, zero inside groups, that certifies them if they are clear enough.

    The margins at this price, the multiplier of the trace, and the cancelling of U give Z up to entries below
    0; those are cut, and the margins restored by scaling rows and columns of the blocks (iterative
    proportional fitting).
    """
    members = np.eye(int(labels.max()) + 1)[labels]
    size = members.sum(axis=0)
    between = members == 0
    sums = np.where(between, np.maximum(margins.constant - price * margins.slope, 0.0), 0.0)

    def spread(row: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n n"]:
        """Return the block-wise additive matrix with these row means."""
        block = members.T @ row / size[:, None]
        block = (block + block.T) / 2  # they differ where sums below 0 were cut
        return row[:, labels] + row[:, labels].T - block[labels][:, labels]

    cancelling = spread(matrix @ members / size) - matrix
    Z = np.where(between[:, labels], np.maximum(spread(sums / size) + cancelling, 0.0), 0.0)
    for _ in range(_BALANCING_ROUNDS):
        reached = Z @ members
        factor = np.sqrt(np.divide(sums, reached, out=np.ones_like(sums), where=reached > 0))
        # A row that cutting has all but emptied must not blow up its block.
        factor = np.clip(factor, 0.1, 10.0)[:, labels]
        Z = Z * factor * factor.T
    return Z
