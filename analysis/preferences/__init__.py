"""Preferences of a language model: which objectives can share an adapter, found before training.

Three parts. "planted" asks whether planted groups of objectives are found, where all label the same pairs of
answers and where each has pairs of its own. "trained" trains adapters for groups, at equal steps, and
compares estimates with real training. "cost" takes a model of ten million parameters.

The objectives are rules that prefer one answer of a small model to another; these are no preferences over a
vector of rewards, which the study "many_objectives" is about.
"""

from itertools import product

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.preferences import cost, planted, trained
from analysis.preferences.planted import NOISE
from analysis.preferences.rivals import AUTO, COSINE, GRADEX, LABELS, PROBES, RANDOM
from analysis.preferences.trained import ALONE, TOGETHER
from analysis.study import confidence_interval, mean_with_interval, plain

PARTS = {"planted": planted, "trained": trained, "cost": cost}
SEEDS = {"smoke": 1, "laptop": 5, "paper": 20}
_COLORS = {
    GRADEX: "C0",
    AUTO: "C9",
    COSINE: "C2",
    LABELS: "C1",
    PROBES: "C6",
    RANDOM: "0.6",
    TOGETHER: "C3",
    ALONE: "C4",
}
#: What is drawn by the share of pairs in common.
_BY_SHARE = {"accuracy": "held-out accuracy", "loss": "held-out loss", "rank": "rank correlation with truth"}
_METRICS = {"planted": ("nmi", "ami"), "trained": ("accuracy", "loss", "rank", "rank_ceiling", "nmi")}


def compute(seed: int, scale: str, part: str) -> pd.DataFrame:
    """Give the rows of a part; see `compute` of its module."""
    return PARTS[part].compute(seed, scale)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give means over seeds with 95 % intervals, and how far gradex is ahead of each way.

    Returns
    -------
    DataFrame
        part, case, method, metric, value with value_low and value_high, ahead with ahead_low and ahead_high:
        paired over seeds, of gradex over this method; of the costs, the seconds and GB of each stage.
    """
    rows = []
    for part, rest in table.groupby("part", sort=False):
        if part == "cost":
            rows += _costs(rest)
            continue
        for case, own in rest.groupby(_case(str(part), rest), sort=False):
            for metric in _METRICS[str(part)]:
                values = own.pivot(index="seed", columns="method", values=metric)
                for method in own.method.unique():
                    if values[method].isna().any():
                        continue
                    told = {"part": part, "case": case, "method": method, "metric": metric}
                    told |= mean_with_interval("value", values[method])
                    rows.append(told | mean_with_interval("ahead", values[GRADEX] - values[method]))
    return pd.DataFrame(rows)


def _case(part: str, rows: pd.DataFrame) -> pd.Series:
    if part == "planted":
        return rows.pairs.astype(str) + ", " + rows.noise
    return rows.shared.map("{:.0%} in common".format)


def _costs(rows: pd.DataFrame) -> list[dict[str, object]]:
    told: list[dict[str, object]] = []
    for metric in ("stage_seconds", "cpu_seconds", "memory"):
        for stage, own in rows.dropna(subset=[metric]).groupby("stage", sort=False):
            where = {"part": "cost", "case": f"{own.pairs.iloc[0]} pairs", "method": stage, "metric": metric}
            told.append(where | mean_with_interval("value", own[metric]))
    return told


@matplotlib.rc_context({"font.size": 8, "axes.titlesize": 8})
def plot(table: pd.DataFrame) -> Figure:
    """Draw planted groups found by noise and case, held-out accuracy and agreement with truth by share."""
    by_part = {str(part): rows for part, rows in table.groupby("part", sort=False)}
    found, reached = (by_part.get(part, table[:0]) for part in ("planted", "trained"))
    cases, noises = found.pairs.unique(), found.noise.unique()
    heights = [1.9 * len(noises) + 0.2] * bool(len(found)) + [2.5] * bool(len(reached))
    if not heights:
        return _draw_costs(Figure(figsize=(7.8, 2.5), layout="constrained"), by_part["cost"])
    figure = Figure(figsize=(1.9 * max(len(cases), 4) + 1.6, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    if len(found):
        panels = parts[0].subplots(len(noises), len(cases), sharex=True, sharey=True, squeeze=False)
        for (row, noise), (column, case) in product(enumerate(noises), enumerate(cases)):
            rows = found[(found.pairs == case) & (found.noise == noise)]
            title = f"{case.replace('shared', 'in common')}\n{100 * NOISE[noise]:g} % wrong labels"
            _draw_found(panels[row, column], title, rows)
            panels[row, column].label_outer()
        panels[0, 0].invert_yaxis()
    if len(reached):
        panels = parts[-1].subplots(1, 3)
        for ax, (metric, label) in zip(panels, _BY_SHARE.items(), strict=True):
            _draw_by_share(ax, reached, metric, label)
        handles, labels = panels[0].get_legend_handles_labels()
        parts[-1].legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def _draw_found(ax: Axes, case: str, rows: pd.DataFrame) -> None:
    methods = list(dict.fromkeys(rows.method))
    for place, method in enumerate(methods):
        values, color = rows.nmi[rows.method == method].to_numpy(), _COLORS[method]
        ax.scatter(values, place + np.linspace(-0.2, 0.2, len(values)), s=6, color="0.75", zorder=1)
        low, high = confidence_interval(values)
        ax.plot([max(low, 0), min(high, 1)], [place] * 2, color=color, linewidth=1.5, zorder=2)
        ax.plot(values.mean(), place, "o", color=color, markersize=5, zorder=3)
    ax.set(title=case, xlabel="NMI with the plan", xlim=(-0.04, 1.04), yticks=range(len(methods)))
    ax.set_yticklabels(methods)
    plain(ax)


def _draw_by_share(ax: Axes, rows: pd.DataFrame, metric: str, label: str) -> None:
    methods = list(dict.fromkeys(rows.method))
    for number, method in enumerate(methods):
        own = rows[rows.method == method].dropna(subset=[metric])
        if not len(own):
            continue
        means = own.groupby("shared")[metric].mean()
        ends = [confidence_interval(each[metric].to_numpy()) for _, each in own.groupby("shared")]
        places, color = means.index + 0.02 * (number - (len(methods) - 1) / 2), _COLORS[method]
        ax.plot(places, means.to_numpy(), "o-", color=color, markersize=3, linewidth=1, label=method)
        ax.vlines(places, *np.transpose(ends), color=color, linewidth=1)
    if metric == "rank":
        ceiling = rows.groupby("seed").rank_ceiling.first()
        ax.axhspan(*confidence_interval(ceiling.to_numpy()), color="0.9", zorder=0)
        ax.axhline(ceiling.mean(), color="0.4", linestyle="--", linewidth=1)
        ax.axhline(0, color="0.4", linestyle=":", linewidth=1)
        ax.set_ylim(-0.06, 1.14)
        ax.annotate("noise ceiling", (0.02, 1.02), xycoords=("axes fraction", "data"), va="bottom")
    ax.set(xlabel="share of pairs in common", ylabel=label, xticks=sorted(rows.shared.unique()))
    plain(ax)


def _draw_costs(figure: Figure, rows: pd.DataFrame) -> Figure:
    ax = figure.subplots()
    stages = rows[rows.stage != "all"].groupby("stage", sort=False).stage_seconds.mean()
    ax.barh(list(stages.index), stages.to_numpy(), color="C0")
    ax.invert_yaxis()
    ax.set(xlabel="seconds")
    plain(ax)
    return figure
