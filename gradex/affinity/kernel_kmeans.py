"""Kernel k-means: groups of thousands of tasks without a semidefinite program."""

from typing import final

import numpy as np
from jaxtyping import Float, Int
from sklearn.cluster import KMeans

from gradex.affinity.affinity import checked_matrix
from gradex.affinity.certificate import certified_upper_bound, check_group_count
from gradex.affinity.factors import AffinityFactors
from gradex.affinity.groupings import Grouping
from gradex.affinity.partition import Partition
from gradex.affinity.rounding import fill_empty_groups, propose_groups
from gradex.seeds import child
from gradex.threads import kmeans_threads_for


@final
class KernelKMeans(Grouping):
    """Run k-means on the rows of F where U = F Fᵀ: the same objective, in as many dimensions as F has.

    `gradex.affinity.factors` derives it. A matrix that is no such product, such as one of transfers, is
    grouped by k-means on its k - 1 leading eigenvectors, and moves of single tasks then raise the objective
    itself (Dhillon, Guan and Kogan 2002, ICDM). It takes one eigendecomposition of the matrix, where the
    relaxation takes one in each of its iterations. Both have the spectral bound, which is looser than that of
    the relaxation.

    Parameters
    ----------
    seed
        Seed of the starts on factors.
    starts
        How often k-means starts on factors, 1 or more; the best counts.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity import AffinityFactors, KernelKMeans
    >>> factors = AffinityFactors(np.array([[2.0, 0.1], [0.1, 1.0], [2.0, 0.0], [0.0, 1.0]]))
    >>> partition = KernelKMeans().partition(factors, k=2)
    >>> partition.groups, bool(partition.objective <= partition.upper_bound)
    (((0, 2), (1, 3)), True)
    >>> KernelKMeans().partition(factors.matrix(), k=2).groups
    ((0, 2), (1, 3))
    """

    def __init__(self, seed: int = 0, starts: int = 10):
        if starts < 1:
            raise ValueError(f"starts={starts} is too few: give at least 1")
        self.seed, self.starts = seed, starts

    def partition(self, matrix: Float[np.ndarray, "n n"] | AffinityFactors, k: int) -> Partition:
        check_group_count(len(matrix), k, None)
        if isinstance(matrix, AffinityFactors):
            return matrix.evaluate(self._labels(matrix.rows, k), "kernel k-means")
        matrix = checked_matrix(matrix)
        return Partition.of(
            matrix,
            propose_groups(matrix, k),
            upper_bound=certified_upper_bound(matrix, k),
            status="kernel k-means",
        )

    def covered(self, factors: AffinityFactors, k_max: int) -> Float[np.ndarray, " k_max"]:
        """Tell what 1 to ``k_max`` groups reach, of what a group for each task gains over one for all.

        From 0 for one group to 1 for n; nan where tasks are all alike, so that there is nothing to gain.
        """
        least = factors.evaluate(np.zeros(len(factors), dtype=np.int64), "together").objective
        most = float(np.square(factors.rows).sum())
        found = np.array([self.partition(factors, k).objective for k in range(1, k_max + 1)])
        return (found - least) / (most - least) if most - least > 1e-12 * most else np.full(k_max, np.nan)

    def _labels(self, rows: Float[np.ndarray, "n r"], k: int) -> Int[np.ndarray, " n"]:
        n = len(rows)
        if k in (1, n):
            return np.arange(n) % k
        # k-means warns of fewer different rows than groups. Dividing a group of alike tasks costs nothing.
        distinct = min(k, len(np.unique(rows, axis=0)))
        start = child(self.seed, "kernel k-means") % 2**32  # the largest that scikit-learn takes
        with kmeans_threads_for(n):
            found = KMeans(distinct, n_init=self.starts, random_state=start).fit(rows).labels_
        return fill_empty_groups(found.astype(np.int64), k)
