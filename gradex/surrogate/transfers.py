"""What tasks gain by each other's fits: n fits of single tasks tell all n x n transfers (Algorithm 1)."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from gradex.surrogate.samples import Block
from gradex.surrogate.scores import Score, divergence_factors
from gradex.threads import one_thread, threads_for

#: Bytes that samples under way may take, at some ten numbers for a fit and a sample.
_CHUNK, _NUMBERS = 2**28, 10


def transfer_matrix(
    score: Score,
    theta: Float[np.ndarray, "n folds d"],
    features: Float[np.ndarray, "N d"],
    blocks: Sequence[Block],
    folds: Int[np.ndarray, " N"],
) -> Float[np.ndarray, "n n"]:
    """Give the mean score of the samples of task i under the fit of task j, less that of no step.

    `theta` are the fits of each task alone, and samples as for `score_subsets`. The divergence of the score,
    if it has one, is that over the samples of the task that was fitted.
    """
    n = len(theta)
    steps = torch.from_numpy(theta.astype(features.dtype))
    if score.divergence is not None:
        own = (np.eye(n, dtype=bool), theta, features, blocks, folds)
        with one_thread():
            steps *= divergence_factors(score.divergence, *own).to(steps.dtype).unsqueeze(-1)
    gains, length = np.zeros((n, n)), max(1, _CHUNK // (8 * _NUMBERS * n))
    for block in blocks:
        for fold in range(steps.shape[1]):
            held = np.flatnonzero(folds[block.rows] == fold)
            for start in range(0, len(held), length):
                rows = held[start : start + length]
                offsets = torch.from_numpy(block.offsets[rows])
                with threads_for(n * len(rows)):
                    change = steps[:, fold] @ torch.from_numpy(features[block.rows[rows]]).T
                    favour, against = score.per_sample(change.double(), offsets)
                    at_rest = score.per_sample(torch.zeros_like(offsets), offsets)
                    favour, against = favour - at_rest[0], against - at_rest[1]
                advantages = block.advantages[:, rows]
                gains[block.tasks] += advantages.clip(min=0) @ favour.numpy().T
                gains[block.tasks] -= advantages.clip(max=0) @ against.numpy().T
        gains[block.tasks] /= len(block.rows)
    return gains
