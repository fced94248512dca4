"""How often groups are found, by really drawing clusters again and again."""

import numpy as np

from gradex.affinity.conflict import conflict_test
from gradex.affinity.partition import canonical_labels
from gradex.affinity.rounding import propose_groups
from gradex.surrogate import Interactions


def clusters(rng: np.random.Generator, means: np.ndarray, deviation: float, runs: int) -> Interactions:
    """Draw so many clusters of each task around its mean."""
    own = [rng.normal(mean, deviation, size=(runs, len(mean))) for mean in means]
    return Interactions(tuple(own), common=False)


def frequency(
    rng: np.random.Generator, means: np.ndarray, deviation: float, runs: int, k: int, repetitions: int
) -> float:
    """Give the share of estimates that show the conflict and the groups of the means."""
    truth = canonical_labels(propose_groups(means @ means.T, k))
    found = []
    for _ in range(repetitions):
        estimate = clusters(rng, means, deviation, runs)
        labels = canonical_labels(propose_groups(estimate.matrix, k))
        # 19 draws are the fewest that can give 0.05, and no worse a test on average.
        right = bool((labels == truth).all())
        found.append(right and conflict_test(estimate.matrix, estimate.noise(19)).p_value <= 0.05)
    return float(np.mean(found))
