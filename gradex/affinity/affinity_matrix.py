"""Affinities between named tasks, with their errors, as tables and pictures."""

from collections.abc import Sequence
from itertools import combinations

import networkx as nx
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from numpy.typing import ArrayLike
from scipy import stats

from gradex.affinity.affinity import checked_errors, checked_matrix
from gradex.affinity.drawing import draw_heatmap, draw_network, draw_pairs
from gradex.affinity.partition import Partition
from gradex.affinity.significance import check_share, conflicting_pairs, significant_pairs


class AffinityMatrix:
    """A symmetric matrix of affinities between n tasks, of which something may be known how exact it is.

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
        matrix: ArrayLike,
        names: Sequence[str] | None = None,
        stderr: ArrayLike | None = None,
        freedom: float = np.inf,
    ):
        array = checked_matrix(matrix)
        n = len(array)
        self.names = tuple(f"task {i}" for i in range(n)) if names is None else tuple(map(str, names))
        if len(self.names) != n:
            raise ValueError(f"{len(self.names)} names for {n} tasks; give one name per task")
        if len(set(self.names)) < n:
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ValueError(f"the name {twice!r} occurs twice; give every task a name of its own")
        array.setflags(write=False)
        self.matrix, self._freedom = array, freedom
        self._stderr = None if stderr is None else checked_errors(stderr, n)

    @property
    def stderr(self) -> Float[np.ndarray, "n n"]:
        """Standard error of each affinity, in its units.

        Raises
        ------
        ValueError
            If nothing is known of it.
        """
        if self._stderr is None:
            raise ValueError("a matrix by itself has no standard errors; give some as stderr")
        return self._stderr

    def significant(self, fdr: float = 0.1) -> Bool[np.ndarray, "n n"]:
        """Say which pairs of tasks have an affinity that differs from 0 beyond doubt.

        Parameters
        ----------
        fdr
            Share of these pairs that may be wrong, on average (Benjamini and Hochberg 1995).

        Returns
        -------
        array [n, n] of bool
            Symmetric, False on the diagonal.
        """
        return significant_pairs(self.matrix, self.stderr, self._freedom, fdr)

    def conflicts(self, level: float = 0.05) -> Bool[np.ndarray, "n n"]:
        """Say which pairs of tasks have an affinity below 0 beyond doubt.

        For first-order interactions: a step for the one makes the other worse.

        Parameters
        ----------
        level
            Chance that any pair is named wrongly (Holm 1979).

        Returns
        -------
        array [n, n] of bool
            Symmetric, False on the diagonal.
        """
        return conflicting_pairs(self.matrix, self.stderr, self._freedom, level)

    def plot(self, ax: Axes | None = None, partition: Partition | None = None) -> Axes:
        """Draw the affinities as a heatmap, by group where a partition is given.

        A partition with draws shows in the upper triangle how often two tasks were put together in them.
        """
        if partition is None:
            return draw_heatmap(self.to_frame(), None, ax)
        return draw_heatmap(self.to_frame(), partition.labels, ax, partition.co_assignment)

    def plot_network(self, ax: Axes | None = None, partition: Partition | None = None) -> Axes:
        """Draw the tasks and the strongest affinities between them, nodes placed and coloured by group."""
        return draw_network(self.to_frame(), None if partition is None else partition.labels, ax)

    def plot_pairs(
        self, ax: Axes | None = None, partition: Partition | None = None, level: float = 0.95
    ) -> Axes:
        """Draw the affinity of each pair of tasks with its interval, by Student's t: a forest plot.

        Parameters
        ----------
        ax
            Where to draw; by default axes of their own.
        partition
            Its groups colour the pairs: those within one and those between two.
        level
            Chance of each interval, by itself, to hold the affinity that it is an estimate of.

        Returns
        -------
        Axes
            Pairs from the lowest affinity up. Of more than 40 pairs, those whose affinity is the most
            standard errors away from 0.

        Raises
        ------
        ValueError
            If nothing is known of the standard errors, or the level is not between 0 and 1.

        Examples
        --------
        >>> from gradex.affinity import AffinityMatrix
        >>> affinities = AffinityMatrix([[0, 2, -1], [2, 0, 0], [-1, 0, 0]], "abc", stderr=[[0.5] * 3] * 3)
        >>> [label.get_text() for label in affinities.plot_pairs().get_yticklabels()]
        ['a  ·  c', 'b  ·  c', 'a  ·  b']
        """
        check_share("level", level)
        quantile = float(stats.t.ppf(0.5 + level / 2, self._freedom))
        labels = None if partition is None else partition.labels
        label = f"affinity, with {100 * level:g} % intervals"
        return draw_pairs(self.to_frame(), self.stderr, quantile, label, labels, ax)

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
        return self.to_frame().to_html(float_format="{:.3g}".format, max_rows=20, max_cols=20)
