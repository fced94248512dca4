"""Pairs of answers of the small model, labelled by rules: in common to all objectives, or their own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from analysis.preferences.language import RULES, TOPICS, features, sampled, speaker
from gradex.preferences import PreferencePairs
from gradex.seeds import child, generator_for

#: Steps of training of the model that speaks, by scale.
SPEAKING = {"smoke": 10, "laptop": 400, "paper": 400}


@dataclass(frozen=True, eq=False)
class Drawn:
    """Pairs of answers without labels, and by how much more each rule counts in the first."""

    prompts: list[list[int]]
    first: list[list[int]]
    second: list[list[int]]
    differences: Float[np.ndarray, "R N"]

    def labelled(
        self, labels: Float[np.ndarray, "n N"], names: Sequence[str], known: Bool[np.ndarray, "n N"]
    ) -> PreferencePairs:
        """Make pairs of those that have a label, where it is known and no tie."""
        labels = np.where(known & (labels != 0), labels, np.nan)
        rows = np.flatnonzero(~np.isnan(labels).all(axis=0))
        prompts, first, second = (
            [each[row] for row in rows] for each in (self.prompts, self.first, self.second)
        )
        return PreferencePairs.of_tokens(prompts, first, second, labels[:, rows], tuple(names))


def draw(seed: int, scale: str, count: int, purpose: str = "pairs") -> Drawn:
    """Let the model of a seed answer each of many requests twice, differently."""
    model, own = speaker(seed, SPEAKING[scale]), child(seed, purpose)
    places = generator_for(own, "topics").integers(len(TOPICS), size=count)
    prompts = [[2 + int(place)] for place in places]
    first, second = (sampled(model, prompts, child(own, "answers", number)) for number in range(2))
    return Drawn(prompts, first, second, features(prompts, first) - features(prompts, second))


def flipped(
    labels: Float[np.ndarray, "n N"], chance: float, rng: np.random.Generator
) -> Float[np.ndarray, "n N"]:
    """Turn labels around by chance, each by itself."""
    return np.where(rng.random(labels.shape) < chance, -labels, labels)


def who_labels(n: int, each: int, shared: float) -> Bool[np.ndarray, "n N"]:
    """Say who labels which pair: `each` objective as many, a share of them in common with all others.

    Pairs in common come first.
    """
    common = round(shared * each)
    own = each - common
    known = np.zeros((n, common + n * own), dtype=bool)
    known[:, :common] = True
    for objective in range(n):
        known[objective, common + objective * own :][:own] = True
    return known


def scaled(differences: Float[np.ndarray, "R N"]) -> dict[str, Float[np.ndarray, " N"]]:
    """Give the rules' differences in units of their spread, by the name of the rule."""
    spread = differences.std(axis=1, keepdims=True)
    return dict(zip(RULES, differences / np.where(spread > 0, spread, 1), strict=True))
