"""What a return is measured against where no critic knows the task: a linear baseline, fitted on the spot."""

import numpy as np
from jaxtyping import Bool, Float

from gradex.learners.rollouts import Rollout, discounted_advantages

#: Weight of the ridge beside the mean square of each feature and target.
_RIDGE = 1e-5
#: Deviations smaller than this share of a feature's size are rounding of single precision: it is a constant.
_CONSTANT = 1e-6


def linear_baseline(rollout: Rollout, discount: float) -> Float[np.ndarray, "times policies environments"]:
    """Estimate the return from every observation by least squares (Duan et al. 2016, ICML, supplement).

    The features are the observation, its square, three powers of the time since the episode began, and 1.
    Observations are standardised before they are squared, as a square far from 0 is lost beside the number.
    Every policy of the stack has a fit of its own, to its own discounted returns in this rollout: what is
    estimated is the return in the mixture of its tasks, so give each policy a single one.

    Parameters
    ----------
    rollout : Rollout
        Begins at the start of episodes.
    discount : float
        γ.

    Returns
    -------
    float array [steps + 1, policies, environments]
        In float64.
    """
    nothing = np.zeros((len(rollout.rewards) + 1, *rollout.rewards.shape[1:]))
    returns = discounted_advantages(
        rollout.rewards, nothing, rollout.terminated, rollout.ended, discount, trace=1.0
    )
    real = rollout.real
    features = standardised(baseline_features(rollout), real)
    policies, count = features.shape[1], features.shape[-1]
    weight = real / real.sum(axis=(0, 2), keepdims=True)
    mean = (weight * returns).sum(axis=(0, 2), keepdims=True)
    root = np.sqrt(weight)
    design = np.moveaxis(root[..., None] * features[: len(real)], 1, 0).reshape(policies, -1, count)
    target = np.moveaxis(root * (returns - mean), 1, 0).reshape(policies, -1, 1)
    solution = np.linalg.solve(design.mT @ design + _RIDGE * np.eye(count), design.mT @ target)
    return mean + np.einsum("tpef,pf->tpe", features, solution[..., 0])


def standardised(
    features: Float[np.ndarray, "times policies environments f"],
    real: Bool[np.ndarray, "steps policies environments"],
) -> Float[np.ndarray, "times policies environments f"]:
    """Bring features to mean 0 and mean square 1 over each policy's real steps, so that units do not matter.

    Those that are constant there say nothing, and become 0.
    """
    weight = (real / real.sum(axis=(0, 2), keepdims=True))[..., None]
    rows = features[: len(real)]
    mean = (weight * rows).sum(axis=(0, 2), keepdims=True)
    deviation = np.sqrt((weight * (rows - mean) ** 2).sum(axis=(0, 2), keepdims=True))
    varies = deviation > _CONSTANT * np.abs(mean)
    return np.divide(features - mean, deviation, out=np.zeros_like(features), where=varies)


def baseline_features(rollout: Rollout) -> Float[np.ndarray, "times policies environments f"]:
    """Give the standardised observation, its square, and three powers of the time since the episode began."""
    observations = standardised(rollout.observations.double().numpy(), rollout.real)
    # The step after an end only resets; what it leads to is the beginning of an episode.
    begun = np.zeros(observations.shape[:-1], dtype=np.int64)
    begun[2:] = np.where(rollout.ended[:-1], np.arange(2, len(begun))[:, None, None], 0)
    elapsed = np.arange(len(begun))[:, None, None] - np.maximum.accumulate(begun, axis=0)
    time = elapsed[..., None] / len(rollout.rewards)
    return np.concatenate([observations, observations**2, time, time**2, time**3], axis=-1)
