"""Ways to group tasks: the semidefinite relaxation, and rivals to compare it to (PolicyGradEx, Sec. 4)."""

from abc import ABC, abstractmethod
from typing import final

import numpy as np
from jaxtyping import Float
from sklearn.cluster import KMeans

from gradex.affinity.affinity import checked_matrix
from gradex.affinity.certificate import centred, certified_upper_bound, check_group_count
from gradex.affinity.partition import Partition, canonical_labels, group_objective
from gradex.affinity.relaxation import solve_relaxation
from gradex.affinity.rounding import best_labels, round_relaxation
from gradex.seeds import child, generator_for
from gradex.threads import kmeans_threads_for

_TASKS_ALL_COUNTS = 12
_MOST_TASKS = 14
#: Features that differ by a smaller share of the largest differ by rounding.
_ROUNDING = 1e-10


class Grouping(ABC):
    """A way to partition tasks by their affinities.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity import RandomGrouping, SemidefiniteGrouping
    >>> matrix = np.array([[0, 2, -1, 0], [2, 0, 0, -1], [-1, 0, 0, 1], [0, -1, 1, 0.0]])
    >>> methods = [SemidefiniteGrouping(), RandomGrouping(seed=0)]
    >>> best, chance = (method.partition(matrix, k=2) for method in methods)
    >>> best.objective >= chance.objective
    True
    """

    @abstractmethod
    def partition(self, matrix: Float[np.ndarray, "n n"], k: int) -> Partition:
        """Partition the tasks into ``k`` groups.

        Parameters
        ----------
        matrix : array [n, n]
            Symmetric affinities U; higher is better.
        k
            Number of groups, 1..n; none is empty.

        Raises
        ------
        TypeError, ValueError
            If the matrix holds no affinities, see `AffinityGraph`, or ``k`` is outside 1..n.
        """


@final
class SemidefiniteGrouping(Grouping):
    """Solve the semidefinite relaxation, then round (PolicyGradEx, Algorithm 2 and Appendix A, Eq. (7)).

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity import SemidefiniteGrouping
    >>> matrix = np.array([[0, 2, -1, 0], [2, 0, 0, -1], [-1, 0, 0, 1], [0, -1, 1, 0.0]])
    >>> SemidefiniteGrouping().partition(matrix, k=2).groups
    ((0, 1), (2, 3))
    """

    def partition(
        self, matrix: Float[np.ndarray, "n n"], k: int | None = None, trace_penalty: float | None = None
    ) -> Partition:
        """Partition the tasks into ``k`` groups, or into as many as a price per group makes worthwhile.

        Give ``k`` or ``trace_penalty``, as to `solve_relaxation`, whose errors are raised here. With a price,
        numbers of groups near the trace of the relaxation are rounded, and the best is kept.
        """
        matrix, n = checked_matrix(matrix), len(matrix)
        relaxation = solve_relaxation(matrix, k, trace_penalty)
        candidates = [] if relaxation.labels is None else [relaxation.labels]
        if relaxation.status != "certified":
            if k is None:
                # Of few tasks the trace tells less, and trying more numbers of groups costs little.
                trace, margin = np.trace(relaxation.X), 1 if n > _TASKS_ALL_COUNTS else n
                counts = range(max(1, int(trace) - margin), min(n, int(np.ceil(trace)) + margin) + 1)
            else:
                counts = range(k, k + 1)
            candidates += [round_relaxation(matrix, relaxation.X, count) for count in counts]
        partitions = [
            Partition.of(
                matrix,
                labels,
                upper_bound=relaxation.upper_bound,
                status=relaxation.status,
                trace_penalty=trace_penalty,
            )
            for labels in candidates
        ]
        return max(partitions, key=lambda partition: partition.objective)


@final
class RandomGrouping(Grouping):
    """Deal the tasks out at random to groups of sizes as equal as possible; the affinities play no part.

    The same seed gives the same groups.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity import RandomGrouping
    >>> matrix = np.array([[0, 2, -1, 0], [2, 0, 0, -1], [-1, 0, 0, 1], [0, -1, 1, 0.0]])
    >>> partition = RandomGrouping(seed=0).partition(matrix, k=2)
    >>> sorted(map(len, partition.groups))
    [2, 2]
    """

    def __init__(self, seed: int = 0):
        self.seed = seed

    def partition(self, matrix: Float[np.ndarray, "n n"], k: int) -> Partition:
        matrix, n = checked_matrix(matrix), len(matrix)
        check_group_count(n, k, None)
        labels = generator_for(self.seed, "random grouping").permutation(np.arange(n) % k)
        return Partition.of(matrix, labels, upper_bound=certified_upper_bound(matrix, k), status="random")


@final
class KMeansGrouping(Grouping):
    """Cluster tasks by what is known of them, with k-means; the affinities play no part.

    A rival that needs no training, but parameters which say what matters: each counts as much as the others,
    and an angle of 359° is far from one of 1°.

    Parameters
    ----------
    features : array [n, features]
        Of each task, such as its parameters (`gradex.tasks.parameter_matrix`). Columns are standardised: mean
        0 and standard deviation 1, or all 0 where tasks do not differ but by rounding.
    seed
        Seed of the ten starts, of which the best counts.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity import KMeansGrouping
    >>> lengths = np.array([[0.1], [2.0], [0.2], [2.1]])
    >>> KMeansGrouping(lengths).partition(np.zeros((4, 4)), k=2).groups
    ((0, 2), (1, 3))
    """

    def __init__(self, features: Float[np.ndarray, "n features"], seed: int = 0):
        self.features = np.asarray(features, dtype=np.float64)
        self.seed = seed

    def partition(self, matrix: Float[np.ndarray, "n n"], k: int) -> Partition:
        matrix, n = checked_matrix(matrix), len(matrix)
        check_group_count(n, k, None)
        if self.features.ndim != 2 or len(self.features) != n or not np.isfinite(self.features).all():
            raise ValueError(
                f"features of shape {self.features.shape} do not fit {n} tasks: give finite rows, one each"
            )
        spread, size = self.features.std(axis=0), np.abs(self.features).max(axis=0)
        spread = np.where(spread > _ROUNDING * size, spread, np.inf)
        standard = (self.features - self.features.mean(axis=0)) / spread
        distinct = len(np.unique(np.round(standard / _ROUNDING), axis=0))
        if distinct < k:
            raise ValueError(f"{distinct} different rows of features make no {k} groups: choose k={distinct}")
        start = child(self.seed, "k-means") % 2**32  # the largest that scikit-learn takes
        with kmeans_threads_for(n):
            found = KMeans(k, n_init=10, random_state=start).fit(standard).labels_.astype(np.int64)
        return Partition.of(matrix, found, upper_bound=certified_upper_bound(matrix, k), status="k-means")


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
        matrix, n = checked_matrix(matrix), len(matrix)
        check_group_count(n, k, None)
        if n > _MOST_TASKS:
            raise ValueError(
                f"{n} tasks have too many partitions to try all; use SemidefiniteGrouping above {_MOST_TASKS}"
            )
        labels = canonical_labels(best_labels(centred(matrix), k))
        optimum = group_objective(matrix, labels)
        return Partition.of(matrix, labels, upper_bound=optimum, status="exhaustive")
