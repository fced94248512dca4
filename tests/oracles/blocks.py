"""Samples that serve many tasks, as copies for each of them."""

import numpy as np

from gradex.surrogate import Samples


def copied(features: np.ndarray, samples: Samples) -> tuple[np.ndarray, Samples]:
    """Give each task samples of its own, with episode numbers of its own; copies depend on each other."""
    n, count = samples.advantages.shape
    episodes = np.arange(count) if samples.episodes is None else samples.episodes
    offsets = np.zeros(count) if samples.offsets is None else samples.offsets
    return np.tile(features, (n, 1)), Samples(
        samples.advantages.ravel(),
        tasks=np.repeat(np.arange(n), count),
        episodes=np.concatenate([episodes + number * (episodes.max() + 1) for number in range(n)]),
        offsets=np.tile(offsets, n),
        clusters=np.tile(episodes, n),
    )
