"""How often are there groups, and the right ones? Suites with planted groups, and suites with none.

Nobody tells `PolicyGradEx` how many groups there are: k="auto", and all else at its defaults, too, but for
the amount of meta-training. On plain CartPole and on LunarLander by gravity one policy can do every task, so
that the right answer is one group.

Rivals read the same run. "Stable, without the test" clusters the affinities into the number of groups of
`AffinityGraph.path`, and answers one group where they are not stable when episodes and subsets are drawn
again. Gradient cosine, the mean over the path or at its end, is told the number of groups, so that it has
nothing to answer where there are none; it is clustered by the relaxation, or as interactions are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics.pairwise import cosine_similarity

from analysis.study import plain, wilson_interval
from analysis.trained import amounts
from gradex import AffinityGraph, PolicyGradEx, TaskSuite
from gradex.affinity import Bootstrap, CorrelationGrouping, Partition
from gradex.surrogate import SurrogateEstimator


@dataclass(frozen=True)
class _Case:
    """A suite, its options, and for how many environment steps its meta-policy trains.

    None is what is recommended for the suite.
    """

    family: str
    options: dict[str, Any]
    meta_steps: int | None = None


SEEDS = {"smoke": 1, "laptop": 20, "paper": 20}
#: Trained for longer than anybody would who knew the groups: nobody is to choose the moment.
_REVERSED = {
    f"reversed CartPole, {10 - few} + {few}": _Case(
        "cartpole", {"n": 10, "reversed": few / 10}, meta_steps=600_000
    )
    for few in (5, 3, 2, 1)
}
_PLANTED = {
    **_REVERSED,
    "navigation": _Case("navigation", {"n": 12}),
    "highway by objective": _Case("highway", {"n": 10, "vary": "objective"}),
}
#: LunarLander for a quarter of the recommended steps, which would take most of the study's time.
_WITHOUT = {
    "CartPole by length": _Case("cartpole", {"n": 10}),
    "LunarLander by gravity": _Case("lunarlander", {"n": 10}, meta_steps=1_000_000),
}
_CASES = _PLANTED | _WITHOUT
_CHOSEN = {
    "smoke": ("navigation", "CartPole by length"),
    "laptop": tuple(_CASES),
    "paper": tuple(_CASES),
}
#: Settings that differ from the defaults.
_SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": amounts("smoke", subsets=30, bootstrap=2),
    "laptop": {},
    "paper": {},
}
_SMOKE_STEPS = 2_000
_METHODS = (
    "PolicyGradEx",
    "stable, without the test",
    "gradient cosine, correlation clustering, k given",
    "gradient cosine, k given",
    "gradient cosine at the end, k given",
)
_COLORS = ("C0", "C1", "0.3", "0.55", "0.78")


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give a row per suite and method.

    Returns
    -------
    DataFrame
        Columns suite, planted (number of groups, 1 where there are none), seed, method, k (number of groups
        that are found), nmi (with the planted groups), right, verdict (its first words) and p_value (of a
        conflict among all tasks together).
    """
    tables = [_answers(name, _CASES[name], seed, scale) for name in _CHOSEN[scale]]
    return pd.concat(tables, ignore_index=True)


def _answers(name: str, case: _Case, seed: int, scale: str) -> pd.DataFrame:
    """Ask every method on one suite."""
    suite = TaskSuite.make(case.family, seed=seed, **case.options)
    steps = _SMOKE_STEPS if scale == "smoke" else case.meta_steps
    run = PolicyGradEx(meta_steps=steps, group_steps=0, seed=seed, **_SETTINGS[scale]).fit(suite)
    found = {_METHODS[0]: run.partition_, _METHODS[1]: _stable(run.graph_, run.graph_.bootstrap())}
    planted = np.zeros(len(suite), dtype=int)
    if name in _PLANTED:
        assert suite.labels is not None  # for the type checker
        planted = suite.labels
        k = int(planted.max()) + 1
        cosine = gradient_cosine(run.surrogates_)
        found[_METHODS[2]] = cosine.partition(k=k, method=CorrelationGrouping())
        found[_METHODS[3]] = cosine.partition(k=k)
        found[_METHODS[4]] = gradient_cosine(run.surrogates_[-1:]).partition(k=k)
    assert run.verdict_ is not None  # for the type checker
    rows = []
    for method, partition in found.items():
        agreement = partition.agreement(planted)
        own = method == _METHODS[0]
        rows.append(
            {
                "suite": name,
                "planted": int(planted.max()) + 1,
                "seed": seed,
                "method": method,
                "k": partition.k,
                "nmi": agreement.nmi,
                "right": bool(np.isclose(agreement.nmi, 1)),
                "verdict": run.verdict_.partition(":")[0] if own else "",
                "p_value": run.conflicts_[0] if own else np.nan,
            }
        )
    return pd.DataFrame(rows)


