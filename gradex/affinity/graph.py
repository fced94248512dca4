"""The affinity graph: tasks, and how much they help each other (PolicyGradEx, Sec. 3.2, Algorithm 2)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import final

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from gradex.affinity.affinities import named_affinity
from gradex.affinity.affinity import (
    Affinity,
    InteractionsLike,
    SubsetScoresLike,
    checked_errors,
    without_additive_part,
)
from gradex.affinity.affinity_matrix import AffinityMatrix
from gradex.affinity.bootstrap import Bootstrap, Evidence
from gradex.affinity.certificate import check_group_count
from gradex.affinity.conflict import ConflictTest, conflict_test
from gradex.affinity.drawing import draw_path
from gradex.affinity.explorer import Explorer, named_graphs
from gradex.affinity.factors import all_alike
from gradex.affinity.group_count import GroupCountPath, eigengap_path, group_counts, stability_path
from gradex.affinity.groupings import Grouping, SemidefiniteGrouping
from gradex.affinity.kernel_kmeans import KernelKMeans
from gradex.affinity.partition import Partition
from gradex.settings import as_seed, as_task, whole


@final
class AffinityGraph(AffinityMatrix):
    """Affinities between n tasks; off the diagonal they connect tasks, on it they reward leaving one alone.

    Parameters
    ----------
    matrix : array-like [n, n]
        Symmetric affinities U, n >= 2; higher says that two tasks do better together. Kept read-only.
    names
        Name of each task; ``task 0``, ``task 1``, ... by default.
    stderr : array-like [n, n], optional
        Standard error of each affinity, where it is known.
    freedom
        Degrees of freedom of the standard errors.

    Raises
    ------
    ValueError
        If the matrix is not square, finite and symmetric to 1e-8 of its largest entry, or if the names are
        not unique, one per task.

    Examples
    --------
    >>> from gradex import AffinityGraph
    >>> matrix = [[0, 2, -1, 0], [2, 0, 0, -1], [-1, 0, 0, 1], [0, -1, 1, 0]]
    >>> graph = AffinityGraph(matrix, names=["reach", "push", "open", "close"])
    >>> graph
    AffinityGraph(4 tasks: reach, push, open, close)
    >>> graph.partition(k=2).groups
    ((0, 1), (2, 3))
    >>> graph.to_networkx().number_of_edges()
    6
    """

    _evidence: Evidence | None = None
    _interactions: InteractionsLike | None = None

    @classmethod
    def from_scores(
        cls,
        scores: SubsetScoresLike,
        affinity: str | Affinity = "pairwise",
        names: Sequence[str] | None = None,
    ) -> "AffinityGraph":
        """Estimate the affinities from scores of subsets, which the graph keeps for `bootstrap` and `path`.

        Parameters
        ----------
        scores
            What a surrogate or real training gives, or anything with ``subsets`` and ``score`` [m]; see
            `SubsetScoresLike`. Tasks that score in different units are to be `standardised` first.
        affinity
            ``"pairwise"``, ``"mean"`` (PolicyGradEx, Eq. (5)), or an `Affinity` with options of its own.

        Raises
        ------
        ValueError
            If the affinity is unknown, a subset names what is no task, or a pair of tasks is in no subset.
        """
        if not isinstance(scores, SubsetScoresLike):
            raise TypeError(
                f"a {type(scores).__name__} holds no scores of subsets; give those of a surrogate or of "
                "ground truth"
            )
        affinity, by_task = named_affinity(affinity), getattr(scores, "per_task", None)
        last = max((as_task(task) for subset in scores.subsets for task in subset), default=0)
        evidence = Evidence(scores, affinity, last + 1 if by_task is None else by_task.shape[1])
        graph = cls(evidence.matrix(), names)
        graph._evidence = evidence
        return graph

    @classmethod
    def from_interactions(
        cls, interactions: InteractionsLike, names: Sequence[str] | None = None
    ) -> "AffinityGraph":
        """Take first-order interactions as they are, with their exact standard errors.

        Parameters
        ----------
        interactions
            What `SurrogateEstimator.interactions` gives, or anything that does likewise; see
            `InteractionsLike`. The graph keeps them for `conflict`.
        """
        # Its errors are not asked for: they take a while where tasks are many.
        if not (hasattr(interactions, "matrix") and hasattr(interactions, "freedom")):
            raise TypeError(f"a {type(interactions).__name__} holds no interactions; give a surrogate's")
        graph = cls(interactions.matrix, names, freedom=interactions.freedom)
        graph._interactions = interactions
        return graph

    def interaction(self) -> "AffinityGraph":
        """Take out what single tasks explain: b_i + b_j by least squares, and the diagonal.

        Affinities of different origin can then be compared. Groups change only with the diagonal.
        """
        return AffinityGraph(without_additive_part(self.matrix), self.names)

    @property
    def alike(self) -> bool:
        """Whether three tasks or more all have the same affinity: no grouping is better than another."""
        return len(self) > 2 and all_alike(self._between if self.factors is None else self.factors.rows)

    @property
    def _between(self) -> Float[np.ndarray, " pairs"]:
        return self.matrix[np.triu_indices(len(self), 1)]

    def _check_differences(self) -> None:
        if self.alike:
            what = f"affinity {self._between[0]:.6g}" if self.factors is None else "factors"
            raise ValueError(
                f"all {len(self)} tasks have the same {what}; no grouping is better than another: take k=1"
            )

    def partition(
        self,
        k: int | str | None = None,
        *,
        trace_penalty: float | None = None,
        method: Grouping | None = None,
        bootstrap: Bootstrap | None = None,
    ) -> Partition:
        """Group the tasks.

        Parameters
        ----------
        k
            Number of groups, 1..n, or ``"auto"`` for the number that `path` chooses.
        trace_penalty
            Price of a group in units of the affinities, lambda in the paper, instead of ``k``; only for the
            relaxation.
        method
            How to group; by default the semidefinite relaxation (PolicyGradEx, Appendix A), for a graph from
            factors `KernelKMeans`. The relaxation takes minutes where tasks are many and not clear: give
            `KernelKMeans()` then.
        bootstrap
            Draws of the affinities, see `bootstrap`: they are grouped too, so that the partition knows how
            stable it is. The same method does it, but in place of the relaxation `Bootstrap.groups`.

        Raises
        ------
        ValueError
            Unless exactly one of ``k``, in 1..n or "auto", and ``trace_penalty`` is given; or if tasks are
            `alike`, and there is to be more than one group.
        """
        n = len(self)
        if method is None:
            by_rows = self.factors is not None and trace_penalty is None
            method = KernelKMeans() if by_rows else SemidefiniteGrouping()
        if isinstance(k, str):
            if k != "auto":
                raise ValueError(f"k={k!r} is invalid; give a number of groups from 1 to {n}, or 'auto'")
            check_group_count(n, 1, trace_penalty)
            k = self.path().k
        check_group_count(n, k, trace_penalty)
        if k != 1:
            self._check_differences()
        if k is not None and self.factors is not None and isinstance(method, KernelKMeans):
            partition = method.partition(self.factors, k)
        elif k is not None:
            partition = method.partition(self.matrix, k)
        elif isinstance(method, SemidefiniteGrouping):
            partition = method.partition(self.matrix, trace_penalty=trace_penalty)
        else:
            raise ValueError(f"trace_penalty={trace_penalty} works with SemidefiniteGrouping only; give k")
        if bootstrap is None:
            return partition
        if bootstrap.matrices.shape[1] != n:
            raise ValueError(
                f"a bootstrap of {bootstrap.matrices.shape[1]} tasks does not fit {n}; take the graph's own"
            )
        rival = None if isinstance(method, SemidefiniteGrouping) else method
        return replace(partition, resampled=bootstrap.groups(partition.k, rival))

    def path(self, k_max: int | None = None, *, resamples: int = 20, seed: int = 0) -> GroupCountPath:
        """Try numbers of groups from 2 to ``k_max`` and choose one.

        A graph from a matrix takes the k after which the eigenvalues of the centred affinities fall most. A
        graph that can be drawn again, see `bootstrap`, does the same, but only among those k whose groups
        are, within a standard error, the most stable when they are found again in each draw. Neither ever
        chooses one group.

        Parameters
        ----------
        k_max
            Largest number tried; by default 10, or the root of the number of tasks if it is more.
        resamples, seed
            Draws of the affinities, and their seed; every number of groups is found in each draw.

        Raises
        ------
        ValueError
            If ``k_max`` is outside 2..n, there are fewer than 2 draws, or tasks are `alike`.
        """
        counts = group_counts(len(self), k_max)
        self._check_differences()
        if self._evidence is None or not self._evidence.varies():
            return eigengap_path(self.matrix if self.factors is None else self.factors, counts)
        return stability_path(self.matrix, self.bootstrap(resamples, seed), counts)

    def conflict(self, draws: int = 200, seed: int = 0) -> ConflictTest:
        """Test whether there are two groups of tasks of which a step for the one makes the other worse.

        Parameters
        ----------
        draws, seed
            Draws of noise, and their seed: they tell how far apart groups are by chance.

        Raises
        ------
        ValueError
            If the graph was not made by `from_interactions`, or without draws.
        """
        return conflict_test(self.matrix, self._noise(draws, seed))

    def noise_p_value(self, draws: int = 400, seed: int = 0) -> float:
        """Tell how likely tasks' squared gradients sum to as much as they do if all are only noise.

        Noise are gradients turned around at random, episode by episode. Parameters and errors are those of
        `conflict`.
        """
        null = np.trace(self._noise(draws, seed), axis1=1, axis2=2)
        return float((1 + (null >= np.trace(self.matrix)).sum()) / (1 + draws))

    def noise_p_values(self, draws: int = 400, seed: int = 0) -> Float[np.ndarray, " n"]:
        """Tell the same of every task by itself, see `noise_p_value`."""
        null = np.diagonal(self._noise(draws, seed), axis1=1, axis2=2)
        return (1 + (null >= np.diag(self.matrix)).sum(axis=0)) / (1 + draws)

    def _noise(self, draws: int, seed: int) -> Float[np.ndarray, "draws n n"]:
        """Draw what the interactions that this was made of would be if they were nothing but noise."""
        if self._interactions is None:
            raise ValueError(
                "nothing is known of the noise of these affinities; make the graph by"
                " AffinityGraph.from_interactions"
            )
        return self._interactions.noise(whole("draws", draws, 1), as_seed(seed))

    def bootstrap(self, draws: int = 100, seed: int = 0) -> Bootstrap:
        """Estimate the affinities again from scores and subsets that are drawn again.

        Each draw takes the scores of other episodes, where the scores come with ``draws``, and other subsets
        among those that were scored; where all subsets of a size were scored there is no choice of subsets to
        draw, and no more draws than those of the scores. What an affinity chooses from the scores, such as
        the strength of a ridge, stays as it was. A graph of interactions draws the episodes alone.

        Parameters
        ----------
        draws, seed
            Number of draws, 2 or more, and their seed.

        Raises
        ------
        ValueError
            If there are fewer than 2 draws, or nothing to draw from.
        """
        draws, seed = whole("draws", draws), as_seed(seed)
        if self._interactions is not None:
            if draws < 2:
                raise ValueError(f"draws={draws} is too few to tell a spread: give at least 2")
            return Bootstrap(self._interactions.draws(draws, seed))
        if self._evidence is None:
            raise ValueError(
                "a graph from a matrix has nothing to draw again; estimate it with AffinityGraph.from_scores"
            )
        return self._evidence.bootstrap(draws, seed)

    def plot_path(self, ax: Axes | None = None, path: GroupCountPath | None = None) -> Axes:
        """Draw the criterion for the number of groups, by default of `path`, with the number chosen."""
        return draw_path(self.path() if path is None else path, ax)

    @property
    def _quantity(self) -> str:
        return "affinity" if self._interactions is None else "interaction"

    def explore(self) -> Explorer:
        """Show heatmap and network with sliders, in Jupyter; needs the extra ``[notebooks]``."""
        return Explorer(named_graphs(self, self._evidence))

    @property
    def stderr(self) -> Float[np.ndarray, "n n"]:
        """Standard error of each affinity, in its units.

        Exact where it was given, as by `from_interactions`; else that of a `bootstrap` of 100 draws.
        """
        if self._stderr is None and self._interactions is not None:
            self._stderr = checked_errors(self._interactions.stderr, len(self))
        if self._stderr is None and self._evidence is not None:
            self._stderr = self.bootstrap().stderr
        return super().stderr
