"""Sparse designs: how scores depend on pairs of tasks, whose columns stand as in `numpy.triu_indices`."""

import numpy as np
from jaxtyping import Int
from scipy.sparse import csr_array


def entries(members: csr_array) -> tuple[Int[np.ndarray, " scores"], Int[np.ndarray, " scores"]]:
    """Return subset and task of every membership, in the order in which they are stored."""
    return np.repeat(np.arange(members.shape[0]), np.diff(members.indptr)), members.indices


def pair_design(members: csr_array) -> csr_array:
    """Return rows that average over a subset's pairs, [m, n(n-1)/2], in the order of `numpy.triu_indices`."""
    m, n = members.shape
    sizes = np.diff(members.indptr)
    rows, columns, values = [], [], []
    for size in np.unique(sizes[sizes > 1]):
        chosen = np.flatnonzero(sizes == size)
        tasks = members.indices[members.indptr[chosen][:, None] + np.arange(size)].astype(np.int64)
        first, second = np.triu_indices(size, 1)
        i, j = tasks[:, first], tasks[:, second]
        columns.append(_place(i, j, n).ravel())
        rows.append(np.repeat(chosen, len(first)))
        values.append(np.full(len(chosen) * len(first), 1.0 / len(first)))
    stored = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return csr_array(stored, shape=(m, n * (n - 1) // 2))


def companion_design(members: csr_array) -> csr_array:
    """Return rows that average over the pairs of a member with the others of its subset, one per `entries`.

    Columns are in the order of `numpy.triu_indices`.
    """
    n = members.shape[1]
    sizes = np.diff(members.indptr)
    rows, columns, values = [], [], []
    for size in np.unique(sizes[sizes > 1]):
        entry = members.indptr[np.flatnonzero(sizes == size)][:, None] + np.arange(size)
        tasks = members.indices[entry].astype(np.int64)
        own, other = np.nonzero(~np.eye(size, dtype=bool))
        i, j = np.minimum(tasks[:, own], tasks[:, other]), np.maximum(tasks[:, own], tasks[:, other])
        columns.append(_place(i, j, n).ravel())
        rows.append(entry[:, own].ravel())
        values.append(np.full(i.size, 1.0 / (size - 1)))
    stored = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return csr_array(stored, shape=(members.nnz, n * (n - 1) // 2))


def _place(i: Int[np.ndarray, "..."], j: Int[np.ndarray, "..."], n: int) -> Int[np.ndarray, "..."]:
    """Return where the pair i < j stands in `numpy.triu_indices(n, 1)`."""
    return i * (2 * n - i - 1) // 2 + j - i - 1
