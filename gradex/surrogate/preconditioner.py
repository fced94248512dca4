"""Curvature that subsets of tasks share: a preconditioner for all their logistic regressions.

At θ = 0 the Hessian of a subset's loss is a mean over its tasks of |Â| σ'(z₀) g̃g̃ᵀ; without offsets z₀ it also
bounds the Hessian everywhere, as σ' = σ(1 - σ) ≤ ¼ (Böhning and Lindsay 1988). Factoring it for each subset
would cost d³ a subset.
But policy gradients have few large eigenvalues, and a direction in which all tasks together have little
curvature has little for each subset too. So subsets get a curvature of their own in the leading eigenvectors
of all tasks' Hessian, where they differ and where it matters, and share the eigenvalues of the others.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

#: Leading eigenvectors in which each subset has a curvature of its own.
_OWN = 64
#: Samples that are taken to float64 together.
_SAMPLES = 8192


@dataclass(frozen=True)
class Preconditioner:
    """The inverse of a subset's approximate Hessian, for m subsets.

    Its own part is the leading eigenvectors of all tasks' Hessian, with the inverse Cholesky factors of the
    subsets' Hessians in them; the shared part is the other eigenvectors, with their eigenvalues and λ.
    """

    own: Float[Tensor, "d r"]
    shared: Float[Tensor, "d s"]
    whitening: Float[Tensor, "m r r"]
    curvature: Float[Tensor, " s"]

    def only(self, chosen: Bool[Tensor, " m"]) -> "Preconditioner":
        """Give the preconditioner of some of the subsets."""
        return replace(self, whitening=self.whitening[chosen])

    def __call__(self, gradient: Float[Tensor, "m folds d"]) -> Float[Tensor, "m folds d"]:
        """Apply it; it needs no more than single precision."""
        single = gradient.to(self.own.dtype)
        own = single @ self.own @ self.whitening.mT @ self.whitening @ self.own.T
        return (own + single @ self.shared / self.curvature @ self.shared.T).to(gradient.dtype)


class SharedCurvature:
    """Hessians of blocks of samples at θ = 0, summed up for the preconditioners of any subsets of tasks.

    Parameters
    ----------
    features : Tensor [blocks, longest, d]
        g̃, block by block.
    weights : float64 Tensor [blocks, longest]
        |Â| σ'(z₀), the mean over the tasks of the block; 0 where a block has fewer samples.
    served, sizes : float64 Tensors [blocks]
        Numbers of tasks and samples of each block.
    """

    def __init__(
        self,
        features: Float[Tensor, "blocks longest d"],
        weights: Float[Tensor, "blocks longest"],
        served: Float[Tensor, " blocks"],
        sizes: Float[Tensor, " blocks"],
    ) -> None:
        self._sizes = sizes
        # In float64, as rounding would cost positive definiteness where λ is small.
        self.hessian = torch.zeros(features.shape[-1], features.shape[-1], dtype=torch.float64)
        total = (served[:, None] * weights).unsqueeze(-1)
        pieces = (samples.flatten(0, 1).split(_SAMPLES) for samples in (features, total))
        for rows, weight in zip(*pieces, strict=True):
            self.hessian.addmm_(rows.double().T, rows * weight)
        self.hessian /= served @ sizes
        eigenvalues, vectors = torch.linalg.eigh(self.hessian)
        self._others, self._own = vectors.split([max(len(vectors) - _OWN, 0), min(len(vectors), _OWN)], dim=1)
        self._eigenvalues = eigenvalues[: self._others.shape[1]].clamp(min=0)
        coordinates = (rows @ self._own.to(rows) for rows in features)
        self._blocks = torch.stack(
            [x.double().T @ (x * weight[:, None]) for x, weight in zip(coordinates, weights, strict=True)]
        )

    def preconditioner(self, shares: Int[Tensor, "m blocks"], regularization: float) -> Preconditioner:
        """Prepare m subsets, which have so many tasks in each block; folds hardly differ and share one."""
        subset, place = torch.nonzero(shares, as_tuple=True)
        # A "bag" is a sum of rows: the cost is that of the blocks of a subset, not of all.
        starts, weights = torch.searchsorted(subset, torch.arange(len(shares))), shares.double()
        hessians, times = self._blocks.flatten(1), weights[subset, place]
        block = F.embedding_bag(place, hessians, starts, mode="sum", per_sample_weights=times)
        block = (block / (weights @ self._sizes)[:, None]).unflatten(1, self._blocks.shape[1:])
        block.diagonal(dim1=1, dim2=2).add_(regularization)
        factors, failed = torch.linalg.cholesky_ex(block)
        shared = self._eigenvalues + regularization
        pivots = torch.cat([factors.diagonal(dim1=1, dim2=2).square().flatten(), shared])
        if failed.any() or pivots.min() < torch.finfo(pivots.dtype).eps * pivots.max():
            raise ValueError(f"regularization {regularization} is lost in rounding: choose a larger one")
        # Products with an inverse run on the whole batch, where triangular solves would go one by one.
        identity = torch.eye(factors.shape[1], dtype=torch.float64)
        whitening = torch.linalg.solve_triangular(factors, identity, upper=False)
        parts = (self._own, self._others, whitening, shared)
        return Preconditioner(*(part.float() for part in parts))
