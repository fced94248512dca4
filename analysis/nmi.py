"""Do estimates give the groups that real training gives (the paper's Table 2).

On the same subsets of tasks, policies are trained for real and scored by the surrogate; both give affinities,
and both affinities are grouped by the same solver. Normalised mutual information of the groups is reported
with the agreement of two halves of the real trainings with each other, which is less than what a perfect
estimate would reach, as it is compared with both halves together, and with what unrelated groups reach
(chance). Correlations of the affinities, off the diagonal, are finer: they do not jump when a task changes
sides, and how high noise lets them rise (the noise ceiling) follows from the halves. The estimate is noisy
too: two estimates from different transitions agree by rank_repeat, so that an estimate without bias would
reach rank_ceiling × √rank_repeat. What it stays below that is the surrogate's bias.

The study `mt10` asks the same on MT10, from pairs, of which there are fewer than of triples.

Both are read by the default affinity, "pairwise", real training by returns that are standardised task by
task, as tasks are paid differently. The estimate is taken along the path of meta-training, as by default;
real training starts from its end, the meta-policy. Where tasks are reversed the policy has taken sides by
then, and little training tells little of the other side. So these suites, of four layers, are trained once
more, from every snapshot of the path ("along the path"), where the estimate is made, too.

Every suite and depth of a seed is kept in `runs/nmi-SCALE/seed-SEED/`, so that the study can take several
sittings; after changing how policies are trained or estimates are made, remove that folder.
"""

import time
from collections.abc import Sequence
from functools import partial
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from analysis import flops
from analysis.along import fit_along, scores_along, similarity_along
from analysis.study import confidence_interval, kept_for, kept_table
from analysis.trained import (
    SETTINGS,
    TAKES_SIDES,
    Trained,
    full_length,
    pair_interactions,
    rank_correlation,
    train,
)
from gradex import AffinityGraph, PolicyGradEx, SurrogateEstimator, TaskSuite
from gradex.affinity import Partition, RandomGrouping
from gradex.seeds import child
from gradex.surrogate import SubsetScores

SEEDS = {"smoke": 1, "laptop": 5, "paper": 10}
#: How scores are read, of estimates and of real training.
READING = "pairwise"
#: A suite whose real training starts from every snapshot, and the depth at which it does, as it takes long.
ALONG = "{}, along the path"
_DEPTH_ALONG = 4
#: Other ways to read the estimates, compared with real training read as always: by Eq. (5), and by the same
#: from scores by Algorithm 1 to the letter.
_EQUATION, _LETTER = "Eq. (5)", "to the letter"
_RANDOM_DRAWS = 100


def compute(
    seed: int, scale: str, suites: Sequence[str] | None = None, layers: Sequence[int] | None = None
) -> pd.DataFrame:
    """Give one row per suite, number of layers and affinity; of all suites and depths, unless some are named.

    Columns suite, layers, seed, affinity, then the agreement of estimated with real groups (nmi, ami), of
    gradient-similarity groups (nmi_similarity) and random ones (nmi_chance) with the real groups, of two
    halves of the real trainings (nmi_halves, ami_halves), of either with planted groups (planted,
    planted_truth); rank correlations of affinities (rank, rank_ceiling; of two estimates from different
    transitions, rank_repeat) and of subset scores (rank_scores, rank_scores_ceiling), relative error of the
    affinities after the best scaling; and costs. Agreement is nan where every trained policy earns the same.
    """
    tables = []
    for suite in SETTINGS[scale] if suites is None else suites:
        setting = SETTINGS[scale][suite]
        for depth in setting.layers if layers is None else layers:
            if layers is not None or setting.has(seed, depth):
                place = (
                    Path("runs")
                    / f"nmi-{scale}"
                    / f"seed-{seed}"
                    / f"{suite.replace(' ', '-')}-{depth}-layers"
                )
                folder = kept_for(place, setting)
                twice = suite in TAKES_SIDES and depth == _DEPTH_ALONG
                for along in (False, True) if twice else (False,):
                    compare = partial(_compared, scale, suite, seed, depth, along)
                    tables.append(kept_table(folder / ("along.csv" if along else "rows.csv"), compare))
    return pd.concat(tables, ignore_index=True)


