"""What the table of the study says, and its figure."""

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.downstream.runs import EACH, GROUPINGS, NETWORKS, ONE
from analysis.study import plain

_RESAMPLINGS = 2000


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give success by method and number of groups: mean, interquartile mean, and their 95 % intervals.

    The interquartile mean over tasks and runs is that of Agarwal et al. (2021, NeurIPS): the middle half of
    what tasks reach. Intervals come from drawing runs again (seeds, and draws of random groups) and the
    evaluation's episodes. With one run they hold for these very policies; with two or three they are too
    narrow where seeds differ, as drawing so few again gives hardly anything beyond them.
    """
    evaluated = table[table.what == "evaluation"]
    rng = np.random.default_rng(0)
    rows = []
    for (method, k), part in evaluated.groupby(["method", "k"], sort=False):
        by_run = part.pivot_table(index=["seed", "draw"], columns="task", values="success")
        rates = by_run.to_numpy()
        by_seed = rates.reshape(by_run.index.unique("seed").size, -1, rates.shape[1])
        drawn = _resampled(by_seed, int(part.episodes.iloc[0]), rng)
        row: dict[str, Any] = {"method": method, "k": int(k), "runs": len(rates)}
        for name, statistic in (("success", np.mean), ("iqm", interquartile_mean)):
            low, high = np.percentile([statistic(each) for each in drawn], [2.5, 97.5])
            row |= {name: statistic(rates), f"{name}_low": low, f"{name}_high": high}
        solved = part.groupby("task", sort=False).success.mean()
        rows.append(row | {"solved": int((solved > 0.5).sum())})
    return pd.DataFrame(rows)


def interquartile_mean(values: Float[np.ndarray, "..."]) -> float:
    """Give the mean of the middle half, in which values at its ends count in part.

    So it does not depend on how often all of them come.
    """
    ordered = np.sort(values, axis=None)
    edges = np.arange(ordered.size + 1).clip(ordered.size / 4, 3 * ordered.size / 4)
    return float(ordered @ np.diff(edges) / (ordered.size / 2))


def _resampled(
    rates: Float[np.ndarray, "seeds draws tasks"], episodes: int, rng: np.random.Generator
) -> Float[np.ndarray, "resamplings runs tasks"]:
    """Draw seeds, draws of groups within them, and episodes again; draws of a seed share its meta-policy."""
    seeds, draws, tasks = rates.shape
    chosen = rng.integers(seeds, size=(_RESAMPLINGS, seeds, 1))
    own = rng.integers(draws, size=(_RESAMPLINGS, seeds, draws))
    return rng.binomial(episodes, rates[chosen, own].reshape(_RESAMPLINGS, -1, tasks)) / episodes


@matplotlib.rc_context({"font.size": 8, "axes.titlesize": 9})
def plot(table: pd.DataFrame) -> Figure:
    """Draw learning curves, success by method, success by number of groups, and by task."""
    told = summary(table)
    figure = Figure(figsize=(7.2, 6.2), layout="constrained")
    (curves, bars), (numbers, tasks) = figure.subplots(2, 2)
    _draw_curves(curves, table)
    _draw_methods(bars, told, table)
    _draw_numbers(numbers, told)
    _draw_tasks(tasks, table)
    return figure


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """Keep of each way of grouping the number of groups that the paper takes, or the nearest."""
    several = sorted(set(table.k[table.method.isin(GROUPINGS)]))
    middle = min(several, key=lambda k: abs(k - 3))
    return table[table.k.isin((1, middle)) | (table.method == EACH)]


def _color(method: str) -> str:
    return f"C{[*NETWORKS, *GROUPINGS, EACH].index(method)}"


def _draw_curves(ax: Axes, table: pd.DataFrame) -> None:
    curves = _shown(table[table.what == "curve"])
    for method, part in curves.groupby("method", sort=False):
        mean = part.groupby("steps").success.mean()
        ax.plot(mean.index / 1000, mean, color=_color(method), label=method, linewidth=1.2)
    ax.set(
        xlabel="steps for each task, thousands",
        ylabel="success in training",
        ylim=(0, 1),
        title="colours as on the right",
    )
    plain(ax)


def _draw_methods(ax: Axes, told: pd.DataFrame, table: pd.DataFrame) -> None:
    """Draw the mean of each method over its interval, and a small dot for each seed."""
    evaluated = table[table.what == "evaluation"]
    seeds = evaluated.groupby(["method", "k", "seed"]).success.mean()
    shown = _shown(told).iloc[::-1].reset_index(drop=True)
    for place, row in shown.iterrows():
        each = seeds[row.method, row.k]
        ax.plot(each, [place - 0.25] * len(each), ".", color="0.6", markersize=3)
        ax.plot([row.success_low, row.success_high], [place, place], color=_color(row.method))
        ax.plot(row.success, place, "o", color=_color(row.method), markersize=4)
    labels = [
        f"{row.k} {row.method}" if row.method in GROUPINGS else row.method for row in shown.itertuples()
    ]
    ax.set_yticks(range(len(shown)), labels)
    ax.set(xlabel="success, mean over tasks", xlim=(0, 1))
    plain(ax)


def _draw_numbers(ax: Axes, told: pd.DataFrame) -> None:
    one = told[told.method == ONE]
    for shift, method in enumerate(GROUPINGS):
        part = pd.concat([one, told[told.method == method]])
        errors = np.abs(part[["success_low", "success_high"]].to_numpy().T - part.success.to_numpy())
        # Side by side, or the intervals would hide each other.
        ax.errorbar(part.k + 0.06 * (shift - 1), part.success, errors, color=_color(method), marker="o",
                    markersize=4, linewidth=1.2, label=method)  # fmt: skip
    (alone,) = told[told.method == EACH].success
    ax.axhline(alone, color=_color(EACH), linestyle="--", linewidth=1, label=EACH)
    numbers = sorted(set(told.k[told.method != EACH]))
    ax.set(xlabel="number of groups", ylabel="success, mean over tasks", ylim=(0, 1), xticks=numbers)
    ax.legend(frameon=False, fontsize="x-small")
    plain(ax)


def _draw_tasks(ax: Axes, table: pd.DataFrame) -> None:
    evaluated = _shown(table[table.what == "evaluation"])
    rates = evaluated.pivot_table(index="method", columns="task", values="success", sort=False)
    image = ax.imshow(rates, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    ax.set_yticks(range(len(rates)), rates.index)
    names = [name.removesuffix("-v3") for name in rates.columns]
    ax.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor")
    ax.figure.colorbar(image, ax=ax, label="success", shrink=0.8)
