"""What the table of the study says, and its figure."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analysis.ablations.choices import CHOICES
from analysis.study import confidence_interval

_NAMED = ("projection", "affinity", "few", "score", "paper")
_LOGARITHMIC = ("dimension", "subsets", "regularization", "transitions", "snapshots", "convergence")


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give the means over seeds, with 95 % intervals of the rank correlation."""
    rows = []
    for (choice, value, suite), part in table.groupby(["choice", "value", "suite"], sort=False):
        low, high = confidence_interval(part["rank"].to_numpy())
        means = {name: part[name].mean() for name in ("nmi", "planted", "gain")}
        where = {"choice": choice, "value": value, "suite": suite, "rank": part["rank"].mean()}
        rows.append(where | {"low": low, "high": high} | means | {"seeds": len(part)})
    return pd.DataFrame(rows)


def plot(table: pd.DataFrame) -> Figure:
    """Draw the rank correlation with real training, a small panel per choice, with 95 % bands over seeds."""
    lowest = table[table.choice.isin(CHOICES)].groupby(["choice", "value", "suite"])["rank"].mean().min()
    names = [choice for choice in CHOICES if choice not in _NAMED] + ["k", *_NAMED]
    names = [choice for choice in names if choice in set(table.choice)]
    columns = -(-len(names) // 3)
    figure = Figure(figsize=(2.7 * columns, 7.5), layout="constrained")
    panels = figure.subplots(3, columns, squeeze=False)
    for ax, choice in zip(panels.flat, names, strict=False):
        if choice in _LOGARITHMIC:
            ax.set_xscale("log")
            ax.xaxis.set_minor_locator(NullLocator())
        gain = choice == "k"
        _draw(ax, table[table.choice == choice], "gain" if gain else "rank", choice in _NAMED)
        ax.set_xlabel("number of groups k" if gain else CHOICES[choice][0])
        if gain:
            ax.set_title("real affinity within groups", fontsize="medium")
        else:
            floor = min(max(0.0, lowest - 0.1), ax.dataLim.y0 - 0.05)  # all intervals are seen whole
            ax.set_ylim(max(floor, -1.02), 1.02)
    for ax in panels.flat[len(names) :]:
        ax.remove()
    for ax in panels[:, 0]:
        ax.set_ylabel("rank correlation")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw(ax: Axes, own: pd.DataFrame, column: str, names: bool) -> None:
    """Draw one choice: lines over numbers, or dots over names."""
    values = list(dict.fromkeys(own.value.astype(str)))
    places = np.arange(len(values)) if names else np.array([float(value) for value in values])
    suites = list(dict.fromkeys(own.suite))
    for number, suite in enumerate(suites):
        part = own[own.suite == suite]
        each = [part[part.value.astype(str) == value][column].to_numpy() for value in values]
        there = np.array([len(rows) > 0 for rows in each])
        low, high = np.array([confidence_interval(rows) for rows in each if len(rows)]).T
        mean = [rows.mean() for rows in each if len(rows)]
        if names:
            x = places[there] + 0.15 * (number - (len(suites) - 1) / 2)
            ax.vlines(x, low, high, color=f"C{number}", linewidth=2)
            ax.plot(x, mean, "o", color=f"C{number}", markersize=5)
        else:
            ax.plot(places[there], mean, ".-", color=f"C{number}", label=suite)
            ax.fill_between(places[there], low, high, color=f"C{number}", alpha=0.15, linewidth=0)
    if names:
        ax.set_xticks(places, values, rotation=30, ha="right", rotation_mode="anchor", fontsize="small")
    else:
        told = np.sort(places)
        if ax.get_xscale() == "log":
            told = told[np.r_[True, told[1:] > 1.3 * told[:-1]]]  # closer ones would overlap
        ax.set_xticks(told, [f"{place:g}" for place in told], fontsize="small")
    ax.grid(color="0.92")
    ax.spines[["top", "right"]].set_visible(False)
