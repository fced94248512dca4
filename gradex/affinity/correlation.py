"""Groups whose tasks help each other in sum: correlation clustering (Bansal, Blum and Chawla 2004).

The relaxation's objective divides what is within a group by its size. That suits affinities whose zero means
nothing. Interactions have a zero: below it a step for one task makes the other worse. The groups then are
those with the largest sum of interactions within, and how many there are follows: a group is split where the
interactions between both parts are below zero in sum, and nowhere else. Tasks that differ by degrees stay
together as long as they help each other, and a single task in conflict with the rest is a group, however
large the rest is.
"""

from typing import final

import numpy as np
from jaxtyping import Float, Int

from gradex.affinity.affinity import checked_matrix
from gradex.affinity.certificate import check_group_count
from gradex.affinity.groupings import Grouping
from gradex.affinity.partition import Partition, canonical_labels
from gradex.affinity.rounding import linkage_labels, propose_groups
from gradex.seeds import generator_for

#: Random labellings to start from. Of many tasks these lead to groups that no single move splits again, so
#: that average linkage, and what the relaxation's objective likes, are starts, too.
_RANDOM_STARTS = 16
#: Gains below this share of the largest affinity are rounding.
_ROUNDING = 1e-12
#: Starts are improved side by side, as many as have so many numbers in all.
_NUMBERS = 2**20


@final
class CorrelationGrouping(Grouping):
    """Maximise the sum of affinities within groups, of which there are at most k.

    Where fewer groups have a larger sum than any k, there are fewer. Local search from several starts finds
    them; it is deterministic.

    Examples
    --------
    A chain of tasks that differ by degrees, and one that conflicts with its end:

    >>> import numpy as np
    >>> from gradex.affinity import CorrelationGrouping
    >>> place = np.arange(5)
    >>> matrix = np.exp(-np.abs(place[:, None] - place))
    >>> matrix[3:, 4] = matrix[4, 3:] = -1.0
    >>> CorrelationGrouping().partition(matrix, k=2).groups
    ((0, 1, 2, 3), (4,))
    >>> CorrelationGrouping().partition(np.abs(matrix), k=2).groups
    ((0, 1, 2, 3, 4),)
    """

    def partition(self, matrix: Float[np.ndarray, "n n"], k: int) -> Partition:
        """Partition the tasks into ``k`` groups or fewer.

        The objective is the sum of affinities over pairs within groups, and its bound that of all pairs that
        help each other: no partition can have more.
        """
        matrix = checked_matrix(matrix)
        check_group_count(len(matrix), k, None)
        return correlated(matrix, correlated_labels(matrix, k))


def correlated(matrix: Float[np.ndarray, "n n"], labels: Int[np.ndarray, " n"]) -> Partition:
    """Evaluate groups by the sum of affinities within; see `CorrelationGrouping.partition`."""
    upper = np.triu_indices(len(matrix), 1)
    pairs, within = matrix[upper], (labels[:, None] == labels)[upper]
    return Partition(
        canonical_labels(labels),
        objective=float(pairs[within].sum()),
        upper_bound=float(pairs.clip(min=0).sum()),
        chance=float(pairs.mean() * within.sum()),
        status="correlation clustering",
    )


def correlated_labels(matrix: Float[np.ndarray, "n n"], k: int) -> Int[np.ndarray, " n"]:
    """Find the groups, at most k, with the largest sum of affinities within, numbered as they first occur.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity import correlated_labels
    >>> correlated_labels(np.array([[0, 2, -1], [2, 0, -1], [-1, -1, 0.0]]), k=3).tolist()
    [0, 0, 1]
    """
    n = len(matrix)
    pairs = (matrix + matrix.T) / 2
    np.fill_diagonal(pairs, 0.0)
    rng = generator_for(0, "starts of correlation clustering")
    starts = [linkage_labels(pairs, k, least=0.0), propose_groups(pairs, k)]
    starts += [rng.integers(k, size=n) for _ in range(_RANDOM_STARTS)]
    side_by_side = max(1, _NUMBERS // (n * k))
    found = [
        labels
        for place in range(0, len(starts), side_by_side)
        for labels in _improved(pairs, np.array(starts[place : place + side_by_side]), k)
    ]
    return canonical_labels(max(found, key=lambda labels: _sum_within(pairs, labels)))


def _improved(
    pairs: Float[np.ndarray, "n n"], labels: Int[np.ndarray, "starts n"], k: int
) -> Int[np.ndarray, "starts n"]:
    """Move one task, or put two groups together, whichever adds most, until nothing does."""
    labels, under_way = labels.copy(), np.arange(len(labels))
    each_group, upper = np.eye(k), np.triu(np.ones((k, k), dtype=bool), 1)
    tolerance = _ROUNDING * np.abs(pairs).max()
    while len(under_way):
        own = labels[under_way]
        members = each_group[own]
        to_group = pairs @ members
        moves = to_group - np.take_along_axis(to_group, own[:, :, None], axis=2)
        joins = np.where(upper, members.mT @ to_group, 0.0)
        by_move, by_join = moves.max(axis=(1, 2)), joins.max(axis=(1, 2))
        helps, moving = np.maximum(by_move, by_join) > tolerance, by_move >= by_join
        best_move, best_join = (gains.reshape(len(own), -1).argmax(axis=1) for gains in (moves, joins))
        task, target = np.divmod(best_move, k)
        first, second = np.divmod(best_join, k)
        joined = np.where(own == second[:, None], first[:, None], own)
        np.put_along_axis(own, task[:, None], target[:, None], axis=1)
        labels[under_way[helps]] = np.where(moving[:, None], own, joined)[helps]
        under_way = under_way[helps]
    return labels


def _sum_within(pairs: Float[np.ndarray, "n n"], labels: Int[np.ndarray, " n"]) -> float:
    return float(pairs[labels[:, None] == labels].sum())
