"""How far two groupings of the same tasks agree, by mutual information (Vinh, Epps and Bailey 2010).

Values are those of scikit-learn. Where tasks are few, its functions spend nearly all of their time on checks,
and to choose how many groups there are, thousands of groupings are compared.
"""

from math import log

import numpy as np
from jaxtyping import Int
from sklearn.metrics.cluster import expected_mutual_information

_EPS = float(np.finfo(np.float64).eps)


def normalized_mutual_information(one: Int[np.ndarray, " n"], other: Int[np.ndarray, " n"]) -> float:
    """Give the mutual information over the mean of both entropies, 1 where the groups are equal.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity.agreement import normalized_mutual_information
    >>> one, other = np.array([0, 0, 1, 1]), np.array([7, 7, 3, 3])
    >>> round(normalized_mutual_information(one, other), 6)
    1.0
    """
    table = _shared(one, other)
    if table.size == 1:
        return 1.0
    mutual = _mutual_information(table)
    return mutual / _mean_entropy(table) if mutual else 0.0


def adjusted_mutual_information(one: Int[np.ndarray, " n"], other: Int[np.ndarray, " n"]) -> float:
    """Give the same less what groups of these sizes agree by chance: 0 where they have nothing in common.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity.agreement import adjusted_mutual_information
    >>> adjusted_mutual_information(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])) < 0
    True
    """
    table = _shared(one, other)
    if table.size == 1:
        return 1.0
    if 1 in table.shape:
        return 0.0
    chance = expected_mutual_information(table, len(one))
    # Equal groups make both differences zero, up to rounding.
    above, most = _mutual_information(table) - chance, _mean_entropy(table) - chance
    return _away_from_zero(above) / _away_from_zero(most)


def _shared(one: Int[np.ndarray, " n"], other: Int[np.ndarray, " n"]) -> Int[np.ndarray, "groups others"]:
    """Count the tasks that each pair of groups shares."""
    (rows, row), (columns, column) = (np.unique(labels, return_inverse=True) for labels in (one, other))
    counts = np.bincount(row * len(columns) + column, minlength=len(rows) * len(columns))
    return counts.reshape(len(rows), len(columns)).astype(np.int64)


def _mutual_information(table: Int[np.ndarray, "groups others"]) -> float:
    if 1 in table.shape:
        return 0.0
    row, column = np.nonzero(table)
    count, total = table[row, column], int(table.sum())
    sizes = table.sum(axis=1)[row] * table.sum(axis=0)[column]
    share = count / total
    apart = -np.log(sizes) + log(total) + log(total)
    terms = share * (np.log(count) - log(total)) + share * apart
    return max(0.0, float(np.where(np.abs(terms) < _EPS, 0.0, terms).sum()))


def _mean_entropy(table: Int[np.ndarray, "groups others"]) -> float:
    return (_entropy(table.sum(axis=1)) + _entropy(table.sum(axis=0))) / 2


def _entropy(sizes: Int[np.ndarray, " groups"]) -> float:
    if len(sizes) == 1:
        return 0.0
    total = float(sizes.sum())
    return -float(np.sum(sizes / total * (np.log(sizes) - log(total))))


def _away_from_zero(value: float) -> float:
    return min(value, -_EPS) if value < 0 else max(value, _EPS)
