"""What adapters reach that are trained for groups, at equal steps; and do estimates agree with real training.

Nine rules label pairs of the small model's answers, a fifth of the labels turned around: some are at odds by
themselves. Every way to group them has the same steps of training in all, and is judged on answers that it
has not seen, by labels without noise. Real training, the truth, takes every objective and every pair of them
from the same start, on answers of its own; replicates have other answers, so that the ceiling knows the noise
of labels and answers, too.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.metrics import normalized_mutual_info_score

from analysis.preferences.data import SPEAKING, draw, flipped, scaled, who_labels
from analysis.preferences.language import speaker
from analysis.preferences.rivals import (
    AUTO,
    GRADEX,
    LABELS,
    RANDOM,
    by_chance,
    by_itself,
    by_labels,
)
from analysis.trained import full_length, pair_interactions, rank_correlation
from gradex import AffinityGraph
from gradex.preferences import DirectPreferences, DPOGrouping, PreferencePairs
from gradex.seeds import child, generator_for
from gradex.surrogate import SubsetScores

TOGETHER, ALONE = "one for all", "one per objective"
RULES = ("long", "short", "vowels", "polite", "blunt", "numbers", "colours", "varied", "repetitive")
K = 3
#: How many of the rules there are.
COUNTS = {"smoke": 5, "laptop": 9, "paper": 9}
#: Shares of an objective's pairs that all others label as well.
SHARES = {"smoke": (0.5,), "laptop": (0.0, 0.5, 1.0), "paper": (0.0, 0.25, 0.5, 0.75, 1.0)}
#: Pairs of an objective to train on, and pairs held out.
_PAIRS = {"smoke": (40, 40), "laptop": (400, 600), "paper": (400, 1200)}
#: Steps of all adapters of a way together; of real training for each objective of a subset.
_STEPS = {"smoke": (5, 1), "laptop": (450, 30), "paper": (1800, 60)}
_REPLICATES = {"smoke": 2, "laptop": 2, "paper": 6}
_NOISE, _RATE, _BATCH, _TRUTH_BATCH = 0.2, 2e-3, 32, 16
_RANDOM_DRAWS = 100


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give one row per share and way.

    Returns
    -------
    DataFrame
        shared, method, groups (how many), accuracy and loss (held out, mean over objectives); rank (Spearman,
        of affinities with those of real training), rank_ceiling, nmi (of the groups with those of real
        training), nmi_halves, nmi_chance; seed.
    """
    held = _labelled(seed, scale, _PAIRS[scale][1], 1.0, 0.0, "held out")
    judge = DirectPreferences(speaker(seed, SPEAKING[scale]), held)
    truth = _truth(seed, scale, judge)
    rows: list[dict[str, Any]] = []
    for shared in SHARES[scale]:
        pairs = _labelled(seed, scale, _PAIRS[scale][0], shared, _NOISE, f"trained {shared}")
        settings: dict[str, Any] = {"subsets": None, "subset_size": 2, "bootstrap": 0, "steps": 0}
        grouping = DPOGrouping(k=K, **settings, seed=seed).fit(judge.module, pairs)
        ways = _ways(grouping, pairs, seed)
        affinities = _affinities(grouping, pairs)
        for method, labels in ways.items():
            told = {"shared": shared, "method": method, "groups": int(labels.max()) + 1, "seed": seed}
            rows.append(told | _reached(grouping, judge, labels, scale) | truth.agreement(labels))
            if method in affinities:
                rows[-1]["rank"] = rank_correlation(affinities[method], truth.interactions)
    return pd.DataFrame(rows)


def _labelled(seed: int, scale: str, each: int, shared: float, noise: float, purpose: str) -> PreferencePairs:
    names = RULES[: COUNTS[scale]]
    known = who_labels(len(names), each, shared)
    drawn = draw(seed, scale, known.shape[1], purpose)
    rules = scaled(drawn.differences)
    labels = np.sign(np.stack([rules[name] for name in names]))
    labels = flipped(labels, noise, generator_for(seed, f"noise of {purpose}"))
    return drawn.labelled(labels, names, known)


