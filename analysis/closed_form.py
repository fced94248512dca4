"""Does the affinity need subsets? The closed form against what subsets add, by strength of the ridge.

Both are taken along the path of meta-training. The closed form is the interaction of two tasks to first
order, `SurrogateEstimator.interactions`: its diagonal is measured on pairs of different episodes, and says
how far each task gets alone. Subsets add how their curvature differs from that of all tasks together, which
matters less the larger λ is.
"""

import time
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from scipy import stats

from analysis.along import interactions_along, refit, scores_along
from analysis.study import confidence_interval
from analysis.trained import amounts
from gradex import AffinityGraph, PolicyGradEx, TaskSuite
from gradex.affinity import PairwiseAffinity, sample_subsets

SEEDS = {"smoke": 1, "laptop": 5, "paper": 20}
#: Title, suite, its options, and its number of groups.
_SUITES: tuple[tuple[str, str, dict[str, Any], int], ...] = (
    ("navigation", "navigation", {"n": 12}, 3),
    ("reversed CartPole", "cartpole", {"n": 10, "reversed": "half"}, 2),
    ("highway by objective", "highway", {"n": 10, "vary": "objective"}, 2),
    ("CartPole", "cartpole", {"n": 10}, 2),
)
#: With planted groups and without.
_CHOSEN = {"smoke": (_SUITES[0], _SUITES[3]), "laptop": _SUITES, "paper": _SUITES}
#: Environment steps of the meta-policy; None is what is recommended for the suite.
_META_STEPS = {"smoke": 2_000, "laptop": None, "paper": None}
#: λ over what regularization="auto" takes.
_STRENGTHS = (0.1, 1.0, 10.0, 100.0)
_SIZES = (2, 3, 5)
_SUBSETS = {"smoke": 80, "laptop": 200, "paper": 200}
#: In units of the score, as the closed form is.
_AFFINITY = PairwiseAffinity(normalise=None)
_COLORS = dict(zip(_SIZES, ("C0", "C1", "C2"), strict=True))
_COLOR_CLOSED = "0.3"
#: How the figure calls and draws what the closed form finds.
_CLOSED_FORMS = {
    "nmi_interaction": ("closed form, interaction", "--"),
    "nmi_closed_form": ("closed form with its diagonal", ":"),
}


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give one row per suite, strength and subset size.

    Returns
    -------
    DataFrame
        suite, seed, strength (λ over that of "auto"), subset_size; linear and rank correlation of the two
        affinities between tasks, as the closed form is (`linear`, `rank`) and of its interaction
        (`linear_interaction`, `rank_interaction`); NMI with the planted groups of what the closed form, its
        interaction and the affinity from subsets find, nan where none are planted; seconds of both, once the
        gradients are known.
    """
    rows = []
    for title, family, options, k in _CHOSEN[scale]:
        suite = TaskSuite.make(family, seed=seed, **options)
        run = PolicyGradEx(
            k=k,
            subset_size=2,  # other sizes follow below
            meta_steps=_META_STEPS[scale],
            group_steps=0,
            bootstrap=0,
            seed=seed,
            **amounts(scale),
        ).fit(suite)
        for strength in _STRENGTHS:
            surrogates = refit(run.surrogates_, [strength * each.regularization_ for each in run.surrogates_])
            start = time.perf_counter()
            closed = AffinityGraph(interactions_along(surrogates).matrix)
            seconds_closed = time.perf_counter() - start
            interaction = closed.interaction()
            for size in _SIZES:
                subsets = sample_subsets(len(suite), _SUBSETS[scale], size, seed)
                start = time.perf_counter()
                scores = scores_along(surrogates, subsets)
                sampled = AffinityGraph.from_scores(scores, _AFFINITY).interaction()
                seconds_sampled = time.perf_counter() - start
                rows.append(
                    {
                        "suite": title,
                        "seed": seed,
                        "strength": strength,
                        "subset_size": size,
                        **_correlations(closed, sampled, ""),
                        **_correlations(interaction, sampled, "_interaction"),
                        "nmi_closed_form": _nmi(closed, k, suite),
                        "nmi_interaction": _nmi(interaction, k, suite),
                        "nmi_subsets": _nmi(sampled, k, suite),
                        "seconds_closed_form": seconds_closed,
                        "seconds_subsets": seconds_sampled,
                    }
                )
    return pd.DataFrame(rows)


def _correlations(closed: AffinityGraph, sampled: AffinityGraph, suffix: str) -> dict[str, float]:
    between = np.triu_indices(len(closed), 1)
    x, y = closed.matrix[between], sampled.matrix[between]
    return {
        f"linear{suffix}": float(stats.pearsonr(x, y)[0]),
        f"rank{suffix}": float(stats.spearmanr(x, y)[0]),
    }


def _nmi(graph: AffinityGraph, k: int, suite: TaskSuite) -> float:
    return np.nan if suite.labels is None else graph.partition(k=k).agreement(suite.labels).nmi


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give means over seeds: correlations of interactions, NMI, what subsets gain in NMI by seed, seconds.

    The gain is over the closed form's interaction, as the affinity from subsets has no diagonal either.
    """
    rows = []
    for (suite, strength, size), group in table.groupby(["suite", "strength", "subset_size"], sort=False):
        low, high = confidence_interval(group.linear_interaction.to_numpy())
        gain = (group.nmi_subsets - group.nmi_interaction).to_numpy()
        least, most = confidence_interval(gain)
        rows.append(
            {
                "suite": suite,
                "strength": strength,
                "subset_size": size,
                "linear": group.linear_interaction.mean(),
                "low": low,
                "high": high,
                "rank": group.rank_interaction.mean(),
                "nmi_closed_form": group.nmi_closed_form.mean(),
                "nmi_interaction": group.nmi_interaction.mean(),
                "nmi_subsets": group.nmi_subsets.mean(),
                "gain": gain.mean(),
                "gain_low": least,
                "gain_high": most,
                "seconds_closed_form": group.seconds_closed_form.mean(),
                "seconds_subsets": group.seconds_subsets.mean(),
                "seeds": len(group),
            }
        )
    return pd.DataFrame(rows)


