"""What each choice of the method is worth: agreement with real training, one choice varied at a time.

Everything but the meta-policy's training and the number of transitions is read off one meta-policy's training
per suite and seed; the real trainings on subsets are those of the study `nmi`, along the path on reversed
CartPole, from the end on the others. Estimates are taken along the path, but for Algorithm 1 to the letter,
which knows the meta-policy alone. Projections are Khatri-Rao products, which take a fraction of the
Gaussian's time; both are compared.
"""

from math import comb
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from analysis.ablations.choices import CHOICES, Base
from analysis.ablations.reading import plot, summary
from analysis.trained import SETTINGS, TAKES_SIDES, train
from gradex import AffinityGraph, TaskSuite

SEEDS = {"smoke": 1, "laptop": 5, "paper": 10}
_SUITES = {
    "smoke": ("navigation",),
    "laptop": ("navigation", "reversed CartPole", "highway by objective"),
    "paper": ("navigation", "reversed CartPole", "highway by objective", "LunarLander"),
}
_GROUPS = range(1, 5)
_TRANSITIONS = {"smoke": 256, "laptop": 8192, "paper": 8192}
_EPISODES = {"smoke": 2, "laptop": 16, "paper": 16}
_DIMENSION = {"smoke": 50, "laptop": 400, "paper": 400}

__all__ = ["SEEDS", "compute", "plot", "summary", "work"]


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
        base = Base(trained.grouping.meta_, trained.truth.subsets_, *amounts, seed)
        real = AffinityGraph.from_scores(trained.truth.scores().standardised())
        k, planted = SETTINGS[scale][suite].k, base.meta.suite.labels
        groups = {count: real.partition(k=count).labels for count in sorted({*_GROUPS, k})}
        where = {"suite": suite, "seed": seed}
        for choice, (_, variants) in CHOICES.items():
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
