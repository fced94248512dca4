"""gradex against what a user would pick instead, both timed in one run, part by part.

A seed is a run of its own on the same data, so that what differs between seeds is what else the machine did.
Where a peer is not installed its rows are left out.
"""

from collections.abc import Sequence
from types import ModuleType

import matplotlib
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from analysis.provenance import processor
from analysis.speed import (
    adaptation,
    clustering,
    features,
    ground_truth,
    logistic,
    peers,
    ppo,
    sac,
    sharing,
    trace,
)
from analysis.study import plain

SEEDS = {"smoke": 1, "laptop": 1, "paper": 3}
#: Modules with `compare(scale)`, which gives comparisons, and `WITHOUT`, what a missing package leaves out.
PARTS: dict[str, ModuleType] = {
    "ppo": ppo,
    "sac": sac,
    "features": features,
    "sharing": sharing,
    "logistic": logistic,
    "clustering": clustering,
    "ground_truth": ground_truth,
    "trace": trace,
    "adaptation": adaptation,
}
#: Whose version matters too.
PACKAGES = peers.PACKAGES

_COLUMNS = ("case", "peer", "setting", "gradex", "peer_value", "unit", "ratio", "remark", "processor", "seed")


def missing(parts: Sequence[str]) -> list[str]:
    """Say what is left out of these parts, a line for each package that is not installed."""
    return peers.missing(PARTS[part].WITHOUT for part in parts)


def compute(seed: int, scale: str, part: str) -> pd.DataFrame:
    """Give one row per comparison.

    Returns
    -------
    DataFrame
        case (what is done), peer (who else does it), setting, what either takes (`gradex`, `peer_value`, in
        `unit`), ratio (above 1 in our favour), remark (what was measured beside it), processor, seed.
    """
    machine = f"{processor()}, {torch.get_num_threads()} threads"
    rows = [{**each.row(), "processor": machine, "seed": seed} for each in PARTS[part].compare(scale)]
    return pd.DataFrame(rows, columns=_COLUMNS)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give medians over the runs of each setting, and the lowest and highest ratio."""
    groups = table.groupby(["part", "case", "peer", "setting", "unit"], sort=False)
    told = groups.agg(
        gradex=("gradex", "median"),
        peer_value=("peer_value", "median"),
        ratio=("ratio", "median"),
        low=("ratio", "min"),
        high=("ratio", "max"),
        runs=("seed", "nunique"),
    )
    return told.reset_index()


@matplotlib.rc_context({"font.size": 8, "axes.titlesize": 9})
def plot(table: pd.DataFrame) -> Figure:
    """Draw a panel for each part, in it a line for each case and peer with a dot for each setting."""
    told = summary(table)
    parts = list(dict.fromkeys(told.part))
    lines = {part: _lines(told[told.part == part]) for part in parts}
    heights = [0.5 + len(lines[part]) for part in parts]
    figure = Figure(figsize=(8.0, 0.6 + 0.21 * sum(heights) + 0.25 * len(parts)), layout="constrained")
    panels = figure.subplots(len(parts), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    for ax, part in zip(panels, parts, strict=True):
        _draw(ax, lines[part])
        ax.set_title(part, loc="left")
    panels[0].set_xscale("log")
    panels[0].xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}"))
    panels[0].xaxis.set_minor_locator(NullLocator())
    figure.supxlabel(
        "ratio, a dot for each setting: above 1 gradex is faster, takes less memory, or errs less", fontsize=8
    )
    return figure


def _lines(told: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Give the settings of each line, by its label."""
    groups = told.groupby(["case", "peer"], sort=False)
    return {f"{case}  vs  {peer}": settings for (case, peer), settings in groups}


def _draw(ax: Axes, lines: dict[str, pd.DataFrame]) -> None:
    """Draw medians over runs, from the lowest to the highest run."""
    ax.axvline(1.0, color="0.4", linewidth=1, linestyle=":")
    for row, settings in enumerate(lines.values()):
        ax.hlines([row] * len(settings), settings.low, settings.high, color="0.6", linewidth=2, zorder=1)
        ax.scatter(settings.ratio, [row] * len(settings), s=14, color="C0", alpha=0.8, zorder=2)
    ax.set(yticks=range(len(lines)), yticklabels=lines, ylim=(len(lines) - 0.4, -0.6))
    plain(ax)
