"""Cross-fitted advantages, by loops over episodes and least squares with the ridge as samples of its own."""

import numpy as np

from gradex.learners import Rollout
from tests.oracles import gae

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)


def fitted(rows: np.ndarray, targets: np.ndarray, ridge: float) -> np.ndarray:
    """Give the weights of a ridge regression; the last four features are hardly held back."""
    each = np.full(rows.shape[1], ridge + 1e-6)
    each[-4:] = 1e-6
    design = np.concatenate([rows, np.diag(np.sqrt(len(rows) * each))])
    return np.linalg.lstsq(design, np.concatenate([targets, np.zeros(len(each))]), rcond=None)[0]


def scaled(rows: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Give columns mean 0 and deviation 1 over the real steps; constant ones become 0."""
    mean, deviation = rows[:-1][real].mean(axis=0), rows[:-1][real].std(axis=0)
    constant = deviation <= 1e-6 * np.abs(mean)
    return np.where(constant, 0.0, (rows - mean) / np.where(constant, 1.0, deviation))


def cross_fitted(rollout: Rollout, discount: float, gae_lambda: float) -> np.ndarray:
    """Give the advantages [steps, environments] of a rollout of a single task, policy 0."""
    steps, _, environments = rollout.rewards.shape
    seen = rollout.observations[:, 0].double().numpy()
    episode, elapsed = np.zeros((2, steps + 1, environments), dtype=int)
    for place in range(environments):
        number, since = 0, 0
        for t in range(steps + 1):
            if t >= 1 and rollout.ended[t - 1, 0, place]:
                number += 1
            # The step after an end only resets: the episode begins with the one behind it.
            if t >= 2 and rollout.ended[t - 2, 0, place]:
                since = t
            episode[t, place], elapsed[t, place] = number * environments + place, t - since
    order = {number: rank for rank, number in enumerate(sorted(set(episode[:-1].ravel())))}
    part = np.vectorize(lambda number: order.get(number, 0) % 10)(episode)
    time = elapsed[..., None] / steps
    real = rollout.real[:, 0]
    state = scaled(seen, real)
    raw = np.concatenate([state, state**2, time, time**2, time**3], axis=-1)
    features = np.concatenate([scaled(raw, real), np.ones((steps + 1, environments, 1))], axis=-1)

    def advantages(values: np.ndarray, gae_lambda: float) -> np.ndarray:
        found = np.zeros((steps, environments))
        for place in range(environments):
            ends = rollout.ended[:, 0, place].tolist()
            rewards = rollout.rewards[:, 0, place].tolist()
            found[:, place] = gae.advantages(
                rewards, values[:, place].tolist(), ends, ends, discount, gae_lambda
            )
        return found

    def best(targets: np.ndarray, real: np.ndarray) -> float:
        """Choose the ridge by the error on what a fit did not see."""
        errors = []
        for ridge in RIDGES:
            error = 0.0
            for own in set(part[:-1][real]):
                inside, outside = real & (part[:-1] == own), real & (part[:-1] != own)
                weights = fitted(features[:-1][outside], targets[outside], ridge)
                error += float(np.sum((targets[inside] - features[:-1][inside] @ weights) ** 2))
            errors.append(error)
        return RIDGES[int(np.argmin(errors))]

    cut = [place for place in range(environments) if not rollout.ended[-1, 0, place]]
    earliest = min([steps - elapsed[-1, place] for place in cut], default=steps + 1)
    begun = np.arange(steps)[:, None] - elapsed[:-1]
    whole = real & (begun < earliest) if earliest > 0 else real

    nothing = np.zeros((steps + 1, environments))
    returns = advantages(nothing, 1.0)
    first = features @ fitted(features[:-1][whole], returns[whole], best(returns, whole))
    continued = first[:-1] + advantages(first, 1.0)
    ridge, found = best(continued, real), np.zeros((steps, environments))
    for own in set(part[:-1].ravel()):
        outside = real & (part[:-1] != own)
        weights = fitted(features[:-1][outside], continued[outside], ridge)
        held_out = advantages(features @ weights, gae_lambda)
        found[part[:-1] == own] = held_out[part[:-1] == own]
    return found
