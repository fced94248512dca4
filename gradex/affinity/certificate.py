"""Proof that given groups solve the relaxation: a multiplier in closed form.

The groups c solve the clustering relaxation if there are a price p, a vector a and Z >= 0, zero inside
groups, with

    M = p I + a e^T + e a^T - U - Z  positive semidefinite  and  M v_c = 0 for every indicator v_c

(Awasthi et al. 2015; Iguchi et al. 2017, "Probably certifiably correct k-means clustering"). M v_c = 0 inside
the groups fixes a for each p, and between the groups the sums of Z over each row of each block. Of the Z with
these sums Iguchi et al. take one of rank one; we take the one nearest to cancelling U between the groups,
which certifies noisier groups.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

_BALANCING_ROUNDS = 30


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
    """Derive what the multiplier of optimal groups adds up to in each block.

    Parameters
    ----------
    matrix : array [n, n]
        Symmetric affinities U.
    labels : array [n] of int
        Group of each task, 0..k-1, no group empty.

    Returns
    -------
    BlockMargins
        The sums as a function of the price, and the prices that may have a certificate.
    """
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
    """Return a multiplier Z >= 0 of X >= 0 that certifies the groups if they are clear enough.

    The margins and the cancelling of U give Z up to entries below 0; those are cut, and the margins restored
    by scaling rows and columns of the blocks (iterative proportional fitting).

    Parameters
    ----------
    matrix : array [n, n]
        Symmetric affinities U.
    labels : array [n] of int
        Group of each task.
    margins
        From `block_margins`.
    price
        p, the multiplier of the trace.

    Returns
    -------
    array [n, n]
        Z for `gradex.affinity.bound.certified_upper_bound`, zero inside groups.
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
