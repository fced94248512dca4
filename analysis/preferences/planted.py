"""Planted groups of objectives: are they found from shared pairs, and from pairs of their own.

Twelve objectives in four groups of three. Those of a group have a rule in common, and each likes something
else besides: a random mixture of other rules. The first two of the four rules are opposed. There are three
sets of them. Of the first the worth of an answer is a sum over its words; of the second it depends on where a
word stands; of the third on what the request is about, so that no word is good by itself. Labels are turned
around by chance.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

from analysis.preferences.data import SPEAKING, draw, flipped, scaled, who_labels
from analysis.preferences.language import speaker
from analysis.preferences.rivals import (
    AUTO,
    COSINE,
    GRADEX,
    LABELS,
    PROBES,
    RANDOM,
    by_chance,
    by_cosine,
    by_itself,
    by_labels,
    by_words,
)
from gradex import AffinityGraph, SurrogateEstimator
from gradex.affinity import sample_subsets
from gradex.preferences import DirectPreferences, PreferencePairs
from gradex.seeds import generator_for

_BY_WORDS = ("long", "short", "polite", "numbers")
_BY_PLACE = ("polite first", "polite last", "numbers first", "colours first")
_BY_TOPIC = ("formal", "casual", "counted", "vivid")
_OTHERS = ("vowels", "varied", "colours", "questions", "rhyme")
_K, _EACH, _TASTE = 4, 3, 0.7
_RANDOM_DRAWS = 20
PLAN = np.repeat(np.arange(_K), _EACH)
#: How many pairs an objective has, which share it has in common with all others, and the rules.
_CASES = {
    "smoke": {"shared": (60, 1.0, _BY_WORDS), "own, by place": (40, 0.0, _BY_PLACE)},
    "laptop": {
        "shared": (1200, 1.0, _BY_WORDS),
        "own": (400, 0.0, _BY_WORDS),
        "shared, by place": (1200, 1.0, _BY_PLACE),
        "own, by place": (400, 0.0, _BY_PLACE),
        "own, by topic": (400, 0.0, _BY_TOPIC),
    },
}
_CASES["paper"] = _CASES["laptop"] | {
    "own, many": (1200, 0.0, _BY_WORDS),
    "own, many, by place": (1200, 0.0, _BY_PLACE),
    "own, many, by topic": (1200, 0.0, _BY_TOPIC),
}
#: Chance that a label is turned around.
NOISE = {"mild noise": 0.1, "strong noise": 0.35}


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give one row per case, noise and method.

    Returns
    -------
    DataFrame
        pairs (shared, or own), each (pairs of an objective), noise, method, groups (how many), nmi, ami,
        seed.
    """
    rows: list[dict[str, Any]] = []
    for case, (each, shared, bases) in _CASES[scale].items():
        names = [f"{bases[int(group)]} {number}" for number, group in enumerate(PLAN)]
        known = who_labels(len(PLAN), each, shared)
        drawn = draw(seed, scale, known.shape[1], f"planted {case}")
        liked = np.sign(_liked(scaled(drawn.differences), bases, generator_for(seed, "tastes")))
        features = None
        for noise, chance in NOISE.items():
            labels = flipped(liked, chance, generator_for(seed, f"{noise}, {case}"))
            pairs = drawn.labelled(labels, names, known)
            if features is None:  # which do not depend on the labels
                preferences = DirectPreferences(speaker(seed, SPEAKING[scale]), pairs)
                fitted = SurrogateEstimator(seed=seed).fit(preferences.model, pairs.samples())
                features = fitted.features
            surrogate = SurrogateEstimator(seed=seed).fit_features(features, pairs.samples())
            told = {"pairs": case, "each": each, "noise": noise, "seed": seed}
            for method, groups in _found(surrogate, pairs, seed).items():
                agreement = _agreement(groups)
                rows.append(told | {"method": method, "groups": int(groups.max()) + 1, **agreement})
            chances = [by_chance(len(PLAN), _K, seed, number) for number in range(_RANDOM_DRAWS)]
            mean = pd.DataFrame([_agreement(groups) for groups in chances]).mean().to_dict()
            rows.append(told | {"method": RANDOM, "groups": _K, **mean})
    return pd.DataFrame(rows)


def _found(
    surrogate: SurrogateEstimator, pairs: PreferencePairs, seed: int
) -> dict[str, Int[np.ndarray, " n"]]:
    """Group in every way; ours is what `DPOGrouping` does with so many groups."""
    subsets = [*((objective,) for objective in range(pairs.n)), *sample_subsets(pairs.n, 200, 3, seed)]
    graph = AffinityGraph.from_scores(surrogate.scores(subsets))
    return {
        GRADEX: graph.partition(k=_K).labels,
        AUTO: by_itself(surrogate, seed),
        COSINE: by_cosine(surrogate, _K),
        LABELS: by_labels(pairs, _K, seed),
        PROBES: by_words(pairs, _K, seed),
    }


def _agreement(groups: Int[np.ndarray, " n"]) -> dict[str, float]:
    nmi, ami = normalized_mutual_info_score(PLAN, groups), adjusted_mutual_info_score(PLAN, groups)
    return {"nmi": float(nmi), "ami": float(ami)}


def _liked(
    rules: dict[str, Float[np.ndarray, " N"]], bases: Sequence[str], rng: np.random.Generator
) -> Float[np.ndarray, "n N"]:
    """Give by how much each objective likes the first answer better."""
    others = np.stack([rules[name] for name in _OTHERS])
    rows = []
    for group in PLAN:
        mixture = rng.standard_normal(len(_OTHERS))
        rows.append(rules[bases[int(group)]] + _TASTE * mixture / np.linalg.norm(mixture) @ others)
    return np.stack(rows)
