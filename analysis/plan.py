"""Does a plan say how many transitions it takes? What a pilot predicts, against what is then needed.

Pilots of a quarter of the default transitions predict from how many on the groups come out, in conflict, nine
times in ten. Then estimates of several sizes are really made, each from other transitions of the same
meta-training, and it is counted how often they find the planted groups. Groups, and their number, are found
as `PolicyGradEx(k="auto")` finds them. Projections are Khatri-Rao products, which take a fraction of the
Gaussian's time.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from sklearn.linear_model import LogisticRegression
from tqdm.auto import tqdm

from analysis.study import plain
from analysis.trained import learner
from gradex import AffinityGraph, MetaPolicy, SurrogateEstimator, TaskSuite
from gradex.affinity import Bootstrap, CorrelationGrouping, Partition, fewest_groups
from gradex.path_scores import count_steps
from gradex.plan import Plan, make_plan
from gradex.seeds import child
from gradex.surrogate import Interactions

SEEDS = {"smoke": 1, "laptop": 3, "paper": 20}
#: Title, family, its options, and environment steps of the meta-policy (None: as recommended).
_SUITES: tuple[tuple[str, str, dict[str, Any], int | None], ...] = (
    ("reversed CartPole, 5 + 5", "cartpole", {"n": 10, "reversed": 0.5}, 600_000),
    ("reversed CartPole, 8 + 2", "cartpole", {"n": 10, "reversed": 0.2}, 600_000),
    ("navigation", "navigation", {"n": 9}, None),
    ("highway by objective", "highway", {"n": 10, "vary": "objective"}, None),
)


@dataclass(frozen=True)
class _Amounts:
    """Transitions per task of pilots and estimates, how many of each, of what kind, and draws of a pilot."""

    pilot: int
    sizes: tuple[int, ...]
    pilots: int
    estimates: int
    snapshots: int = 8
    dimension: int = 400
    draws: int = 100


_AMOUNTS = {
    "smoke": _Amounts(128, (128, 256), pilots=1, estimates=2, snapshots=2, dimension=50, draws=20),
    "laptop": _Amounts(2048, (512, 1024, 2048, 4096, 8192), pilots=3, estimates=8),
    "paper": _Amounts(2048, (512, 1024, 2048, 4096, 8192, 16_384, 32_768), pilots=10, estimates=40),
}
_CHOSEN = {"smoke": _SUITES[2:3], "laptop": _SUITES, "paper": _SUITES}
_SMOKE_STEPS = 2_000
_POWER, _LEVEL = 0.9, 0.05
_WANTED = "nine in ten, which pilots predict"
#: Of the logistic curve of how often estimates find the groups, the inverse weight of its ridge: slight.
_FIT = 100.0


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give a row per suite and pilot, and one per suite and size of estimates.

    Returns
    -------
    DataFrame
        Columns suite, seed, kind, transitions. Of kind "pilot": predicted, with low and high, which is nan
        where the pilot shows no conflict and infinite where the power is out of reach. Of kind "estimate":
        found, the share of estimates with the planted groups.
    """
    amounts, rows = _AMOUNTS[scale], []
    for title, family, options, steps in _CHOSEN[scale]:
        suite = TaskSuite.make(family, seed=seed, **options)
        meta_steps = _SMOKE_STEPS if scale == "smoke" else steps
        path = MetaPolicy(suite, learner=learner(scale), seed=seed).fit(meta_steps, amounts.snapshots).path_
        source = _Source(suite, path, amounts, seed)
        for number in range(amounts.pilots):
            plan = source.plan(number)
            told = {"predicted": plan.needed, "low": plan.interval[0], "high": plan.interval[1]}
            rows.append({"suite": title, "kind": "pilot", "transitions": plan.pilot, **told})
        for size in tqdm(amounts.sizes, desc=title, leave=False):
            found = [source.finds(size, number) for number in range(amounts.estimates)]
            rows.append({"suite": title, "kind": "estimate", "transitions": size, "found": np.mean(found)})
    return pd.DataFrame(rows).assign(seed=seed)


