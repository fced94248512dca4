"""What a return is measured against where no critic knows the task: a linear baseline, fitted on the spot."""

import numpy as np
from jaxtyping import Float

from gradex.learners.rollouts import Rollout, discounted_advantages

#: Weight of the ridge; as in Duan et al. 2016, where features are collinear it picks a small solution.
_RIDGE = 1e-5


def linear_baseline(rollout: Rollout, discount: float) -> Float[np.ndarray, "times policies environments"]:
    """Estimate the return from every observation by least squares (Duan et al. 2016, ICML, supplement).

    The features are the observation, its square, three powers of the time since the episode began, and 1.
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
    rewards, real = rollout.rewards, rollout.real
    nothing = np.zeros((len(rewards) + 1, *rewards.shape[1:]))
    returns = discounted_advantages(rewards, nothing, rollout.terminated, rollout.ended, discount, trace=1.0)
    features = _features(rollout)
    policies, count = features.shape[1], features.shape[-1]
    design = np.moveaxis(features[:-1] * real[..., None], 1, 0).reshape(policies, -1, count)
    targets = np.moveaxis(returns * real, 1, 0).reshape(policies, -1, 1)
    gram = design.mT @ design + _RIDGE * np.eye(count)
    weights = np.linalg.solve(gram, design.mT @ targets)
    return np.einsum("tpef,pf->tpe", features, weights[..., 0])


def _features(rollout: Rollout) -> Float[np.ndarray, "times policies environments f"]:
    observations = rollout.observations.double().numpy()
    # The step after an end only resets; what it leads to is the beginning of an episode.
    begun = np.zeros(observations.shape[:-1], dtype=np.int64)
    begun[2:] = np.where(rollout.ended[:-1], np.arange(2, len(begun))[:, None, None], 0)
    elapsed = np.arange(len(begun))[:, None, None] - np.maximum.accumulate(begun, axis=0)
    time = elapsed[..., None] / len(rollout.rewards)
    powers = [time, time**2, time**3, np.ones_like(time)]
    return np.concatenate([observations, observations**2, *powers], axis=-1)
