"""What each choice of the method is worth: agreement with real training, one choice varied at a time.

Everything but the meta-policy's training and the number of transitions is read off one meta-policy's training
per suite and seed; the real trainings on subsets are those of the study `nmi`, along the path on reversed
CartPole, from the end on the others. Estimates are taken along the path, but for Algorithm 1 to the letter,
which knows the meta-policy alone. Projections are Khatri-Rao products, which take a fraction of the
Gaussian's time; both are compared.
"""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from math import comb
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from scipy.stats import spearmanr

from analysis.along import fit_along, refit, scores_along
from analysis.study import confidence_interval
from analysis.trained import SETTINGS, TAKES_SIDES, train
from gradex import AffinityGraph, MetaPolicy, SurrogateEstimator, TaskSuite
from gradex.affinity import sample_subsets
from gradex.learners import even_rounds
from gradex.rollout_scores import RolloutScore
from gradex.seeds import child
from gradex.surrogate import LEAST_REGULARIZATION, Improvement, NegativeLoss, Score, SubsetScores

SEEDS = {"smoke": 1, "laptop": 5, "paper": 10}
_SUITES = {
    "smoke": ("navigation",),
    "laptop": ("navigation", "reversed CartPole", "highway by objective"),
    "paper": ("navigation", "reversed CartPole", "highway by objective", "LunarLander"),
}
_FEW, _GROUPS = 50, range(1, 5)
_TRANSITIONS = {"smoke": 256, "laptop": 8192, "paper": 8192}
_EPISODES = {"smoke": 2, "laptop": 16, "paper": 16}
_DIMENSION = {"smoke": 50, "laptop": 400, "paper": 400}
_SCORES: dict[str, Score] = {
    "held-out loss": NegativeLoss(),
    "improvement": Improvement(),
    "loss, trust region": NegativeLoss(divergence=0.01),
    "improvement, longer": Improvement(divergence=0.01),
}


@dataclass(frozen=True)
class _Base:
    """What a variant starts from: everything at its default, but for the projection, to save time."""

    meta: MetaPolicy
    subsets: tuple[tuple[int, ...], ...]
    transitions: int
    episodes: int
    dimension: int
    seed: int

    @cached_property
    def surrogates(self) -> list[SurrogateEstimator]:
        return self._fit()

    @cached_property
    def default(self) -> SubsetScores:
        return scores_along(self.surrogates, self.subsets)

    def scores(self, **settings: Any) -> SubsetScores:
        """Score the subsets afresh with other settings of the surrogate."""
        return scores_along(self._fit(**settings), self.subsets)

    def _fit(
        self, transitions: int | None = None, meta: MetaPolicy | None = None, **settings: Any
    ) -> list[SurrogateEstimator]:
        own = {"projection_dim": self.dimension, "projection": "khatri-rao", "seed": self.seed}
        estimator = SurrogateEstimator(**{**own, **settings})
        return fit_along(estimator, (meta or self.meta).path_, transitions or self.transitions)


#: A variant's name on the axis, and the affinities that it gives.
_Variant = tuple[float | str, AffinityGraph]


def _dimension(base: _Base) -> Iterator[_Variant]:
    for share in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 5 / 2):
        d = int(share * base.dimension)
        yield d, AffinityGraph.from_scores(base.scores(projection_dim=d))


def _projection(base: _Base) -> Iterator[_Variant]:
    for name in ("khatri-rao", "gaussian"):
        yield name, AffinityGraph.from_scores(base.scores(projection=name))


def _of_size(base: _Base, m: int, size: int) -> SubsetScores:
    """Score other subsets, and each task by itself as ever: the diagonal is measured on those."""
    n = len(base.meta.suite)
    alone = [(task,) for task in range(n)]
    return scores_along(base.surrogates, [*alone, *sample_subsets(n, m, size, base.seed)])


