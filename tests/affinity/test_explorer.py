"""The explorer: what sliders show, moved in process."""

import re
import sys
from itertools import combinations
from types import SimpleNamespace

import ipywidgets
import numpy as np
import pytest

from gradex.affinity import AffinityGraph, MeanAffinity
from gradex.affinity.explorer import Explorer, view


def planted() -> AffinityGraph:
    """Give six tasks of which even ones help even ones, odd ones odd ones."""
    kind = np.arange(6) % 2
    noise = np.random.default_rng(0).normal(0, 0.1, (6, 6))
    return AffinityGraph(np.where(kind[:, None] == kind, 1.0, -1.0) + (noise + noise.T) / 2)


def scored(affinity: str) -> AffinityGraph:
    subsets = [(task,) for task in range(6)] + list(combinations(range(6), 3))
    score = np.array([len({task % 2 for task in subset}) == 1 for subset in subsets], dtype=float)
    score += np.array([0.1 * subset.count(0) for subset in subsets])
    return AffinityGraph.from_scores(SimpleNamespace(subsets=subsets, score=score), affinity)


def pictures(explorer: Explorer) -> list[str]:
    shown = explorer.widget.children[-1].children
    return re.findall(r'alt="([^"]*)" src="(data:image/png[^"]*)"', "".join(each.value for each in shown))


def said(explorer: Explorer) -> str:
    return explorer.widget.children[-2].value


def test_the_slider_of_k_groups_again_and_draws_again() -> None:
    graph = planted()
    explorer = graph.explore()
    assert explorer.view_.partition.groups == ((0, 2, 4), (1, 3, 5))
    before = pictures(explorer)
    explorer.k.value = 3
    assert explorer.view_.partition.groups == graph.partition(k=3).groups
    assert said(explorer).startswith("3 groups; no partition is better by more than ")
    after = pictures(explorer)
    assert [alt for alt, _ in after] == [
        "affinities as a heatmap, by group, 3 in all",
        "affinities as a network, by group, 3 in all",
    ]
    assert all(old != new for (_, old), (_, new) in zip(before, after, strict=True))


def test_the_threshold_says_which_pairs_are_edges() -> None:
    graph = planted()
    explorer = graph.explore()
    pairs = graph.matrix[np.triu_indices(6, 1)]
    assert (explorer.threshold.min, explorer.threshold.max) == (pairs.min(), pairs.max())
    assert explorer.view_.edges == 6  # all that help each other
    heatmap, network = pictures(explorer)
    explorer.threshold.value = float(np.sort(pairs)[-2])
    assert explorer.view_.edges == 2
    assert said(explorer).endswith("2 edges in the network.")
    assert pictures(explorer)[0] == heatmap and pictures(explorer)[1] != network
    explorer.threshold.value = explorer.threshold.max
    assert said(explorer).endswith(" 1 edge in the network.")


def test_at_most_two_edges_a_task_are_shown_at_first() -> None:
    matrix = np.random.default_rng(0).uniform(1.0, 2.0, (12, 12))
    explorer = AffinityGraph((matrix + matrix.T) / 2).explore()
    assert explorer.view_.edges == 24
    pairs = np.sort(((matrix + matrix.T) / 2)[np.triu_indices(12, 1)])
    assert explorer.threshold.value == pairs[-24]


def test_another_affinity_is_estimated_from_the_same_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    explorer = scored("pairwise").explore()
    assert explorer.affinity.options == ("PairwiseAffinity, as estimated", "mean, Eq. (5)")
    explorer.threshold.value = explorer.threshold.max
    bounds: list[float] = []
    explorer.threshold.observe(lambda change: bounds.append(change.new), ["min", "max"])
    sent: list[set[str]] = []
    monkeypatch.setattr(explorer.threshold, "send_state", lambda key: sent.append(set(key)))
    explorer.affinity.value = "mean, Eq. (5)"
    assert len(bounds) == 2 and np.isfinite(bounds).all()  # Jupyter has no message that says infinity
    assert sent == [{"min", "max", "step", "value"}]
    subsets = list(combinations(range(6), 3))
    score = [float(len({task % 2 for task in s}) == 1) + 0.1 * s.count(0) for s in subsets]
    expected = MeanAffinity().matrix(subsets, np.array(score), n=6)
    np.testing.assert_allclose(explorer.view_.affinities.to_numpy(), expected)
    off = expected[np.triu_indices(6, 1)]
    assert (explorer.threshold.min, explorer.threshold.max) == pytest.approx((off.min(), off.max()))
    explorer.affinity.value = "PairwiseAffinity, as estimated"
    np.testing.assert_array_equal(explorer.view_.affinities.to_numpy(), scored("pairwise").matrix)


def test_there_is_a_choice_of_affinities_only_where_scores_are_known() -> None:
    assert planted().explore().affinity.layout.display == "none"
    explorer = scored("mean").explore()
    assert explorer.affinity.options == ("MeanAffinity, as estimated", "pairwise")
    assert explorer.affinity.layout.display is None


def test_what_is_shown_is_computed_without_widgets() -> None:
    shown = view(planted(), k=1, threshold=10.0)
    assert shown.said() == "1 group; no partition is better by more than 0.0%. 0 edges in the network."


def test_two_tasks_can_be_explored() -> None:
    explorer = AffinityGraph([[0.0, 1.0], [1.0, 0.0]]).explore()
    assert (explorer.k.max, explorer.view_.edges) == (2, 1)


def test_jupyter_shows_the_widget() -> None:
    explorer = planted().explore()
    assert isinstance(explorer.widget, ipywidgets.VBox)
    shown = explorer._repr_mimebundle_(include=None, exclude=None)
    assert shown["application/vnd.jupyter.widget-view+json"]["model_id"] == explorer.widget.model_id


def test_without_ipywidgets_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ImportError, match=r"pip install 'gradex\[notebooks\]'"):
        planted().explore()
