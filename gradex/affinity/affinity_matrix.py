"""Affinities between named tasks, with their errors, as tables and pictures."""

from collections.abc import Sequence, Set
from functools import cached_property
from itertools import combinations
from typing import TypeVar

import networkx as nx
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from numpy.typing import ArrayLike
from scipy import stats

from gradex.affinity.affinity import checked_errors, checked_matrix
from gradex.affinity.drawing import draw_heatmap, draw_network, draw_pairs
from gradex.affinity.factors import AffinityFactors
from gradex.affinity.partition import Partition
from gradex.affinity.significance import check_share, conflicting_pairs, significant_pairs
from gradex.display import card, folded, picture, table
from gradex.tensors import from_torch

#: More tasks than this make no heatmap in a notebook.
_MOST_DRAWN = 40
#: The class that a constructor belongs to.
Matrix = TypeVar("Matrix", bound="AffinityMatrix")


class AffinityMatrix:
    """A symmetric matrix of affinities between n tasks, of which something may be known how exact it is.

    Attributes
    ----------
    names : tuple of str
        By default those of a table, or "task 0" and so on.
    factors : AffinityFactors or None
        What the matrix is the product of, where it was given so.

    Examples
    --------
    >>> from gradex.affinity import AffinityMatrix
    >>> affinities = AffinityMatrix([[0, 2, -1], [2, 0, 0], [-1, 0, 0]], stderr=[[1, 0.1, 0.1]] * 3)
    >>> affinities.significant()
    array([[False,  True,  True],
           [ True, False, False],
           [ True, False, False]])
    >>> affinities.conflicts()[0]
    array([False, False,  True])
    """

    def __init__(
        self,
        matrix: ArrayLike | AffinityFactors,
        names: Sequence[str] | None = None,
        stderr: ArrayLike | None = None,
        freedom: float = np.inf,
    ):
        if names is None and isinstance(matrix, pd.DataFrame):
            if list(matrix.index) != list(matrix.columns):
                raise ValueError("columns of the table are not named as its rows; give table[table.index]")
            plain = matrix.index.equals(pd.RangeIndex(len(matrix)))
            names = None if plain else list(matrix.index)
        self.factors = matrix if isinstance(matrix, AffinityFactors) else None
        self._affinities = matrix if isinstance(matrix, AffinityFactors) else checked_matrix(matrix)
        n = len(self._affinities)
        if isinstance(names, Set):
            raise ValueError("names are a set, which has no order; give a list")
        self.names = tuple(f"task {i}" for i in range(n)) if names is None else tuple(map(str, names))
        if len(self.names) != n:
            raise ValueError(f"{len(self.names)} names for {n} tasks; give one name per task")
        if len(set(self.names)) < n:
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ValueError(f"the name {twice!r} occurs twice; give every task a name of its own")
        if not freedom > 0:
            raise ValueError(f"freedom={freedom!r} is no number of degrees: give a number above 0")
        self._freedom = freedom
        self._stderr = None if stderr is None else checked_errors(stderr, n)

    @classmethod
    def from_gradients(
        cls: type[Matrix], gradients: Float[np.ndarray, "n d"], names: Sequence[str] | None = None
    ) -> Matrix:
        """Take the cosine similarity of the tasks' gradients: the rival that needs no surrogate.

        Parameters
        ----------
        gradients : array [n, d]
            Mean gradient of each task's objective at the meta-policy.

        Raises
        ------
        ValueError
            If a gradient is zero or not finite, or they are no rows.
        """
        gradients = np.asarray(from_torch(gradients), dtype=np.float64)
        if gradients.ndim != 2:
            raise ValueError(f"gradients of shape {gradients.shape} are no rows of tasks: give [n, d]")
        norms = np.linalg.norm(gradients, axis=1)
        if (wrong := np.flatnonzero(~np.isfinite(norms) | (norms == 0))).size:
            raise ValueError(
                f"the gradient of task {wrong[0]} has norm {norms[wrong[0]]}; it has no direction to compare"
            )
        directions = gradients / norms[:, None]
        return cls(directions @ directions.T, names)

    @classmethod
    def from_transfers(
        cls: type[Matrix], transfers: Float[np.ndarray, "n n"], names: Sequence[str] | None = None
    ) -> Matrix:
        """Take what tasks gain by each other's fits: n fits of single tasks instead of subsets.

        The affinity of tasks i and j is (T_ij + T_ji) / 2. Groups lose nothing by that: for the objective a
        matrix and its transpose are the same. The diagonal stays, what tasks gain by their own fits: it is
        part of the utility that groups have, see `gradex.affinity.factors`. To second order, and with a
        Hessian that all tasks share, groups of a given number are those of `from_factors`.

        Parameters
        ----------
        transfers : array [n, n]
            T: row i, column j is what task i gains by the fit of task j alone, see
            `SurrogateEstimator.transfers`.

        Raises
        ------
        ValueError
            If the matrix is not square and finite.

        Examples
        --------
        >>> import numpy as np
        >>> from gradex import AffinityGraph
        >>> transfers = np.array([[3.0, 2.0, 0.0], [1.0, 3.0, -1.0], [0.0, -1.0, 2.0]])
        >>> AffinityGraph.from_transfers(transfers).matrix
        array([[ 3. ,  1.5,  0. ],
               [ 1.5,  3. , -1. ],
               [ 0. , -1. ,  2. ]])
        """
        transfers = np.asarray(from_torch(transfers), dtype=np.float64)
        square = transfers.ndim == 2 and transfers.shape[0] == transfers.shape[1]
        return cls((transfers + transfers.T) / 2 if square else transfers, names)

    @classmethod
    def from_factors(
        cls: type[Matrix], factors: Float[np.ndarray, "n r"], names: Sequence[str] | None = None
    ) -> Matrix:
        """Take affinities U = F Fᵀ by their factors F: for thousands of tasks, as n x n is never needed.

        Their groups are those of k-means on the rows, which is the default of `AffinityGraph.partition` here.
        For preferences over a vector of rewards they are groups of highest utility, up to second order;
        `gradex.affinity.factors` has the reasons.

        Parameters
        ----------
        factors : array [n, r]
            Of each task, as `AffinityFactors` takes them; see `SurrogateEstimator.factors`. A task whose
            reward is a weighted sum of others' has the same weighted sum of their factors.

        Examples
        --------
        A thousand preferences over two rewards, whose factors were measured:

        >>> import numpy as np
        >>> from gradex import AffinityGraph
        >>> first = np.linspace(0, 1, 1000)
        >>> graph = AffinityGraph.from_factors(np.stack([first, 1 - first], axis=1) @ np.diag([3.0, 1.0]))
        >>> [len(group) for group in graph.partition(k=2).groups]
        [500, 500]
        """
        return cls(AffinityFactors(np.asarray(from_torch(factors))), names)

    @cached_property
    def matrix(self) -> Float[np.ndarray, "n n"]:
        """Affinities U, read-only; of a graph from factors they are made when they are first asked for.

        There it raises a ValueError if they would take more than half a GB.
        """
        given = self._affinities
        array = given.matrix() if isinstance(given, AffinityFactors) else given
        array.setflags(write=False)
        return array

    @property
    def stderr(self) -> Float[np.ndarray, "n n"]:
        """Standard error of each affinity, in its units; a ValueError where nothing is known of it."""
        if self._stderr is None:
            raise ValueError("a matrix by itself has no standard errors; give some as stderr")
        return self._stderr

    def significant(self, fdr: float = 0.1) -> Bool[np.ndarray, "n n"]:
        """Say which pairs of tasks have an affinity that differs from 0 beyond doubt; False on the diagonal.

        Parameters
        ----------
        fdr
            Share of these pairs that may be wrong, on average (Benjamini and Hochberg 1995).
        """
        return significant_pairs(self.matrix, self.stderr, self._freedom, fdr)

    def conflicts(self, level: float = 0.05) -> Bool[np.ndarray, "n n"]:
        """Say which pairs of tasks have an affinity below 0 beyond doubt; False on the diagonal.

        For first-order interactions: a step for the one makes the other worse.

        Parameters
        ----------
        level
            Chance that any pair is named wrongly (Holm 1979).
        """
        return conflicting_pairs(self.matrix, self.stderr, self._freedom, level)

    def plot(self, ax: Axes | None = None, partition: Partition | None = None) -> Axes:
        """Draw the affinities as a heatmap, by group where a partition is given.

        A partition with draws shows in the upper triangle how often two tasks were put together in them.
        """
        labels = self._labels(partition)
        together = None if partition is None else partition.co_assignment
        return draw_heatmap(self.to_frame(), labels, ax, together, self._quantity)

    @property
    def _quantity(self) -> str:
        """What a number says, as pictures name it."""
        return "affinity"

    def plot_network(self, ax: Axes | None = None, partition: Partition | None = None) -> Axes:
        """Draw the tasks and the strongest affinities between them, nodes placed and coloured by group."""
        return draw_network(self.to_frame(), self._labels(partition), ax)

    def plot_pairs(
        self, ax: Axes | None = None, partition: Partition | None = None, level: float = 0.95
    ) -> Axes:
        """Draw the affinity of each pair of tasks with its interval, by Student's t: a forest plot.

        Pairs go from the lowest affinity up. Of more than 40 pairs it draws those whose affinity is the most
        standard errors away from 0.

        Parameters
        ----------
        ax
            Where to draw; by default axes of their own.
        partition
            Its groups colour the pairs: those within one and those between two.
        level
            Chance of each interval, by itself, to hold the affinity that it is an estimate of.

        Raises
        ------
        ValueError
            If nothing is known of the standard errors, the level is not between 0 and 1, or the partition
            is one of other tasks.

        Examples
        --------
        >>> from gradex.affinity import AffinityMatrix
        >>> affinities = AffinityMatrix([[0, 2, -1], [2, 0, 0], [-1, 0, 0]], "abc", stderr=[[0.5] * 3] * 3)
        >>> [label.get_text() for label in affinities.plot_pairs().get_yticklabels()]
        ['a  ·  c', 'b  ·  c', 'a  ·  b']
        """
        check_share("level", level)
        quantile = float(stats.t.ppf(0.5 + level / 2, self._freedom))
        labels = self._labels(partition)
        label = f"affinity, with {100 * level:g} % intervals"
        return draw_pairs(self.to_frame(), self.stderr, quantile, label, labels, ax)

    def _labels(self, partition: Partition | None) -> Int[np.ndarray, " n"] | None:
        """Give the group of each task, None without a partition; raise for one of another number of tasks."""
        if partition is not None and len(partition.labels) != len(self):
            raise ValueError(
                f"a partition of {len(partition.labels)} tasks does not fit {len(self)}; take the graph's own"
            )
        return None if partition is None else partition.labels

    def to_networkx(self) -> nx.Graph:
        """Return the complete graph on the names, with the affinities as edge attribute ``weight``."""
        graph = nx.Graph()
        graph.add_weighted_edges_from(
            (self.names[i], self.names[j], float(self.matrix[i, j]))
            for i, j in combinations(range(len(self)), 2)
        )
        return graph

    def to_frame(self) -> pd.DataFrame:
        """Return the affinities as a table with the names on both sides."""
        return pd.DataFrame(self.matrix.copy(), index=list(self.names), columns=list(self.names))

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        shown = ", ".join(self.names[:6]) + (", ..." if len(self) > 6 else "")
        return f"{type(self).__name__}({len(self)} tasks: {shown})"

    def _repr_html_(self) -> str:
        title = f"{type(self).__name__}: {len(self)} tasks"
        if self.factors is not None and not self.factors.makes_a_matrix:
            return card(title, {"held as": f"factors of rank {self.factors.rows.shape[1]}"})
        affinities = self.to_frame()
        heatmap = ""
        if len(self) <= _MOST_DRAWN:
            size = (2.6 + 0.16 * len(self), 2.0 + 0.16 * len(self))
            heatmap = picture(lambda ax: draw_heatmap(affinities, ax=ax), "affinities as a heatmap", size)
        return card(title, {}, heatmap, folded("affinities", table(affinities, index=True)))