def _subsets(base: _Base) -> Iterator[_Variant]:
    several = sum(len(subset) > 1 for subset in base.subsets)
    for m in (35, 50, 100):
        if m < several:
            yield m, AffinityGraph.from_scores(_of_size(base, m, 3))
    yield several, AffinityGraph.from_scores(base.default)


def _size(base: _Base) -> Iterator[_Variant]:
    n = len(base.meta.suite)
    for size in (2, 3, 4, 5, 6):
        if size < n - 1:
            yield size, AffinityGraph.from_scores(_of_size(base, 120, size))


def _affinity(base: _Base) -> Iterator[_Variant]:
    yield from _readings(base.default)


def _paper(base: _Base) -> Iterator[_Variant]:
    """Compare the defaults with Algorithm 1 to the letter, each by Eq. (5) and by the default affinity."""
    letter = SurrogateEstimator.literal(min(base.dimension, len(base.meta.parameters)), base.seed)
    scores = letter.fit(base.meta, base.meta.transitions(base.transitions)).scores(base.subsets)
    yield "default", AffinityGraph.from_scores(base.default)
    yield "default, Eq. (5)", AffinityGraph.from_scores(base.default.together(), "mean")
    yield "to the letter", AffinityGraph.from_scores(scores.together(), "mean")
    yield "to the letter, pairwise", AffinityGraph.from_scores(scores)


def _few(base: _Base) -> Iterator[_Variant]:
    """Vary the affinity where it matters: with all subsets of a size, all but their diagonals agree."""
    yield from _readings(_of_size(base, _FEW, 3))


def _readings(scores: SubsetScores) -> Iterator[_Variant]:
    yield "pairwise", AffinityGraph.from_scores(scores)
    yield "Eq. (5)", AffinityGraph.from_scores(scores.together(), "mean")


def _score(base: _Base) -> Iterator[_Variant]:
    for name, score in _SCORES.items():
        others = [copy(each) for each in base.surrogates]  # the features are the same
        for other in others:
            other.score = score
        yield name, AffinityGraph.from_scores(scores_along(others, base.subsets))
    yield "in-sample loss", AffinityGraph.from_scores(base.scores(folds=1))
    how = RolloutScore(episodes=base.episodes)
    found = [
        how.scores(surrogate, snapshot, base.subsets, seed=child(base.seed, "rollouts", number))
        for number, (surrogate, snapshot) in enumerate(zip(base.surrogates, base.meta.path_, strict=True))
    ]
    yield "rollout", AffinityGraph.from_scores(SubsetScores.mean(found))


def _regularization(base: _Base) -> Iterator[_Variant]:
    """Give every snapshot's ridge in units of its own mean eigenvalue."""
    least = refit(base.surrogates, ["least"] * len(base.surrogates))
    for share in (0.001, 0.01, 0.1, 1.0, 10.0, 100.0):
        strengths = [share / LEAST_REGULARIZATION * each.regularization_ for each in least]
        yield (
            share,
            AffinityGraph.from_scores(scores_along(refit(base.surrogates, strengths), base.subsets)),
        )


