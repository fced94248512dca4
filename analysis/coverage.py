"""How often 95 % intervals of interactions cover, and how often conflicts are named that are none.

One policy from the middle of a meta-training is run over and over with new random numbers; each repetition
estimates all interactions gᵢᵀA⁻¹gⱼ, and gives each an interval by Student's t. The truth is the mean of all
other repetitions, whose own error is added to the interval. It is the expectation of this very estimate: what
truncated episodes and λ of the advantages add to it, compared with a true gradient, is no part of this study.

Two suites: in reversed CartPole every task has transitions of its own, but episodes of different tasks start
alike; in navigation the same transitions serve all tasks. The number of clusters, the independent beginnings,
goes from 12 to 48, with equally many transitions.

Standard errors take the metric A = H + λI as given. "Held fixed" is just that: H comes from other
transitions. "Own" is what a user has: H comes from the same transitions as the gradients, so that its noise
is in the estimates, and not in their standard errors. λ is the same in all repetitions: that by which a first
one gains most. A user's λ may change by powers of ten from one estimate to the next, and the unit of the
interactions with it; an interval is one in the units of its own λ.

Clusters of one repetition are not quite independent: they share the fit of the baseline, and the deviation by
which advantages are divided. "Shuffled" takes every cluster of an estimate from another repetition. What then
still misses is the work of few clusters, and what changes is that of the dependence.

Projections are Khatri-Rao products, which take a fraction of the Gaussian's time.

False conflicts are looked for where there is no interaction at all: each cluster's gradients are turned
around at random, those of all tasks together, as they may depend on each other.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator
from scipy import stats
from tqdm.auto import trange

from analysis.study import confidence_interval, plain, wilson_interval
from gradex import AffinityGraph, MetaPolicy, SurrogateEstimator, TaskSuite
from gradex.learners import Transitions
from gradex.seeds import child, generator_for
from gradex.surrogate import Interactions
from gradex.surrogate.interactions import first_order_interactions

SEEDS = {"smoke": 1, "laptop": 2, "paper": 10}
_SUITES: dict[str, tuple[str, dict[str, Any]]] = {
    "reversed CartPole": ("cartpole", {"n": 6, "reversed": "half"}),
    "navigation": ("navigation", {"n": 6}),
}
#: Environment steps of the meta-policy; None is what is recommended for the suite.
_META_STEPS = {"smoke": 10_000, "laptop": None, "paper": None}
_REPETITIONS = {"smoke": 6, "laptop": 200, "paper": 500}
#: Environments of each task: each is a cluster.
_CLUSTERS = {"smoke": (12,), "laptop": (12, 24, 48), "paper": (12, 24, 48)}
#: Transitions per task of a repetition, and of the Hessian that is held fixed.
_TRANSITIONS = {"smoke": (256, 512), "laptop": (1024, 8192), "paper": (1024, 8192)}
_DIMENSION = {"smoke": 20, "laptop": 400, "paper": 400}
_METRICS = ("held fixed", "own", "own, shuffled")
_LEVEL, _FAMILY_WISE, _FALSE_DISCOVERY = 0.95, 0.05, 0.1


@dataclass(frozen=True, eq=False)
class _Repetitions:
    """Estimates of the same interactions, again and again."""

    matrix: Float[np.ndarray, "repetitions n n"]
    stderr: Float[np.ndarray, "repetitions n n"]
    freedom: float
    conflicts: Bool[np.ndarray, "repetitions n n"]

    @staticmethod
    def of(found: list[Interactions]) -> "_Repetitions":
        return _Repetitions(
            np.array([each.matrix for each in found]),
            np.array([each.stderr for each in found]),
            found[0].freedom,
            np.array([AffinityGraph.from_interactions(each).conflicts(_FAMILY_WISE) for each in found]),
        )


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give a row per suite, number of clusters, metric, and kind of entry.

    Returns
    -------
    DataFrame
        Columns suite, seed, clusters, metric, entries ("pairs" or "diagonal"), repetitions, coverage and
        coverage_stderr (over repetitions), stderr_ratio (mean standard error over the spread of the
        estimates); and of pairs the share of repetitions in which any is named wrongly: false_conflicts,
        where the mean of all repetitions is above 0, and of gradients without a direction
        conflicts_by_chance and discoveries_by_chance.
    """
    rows = []
    for name, (family, options) in _SUITES.items():
        suite = TaskSuite.make(family, seed=seed, **options)
        path = MetaPolicy(suite, seed=seed).fit(_META_STEPS[scale]).path_
        rows += [{"suite": name, "seed": seed, **row} for row in _of(path[len(path) // 2], seed, scale)]
    return pd.DataFrame(rows)


def _of(meta: MetaPolicy, seed: int, scale: str) -> list[dict[str, Any]]:
    """Repeat the estimate at one policy."""
    steps, many = _TRANSITIONS[scale]
    settings: dict[str, Any] = {
        "projection_dim": _DIMENSION[scale],
        "projection": "khatri-rao",
        "seed": seed,
    }
    first = SurrogateEstimator(**settings).fit(meta, meta.transitions(steps, seed=child(seed, "λ")))
    settings["regularization"] = first.regularization_
    fixed = hessian(
        SurrogateEstimator(**settings).fit(meta, meta.transitions(many, seed=child(seed, "metric")))
    )
    rows = []
    for clusters in _CLUSTERS[scale]:
        found: dict[str, list[Interactions]] = {metric: [] for metric in _METRICS}
        for repetition in trange(_REPETITIONS[scale], desc=f"{clusters} clusters", leave=False):
            own = child(seed, f"repetition with {clusters} clusters", repetition)
            transitions: Transitions = meta.transitions(steps, copies=clusters, seed=own)
            surrogate = SurrogateEstimator(**settings).fit(meta, transitions)
            for metric, curvature in zip(_METRICS, (fixed, hessian(surrogate)), strict=False):
                given = surrogate.features, transitions, curvature, surrogate.regularization_
                found[metric].append(first_order_interactions(*given))
        found[_METRICS[2]] = shuffled(found[_METRICS[1]])
        for metric, each in found.items():
            pairs, diagonal = measured(_Repetitions.of(each))
            pairs |= _by_chance(each, seed)
            rows += [{"clusters": clusters, "metric": metric, **row} for row in (pairs, diagonal)]
    return rows


def shuffled(found: list[Interactions]) -> list[Interactions]:
    """Take the clusters of an estimate from different repetitions, those that began alike together."""
    vectors, weights = (np.array([getattr(each, name) for each in found]) for name in ("vectors", "weights"))
    repetitions, _, clusters, _ = vectors.shape
    taken = (np.arange(repetitions)[:, None] + np.arange(clusters)) % repetitions
    mixed = (each[taken, :, np.arange(clusters)] for each in (vectors, weights))
    return [  # of [clusters, n, d] and [clusters, n, models]
        replace(found[0], vectors=tuple(own.swapaxes(0, 1)), weights=tuple(share.swapaxes(0, 1)))
        for own, share in zip(*mixed, strict=True)
    ]


def hessian(surrogate: SurrogateEstimator) -> Float[np.ndarray, "d d"]:
    """Give H, the mean of ¼ |Â| g̃g̃ᵀ over all samples of all tasks, at θ = 0."""
    weights = np.atleast_2d(surrogate.weights)
    features = surrogate.features.astype(np.float64)
    return features.T @ (features * weights.sum(axis=0)[:, None]) / (4 * weights.size)


def measured(repetitions: _Repetitions) -> tuple[dict[str, Any], dict[str, Any]]:
    """Say how often intervals cover the mean of the other repetitions, for pairs and for the diagonal."""
    count, n, _ = repetitions.matrix.shape
    mean = repetitions.matrix.mean(axis=0)
    others = (count * mean - repetitions.matrix) / (count - 1)
    # The mean of the others errs, too, with a variance smaller by count - 1.
    half = stats.t.ppf(0.5 + _LEVEL / 2, repetitions.freedom) * np.sqrt(count / (count - 1))
    covered = np.abs(repetitions.matrix - others) <= half * repetitions.stderr
    ratio = repetitions.stderr.mean(axis=0) / repetitions.matrix.std(axis=0, ddof=1)
    rows = []
    for entries, chosen in (("pairs", np.triu_indices(n, 1)), ("diagonal", np.diag_indices(n))):
        # Entries of one repetition err together, repetitions do not.
        share = covered[:, *chosen].mean(axis=1)
        rows.append(
            {
                "entries": entries,
                "repetitions": count,
                "coverage": share.mean(),
                "coverage_stderr": share.std(ddof=1) / np.sqrt(count),
                "stderr_ratio": ratio[chosen].mean(),
            }
        )
    wrong = repetitions.conflicts & (mean > 0)
    rows[0]["false_conflicts"] = wrong.any(axis=(1, 2)).mean()
    return rows[0], rows[1]


def _by_chance(found: list[Interactions], seed: int) -> dict[str, float]:
    """Say how often conflicts and discoveries are named among gradients that have no direction."""
    named = []
    for repetition, each in enumerate(found):
        graph = AffinityGraph.from_interactions(turned_around(each, seed, repetition))
        named.append([graph.conflicts(_FAMILY_WISE).any(), graph.significant(_FALSE_DISCOVERY).any()])
    conflicts, discoveries = np.mean(named, axis=0)
    return {"conflicts_by_chance": conflicts, "discoveries_by_chance": discoveries}


def turned_around(interactions: Interactions, seed: int, repetition: int) -> Interactions:
    """Turn clusters around at random, together where those of different tasks may depend on each other."""
    rng = generator_for(seed, "signs", repetition)
    sizes = [len(own) for own in interactions.vectors]
    if interactions.common:
        signs = [rng.choice([-1.0, 1.0], sizes[0])] * len(sizes)
    else:
        signs = [rng.choice([-1.0, 1.0], size) for size in sizes]
    turned = [sign[:, None] * own for sign, own in zip(signs, interactions.vectors, strict=True)]
    return replace(interactions, vectors=tuple(turned))


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give everything over all seeds together, with 95 % intervals over repetitions.

    Intervals of coverage are for the meta-policies of these seeds: Student's for several repetitions of each.
    Those of shares of repetitions are Wilson's. Of the ratio there is the mean, and Student's over seeds.
    """
    rows = []
    by = ["suite", "clusters", "metric", "entries"]
    for key, group in table.groupby(by, sort=False):
        repetitions = int(group.repetitions.sum())
        error = float(np.sqrt(np.square(group.coverage_stderr).sum())) / len(group)
        half = stats.t.ppf(0.975, repetitions - len(group)) * error
        row = dict(zip(by, key, strict=True)) | {"seeds": len(group), "repetitions": repetitions}
        coverage = float(group.coverage.mean())
        row |= {"coverage": coverage, "coverage_low": coverage - half}
        row |= {"coverage_high": min(coverage + half, 1.0)}
        low, high = confidence_interval(group.stderr_ratio.to_numpy())
        row |= {"stderr_ratio": group.stderr_ratio.mean(), "stderr_ratio_low": low, "stderr_ratio_high": high}
        for name in ("false_conflicts", "conflicts_by_chance", "discoveries_by_chance"):
            if group[name].notna().all():
                share = float(group[name].mean())
                low, high = wilson_interval(round(share * repetitions), repetitions)
                row |= {name: share, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


#: What a panel of a row shows: column, label of its axis, what it should be.
_PANELS = (
    ("coverage", "coverage of 95 % intervals", 0.95),
    ("stderr_ratio", "standard error / spread", 1.0),
    ("conflicts_by_chance", "repetitions with a false conflict", 0.05),
)
_TOLERANCE = 0.02  # of coverage
_ENTRIES: dict[str, dict[str, Any]] = {
    "pairs": {"color": "C0", "linestyle": "-"},
    "diagonal": {"color": "C1", "linestyle": "--"},
}
_MARKERS: tuple[dict[str, Any], ...] = (
    {"marker": "o", "fillstyle": "full"},
    {"marker": "o", "fillstyle": "none"},
    {"marker": "s", "fillstyle": "none"},
)


def plot(table: pd.DataFrame) -> Figure:
    """Draw coverage, the ratio of errors to spread and false conflicts by number of clusters."""
    told = summary(table)
    suites = list(dict.fromkeys(told.suite))
    figure = Figure(figsize=(8.4, 2.5 * len(suites) + 0.9), layout="constrained")
    panels = figure.subplots(len(suites), len(_PANELS), sharex=True, sharey="col", squeeze=False)
    for line, suite in zip(panels, suites, strict=True):
        for ax, (value, label, wanted) in zip(line, _PANELS, strict=True):
            ax.axhline(wanted, color="0.4", linewidth=0.8, linestyle=":")
            if value == "coverage":
                ax.axhspan(wanted - _TOLERANCE, wanted + _TOLERANCE, color="0.92", zorder=0)
            _draw(ax, told[told.suite == suite], value)
            ax.set_title(suite, fontsize="medium")
            ax.set_ylabel(label, fontsize="small")
            plain(ax)
    for ax in panels[-1]:
        ax.set_xlabel("clusters\n(environments of each task)")
    place: dict[str, Any] = {"loc": "outside lower center", "ncols": 3, "fontsize": "small"}
    title = "H, the Hessian of the surrogate's loss, makes the metric of interactions"
    figure.legend(handles=_legend(), title=title, title_fontsize="small", frameon=False, **place)
    return figure


def _legend() -> list[Artist]:
    """Explain lines, markers, and what is wanted, a column for each."""
    names = {"pairs": "pairs of tasks", "diagonal": "tasks with themselves (diagonal)"}
    lines = [Line2D([], [], **_ENTRIES[entries], label=name) for entries, name in names.items()]
    metrics = (
        "H held fixed: from other transitions",
        "H own: from the same transitions",
        "H own, shuffled: each cluster from another repetition",
    )
    points = [
        Line2D([], [], color="0.3", linestyle="none", markersize=4, **style, label=name)
        for style, name in zip(_MARKERS, metrics, strict=True)
    ]
    wanted = Line2D([], [], color="0.4", linewidth=0.8, linestyle=":", label="wanted (of conflicts: at most)")
    band = Patch(color="0.92", label=f"within {_TOLERANCE} of it")
    nothing = Line2D([], [], linestyle="none", label=" ")
    return [*lines, nothing, *points, wanted, band]


def _draw(ax: Axes, told: pd.DataFrame, value: str) -> None:
    """Draw one value by number of clusters: pairs and diagonal, in either metric."""
    clusters = sorted(told.clusters.unique())
    ax.set_xscale("log", base=2)
    ax.set_xticks(clusters, [str(count) for count in clusters])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlim(clusters[0] / 1.3, clusters[-1] * 1.3)
    kinds = [(entries, metric) for entries in ("pairs", "diagonal") for metric in _METRICS]
    for place, (entries, metric) in enumerate(kinds):
        own = told[(told.entries == entries) & (told.metric == metric)]
        if own[value].isna().all():
            continue
        reach = np.abs(own[[f"{value}_low", f"{value}_high"]].to_numpy().T - own[value].to_numpy())
        if value == "stderr_ratio":  # over the few seeds, which is no question of this study
            reach = np.zeros_like(reach)
        style = _ENTRIES[entries] | _MARKERS[_METRICS.index(metric)] | {"markersize": 4, "linewidth": 1.0}
        ax.errorbar(own.clusters * 2 ** (0.08 * (place - 2.5)), own[value], reach, **style)
