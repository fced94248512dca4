"""Groups within groups: a partition of all tasks, and partitions of its groups, as one."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from gradex.affinity.correlation import correlated
from gradex.affinity.partition import Partition, canonical_labels


def nested(
    matrix: Float[np.ndarray, "n n"], partition: Partition, parts: Sequence[Partition | None]
) -> Partition:
    """Put the groups of each group in its place.

    Two tasks are together in a draw if they are in one group of all tasks, and in one of their group's own.

    Parameters
    ----------
    matrix : array [n, n]
        Interactions of all tasks, by which the result is evaluated as `CorrelationGrouping` does.
    partition : Partition
        Of all n tasks.
    parts : sequence of Partition or None
        One for each of its groups: a partition of the group's tasks, in their order; None leaves it whole.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity import CorrelationGrouping, nested
    >>> matrix = np.array([[0, 2, -1, -1], [2, 0, -1, -1], [-1, -1, 0, 1], [-1, -1, 1, 0.0]])
    >>> whole = CorrelationGrouping().partition(matrix, k=2)
    >>> apart = CorrelationGrouping().partition(np.array([[0, -1], [-1, 0.0]]), k=2)
    >>> nested(matrix, whole, [None, apart]).groups
    ((0, 1), (2,), (3,))
    """
    labels, drawn = partition.labels.copy(), partition.resampled
    drawn = None if drawn is None else drawn.copy()
    for group, part in zip(partition.groups, parts, strict=True):
        if part is None:
            continue
        place, n = list(group), len(labels)
        labels[place] = labels[place] + n * part.labels
        if drawn is not None:
            own = part.labels[None] if part.resampled is None else part.resampled
            own = own if len(own) == len(drawn) else part.labels[None]
            drawn[:, place] = drawn[:, place] + n * own
    found = replace(correlated(matrix, labels), status=f"{partition.status}, of each group again")
    return replace(found, resampled=None if drawn is None else _canonical(drawn))


def _canonical(drawn: Int[np.ndarray, "draws n"]) -> Int[np.ndarray, "draws n"]:
    return np.array([canonical_labels(labels) for labels in drawn]).reshape(drawn.shape)
