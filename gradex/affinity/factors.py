"""Affinities by their factors, U = F Fᵀ: what many tasks need instead of a matrix of all pairs.

With the row f_i of F for task i, the objective of groups c is

    Σ_c v_cᵀ U v_c / |c|  =  Σ_c |c| |f̄_c|²  =  Σ_i |f_i|² - Σ_c Σ_{i in c} |f_i - f̄_c|²,

f̄_c the mean of the rows of c. So the best groups are those of k-means on the rows, in r dimensions and not in
n (kernel k-means: Dhillon, Guan and Kulis 2004, KDD). They need the diagonal U_ii = |f_i|²: what a task gains
by itself.

Why these are the groups to look for where tasks are preferences w_i over a vector of rewards, with the same
dynamics and a policy that does not see the task: a policy π has the value V^π, a vector, and the utility
w_i·V^π. A group does best with the policy for its mean preference w̄_c, and has Σ_c |c| φ(w̄_c) in all, where

    φ(w) = max_π w·V^π

is convex. As φ is what a preference has with a policy of its own, the groups lose Σ_i D_φ(w_i, w̄_c), D_φ the
Bregman divergence of φ: the best groups are Bregman k-means of the preferences (Banerjee, Merugu, Dhillon and
Ghosh 2005, JMLR 6). Algorithm 2 is its local quadratic model. Around the meta-policy, with g(w) = B w the
policy gradient and A the Hessian that all tasks share, φ(w) ≈ w·V + ½ g(w)ᵀ A⁻¹ g(w); then D_φ is half of
the squared distance of two rows of F = W Bᵀ A^(-½), and U = F Fᵀ = W M Wᵀ with M = Bᵀ A⁻¹ B of as many rows
as there are rewards.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array

from gradex.affinity.certificate import check_group_count
from gradex.affinity.partition import Partition, canonical_labels

#: Tasks of which a matrix of all pairs is still made: half a GB.
_MOST_TASKS = 8192


@dataclass(frozen=True, eq=False)
class AffinityFactors:
    """Affinities U = F Fᵀ of n tasks, kept by F; positive semidefinite, of rank r at most.

    Raises
    ------
    ValueError
        If there are fewer than two rows, or a number is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity import AffinityFactors
    >>> factors = AffinityFactors(np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    >>> factors.matrix()
    array([[4., 2., 0.],
           [2., 1., 0.],
           [0., 0., 1.]])
    >>> factors.evaluate(np.array([0, 0, 1]), status="by hand").objective
    5.5
    """

    rows: Float[np.ndarray, "n r"]
    """F: a row for each task."""

    def __post_init__(self) -> None:
        rows = np.array(self.rows, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[0] < 2 or rows.shape[1] < 1:
            raise ValueError(f"factors of shape {rows.shape} are no rows of tasks: give [n, r], n at least 2")
        if (wrong := np.flatnonzero(~np.isfinite(rows).all(axis=1))).size:
            raise ValueError(f"the factors of task {wrong[0]} are not finite: check its advantages")
        rows.setflags(write=False)
        object.__setattr__(self, "rows", rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def makes_a_matrix(self) -> bool:
        """Whether U itself takes no more than half a GB."""
        return len(self) <= _MOST_TASKS

    def matrix(self) -> Float[np.ndarray, "n n"]:
        """Give U itself, or raise a ValueError if it would take more than half a GB."""
        n = len(self)
        if not self.makes_a_matrix:
            raise ValueError(
                f"the affinities of all pairs of {n} tasks take {8e-9 * n * n:.1f} GB: stay with the factors,"
                f" or take at most {_MOST_TASKS} tasks"
            )
        product = self.rows @ self.rows.T
        return (product + product.T) / 2

    def spectrum(self) -> Float[np.ndarray, " eigenvalues"]:
        """Give the n - 1 eigenvalues of QUQ on the complement of e, from the largest down, Q = I - eeᵀ/n."""
        values = np.linalg.svd(self.rows - self.rows.mean(axis=0), compute_uv=False) ** 2
        return np.pad(values, (0, max(0, len(self) - 1 - len(values))))[: len(self) - 1]

    def upper_bound(self, k: int) -> float:
        """Bound the objective of every partition into ``k`` groups: `certified_upper_bound` with Z = 0.

        It is eᵀUe/n and the k - 1 largest eigenvalues of QUQ, from a decomposition of the rows (Ding and He
        2004, ICML). Above r groups it is the trace, what tasks have by themselves, and says little.
        """
        check_group_count(len(self), k, None)
        return self._together + float(self.spectrum()[: k - 1].sum())

    def evaluate(self, labels: Int[np.ndarray, " n"], status: str) -> Partition:
        """Give any groups with their objective and the bound, as `Partition.of` does from a matrix."""
        labels, n = canonical_labels(labels), len(self)
        size = np.bincount(labels)
        members = csr_array((np.ones(n), (labels, np.arange(n))), (len(size), n))
        objective = float((np.square(members @ self.rows).sum(axis=1) / size).sum())
        alone = float(np.vdot(self.rows, self.rows))
        chance = self._together + (alone - self._together) * (len(size) - 1) / (n - 1)
        return Partition(labels, objective, self.upper_bound(len(size)), chance, status)

    @property
    def _together(self) -> float:
        """Objective of all tasks in one group."""
        return float(np.square(self.rows.sum(axis=0)).sum() / len(self))


def all_alike(rows: Float[np.ndarray, "n *r"]) -> bool:
    """Tell whether all rows are the same but for rounding.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity.factors import all_alike
    >>> all_alike(np.ones((3, 2))), all_alike(np.eye(2))
    (True, False)
    """
    return bool(np.ptp(rows, axis=0).max() <= 1e-12 * np.abs(rows).max())
