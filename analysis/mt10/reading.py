"""What the table of the study says, and its figure."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.mt10.runs import ESTIMATES, MANY, STARTS
from analysis.study import mean_with_interval, plain


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give agreement with real training by start and estimate, mean over seeds with 95 % intervals.

    An estimate without bias would reach `rank_ceiling` times the root of `repeat`.
    """
    rows = []
    for start, part in table.groupby("start", sort=False):
        truth, meta = part[part.what == "truth"], part[part.what == "meta"]
        told = {
            "start": start,
            "success": meta.success.mean(),
            "rank_ceiling": truth["rank"].mean(),
            "nmi_halves": truth.nmi.mean(),
            "nmi_chance": truth.chance.mean(),
        }
        for estimate, own in part[part.what == "agreement"].groupby("estimate", sort=False):
            found = {"estimate": estimate, "seeds": len(own)}
            for name in ("rank", "repeat", "nmi"):
                found |= mean_with_interval(name, own[name])
            rows.append(found | told)
    return pd.DataFrame(rows)


@matplotlib.rc_context({"font.size": 8, "axes.titlesize": 9})
def plot(table: pd.DataFrame) -> Figure:
    """Draw agreement with the truth by estimate, and the pairs themselves, a row for each start."""
    figure = Figure(figsize=(7.2, 5.2), layout="constrained")
    panels = figure.subplots(len(STARTS), 2, width_ratios=(1.5, 1), squeeze=False)
    for (left, right), start in zip(panels, STARTS, strict=True):
        own = table[table.start == start]
        _draw_agreement(left, own)
        _draw_pairs(right, own[own.what == "pair"])
        left.set_title(start)
    panels[-1, 0].set_xlabel("rank correlation")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def _draw_agreement(ax: Axes, table: pd.DataFrame) -> None:
    """Draw a dot for each seed, and the means."""
    told = table[table.what == "agreement"]
    ceiling = table[table.what == "truth"]["rank"].mean()
    estimates = [each for each in ESTIMATES if (told.estimate == each).any()]  # no path leads to a clone
    for row, estimate in enumerate(estimates):
        own = told[told.estimate == estimate]
        for column, shift, color, label in (
            ("rank", -0.12, "C0", "with real training"),
            ("repeat", 0.12, "C1", "of two estimates"),
        ):
            places = np.full(len(own), row + shift)
            ax.plot(own[column], places, "o", color=color, markersize=3, alpha=0.5)
            ax.plot(own[column].mean(), row + shift, "D", color=color, markersize=5,
                    label=label if row == 0 else None)  # fmt: skip
    ax.axvline(ceiling, color="0.3", linewidth=1, linestyle=":", label="most that noise of the truth allows")
    ax.axvline(0, color="0.7", linewidth=0.8)
    ax.set(xlim=(-0.6, 1.05), ylim=(-0.5, len(estimates) - 0.5))
    ax.set(yticks=range(len(estimates)), yticklabels=estimates)
    ax.invert_yaxis()
    plain(ax)


def _draw_pairs(ax: Axes, pairs: pd.DataFrame) -> None:
    """Draw every pair of every seed: the affinity by the most precise estimate, and by real training."""
    apart = pairs[pairs.task != pairs.partner]
    for (seed, own), marker in zip(apart.groupby("seed"), "osx+d", strict=False):
        ax.plot(own[MANY] / own[MANY].std(), own.truth / own.truth.std(), marker, color="0.35",
                markersize=3, fillstyle="none", markeredgewidth=0.7, label=f"seed {seed}")  # fmt: skip
    ax.legend(frameon=False, handletextpad=0.1, borderpad=0)
    ax.axhline(0, color="0.7", linewidth=0.8)
    ax.axvline(0, color="0.7", linewidth=0.8)
    ax.set(xlabel="by interactions, in SD", ylabel="by real training, in SD", title="affinity of pairs")
    plain(ax)
