"""Pictures of affinities and of the number of groups: they take tables and labels and draw on given axes."""

from typing import Any

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from gradex.affinity.group_count import GroupCountPath
from gradex.display import literal

_GREY = "0.85"
#: More pairs of tasks than this cannot be read.
_MOST_PAIRS = 40
#: Signs in cells of more tasks than this are too small.
_SIGNED = 20


def draw_heatmap(
    affinities: pd.DataFrame,
    labels: Int[np.ndarray, " n"] | None = None,
    ax: Axes | None = None,
    co_assignment: Float[np.ndarray, "n n"] | None = None,
    quantity: str = "affinity",
) -> Axes:
    """Draw affinities as a heatmap, the diagonal grey because only what is off it connects tasks.

    Of few tasks what is below the neutral colour has a minus, for print in grey. With a co-assignment the
    affinities keep the lower triangle and leave it the upper one, each with its colours beside it.
    """
    n = len(affinities)
    if ax is None:
        side = 2.2 + 0.28 * min(n, 40)
        bars = 0.8 if co_assignment is None else 2.0  # inches beside the square
        _, ax = plt.subplots(figsize=(side + bars, side), layout="constrained")
    order = np.arange(n) if labels is None else np.argsort(labels, kind="stable")
    ordered = affinities.iloc[order, order].rename(literal).rename(columns=literal)
    centre, reach = _colour_range(affinities.to_numpy())
    stride = -(-n // 40)  # more names than this cannot be read
    style = {"square": True, "linewidths": 0.5 if n <= 30 else 0.0, "ax": ax}
    style |= {"xticklabels": stride, "yticklabels": stride}
    hidden, bar = np.eye(n, dtype=bool), {"cbar_kws": {"label": quantity, "shrink": 0.8}}
    if co_assignment is not None:
        hidden, bar = np.triu(np.ones((n, n), dtype=bool)), _bar_beside(ax, 0.0, quantity)
        together = pd.DataFrame(co_assignment[np.ix_(order, order)], ordered.index, ordered.columns)
        beside = _bar_beside(ax, 0.56, "how often together")
        sns.heatmap(together, mask=hidden.T, cmap="Greens", vmin=0, vmax=1, **beside, **style)
    low, high = centre - reach, centre + reach
    if n <= _SIGNED:
        style |= {"annot": np.where(ordered < centre, "−", ""), "fmt": ""}
    sns.heatmap(ordered, mask=hidden, cmap="vlag", vmin=low, vmax=high, **bar, **style)
    ax.set_facecolor(_GREY)
    ax.set(xlabel="", ylabel="")
    ax.tick_params(length=0)
    ax.tick_params(axis="y", labelrotation=0)
    if n <= 20:
        plt.setp(ax.get_xticklabels(), rotation=45, ha="right", rotation_mode="anchor")
    else:
        ax.tick_params(axis="x", labelrotation=90)
    if labels is not None:
        edges = np.flatnonzero(np.diff(labels[order])) + 1
        ax.hlines(edges, 0, n, colors="black", linewidths=1.5)
        ax.vlines(edges, 0, n, colors="black", linewidths=1.5)
    return ax


def _bar_beside(ax: Axes, bottom: float, label: str) -> dict[str, Any]:
    """Make room for a colour bar on the right, beside a triangle of the heatmap; return its arguments."""
    return {"cbar_ax": ax.inset_axes((1.03, bottom, 0.035, 0.44)), "cbar_kws": {"label": label}}


def draw_network(
    affinities: pd.DataFrame,
    labels: Int[np.ndarray, " n"] | None = None,
    ax: Axes | None = None,
    threshold: float | None = None,
) -> Axes:
    """Draw the strongest affinities above their centre as a network, wider and darker where stronger.

    With a threshold draw those that reach it, wherever their centre is.
    """
    n = len(affinities)
    if ax is None:
        _, ax = plt.subplots(figsize=(6.0, 5.5), layout="constrained")
    centre, reach = _colour_range(affinities.to_numpy())
    strength = np.triu(np.clip((affinities.to_numpy() - centre) / reach, 0.0, 1.0), 1)
    least = weakest_edge(affinities) if threshold is None else threshold
    edges = np.argwhere(np.triu(affinities.to_numpy() >= least, 1))
    weights = strength[tuple(edges.T)]
    graph = nx.Graph(edges.tolist())

    groups = np.zeros(n, dtype=np.int64) if labels is None else labels
    position = _layout(groups)
    k = int(groups.max()) + 1
    palette = np.array(sns.color_palette("deep" if k <= 10 else "husl", k))
    scale = min(1.0, np.sqrt(12 / n))
    style = {"width": scale * (0.5 + 3.5 * weights), "edge_color": plt.cm.Greys(0.2 + 0.5 * weights)}
    nx.draw_networkx_edges(graph, position, edges.tolist(), **style, ax=ax)
    x, y = position.T
    ax.scatter(x, y, s=180 * scale, color=palette[groups], edgecolors="white", zorder=3)
    radial = n > 20  # many names only fit along the rays
    for name, (dx, dy) in zip(affinities.index, position, strict=True):
        beside = radial or abs(dx) > 0.1
        text = ax.annotate(
            literal(name),
            (dx, dy),
            xytext=(12 * scale * dx, 12 * scale * dy),
            textcoords="offset points",
            ha="center" if not beside else "left" if dx > 0 else "right",
            va="center" if radial or abs(dx) > 0.3 else "bottom" if dy > 0 else "top",
            rotation=np.rad2deg(np.arctan2(np.sign(dx) * dy, abs(dx))) if radial else 0.0,
            rotation_mode="anchor",
            fontsize=max(5.0, 10 * scale),
            zorder=4,
        )
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
    ax.set_axis_off()
    ax.set_aspect("equal")
    ax.margins(0.18)
    return ax


def draw_pairs(
    affinities: pd.DataFrame,
    stderr: Float[np.ndarray, "n n"],
    quantile: float,
    label: str,
    labels: Int[np.ndarray, " n"] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a forest plot: each pair's affinity with `quantile` standard errors to either side.

    Of many pairs those are drawn whose affinity is the most standard errors away from 0.
    """
    first, second = np.triu_indices(len(affinities), 1)
    value, error = affinities.to_numpy()[first, second], stderr[first, second]
    distance = np.abs(value) / np.where(error > 0, error, np.finfo(float).tiny)
    clearest = np.argsort(-distance, kind="stable")[:_MOST_PAIRS]
    order = clearest[np.argsort(value[clearest], kind="stable")]
    if ax is None:
        _, ax = plt.subplots(figsize=(6.2, 1.2 + 0.19 * len(order)), layout="constrained")
    palette, pairs = sns.color_palette("deep"), np.arange(len(order))
    kinds: dict[str | None, Any] = {None: (palette[0], np.ones(len(order), dtype=bool))}
    if labels is not None:
        within = labels[first[order]] == labels[second[order]]
        kinds = {"within a group": (palette[0], within), "between groups": (palette[3], ~within)}
    ax.axvline(0.0, color="0.4", linewidth=0.8, zorder=1)
    for kind, (color, chosen) in kinds.items():
        if chosen.any():
            shown = order[chosen]
            style = {"color": color, "markersize": 4, "linewidth": 1.4, "label": kind, "zorder": 2}
            ax.errorbar(value[shown], pairs[chosen], xerr=quantile * error[shown], fmt="o", **style)
    names = [literal(name) for name in affinities.index]
    ax.set_yticks(pairs, [f"{names[first[pair]]}  ·  {names[second[pair]]}" for pair in order])
    ax.tick_params(axis="y", length=0, labelsize=8)
    ax.set_ylim(-0.7, len(order) - 0.3)
    ax.set_xlabel(label)
    ax.grid(axis="x", color=_GREY, linewidth=0.5)
    ax.set_axisbelow(True)
    if len(order) < len(value):
        ax.set_title(f"the {len(order)} clearest of {len(value)} pairs", fontsize="medium", loc="left")
    if labels is not None:
        ax.legend(frameon=False, loc="lower right", fontsize=8)
    sns.despine(ax=ax, left=True)
    return ax


def draw_path(path: GroupCountPath, ax: Axes | None = None) -> Axes:
    """Draw the criterion for each number of groups with its standard error, and the number chosen."""
    if ax is None:
        _, ax = plt.subplots(figsize=(4.5, 3.2), layout="constrained")
    blue, red = sns.color_palette("deep")[0], sns.color_palette("deep")[3]
    errors = path.errors if path.errors.any() else None
    ax.errorbar(path.counts, path.values, yerr=errors, marker="o", markersize=4, capsize=2, color=blue)
    chosen = path.counts.index(path.k)
    marker = {"color": red, "markersize": 8, "zorder": 3, "label": f"chosen: k = {path.k}"}
    ax.plot(path.k, path.values[chosen], "o", **marker)
    label = "stability (AMI of two draws)" if path.criterion == "stability" else "eigengap (share of range)"
    ax.set(xlabel="number of groups k", ylabel=label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(frameon=False)
    sns.despine(ax=ax)
    return ax


def weakest_edge(affinities: pd.DataFrame) -> float:
    """Give the least affinity that a network shows by default; no edge is above infinity.

    Those above their centre are shown, and of these two per task: they tell the structure, all would hide it.
    """
    values = affinities.to_numpy()[np.triu_indices(len(affinities), 1)]
    above = np.sort(values[values > _colour_range(affinities.to_numpy())[0]])
    return float(above[-2 * len(affinities) :].min(initial=np.inf))


def _colour_range(matrix: Float[np.ndarray, "n n"]) -> tuple[float, float]:
    """Return the neutral affinity, 0 where both signs matter or else the median, and the colours' reach."""
    values = matrix[np.triu_indices(len(matrix), 1)]
    low, high = np.quantile(values, [0.05, 0.95])
    centre = 0.0 if low < 0 < high else float(np.median(values))
    reach = float(np.quantile(np.abs(values - centre), 0.98))
    return centre, reach or 1.0


def _layout(groups: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n 2"]:
    """Place tasks on a circle, group after group with a gap between two, so that all names fit outside."""
    order = np.argsort(groups, kind="stable")
    k = int(groups.max()) + 1
    gap = 1 if k > 1 else 0
    place = np.empty(len(groups))
    place[order] = np.arange(len(groups)) + gap * groups[order]
    angle = np.pi / 2 - 2 * np.pi * place / (len(groups) + gap * k)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)
