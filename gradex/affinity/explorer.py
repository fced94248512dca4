"""An affinity graph under sliders, in a notebook: how groups change with their number and the affinity."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from html import escape
from types import SimpleNamespace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradex.affinity.affinities import MeanAffinity, PairwiseAffinity
from gradex.affinity.affinity import Affinity, SubsetScoresLike
from gradex.affinity.bootstrap import Evidence
from gradex.affinity.drawing import draw_heatmap, draw_network, weakest_edge
from gradex.affinity.partition import Partition
from gradex.display import picture
from gradex.tensors import from_torch

#: Most groups that can be asked for; of more, colours cannot be told apart.
_MOST_GROUPS = 12


@runtime_checkable
class Graph(Protocol):
    """What is shown: an `AffinityGraph`, by which this module is imported."""

    names: tuple[str, ...]

    @classmethod
    def from_scores(cls, scores: SubsetScoresLike, affinity: Affinity, names: tuple[str, ...]) -> "Graph": ...
    def to_frame(self) -> pd.DataFrame: ...
    def partition(self, k: int) -> Partition: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True, eq=False)
class View:
    """What is shown for one position of the sliders."""

    affinities: pd.DataFrame
    partition: Partition
    threshold: float
    """Affinities below it are no edges of the network."""

    @property
    def edges(self) -> int:
        """Number of pairs with an affinity of the threshold or more."""
        return int((_pairs(self.affinities) >= self.threshold).sum())

    def said(self) -> str:
        """Sum up the groups, and how good they are proved to be."""
        groups, edges, gap = len(self.partition.groups), self.edges, self.partition.gap
        proved = f"; no partition is better by more than {gap:.1%}" if np.isfinite(gap) else ""
        return f"{_counted(groups, 'group')}{proved}. {_counted(edges, 'edge')} in the network."

    def heatmap(self, ax: Axes) -> Axes:
        return draw_heatmap(self.affinities, self.partition.labels, ax)

    def network(self, ax: Axes) -> Axes:
        return draw_network(self.affinities, self.partition.labels, ax, self.threshold)


def named_graphs(graph: Graph, evidence: Evidence | None) -> dict[str, Callable[[], Graph]]:
    """Give what makes a graph by other affinities, where it is known from which scores it was estimated."""
    if evidence is None:
        return {"as given": lambda: graph}
    scores = evidence.scores
    several = np.array([len(subset) > 1 for subset in scores.subsets])  # Eq. (5) takes no tasks alone
    subsets = [subset for subset in scores.subsets if len(subset) > 1]
    together = SimpleNamespace(subsets=subsets, score=np.asarray(from_torch(scores.score))[several])
    others = {"pairwise": (PairwiseAffinity(), scores), "mean, Eq. (5)": (MeanAffinity(), together)}
    own = {f"{type(evidence.affinity).__name__}, as estimated": lambda: graph}
    return own | {
        name: partial(graph.from_scores, given, affinity, graph.names)
        for name, (affinity, given) in others.items()
        if type(affinity) is not type(evidence.affinity)
    }


def view(graph: Graph, k: int, threshold: float) -> View:
    """Compute what is shown of a graph."""
    return View(graph.to_frame(), graph.partition(k=k), threshold)


class Explorer:
    """Heatmap and network of a graph, with sliders for the number of groups and the threshold.

    A graph is made when it is first looked at; the first is shown first. The widgets are `affinity`, hidden
    where there is only one, `k` and `threshold`; `widget` is all of it. Without ipywidgets it raises an
    ImportError.
    """

    view_: View
    """What is shown now."""

    def __init__(self, graphs: Mapping[str, Callable[[], Graph]]) -> None:
        try:
            import ipywidgets
        except ImportError as error:
            raise ImportError(
                "sliders need ipywidgets, which is not installed: pip install 'gradex[notebooks]'"
            ) from error
        self._graphs = {name: cache(make) for name, make in graphs.items()}
        first = next(iter(graphs))
        n = len(self._graphs[first]())
        wide = {"style": {"description_width": "6em"}, "layout": {"width": "30em", "max_width": "100%"}}
        slider = wide | {"continuous_update": False}
        self.affinity = ipywidgets.Dropdown(options=[*graphs], description="affinity", **wide)
        self.affinity.layout.display = "none" if len(graphs) == 1 else None
        self.k = ipywidgets.IntSlider(min(2, n), 1, min(n, _MOST_GROUPS), description="groups k", **slider)
        self.threshold = ipywidgets.FloatSlider(description="threshold", readout_format=".3g", **slider)
        self._said, self._heatmap, self._network = (ipywidgets.HTML() for _ in range(3))
        flow = ipywidgets.Layout(display="flex", flex_flow="row wrap")  # below each other where it is narrow
        pictures = ipywidgets.Box([self._heatmap, self._network], layout=flow)
        self.widget = ipywidgets.VBox([self.affinity, self.k, self.threshold, self._said, pictures])
        self._rescale()
        self.affinity.observe(self._other_affinity, "value")
        for slider in (self.k, self.threshold):
            slider.observe(self._moved, "value")
        self._moved()

    def _graph(self) -> Graph:
        return self._graphs[self.affinity.value]()

    def _rescale(self) -> None:
        """Let the threshold go from the lowest to the highest affinity; begin as `plot_network` does."""
        affinities = self._graph().to_frame()
        low, high = float(_pairs(affinities).min()), float(_pairs(affinities).max())
        # All at once: new bounds could cross the old ones, and a browser that is told of bounds alone moves
        # the threshold between them and says so, after the new threshold was set.
        with self.threshold.hold_sync(), self.threshold.hold_trait_notifications():
            self.threshold.min, self.threshold.max = low, high
            self.threshold.step = (high - low) / 100 or 1.0
            self.threshold.value = min(weakest_edge(affinities), high)

    def _other_affinity(self, change: Any) -> None:
        self.threshold.unobserve(self._moved, "value")
        self._rescale()
        self.threshold.observe(self._moved, "value")
        self._moved()

    def _moved(self, change: Any = None) -> None:
        self.view_ = shown = view(self._graph(), self.k.value, self.threshold.value)
        self._said.value = escape(shown.said())
        grouped = f"by group, {len(shown.partition.groups)} in all"
        n, longest = len(shown.affinities), max(map(len, map(str, shown.affinities.index)))
        room = 0.14 * min(n, 30) + 0.06 * min(longest, 25)  # inches
        size = (3.0 + room, 2.6 + room)
        self._heatmap.value = picture(shown.heatmap, f"affinities as a heatmap, {grouped}", size)
        self._network.value = picture(shown.network, f"affinities as a network, {grouped}", size)

    def _repr_mimebundle_(self, **settings: Any) -> Any:
        return self.widget._repr_mimebundle_(**settings)


def _pairs(affinities: pd.DataFrame) -> np.ndarray:
    return affinities.to_numpy()[np.triu_indices(len(affinities), 1)]


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
