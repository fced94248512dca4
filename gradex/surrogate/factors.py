"""First-order interactions of tasks by their factors: F Fᵀ = gᵢᵀ (H + λI)⁻¹ gⱼ, see `interactions`."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.linalg import solve_triangular

from gradex.surrogate.samples import Block

#: Tasks whose advantages are taken together.
_TASKS = 256


def first_order_factors(
    features: Float[np.ndarray, "N d"],
    blocks: Sequence[Block],
    hessian: Float[np.ndarray, "d d"],
    regularization: float,
) -> Float[np.ndarray, "n r"]:
    """Give (H + λI)^(-½) gᵢ of each task, in as few coordinates as hold them up to rounding."""
    gradients = np.empty((sum(len(block.tasks) for block in blocks), features.shape[1]))
    for block in blocks:
        own = features[block.rows].astype(np.float64)
        for start in range(0, len(block.tasks), _TASKS):
            chosen = slice(start, start + _TASKS)
            gradients[block.tasks[chosen]] = block.pulls(chosen) @ own / len(own)
    factor = np.linalg.cholesky(hessian + regularization * np.eye(len(hessian)))
    whitened = solve_triangular(factor, gradients.T, lower=True).T
    left, lengths, _ = np.linalg.svd(whitened, full_matrices=False)
    rounding = lengths[0] * max(whitened.shape) * np.finfo(features.dtype).eps
    rank = max(1, int((lengths > rounding).sum()))
    return left[:, :rank] * lengths[:rank]
