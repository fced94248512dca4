"""Scores by evaluation, one policy and one task after the other, through public names."""

from collections.abc import Sequence

import numpy as np

from gradex import MetaPolicy, SurrogateEstimator
from gradex.learners import run_episodes


def moved(
    surrogate: SurrogateEstimator, meta: MetaPolicy, subset: Sequence[int], divergence: float
) -> MetaPolicy:
    """Give the policy at the end of a step whose divergence, by its samples one by one, is this number."""
    [theta] = surrogate.solve([subset]).theta
    change = np.array(
        [
            sample @ theta
            for sample, task in zip(surrogate.features.astype(float), surrogate.tasks, strict=True)
            if task in subset
        ]
    )
    length = np.linalg.norm(surrogate.adapted(subset).parameters.astype(float) - meta.parameters)
    length *= np.sqrt(divergence / (0.5 * np.mean(change**2)))
    return surrogate.adapted(subset, distance=length / np.linalg.norm(meta.parameters.astype(float)))


def gains(
    surrogate: SurrogateEstimator,
    meta: MetaPolicy,
    subsets: Sequence[Sequence[int]],
    divergence: float,
    episodes: int,
    seed: int,
) -> np.ndarray:
    """Give what each moved policy earns more, in standard deviations of all returns of a task."""

    def returns(policy: MetaPolicy, task: int) -> np.ndarray:
        return run_episodes(policy.agent_, meta.suite, [(task,)], episodes, [seed]).returns[0]

    n = len(meta.suite)
    own = [returns(meta, task) for task in range(n)]
    policies = [moved(surrogate, meta, subset, divergence) for subset in subsets]
    result = np.full((len(subsets), n), np.nan)
    for task in range(n):
        rows = [row for row, subset in enumerate(subsets) if task in subset]
        found = [returns(policies[row], task) for row in rows]
        unit = np.std(np.concatenate([own[task], *found]))
        for row, earned in zip(rows, found, strict=True):
            result[row, task] = (np.mean(earned) - np.mean(own[task])) / unit
    return result
