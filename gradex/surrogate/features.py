"""Projected gradients of any number of samples, batch by batch (PolicyGradEx, Sec. 3.1, Algorithm 1)."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from tqdm.auto import tqdm

from gradex.surrogate.model import Model, in_factors
from gradex.surrogate.projection import Projection


def gradient_features(
    model: Model, samples: Any, projection: Projection, dtype: torch.dtype = torch.float32
) -> Float[np.ndarray, "N d"]:
    """Compute g̃ = Pᵀ ∇ log π_θ*(a | s) of every sample.

    Beyond the result there is one batch in memory at a time.

    Parameters
    ----------
    model : Model
    samples : Samples
        Of the kind that the model knows.
    projection : Projection
    dtype : torch.dtype
        Precision of gradients and features.

    Raises
    ------
    ValueError
        If a gradient is not finite, or the model has other than one for each sample.
    """
    count = len(samples)
    features = torch.empty(count, projection.dimension, dtype=dtype)
    done = wrong = 0
    with tqdm(total=count, desc="gradients", delay=2, leave=False) as bar:
        for batch in model.gradients(samples, np.arange(count), dtype):
            projected = projection.project(in_factors(batch))
            out = features[done : done + len(projected)]
            if len(out) < len(projected):
                raise ValueError(f"the model has more than {count} gradients: give it as many samples")
            out.copy_(projected)
            # Adding up finds nan and inf in one pass; only then are they counted.
            if not torch.isfinite(out.sum()):
                wrong += int((~torch.isfinite(out).all(dim=1)).sum())
            done += len(projected)
            bar.update(len(projected))
    if done < count:
        raise ValueError(f"the model has {done} gradients for {count} samples: give it as many")
    if wrong:
        raise ValueError(
            f"{wrong} gradients are not finite: check the observations, the actions and the policy"
        )
    return features.numpy()