def _compared(scale: str, suite: str, seed: int, depth: int, along: bool) -> pd.DataFrame:
    """Compare estimates of a suite with real training, a row for each reading."""
    trained = train(scale, suite, seed, depth, along)
    where = {"suite": ALONG.format(suite) if along else suite, "layers": depth, "seed": seed}
    told, again = _repeat(trained)
    real, truth = None, trained.truth
    # Where every task earns all there is in any company, real training tells no groups.
    if all(np.ptp(scores.score) > 0 for scores in (truth.scores(), *truth.halves())):
        real = AffinityGraph.from_scores(truth.scores().standardised(), READING)
        told |= _reference(trained, real, again)
    own = trained.grouping.scores_
    estimates = {
        READING: (own, READING),
        _EQUATION: (own.together(), "mean"),
        _LETTER: (_letter(trained), "mean"),
    }
    rows = []
    for name, (scores, affinity) in estimates.items():
        agreement = {"nmi": np.nan} if real is None else _agreement(trained, scores, affinity, real)
        rows.append(where | {"affinity": name} | agreement | told)
    return pd.DataFrame(rows)


def _reference(trained: Trained, real: AffinityGraph, again: SubsetScores) -> dict[str, float]:
    """Compare real training with itself and with rivals, and the estimate with another estimate."""
    grouping, truth = trained.grouping, trained.truth
    k = grouping.partition_.k
    groups = real.partition(k=k)
    scores = truth.halves()
    halves = [AffinityGraph.from_scores(half.standardised(), READING) for half in scores]
    one, other = (graph.partition(k=k) for graph in halves)
    ceiling = one.agreement(other.labels)
    similar = similarity_along(grouping.surrogates_).partition(k=k)
    random = [RandomGrouping(draw).partition(real.matrix, k) for draw in range(_RANDOM_DRAWS)]
    return {
        "nmi_halves": ceiling.nmi,
        "ami_halves": ceiling.ami,
        "nmi_similarity": similar.agreement(groups.labels).nmi,
        "nmi_chance": float(np.mean([each.agreement(groups.labels).nmi for each in random])),
        "planted_truth": _with_plan(groups, grouping.suite_.labels),
        "rank_ceiling": full_length(rank_correlation(*map(pair_interactions, halves))),
        "rank_repeat": rank_correlation(
            *(
                pair_interactions(AffinityGraph.from_scores(each, READING))
                for each in (grouping.scores_, again)
            )
        ),
        "rank_scores": rank_correlation(_gain(grouping.scores_), _gain(truth.scores())),
        "rank_scores_ceiling": full_length(rank_correlation(*map(_gain, scores))),
    }


def _letter(trained: Trained) -> SubsetScores:
    """Score the same subsets by Algorithm 1 to the letter: at the meta-policy, from as many transitions."""
    grouping = trained.grouping
    estimator = SurrogateEstimator.literal(grouping.projection_dim, grouping.seed)
    transitions = grouping.meta_.transitions(grouping.steps_per_task)
    return estimator.fit(grouping.meta_, transitions).scores(grouping.scores_.together().subsets)


def _agreement(
    trained: Trained, scores: SubsetScores, affinity: str, real: AffinityGraph
) -> dict[str, float]:
    """Compare what is estimated with what real training says."""
    grouping = trained.grouping
    k = grouping.partition_.k
    estimated = AffinityGraph.from_scores(scores, affinity)
    found = estimated.partition(k=k)
    ours = found.agreement(real.partition(k=k).labels)
    return {
        "nmi": ours.nmi,
        "ami": ours.ami,
        "planted": _with_plan(found, grouping.suite_.labels),
        "rank": rank_correlation(pair_interactions(estimated), pair_interactions(real)),
        "relative_error": _relative_error(pair_interactions(estimated), pair_interactions(real)),
    }


def _with_plan(partition: Partition, planted: np.ndarray | None) -> float:
    return float("nan") if planted is None else partition.agreement(planted).nmi


def _gain(scores: SubsetScores) -> np.ndarray:
    """Give each task's score in each subset, standardised."""
    return scores.standardised().per_task[~np.isnan(scores.per_task)]


def _relative_error(estimated: np.ndarray, real: np.ndarray) -> float:
    """‖s Û - U‖ / ‖U‖ at the best s >= 0, as a loss has no unit in common with a return."""
    scale = max(0.0, estimated @ real / (estimated @ estimated))
    return float(np.linalg.norm(scale * estimated - real) / np.linalg.norm(real))