def _stable(graph: AffinityGraph, bootstrap: Bootstrap) -> Partition:
    """Give the most stable number of groups if they are stable, else one group."""
    partition = graph.partition(k="auto", bootstrap=bootstrap)
    assert partition.verdict is not None  # for the type checker
    return partition if partition.verdict.startswith("stable") else graph.partition(k=1)


def gradient_cosine(surrogates: Sequence[SurrogateEstimator]) -> AffinityGraph:
    """Average the cosine similarity of the tasks' gradients over snapshots; that of no gradient is 0."""
    return AffinityGraph(np.mean([cosine_similarity(each.task_gradients()) for each in surrogates], axis=0))


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give on how many seeds each method is right, the share with Wilson's 95 % interval, and its answers."""
    rows = []
    for (suite, method), group in table.groupby(["suite", "method"], sort=False):
        right, seeds = int(group.right.sum()), len(group)
        low, high = wilson_interval(right, seeds)
        counts = group.k.value_counts().sort_index()
        rows.append(
            {
                "suite": suite,
                "method": method,
                "planted": group.planted.iloc[0],
                "right": right,
                "seeds": seeds,
                "share": right / seeds,
                "low": low,
                "high": high,
                "one_group": int((group.k == 1).sum()),
                "nmi": group.nmi.mean(),
                "k_found": ", ".join(f"{k} ({times})" for k, times in counts.items()),
            }
        )
    return pd.DataFrame(rows)


def plot(table: pd.DataFrame) -> Figure:
    """Draw for each suite how often each method is right, with Wilson's 95 % intervals."""
    told = summary(table)
    figure = Figure(figsize=(7.0, 4.6), layout="constrained")
    heights = [len(_PLANTED), len(_WITHOUT)]
    panels = figure.subplots(2, 1, sharex=True, height_ratios=heights)
    blocks = ("right: the planted groups", _PLANTED), ("right: no groups", _WITHOUT)
    for ax, (title, suites) in zip(panels, blocks, strict=True):
        for place, (method, color) in enumerate(zip(_METHODS, _COLORS, strict=True)):
            own = told[(told.method == method) & told.suite.isin(suites)]
            if own.empty:
                continue
            rows = own.suite.map(list(suites).index) + 0.16 * (place - 2)
            reach = np.abs(own[["low", "high"]].to_numpy().T - own.share.to_numpy())
            style = {
                "fmt": "o",
                "markersize": 5 if place == 0 else 4,
                "linewidth": 1.8 if place == 0 else 1.2,
            }
            ax.errorbar(own.share, rows, xerr=reach, color=color, label=method, **style)
        ax.set(yticks=range(len(suites)), yticklabels=list(suites), xlim=(-0.02, 1.02))
        ax.set_ylim(len(suites) - 0.5, -0.5)
        ax.set_title(title, loc="left", fontsize="medium")
        plain(ax)
        ax.grid(axis="y", visible=False)
        for edge in range(1, len(suites)):
            ax.axhline(edge - 0.5, color="0.92", linewidth=0.8)
    seeds = int(told.seeds.max())
    panels[1].set_xlabel(f"share of {seeds} seed{'s' if seeds > 1 else ''} on which the answer is right")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure
