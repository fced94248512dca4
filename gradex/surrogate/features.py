"""Projected gradients of any number of samples, batch by batch (PolicyGradEx, Sec. 3.1, Algorithm 1)."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from gradex.learners import Transitions
from gradex.policies import Policy
from gradex.surrogate.gradients import log_prob_gradients
from gradex.surrogate.projection import Projection

#: Samples whose gradients are projected together: enough for fast products, few enough for the cache.
_BATCH = 2048


def gradient_features(
    policy: Policy,
    parameters: Float[Tensor, " p"],
    transitions: Transitions,
    projection: Projection,
) -> Float[np.ndarray, "N d"]:
    """Compute g̃ = Pᵀ ∇ log π_θ(a | s) of every sample.

    Beyond the result there is one batch in memory at a time.

    Parameters
    ----------
    policy : Policy
    parameters : Tensor [p]
        θ. Its precision is that of the features, and the work is done on its device.
    transitions : Transitions
    projection : Projection

    Raises
    ------
    ValueError
        If a gradient is not finite.
    """
    samples = (transitions.observations, transitions.tasks, transitions.actions)
    batches = list(zip(*(torch.from_numpy(np.asarray(x)).split(_BATCH) for x in samples), strict=True))
    features = torch.empty(len(transitions), projection.dimension, dtype=parameters.dtype)
    wrong = 0
    progress = tqdm(batches, "gradients", delay=2, leave=False)
    for out, batch in zip(features.split(_BATCH), progress, strict=True):
        out.copy_(projection.project(log_prob_gradients(policy, parameters, *batch)))
        # Adding up finds nan and inf in one pass; only then are they counted.
        if not torch.isfinite(out.sum()):
            wrong += int((~torch.isfinite(out).all(dim=1)).sum())
    if wrong:
        raise ValueError(
            f"{wrong} gradients are not finite: check the observations, the actions and the policy"
        )
    return features.numpy()


def check_transitions(transitions: Transitions, n: int) -> None:
    """Refuse what cannot be samples of n tasks.

    Raises
    ------
    ValueError
        If an advantage is not finite, or a task is unknown or has no sample.
    """
    count = len(transitions.tasks)
    for name, array in vars(transitions).items():
        if len(array) != count:
            raise ValueError(f"{count} samples have {len(array)} {name}: give one entry per sample")
    wrong = np.count_nonzero(~np.isfinite(transitions.advantages))
    if wrong:
        raise ValueError(f"{wrong} advantages are not finite: check the rewards and the critic")
    if count and not 0 <= transitions.tasks.min() <= transitions.tasks.max() < n:
        raise ValueError(f"transitions name tasks beyond 0 to {n - 1}: collect them on this policy's suite")
    missing = np.flatnonzero(np.bincount(transitions.tasks, minlength=n) == 0)
    if len(missing):
        raise ValueError(f"task {missing[0]} has no transitions: collect some in every task of the suite")