@dataclass(frozen=True)
class _Source:
    """Where pilots and estimates come from: snapshots of one meta-training."""

    suite: TaskSuite
    path: tuple[MetaPolicy, ...]
    amounts: _Amounts
    seed: int

    def plan(self, number: int) -> Plan:
        """Make a pilot and its plan."""
        pilot = self._interactions(self.amounts.pilot, number)
        graph = AffinityGraph.from_interactions(pilot)
        draws = Bootstrap(pilot.draws(self.amounts.draws, self.seed))
        given = graph, self._grouped(pilot), draws, pilot, self.amounts.pilot
        return make_plan(*given, _POWER, _LEVEL, seed=self.seed, method=CorrelationGrouping())

    def finds(self, size: int, number: int) -> bool:
        """Make an estimate; say whether it finds the planted groups."""
        assert self.suite.labels is not None  # for the type checker
        found = self._grouped(self._interactions(size, 1000 + number))  # no pilot has these transitions
        return bool(np.isclose(found.agreement(self.suite.labels).nmi, 1))

    def _grouped(self, interactions: Interactions) -> Partition:
        """Group the tasks as `PolicyGradEx(k="auto")` does."""
        graph = AffinityGraph.from_interactions(interactions)
        group = partial(graph.partition, method=CorrelationGrouping())
        return fewest_groups(interactions, group, _LEVEL, seed=self.seed)[0]

    def _interactions(self, size: int, number: int) -> Interactions:
        parts = []
        for snapshot in self.path:
            count = count_steps(snapshot, size // len(self.path))
            transitions = snapshot.transitions(count, seed=child(snapshot.seed, "collection", 1 + number))
            estimator = SurrogateEstimator(self.amounts.dimension, "khatri-rao", seed=self.seed)
            parts.append(estimator.fit(snapshot, transitions).interactions())
        return Interactions.joined(parts)


def needed(estimates: pd.DataFrame) -> float:
    """Give from how many transitions on nine estimates in ten find the groups.

    A logistic curve in the logarithm of the size is fitted to all sizes, as a few estimates of one size tell
    nine in ten only roughly. Where that lies below the smallest size it is the smallest, and infinite where
    hardly any estimate finds the groups.
    """
    sizes, found = estimates.sort_values("transitions")[["transitions", "found"]].to_numpy().T
    if found.min() == 1:
        return float(sizes[0])
    if found.max() == 0:
        return np.inf
    doublings, outcomes = np.log2(sizes / sizes[0]), np.repeat([1, 0], len(sizes))
    fit = LogisticRegression(C=_FIT).fit(np.tile(doublings, 2)[:, None], outcomes, [*found, *(1 - found)])
    slope, level = fit.coef_[0, 0], fit.intercept_[0]
    if slope <= 0:
        return np.inf
    return float(sizes[0] * 2 ** max(0.0, (np.log(_POWER / (1 - _POWER)) - level) / slope))


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give by suite and seed what was needed and predicted.

    Columns suite, seed, needed (see there), predicted (the median of the pilots), factor (the geometric mean
    of their error either way, a factor of 1 or more), within (pilots whose interval holds what was needed;
    what lies below the smallest size counts as that) and pilots.
    """
    rows = []
    for (suite, seed), own in table.groupby(["suite", "seed"], sort=False):
        pilots, estimates = own[own.kind == "pilot"], own[own.kind == "estimate"]
        smallest, most = estimates.transitions.min(), needed(estimates)
        low, high, told = (pilots[name].clip(lower=smallest) for name in ("low", "high", "predicted"))
        known = np.isfinite(told) & np.isfinite(most)
        factor = np.exp(np.abs(np.log(told[known] / most)).mean()) if known.any() else np.nan
        row = {"suite": suite, "seed": seed, "needed": most, "predicted": told.median(), "factor": factor}
        rows.append({**row, "within": int(((low <= most) & (most <= high)).sum()), "pilots": len(pilots)})
    return pd.DataFrame(rows)


def plot(table: pd.DataFrame) -> Figure:
    """Draw by suite how often estimates find the groups, by size, and above that what pilots predict.

    Points of seeds stand beside each other, though they are of the same sizes.
    """
    suites, seeds = list(dict.fromkeys(table.suite)), sorted(table.seed.unique())
    figure = Figure(figsize=(1.0 + 2.5 * len(suites), 4.4), layout="constrained")
    panels = figure.subplots(2, len(suites), sharex=True, sharey="row", squeeze=False, height_ratios=(1, 2))
    sizes = table.transitions[table.kind == "estimate"]
    told = table[["low", "high"]].replace(np.inf, np.nan)
    low = np.nanmin([told.low.min(), sizes.min()]) / 1.3
    high = np.nanmax([told.high.max(), sizes.max()]) * 1.3
    for (above, below), suite in zip(panels.T, suites, strict=True):
        for place, seed in enumerate(seeds):
            own = table[(table.suite == suite) & (table.seed == seed)]
            style = _style(place)
            pilots = own[own.kind == "pilot"]
            for number, pilot in enumerate(pilots.itertuples()):
                height = number + (len(pilots) + 0.7) * place
                ends = np.clip([pilot.low, pilot.high], low, high)
                above.plot(ends, [height, height], color=style["color"], linewidth=1.2)
                above.plot(np.clip(pilot.predicted, low, high), height, **style, linestyle="none")
            estimates = own[own.kind == "estimate"]
            beside = 2 ** (0.66 * ((place + 0.5) / len(seeds) - 0.5))  # so that no seed hides another
            below.plot(estimates.transitions * beside, estimates.found, **style, **_line(place), label=seed)
        below.axhline(_POWER, color="0.4", linewidth=1, linestyle=":", label=_WANTED)
        below.set(xscale="log", xlim=(low, high), xlabel="transitions per task", yticks=np.linspace(0, 1, 6))
        ticks = sorted(sizes.unique())[::2]
        below.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        below.xaxis.set_minor_locator(NullLocator())
        above.set_title(suite, fontsize="medium")
        above.set_yticks([])
        plain(above)
        plain(below)
    panels[0, 0].set_ylabel("pilots predict\n(80 % intervals)", fontsize="small")
    panels[1, 0].set_ylabel("share of estimates\nthat find the groups")
    handles, labels = panels[1, 0].get_legend_handles_labels()
    names = [f"seed {label}" if label != _WANTED else label for label in labels]
    figure.legend(handles, names, loc="outside lower center", ncols=6, frameon=False, handlelength=3)
    return figure


def _style(place: int) -> dict[str, Any]:
    """Give colour and marker of a seed, which differ in grey, too."""
    fill = f"C{place}" if place % 2 == 0 else "white"
    return {"color": f"C{place}", "marker": "os^Dv"[place % 5], "markersize": 4.5, "markerfacecolor": fill}


def _line(place: int) -> dict[str, Any]:
    return {"linestyle": ("-", "--", "-.")[place % 3], "linewidth": 1.0}