def _repeat(trained: Trained) -> tuple[dict[str, float], SubsetScores]:
    """Make the estimate again from fresh transitions; give what it costs, and its scores.

    The real training of this study starts from the meta-policy and is short; it is counted beside the full
    training that the paper compares with.
    """
    grouping, truth = trained.grouping, trained.truth
    meta, subsets = grouping.meta_, truth.subsets_
    estimator = SurrogateEstimator(grouping.projection_dim, seed=grouping.seed)
    again = child(grouping.seed, "repetition")
    surrogates = fit_along(estimator, meta.path_, grouping.steps_per_task, again)
    start = time.perf_counter()
    scores = scores_along(surrogates, subsets)
    scoring = time.perf_counter() - start
    costs = {
        **flops.costs(meta, surrogates, subsets),
        "truth_steps": truth.steps_,
        "flops_truth": flops.training_step(meta) * truth.steps_,
        "seconds_scores": scoring,
    }
    return costs, scores


def work(scale: str) -> float:
    """Count the environment steps of a seed, on average, with the trainings that other studies take over."""
    steps = 0
    for name, setting in SETTINGS[scale].items():
        suite = TaskSuite.make(setting.family, **setting.options)
        subsets = min(setting.subsets, comb(len(suite), 3))
        once = subsets * 3 * setting.steps_per_task
        estimates = 3 * setting.transitions * len(suite)
        meta_steps = setting.meta_steps or suite.recommended.meta_steps
        had = [depth for seed in range(SEEDS[scale]) for depth in setting.layers if setting.has(seed, depth)]
        steps += (meta_steps + once * setting.replicates + estimates) * len(had)
        if name in TAKES_SIDES:
            steps += once * PolicyGradEx().snapshots * had.count(_DEPTH_ALONG)
    return steps / SEEDS[scale]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give the means over seeds, with 95 % intervals of the agreement."""
    rows = []
    for (suite, layers, affinity), part in table.groupby(["suite", "layers", "affinity"], sort=False):
        told = part.dropna(subset="nmi")
        interval = confidence_interval(told.nmi.to_numpy()) if len(told) else (np.nan, np.nan)
        low, high = np.clip(interval, 0, 1)
        rows.append(
            {
                "suite": suite,
                "layers": layers,
                "affinity": affinity,
                "nmi": part.nmi.mean(),
                "low": low,
                "high": high,
                **{
                    name: part[name].mean()
                    for name in (
                        "nmi_halves", "nmi_chance", "nmi_similarity", "planted", "planted_truth", "rank",
                        "rank_ceiling", "rank_repeat", "relative_error", "rank_scores", "rank_scores_ceiling",
                        "saving", "saving_khatri_rao", "saving_per_subset",
                    )
                },
                "seeds": len(part),
                "told": len(told),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def plot(table: pd.DataFrame) -> Figure:
    """Draw groups and affinities against what noise allows, per suite and depth, as both are read."""
    own = table[table.affinity == READING]
    suites = list(dict.fromkeys(own.suite))
    depths = sorted(own.layers.unique())
    figure = Figure(figsize=(9.5, 1.6 + 0.55 * len(suites)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    kinds = (
        (panels[0], "nmi", {"nmi_halves": "|", "nmi_chance": "x"}, "NMI of estimated with real groups", 0.0),
        (panels[1], "rank", {"rank_ceiling": "|"}, "rank correlation of the affinities", -1.0),
    )
    for ax, value, references, label, least in kinds:
        for (suite, layers), part in own.dropna(subset=value).groupby(["suite", "layers"]):
            place = depths.index(layers)
            y = suites.index(suite) + 0.24 * (place - (len(depths) - 1) / 2)
            interval = np.clip(confidence_interval(part[value].to_numpy()), least, 1.0)
            ax.plot(interval, [y, y], color=f"C{place}", linewidth=2)
            ax.plot(part[value].mean(), y, "o", color=f"C{place}", markersize=5)
            ax.plot(part[value], np.full(len(part), y), ".", color=f"C{place}", markersize=3, alpha=0.5)
            for column, marker in references.items():
                ax.plot(part[column].mean(), y, marker, color="black", markersize=7)
        names = [suite.replace(", ", ",\n") for suite in suites]
        ax.set(xlabel=label, xlim=(least - 0.05, 1.05), yticks=range(len(suites)), yticklabels=names)
        ax.xaxis.set_major_locator(MultipleLocator(0.2 if least == 0 else 0.5))
        ax.grid(axis="x", color="0.92")
        ax.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    handles = [
        Line2D([], [], color=f"C{place}", marker="o", label=f"{layers} layers")
        for place, layers in enumerate(depths)
    ]
    for marker, name in (("|", "two halves (left), noise ceiling (right)"), ("x", "chance")):
        handles.append(Line2D([], [], color="black", marker=marker, linestyle="", label=name))
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    return figure