def _ways(grouping: DPOGrouping, pairs: PreferencePairs, seed: int) -> dict[str, Int[np.ndarray, " n"]]:
    n = pairs.n
    return {
        TOGETHER: np.zeros(n, dtype=np.int64),
        GRADEX: grouping.labels_,
        AUTO: by_itself(grouping.surrogate_, seed),
        LABELS: by_labels(pairs, K, seed),
        RANDOM: by_chance(n, K, seed),
        ALONE: np.arange(n),
    }


def _affinities(grouping: DPOGrouping, pairs: PreferencePairs) -> Mapping[str, Float[np.ndarray, " pairs"]]:
    """Give what each way goes by, where it has a number for every two objectives."""
    found = {GRADEX: pair_interactions(grouping.graph_)}
    common = ~np.isnan(pairs.labels)
    if ((common.astype(int) @ common.T) > 0).all():
        labels = np.nan_to_num(pairs.labels)
        lengths = np.linalg.norm(labels, axis=1)
        found[LABELS] = pair_interactions(AffinityGraph(labels @ labels.T / np.outer(lengths, lengths)))
    return found


def _reached(
    grouping: DPOGrouping, judge: DirectPreferences, labels: Int[np.ndarray, " n"], scale: str
) -> dict[str, float]:
    """Train an adapter for each group, and judge each objective by its group's."""
    groups = [np.flatnonzero(labels == group).tolist() for group in range(labels.max() + 1)]
    seed = child(grouping.seed, "adapters")
    tuned = grouping.preferences_.tune_groups(groups, _STEPS[scale][0], _BATCH, _RATE, seed)
    table = judge.evaluate(tuned).set_index(["row", "objective"])
    own = table.loc[[(int(group), objective) for objective, group in enumerate(labels)]]
    return {"accuracy": float(own.accuracy.mean()), "loss": float(own.loss.mean())}


class _Truth:
    """Real training of every objective and every pair of them."""

    def __init__(self, replicates: list[SubsetScores], seed: int) -> None:
        whole, *halves = (
            AffinityGraph.from_scores(SubsetScores.mean(own))
            for own in (replicates, replicates[::2], replicates[1::2])
        )
        self.interactions = pair_interactions(whole)
        self._ceiling = full_length(rank_correlation(*map(pair_interactions, halves)))
        self._labels = whole.partition(k=K).labels
        one, other = (half.partition(k=K).labels for half in halves)
        self._halves = normalized_mutual_info_score(one, other)
        random = [by_chance(len(self._labels), K, seed, 1 + draw) for draw in range(_RANDOM_DRAWS)]
        self._chance = np.mean([normalized_mutual_info_score(self._labels, each) for each in random])

    def agreement(self, labels: Int[np.ndarray, " n"]) -> dict[str, float]:
        """Compare groups with those of real training."""
        return {
            "nmi": float(normalized_mutual_info_score(self._labels, labels)),
            "nmi_halves": float(self._halves),
            "nmi_chance": float(self._chance),
            "rank": np.nan,
            "rank_ceiling": self._ceiling,
        }


def _truth(seed: int, scale: str, judge: DirectPreferences) -> _Truth:
    n = judge.pairs.n
    alone, together = [(objective,) for objective in range(n)], list(combinations(range(n), 2))
    replicates = []
    for number in range(_REPLICATES[scale]):
        pairs = _labelled(seed, scale, _PAIRS[scale][0], 1.0, _NOISE, f"real training {number}")
        preferences = DirectPreferences(judge.module, pairs)
        per_task = np.full((n + len(together), n), np.nan)
        own = child(seed, "real training", number)
        row = 0
        for subsets in (alone, together):
            steps = _STEPS[scale][1] * len(subsets[0])
            tuned = preferences.tune(subsets, steps, _TRUTH_BATCH, _RATE, own)
            losses = judge.evaluate(tuned).pivot(index="row", columns="objective", values="loss").to_numpy()
            for subset, loss in zip(subsets, losses, strict=True):
                per_task[row, list(subset)] = -loss[list(subset)]
                row += 1
        score = np.nanmean(per_task, axis=1)
        replicates.append(SubsetScores((*alone, *together), per_task, score))
    return _Truth(replicates, seed)
