"""Does a plan say how many transitions it takes? What a pilot predicts, against what is then needed.

A pilot of ten runs of each task predicts from how many transitions on the conflict is found, and the groups
come out, nine times in ten. Then estimates of 4 to 64 runs are really made, each of new transitions, and it
is counted how often both happen. The groups are those of all these estimates together. Groups are known to be
two or three, as planted; projections are Khatri-Rao's, as there are many estimates.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.study import plain
from gradex import AffinityGraph, MetaPolicy, SurrogateEstimator, TaskSuite
from gradex.affinity import propose_groups
from gradex.affinity.power import reached
from gradex.pilot import Pilot
from gradex.plan import make_plan

SEEDS = {"smoke": 1, "laptop": 3, "paper": 20}
#: Title, family, its options, its planted groups, and steps of a run: where steps serve all tasks, few runs
#: of many steps are enough, and there would be nothing to plan.
_SUITES: tuple[tuple[str, str, dict[str, Any], int, int], ...] = (
    ("reversed CartPole", "cartpole", {"n": 10, "reversed": "half"}, 2, 32),
    ("navigation", "navigation", {"n": 12}, 3, 8),
    ("highway by objective", "highway", {"n": 10, "vary": "objective"}, 2, 8),
    ("CartPole, 2 of 10 reversed", "cartpole", {"n": 10, "reversed": 0.2}, 2, 32),
)
#: Environment steps of the meta-policy (None: as recommended), snapshots, and estimates by number of runs.
_AMOUNTS: dict[str, tuple[int | None, int, dict[int, int]]] = {
    "smoke": (10_000, 2, {4: 2, 8: 2}),
    "laptop": (None, 4, {4: 6, 8: 6, 16: 6, 32: 5, 64: 4}),
    "paper": (None, 8, {4: 20, 8: 20, 16: 20, 32: 20, 64: 20, 128: 20}),
}
_PILOT, _POWER, _LEVEL = 10, 0.9, 0.05
#: Draws of noise for the conflict test of an estimate.
_NULL = 99


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give one row per suite.

    Returns
    -------
    DataFrame
        Columns suite, seed; predicted, with low and high, and needed, in transitions per task, of all
        snapshots together. predicted is nan where the pilot shows no conflict, and any of them infinite where
        the power is not reached by as many as were tried; p_value of the pilot's conflict test; pilot and
        most, the transitions of the pilot and of the largest estimates.
    """
    meta_steps, snapshots, replicates = _AMOUNTS[scale]
    rows = []
    for title, family, options, k, steps in _SUITES:
        fewer = {"n": 6} if scale == "smoke" else {}
        suite = TaskSuite.make(family, seed=seed, **{**options, **fewer})
        path = MetaPolicy(suite, seed=seed).fit(meta_steps, snapshots).path_
        estimator = SurrogateEstimator(projection="khatri-rao", seed=seed)
        pilot = Pilot.along(path, estimator, _PILOT, steps)
        plan = make_plan(pilot, [task.name for task in suite.tasks], k, _POWER, _LEVEL, seed=seed)
        estimates = {
            runs: [
                Pilot.along(path, estimator, runs, steps, replicate=100 * runs + number)
                for number in range(count)
            ]
            for runs, count in replicates.items()
        }
        of_a_run = pilot.transitions / pilot.runs
        told = {"predicted": plan.needed, "low": plan.interval[0], "high": plan.interval[1]}
        told |= {"needed": of_a_run * _needed(estimates, k), "p_value": plan.p_value}
        most = of_a_run * max(replicates)
        rows.append({"suite": title, "seed": seed, **told, "pilot": pilot.transitions, "most": most})
    return pd.DataFrame(rows)


def _needed(estimates: dict[int, list[Pilot]], k: int) -> float:
    """Count how often the groups of all estimates together come out, and give the runs that it takes."""
    together = sum(runs * each.interactions.matrix for runs, own in estimates.items() for each in own)
    truth = propose_groups(np.asarray(together), k)
    shares: dict[int, float] = {}
    for runs, own in estimates.items():
        shares[runs] = float(np.mean([_found(each, truth, k) for each in own]))
        if shares[runs] >= _POWER:
            break
    return reached(shares, _POWER)


def _found(estimate: Pilot, truth: np.ndarray, k: int) -> bool:
    labels = propose_groups(estimate.interactions.matrix, k)
    if len({*zip(labels, truth, strict=True)}) > k:
        return False
    return AffinityGraph.from_interactions(estimate.interactions).conflict(_NULL).p_value <= _LEVEL


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give by suite how predictions compare with what was needed, where both are finite.

    Columns suite; seeds; both, how many have both; ratio, the geometric mean of predicted by needed; within,
    how many have what was needed within the interval.
    """
    rows = []
    for suite, own in table.groupby("suite", sort=False):
        both = own[np.isfinite(own.predicted) & np.isfinite(own.needed)]
        ratio = np.exp(np.log(both.predicted / both.needed).mean()) if len(both) else np.nan
        within = int(((both.low <= both.needed) & (both.needed <= both.high)).sum())
        rows.append({"suite": suite, "seeds": len(own), "both": len(both), "ratio": ratio, "within": within})
    return pd.DataFrame(rows)


def plot(table: pd.DataFrame) -> Figure:
    """Draw predicted against needed, with intervals; beyond the edges lies what was not reached."""
    figure = Figure(figsize=(5.6, 4.6), layout="constrained")
    ax = figure.subplots()
    known = table[["predicted", "needed", "most"]].to_numpy(dtype=float)
    low, high = np.nanmin(known) / 2, 2 * known[np.isfinite(known)].max()
    ax.plot([low, high], [low, high], color="0.6", linewidth=1, zorder=1)
    for number, (suite, own) in enumerate(table.groupby("suite", sort=False)):
        drawn = own[own.predicted.notna()]
        at, predicted = drawn.needed.clip(upper=high), drawn.predicted.clip(upper=high)
        reach = [predicted - drawn.low.clip(upper=high), drawn.high.clip(upper=high) - predicted]
        missing = len(own) - len(drawn)
        label = f"{suite} ({missing} pilots without conflict)" if missing else str(suite)
        style: dict[str, Any] = {
            "fmt": "o",
            "color": f"C{number}",
            "markersize": 5,
            "capsize": 2,
            "label": label,
        }
        ax.errorbar(at, predicted, yerr=reach, clip_on=False, **style)
    ax.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    ax.set(xlabel="needed transitions per task", ylabel="predicted by ten runs, 80 % interval")
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0.0, 1.18), ncols=2)
    plain(ax)
    return figure