def _transitions(base: _Base) -> Iterator[_Variant]:
    for steps in (base.transitions * share // 8 for share in (1, 2, 4, 8, 16)):
        yield steps, AffinityGraph.from_scores(base.scores(transitions=steps))


def _snapshots(base: _Base) -> Iterator[_Variant]:
    """Take fewer moments of the same training, from equally many transitions in all."""
    path = base.meta.path_
    for count in (1, 2, 4, 8):
        if count > len(path):
            break
        chosen = [path[number - 1] for number in even_rounds(len(path), count)]
        estimator = SurrogateEstimator(base.dimension, projection="khatri-rao", seed=base.seed)
        surrogates = fit_along(estimator, chosen, base.transitions)
        yield count, AffinityGraph.from_scores(scores_along(surrogates, base.subsets))


def _convergence(base: _Base) -> Iterator[_Variant]:
    steps = int(base.meta.history_.steps.max())
    for share in (0.25, 0.5, 1.0, 2.0, 4.0):
        meta = MetaPolicy(base.meta.suite, learner=base.meta.learner, seed=base.seed).fit(int(share * steps))
        yield share, AffinityGraph.from_scores(base.scores(meta=meta))


_CHOICES: dict[str, tuple[str, Callable[[_Base], Iterator[_Variant]]]] = {
    "dimension": ("projection dimension d", _dimension),
    "subsets": ("number of subsets m", _subsets),
    "size": ("subset size α", _size),
    "regularization": ("λ / mean eigenvalue", _regularization),
    "transitions": ("transitions per task", _transitions),
    "snapshots": ("snapshots of the training", _snapshots),
    "convergence": ("meta-training / recommended", _convergence),
    "projection": ("projection", _projection),
    "affinity": ("affinity, all subsets", _affinity),
    "few": (f"affinity, {_FEW} subsets", _few),
    "score": ("score", _score),
    "paper": ("the paper's algorithm", _paper),
}
_NAMED = ("projection", "affinity", "few", "score", "paper")
_LOGARITHMIC = ("dimension", "subsets", "regularization", "transitions", "snapshots", "convergence")


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give one row per suite, choice and value.

    Columns suite, seed, choice, value, then planted (NMI with planted groups), nmi (with the groups of real
    training), rank (correlation with the affinities of real training); for the choice "k" also gain, the
    mean affinity by real training of the pairs that share a group, in standard deviations of the affinities.
    For k = 1 the agreement is 1 by definition.
    """
    rows: list[dict[str, Any]] = []
    for suite in _SUITES[scale]:
        trained = train(scale, suite, seed, along=suite in TAKES_SIDES)
        amounts = _TRANSITIONS[scale], _EPISODES[scale], _DIMENSION[scale]
        base = _Base(trained.grouping.meta_, trained.truth.subsets_, *amounts, seed)
        real = AffinityGraph.from_scores(trained.truth.scores().standardised())
        k, planted = SETTINGS[scale][suite].k, base.meta.suite.labels
        groups = {count: real.partition(k=count).labels for count in sorted({*_GROUPS, k})}
        where = {"suite": suite, "seed": seed}
        for choice, (_, variants) in _CHOICES.items():
            for value, graph in variants(base):
                rows.append(
                    {**where, "choice": choice, "value": value, **_agreement(graph, real, groups[k], planted)}
                )
        graph = AffinityGraph.from_scores(base.default)
        for count in _GROUPS:
            found = graph.partition(k=count)
            rows.append(
                {
                    **where,
                    "choice": "k",
                    "value": count,
                    **_agreement(graph, real, groups[count], planted),
                    "gain": _within(real, found.labels),
                }
            )
    return pd.DataFrame(rows)


def work(scale: str) -> float:
    """Count the environment steps of a seed, but for the trainings that the study `nmi` makes."""
    steps = 0.0
    for name in _SUITES[scale]:
        setting = SETTINGS[scale][name]
        suite = TaskSuite.make(setting.family, **setting.options)
        # Five meta-policies, and transitions for every estimate that the base's do not serve.
        steps += 7.75 * (setting.meta_steps or suite.recommended.meta_steps)
        steps += 24 * _TRANSITIONS[scale] * len(suite)
        subsets = min(setting.subsets, comb(len(suite), 3)) * 3
        assert suite.horizon is not None  # for the type checker
        steps += 8 * subsets * _EPISODES[scale] * suite.horizon  # by rollout, at eight snapshots
    return steps


def _agreement(
    graph: AffinityGraph, real: AffinityGraph, groups: np.ndarray, planted: np.ndarray | None
) -> dict[str, float]:
    """Compare with real training, whose groups these are."""
    found = graph.partition(k=int(groups.max()) + 1)
    above = np.triu_indices(len(graph), 1)
    return {
        "planted": float("nan") if planted is None else found.agreement(planted).nmi,
        "nmi": found.agreement(groups).nmi,
        "rank": float(
            spearmanr(graph.interaction().matrix[above], real.interaction().matrix[above]).statistic
        ),
    }


def _within(real: AffinityGraph, labels: np.ndarray) -> float:
    """Give the mean affinity, by real training, of the pairs that share a group, in standard deviations."""
    above = np.triu_indices(len(labels), 1)
    affinities, same = real.matrix[above], (labels[:, None] == labels)[above]
    return float((affinities[same].mean() - affinities.mean()) / affinities.std()) if same.any() else 0.0


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give the means over seeds, with 95 % intervals of the rank correlation."""
    rows = []
    for (choice, value, suite), part in table.groupby(["choice", "value", "suite"], sort=False):
        low, high = confidence_interval(part["rank"].to_numpy())
        means = {name: part[name].mean() for name in ("nmi", "planted", "gain")}
        where = {"choice": choice, "value": value, "suite": suite, "rank": part["rank"].mean()}
        rows.append(where | {"low": low, "high": high} | means | {"seeds": len(part)})
    return pd.DataFrame(rows)


def plot(table: pd.DataFrame) -> Figure:
    """Draw the rank correlation with real training, a small panel per choice, with 95 % bands over seeds."""
    lowest = table[table.choice.isin(_CHOICES)].groupby(["choice", "value", "suite"])["rank"].mean().min()
    names = [choice for choice in _CHOICES if choice not in _NAMED] + ["k", *_NAMED]
    names = [choice for choice in names if choice in set(table.choice)]
    columns = -(-len(names) // 3)
    figure = Figure(figsize=(2.7 * columns, 7.5), layout="constrained")
    panels = figure.subplots(3, columns, squeeze=False)
    for ax, choice in zip(panels.flat, names, strict=False):
        if choice in _LOGARITHMIC:
            ax.set_xscale("log")
            ax.xaxis.set_minor_locator(NullLocator())
        gain = choice == "k"
        _draw(ax, table[table.choice == choice], "gain" if gain else "rank", choice in _NAMED)
        ax.set_xlabel("number of groups k" if gain else _CHOICES[choice][0])
        if gain:
            ax.set_title("real affinity within groups", fontsize="medium")
        else:
            ax.set_ylim(max(0.0, lowest - 0.1), 1.02)
    for ax in panels.flat[len(names) :]:
        ax.remove()
    for ax in panels[:, 0]:
        ax.set_ylabel("rank correlation")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw(ax: Axes, own: pd.DataFrame, column: str, names: bool) -> None:
    """Draw one choice: lines over numbers, or dots over names."""
    values = list(dict.fromkeys(own.value.astype(str)))
    places = np.arange(len(values)) if names else np.array([float(value) for value in values])
    suites = list(dict.fromkeys(own.suite))
    for number, suite in enumerate(suites):
        part = own[own.suite == suite]
        each = [part[part.value.astype(str) == value][column].to_numpy() for value in values]
        there = np.array([len(rows) > 0 for rows in each])
        low, high = np.array([confidence_interval(rows) for rows in each if len(rows)]).T
        mean = [rows.mean() for rows in each if len(rows)]
        if names:
            x = places[there] + 0.15 * (number - (len(suites) - 1) / 2)
            ax.vlines(x, low, high, color=f"C{number}", linewidth=2)
            ax.plot(x, mean, "o", color=f"C{number}", markersize=5)
        else:
            ax.plot(places[there], mean, ".-", color=f"C{number}", label=suite)
            ax.fill_between(places[there], low, high, color=f"C{number}", alpha=0.15, linewidth=0)
    if names:
        ax.set_xticks(places, values, rotation=30, ha="right", rotation_mode="anchor", fontsize="small")
    else:
        told = np.sort(places)
        if ax.get_xscale() == "log":
            told = told[np.r_[True, told[1:] > 1.3 * told[:-1]]]  # closer ones would overlap
        ax.set_xticks(told, [f"{place:g}" for place in told], fontsize="small")
    ax.grid(color="0.92")
    ax.spines[["top", "right"]].set_visible(False)
