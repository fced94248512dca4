"""Groups whose tasks help each other in sum: correlation clustering (Bansal, Blum and Chawla 2004).

The relaxation's objective divides what is within a group by its size. That suits affinities whose zero means
nothing. Interactions have a zero: below it a step for one task makes the other worse. The groups then are
those with the largest sum of interactions within, and how many there are follows: a group is split where the
interactions between both parts are below zero in sum, and nowhere else. Tasks that differ by degrees stay
together as long as they help each other, and a single task at odds with the rest is a group, however large
the rest is.
"""

from typing import final

import numpy as np
from jaxtyping import Float, Int

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


@final
class CorrelationGrouping(Grouping):
    """Maximise the sum of affinities within groups, of which there are at most k.

    Where fewer groups have a larger sum than any k, there are fewer. The diagonal plays no part. Local search
    from several starts finds them; it is deterministic.

    Examples
    --------
    A chain of tasks that differ by degrees, and one that is at odds with its end:

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
        check_group_count(len(matrix), k, None)
        labels = correlated_labels(matrix, k)
        upper = np.triu_indices(len(matrix), 1)
        pairs, within = matrix[upper], (labels[:, None] == labels)[upper]
        return Partition(
            labels,
            objective=float(pairs[within].sum()),
            upper_bound=float(pairs.clip(min=0).sum()),
            chance=float(pairs.mean() * within.sum()),
            status="correlation clustering",
        )


def correlated_labels(matrix: Float[np.ndarray, "n n"], k: int) -> Int[np.ndarray, " n"]:
    """Find the groups, at most k, with the largest sum of affinities within.

    Returns
    -------
    array [n] of int
        Group of each task, numbered in the order of first occurrence.

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
    found = [_improved(pairs, start, k) for start in starts]
    return canonical_labels(max(found, key=lambda labels: _sum_within(pairs, labels)))


def _improved(
    pairs: Float[np.ndarray, "n n"], labels: Int[np.ndarray, " n"], k: int
) -> Int[np.ndarray, " n"]:
    """Move one task, or put two groups together, whichever adds most, until nothing does."""
    tasks = np.arange(len(labels))
    tolerance = _ROUNDING * np.abs(pairs).max()
    while True:
        members = np.eye(k)[labels]
        to_group = pairs @ members
        moves = to_group - to_group[tasks, labels][:, None]
        task, target = np.unravel_index(moves.argmax(), moves.shape)
        joins = np.triu(members.T @ to_group, 1)
        first, second = np.unravel_index(joins.argmax(), joins.shape)
        if max(moves[task, target], joins[first, second]) <= tolerance:
            return labels
        labels = labels.copy()
        if moves[task, target] >= joins[first, second]:
            labels[task] = target
        else:
            labels[labels == second] = first


def _sum_within(pairs: Float[np.ndarray, "n n"], labels: Int[np.ndarray, " n"]) -> float:
    return float(pairs[labels[:, None] == labels].sum())
