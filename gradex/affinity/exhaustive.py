"""The best partition of few tasks, as a rival of the relaxation."""

from typing import final

import numpy as np
from jaxtyping import Float

from gradex.affinity.bound import centred, check_group_count
from gradex.affinity.enumeration import best_labels
from gradex.affinity.partition import Partition, canonical_labels, group_objective
from gradex.affinity.rivals import Grouping

_MOST_TASKS = 14


@final
class ExhaustiveGrouping(Grouping):
    """Find the partition of highest objective among all, for at most 14 tasks.

    Says how far a relaxation and its rounding are from the optimum.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity import ExhaustiveGrouping
    >>> matrix = np.array([[0, 2, -1, 0], [2, 0, 0, -1], [-1, 0, 0, 1], [0, -1, 1, 0.0]])
    >>> ExhaustiveGrouping().partition(matrix, k=2).groups
    ((0, 1), (2, 3))
    """

    def partition(self, matrix: Float[np.ndarray, "n n"], k: int) -> Partition:
        n = len(matrix)
        check_group_count(n, k, None)
        if n > _MOST_TASKS:
            raise ValueError(
                f"{n} tasks have too many partitions to try all; use SemidefiniteGrouping above {_MOST_TASKS}"
            )
        labels = canonical_labels(best_labels(centred(matrix), k))
        optimum = group_objective(matrix, labels)
        return Partition.of(matrix, labels, upper_bound=optimum, status="exhaustive")
