"""From how many beginnings, which advantages, and how strong a ridge: whether estimates agree.

Two estimates of the same affinities, from other episodes of one meta-policy, should agree; but so they would
if both were wrong in the same way. So each is compared as well with a larger one whose advantages are
unbiased: λ = 1, against a baseline that was fitted to other episodes, from four times as many transitions.
No policy is trained but the meta-policy, and estimates are its own, without the path to it. The numbers of
environments and λ were chosen on seed 100; held-out episodes choose the ridge, unless it is what varies.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from scipy.stats import pearsonr

from analysis.along import refit
from analysis.study import confidence_interval, plain
from gradex import AffinityGraph, MetaPolicy, SurrogateEstimator, TaskSuite
from gradex.affinity import sample_subsets
from gradex.learners import Transitions
from gradex.seeds import child
from gradex.surrogate import LEAST_REGULARIZATION
from gradex.trained_policy import GAE_LAMBDA

SEEDS = {"smoke": 1, "laptop": 2, "paper": 5}
#: Estimates that are compared with each other, and how many times more transitions the unbiased one has.
_REPEATS, _LARGER = 4, 4
#: What a panel's axis says.
_CHOICES = {
    "copies": "environments a task",
    "lambda": "λ of the advantages",
    "share": "λ of the ridge / mean eigenvalue",
}
_LOGARITHMIC = ("copies", "share")


@dataclass(frozen=True)
class _Setting:
    """A suite, how long its meta-policy trains, and what is compared on it."""

    family: str
    options: dict[str, Any] = field(default_factory=dict)
    meta_steps: int | None = None
    transitions: tuple[int, ...] = (2048,)
    subsets: int = 200
    copies: tuple[int, ...] = (8, 16, 32, 64, 128)
    lambdas: tuple[float, ...] = (0.0, 0.5, 0.95, 1.0)
    shares: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0, 100.0)


_LAPTOP = {
    "navigation": _Setting("navigation"),
    "reversed CartPole": _Setting("cartpole", {"reversed": "half"}),
    "highway by objective": _Setting("highway", {"vary": "objective"}),
    "MT10": _Setting("mt10", {"horizon": 200}, meta_steps=320_000),
}
_SETTINGS = {
    "smoke": {
        "navigation": _Setting(
            "navigation", {"n": 5}, 5_000, (256,), 10, (8, 16), lambdas=(0.0, 1.0), shares=(0.1, 1.0)
        )
    },
    "laptop": _LAPTOP,
    "paper": {name: replace(setting, transitions=(2048, 8192)) for name, setting in _LAPTOP.items()},
}


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give one row per suite, number of transitions, choice ("copies", "lambda" or "share") and value.

    Columns suite, transitions (of each task), choice, value, reliability (mean correlation of the
    interactions by two estimates), unbiased (mean correlation with the larger unbiased estimate), seed.
    """
    tables = []
    for name, setting in _SETTINGS[scale].items():
        suite = TaskSuite.make(setting.family, seed=seed, **setting.options)
        meta = MetaPolicy(suite, seed=seed).fit(setting.meta_steps)
        for count in setting.transitions:
            rows = pd.DataFrame(_rows(meta, setting, count, seed))
            tables.append(rows.assign(suite=name, transitions=count, seed=seed))
    return pd.concat(tables, ignore_index=True)


def _rows(meta: MetaPolicy, setting: _Setting, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Vary one thing at a time, the others at their defaults."""
    subsets = sample_subsets(len(meta.suite), setting.subsets, 3, seed)

    def collect(
        number: int, steps: int = count, gae_lambda: float = GAE_LAMBDA, copies: int | None = None
    ) -> Transitions:
        return meta.transitions(steps, copies, child(seed, "samples", number), gae_lambda)

    def interactions(samples: Transitions, share: float | None = None) -> np.ndarray:
        """Give the interaction of every pair of tasks, by default with the ridge that is chosen."""
        surrogate = SurrogateEstimator(projection="khatri-rao", seed=seed).fit(meta, samples)
        if share is not None:
            [least] = refit([surrogate], ["least"])
            [surrogate] = refit([surrogate], [share / LEAST_REGULARIZATION * least.regularization_])
        graph = AffinityGraph.from_scores(surrogate.scores(subsets))
        return graph.interaction().matrix[np.triu_indices(len(graph), 1)]

    reference = interactions(collect(_REPEATS, _LARGER * count, gae_lambda=1.0))

    def row(choice: str, value: float, estimates: list[np.ndarray]) -> dict[str, Any]:
        pairs = [pearsonr(one, other).statistic for one, other in combinations(estimates, 2)]
        against = [pearsonr(one, reference).statistic for one in estimates]
        found = {"reliability": float(np.mean(pairs)), "unbiased": float(np.mean(against))}
        return {"choice": choice, "value": value, **found}

    numbers = range(_REPEATS)
    for copies in setting.copies:
        yield row("copies", copies, [interactions(collect(number, copies=copies)) for number in numbers])
    for gae_lambda in setting.lambdas:
        each = [interactions(collect(number, gae_lambda=gae_lambda)) for number in numbers]
        yield row("lambda", gae_lambda, each)
    samples = [collect(number) for number in numbers]
    for share in setting.shares:
        yield row("share", share, [interactions(each, share) for each in samples])


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give the means over seeds, with 95 % intervals of the reliability."""
    rows = []
    by = ["suite", "transitions", "choice", "value"]
    for key, part in table.groupby(by, sort=False):
        low, high = confidence_interval(part.reliability.to_numpy())
        means = {name: part[name].mean() for name in ("reliability", "unbiased")}
        rows.append(dict(zip(by, key, strict=True)) | means | {"low": low, "high": high, "seeds": len(part)})
    return pd.DataFrame(rows)


def plot(table: pd.DataFrame) -> Figure:
    """Draw reliability and agreement with the unbiased estimate, two rows per number of transitions."""
    counts = sorted(table.transitions.unique())
    measures = {"reliability": "of two estimates", "unbiased": "with the unbiased one"}
    rows = [(count, measure) for count in counts for measure in measures]
    figure = Figure(figsize=(9, 0.6 + 2.2 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), len(_CHOICES), sharey=True, sharex="col", squeeze=False)
    for line, (count, measure) in zip(panels, rows, strict=True):
        line[0].set_ylabel(f"correlation\n{measures[measure]}\n{count:,} transitions a task")
        for ax, choice in zip(line, _CHOICES, strict=True):
            _draw(ax, table[(table.transitions == count) & (table.choice == choice)], measure)
            if choice in _LOGARITHMIC:
                ax.set_xscale("log")
                ax.xaxis.set_minor_locator(NullLocator())
    for ax, choice in zip(panels[-1], _CHOICES, strict=True):
        ax.set_xlabel(_CHOICES[choice])
        values = sorted(table[table.choice == choice].value.unique())
        ax.set_xticks(values, [f"{value:g}" for value in values])
        if choice == "lambda":  # 0.95 and 1 are neighbours
            *_, last, end = ax.get_xticklabels()
            last.set_ha("right")
            end.set_ha("left")
    handles = panels[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _draw(ax: Axes, table: pd.DataFrame, measure: str) -> None:
    for number, (suite, part) in enumerate(table.groupby("suite", sort=False)):
        means = part.groupby("value")[measure].mean()
        ax.plot(means.index, means, ".-", color=f"C{number}", label=suite)
        ax.plot(part.value, part[measure], ".", color=f"C{number}", markersize=3, alpha=0.5)
    ax.set_ylim(min(0.0, float(table[measure].min()) - 0.05), 1.02)
    plain(ax)
