"""Many preferences over vectors of rewards: what k policies cover, and whose groups cover the most.

Four parts. "exact" judges groups alone: in small environments the best policy of every preference is known
by value iteration, and groups have the best policies for their mean weights; so does "reservoir", on a grid.
"trained" has policies of PPO, all ways for equal environment steps. "planted" asks whether planted groups of
weights are found.

In two variants of deep-sea treasure weights tell little of utilities: with four objectives that never pay,
and with the treasure counted as three objectives. In the reservoir they do so by themselves.
"""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.many_objectives import exact, planted, reservoir, trained
from analysis.many_objectives.exact import BEST, COSINE, KERNEL, PAIRWISE, RANDOM, TRANSFER, WEIGHTS
from analysis.many_objectives.trained import ALONE, CONDITIONED, TOGETHER
from analysis.study import confidence_interval, mean_with_interval, plain

PARTS = {"exact": exact, "trained": trained, "planted": planted, "reservoir": reservoir}
SEEDS = {"smoke": 1, "laptop": 10, "paper": 20}
PACKAGES = ("mo-gymnasium", "moocore")
_COLORS = {
    KERNEL: "C0",
    TRANSFER: "C9",
    PAIRWISE: "C6",
    WEIGHTS: "C1",
    COSINE: "C2",
    RANDOM: "0.6",
    BEST: "0.2",
    TOGETHER: "C3",
    ALONE: "C4",
    CONDITIONED: "C5",
}
_SHARES = ("share", "reassigned")
_METRICS = ("utility", "best", "hypervolume", "igd_plus", "utility_loss")


def compute(seed: int, scale: str, part: str) -> pd.DataFrame:
    """Give the rows of a part; see `compute` of its module."""
    return PARTS[part].compute(seed, scale)


def missing(parts: list[str]) -> list[str]:
    """Say which parts cannot be run as packages are missing."""
    try:
        import mo_gymnasium  # noqa: F401
    except ImportError:
        return ['many_objectives needs MO-Gymnasium: pip install "gradex[mo]"'] if parts else []
    return []


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give means over seeds with 95 % intervals, and how far kernel is ahead.

    Returns
    -------
    DataFrame
        part, suite, k, method, metric, value with value_low and value_high, ahead with ahead_low and
        ahead_high: paired over seeds, of kernel over this method.
    """
    rows = []
    metrics = {"exact": _SHARES, "reservoir": _SHARES, "trained": _METRICS, "planted": ("nmi",)}
    for part, rest in table.groupby("part", sort=False):
        counted = rest.assign(k=rest.k if "k" in rest else np.nan).fillna({"k": 0})
        for (suite, k), own in counted.groupby(["suite", "k"], sort=False):
            for metric in metrics[str(part)]:
                values = own.pivot(index="seed", columns="method", values=metric)
                for method in own.method.unique():
                    told = {"part": part, "suite": suite, "k": int(k), "method": method, "metric": metric}
                    paired = values[KERNEL] - values[method]
                    told |= mean_with_interval("value", values[method].to_numpy())
                    rows.append(told | mean_with_interval("ahead", paired.to_numpy()))
    return pd.DataFrame(rows)


@matplotlib.rc_context({"font.size": 8, "axes.titlesize": 8})
def plot(table: pd.DataFrame) -> Figure:
    """Draw the share of the gap against k by suite, and the utility of trained policies by method."""
    shares = pd.concat([table[table.part == part] for part in ("exact", "reservoir")])
    trainings = table[table.part == "trained"]
    counts = [len(rows.suite.unique()) if len(rows) else 0 for rows in (shares, trainings)]
    columns = max(1, (counts[0] + 1) // 2, counts[1])
    upper = -(-counts[0] // columns)
    size = 2.4 * columns + 1.4, 2.1 * max(1, upper + (counts[1] > 0)) + 0.3
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(max(1, upper + (counts[1] > 0)), columns, squeeze=False)
    for ax in panels.flat:
        ax.set_visible(False)
    by_suite = shares.groupby("suite", sort=False)
    for ax, (suite, rows) in zip(panels[:upper].flat, by_suite, strict=False):
        _draw_shares(ax, str(suite), rows)
    for ax, (suite, rows) in zip(panels[-1], trainings.groupby("suite", sort=False), strict=False):
        _draw_utility(ax, str(suite), rows, first=ax is panels[-1, 0])
    if counts[0]:
        known: dict[str, Artist] = {}  # not every suite has every method
        for ax in panels[:upper].flat:
            handles, labels = ax.get_legend_handles_labels()
            known |= dict(zip(labels, handles, strict=True))
        told = {method: known[method] for method in _COLORS if method in known}
        figure.legend([*told.values()], [*told], loc="outside upper center", ncols=len(told), frameon=False)
    return figure


def _draw_shares(ax: Axes, suite: str, rows: pd.DataFrame) -> None:
    for method, own in rows.groupby("method", sort=False):
        ends = [confidence_interval(each.share.to_numpy()) for _, each in own.groupby("k")]
        means, color = own.groupby("k").share.mean(), _COLORS[str(method)]
        ax.plot(means.index, means.to_numpy(), "o-", color=color, markersize=3, label=method)
        ax.fill_between(means.index, *np.transpose(ends), color=color, alpha=0.15, linewidth=0)
    ax.set(visible=True, title=suite, xlabel="policies k", ylabel="share of the gap", ylim=(-0.1, 1.05))
    ax.set_xticks(sorted(rows.k.unique()))
    plain(ax)


def _draw_utility(ax: Axes, suite: str, rows: pd.DataFrame, first: bool) -> None:
    methods = list(dict.fromkeys(rows.method))
    for place, method in enumerate(methods):
        own = rows[rows.method == method]
        for name, offset, fill in (("utility", -0.12, True), ("best", 0.12, False)):
            values, color = own[name].to_numpy(), _COLORS[method]
            ax.plot(confidence_interval(values), [place + offset] * 2, color=color, linewidth=1.5)
            face = color if fill else "white"
            ax.plot(values.mean(), place + offset, "o", color=color, markerfacecolor=face, markersize=4)
    ax.set(visible=True, title=suite, xlabel="expected utility", yticks=range(len(methods)))
    ax.set_yticklabels(methods if first else [])
    ax.invert_yaxis()
    plain(ax)