def plot(table: pd.DataFrame) -> Figure:
    """Draw the correlation of interactions above, the agreement with planted groups below, 95 % bands."""
    suites = list(dict.fromkeys(table.suite))
    figure = Figure(figsize=(2.6 * len(suites), 4.4), layout="constrained")
    panels = figure.subplots(2, len(suites), sharex=True, sharey="row", squeeze=False)
    for (above, below), suite in zip(panels.T, suites, strict=True):
        part = table[table.suite == suite]
        for size in _SIZES:
            of_size = part[part.subset_size == size]
            for ax, value in ((above, "linear_interaction"), (below, "nmi_subsets")):
                _draw(ax, of_size, value, f"subsets of {size}", _COLORS[size])
        once = part[part.subset_size == _SIZES[0]]
        for value, (label, style) in _CLOSED_FORMS.items():
            _draw(below, once, value, label, _COLOR_CLOSED, style)
        above.set(title=suite, xscale="log", xticks=_STRENGTHS, xticklabels=[f"{s:g}" for s in _STRENGTHS])
        above.xaxis.set_minor_locator(NullLocator())
        below.set(xlabel="λ over the default")
        if once.nmi_interaction.isna().all():
            below.text(0.5, 0.5, "no planted groups", transform=below.transAxes, ha="center", color="0.5")
        for ax in (above, below):
            ax.grid(axis="y", color="0.9")
            ax.spines[["top", "right"]].set_visible(False)
    panels[0, 0].set(ylabel="correlation\nof interactions", ylim=(None, 1.02))
    panels[1, 0].set(ylabel="NMI with the\nplanted groups", ylim=(-0.02, 1.05))
    handles = panels[1, 0].get_lines()
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def _draw(ax: Axes, table: pd.DataFrame, value: str, label: str, color: str, style: str = "-") -> None:
    """Draw the mean over seeds by strength, and its 95 % band."""
    by_strength = [group[value].to_numpy() for _, group in table.groupby("strength")]
    low, high = np.transpose([confidence_interval(values) for values in by_strength])
    ax.fill_between(_STRENGTHS, low, high, color=color, alpha=0.2, linewidth=0)
    means = [values.mean() for values in by_strength]
    ax.plot(_STRENGTHS, means, style, color=color, marker="o", markersize=3, label=label)
