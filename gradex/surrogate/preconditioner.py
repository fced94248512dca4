"""Curvature that subsets of tasks share: a preconditioner for all their logistic regressions.

At θ = 0 the Hessian of a subset's loss is a mean over its tasks of ¼ w g̃g̃ᵀ; it also bounds the Hessian
everywhere, as σ(1 - σ) ≤ ¼ (Böhning and Lindsay 1988). Factoring it for each subset would cost d³ a subset.
But policy gradients have few large eigenvalues, and a direction in which all tasks together have little
curvature has little for each subset too. So subsets get a curvature of their own in the leading eigenvectors
of all tasks' Hessian, where they differ and where it matters, and share the eigenvalues of the others.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

#: Leading eigenvectors in which each subset has a curvature of its own.
_OWN = 64
#: Samples that are taken to float64 together.
_SAMPLES = 8192


@dataclass(frozen=True)
class Preconditioner:
    """The inverse of a subset's approximate Hessian, for m subsets.

    Attributes
    ----------
    own, shared : Tensors [d, r] and [d, d - r]
        Leading eigenvectors of all tasks' Hessian, and the others.
    whitening : Tensor [m, r, r]
        Inverse Cholesky factors of the subsets' Hessians in the leading eigenvectors.
    curvature : Tensor [d - r]
        Eigenvalues of the others, with λ.
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
    """Hessians of n tasks at θ = 0, summed up for the preconditioners of any subsets.

    Parameters
    ----------
    signed : Tensor [n, longest, d]
        y g̃, task by task.
    weights : float64 Tensor [n, longest]
        w, 0 where a task has fewer samples.
    sizes : float64 Tensor [n]
        Samples of each task.

    Attributes
    ----------
    hessian : Tensor [d, d]
        ¼ w g̃g̃ᵀ, the mean over all samples.
    """

    def __init__(
        self,
        signed: Float[Tensor, "n longest d"],
        weights: Float[Tensor, "n longest"],
        sizes: Float[Tensor, " n"],
    ) -> None:
        self._sizes = sizes
        # In float64, as rounding would cost positive definiteness where λ is small.
        self.hessian = torch.zeros(signed.shape[-1], signed.shape[-1], dtype=torch.float64)
        pieces = (samples.flatten(0, 1).split(_SAMPLES) for samples in (signed, weights.unsqueeze(-1)))
        for features, weight in zip(*pieces, strict=True):
            self.hessian.addmm_(features.double().T, features * weight, alpha=0.25)
        self.hessian /= sizes.sum()
        eigenvalues, vectors = torch.linalg.eigh(self.hessian)
        self._others, self._own = vectors.split([max(len(vectors) - _OWN, 0), min(len(vectors), _OWN)], dim=1)
        self._eigenvalues = eigenvalues[: self._others.shape[1]].clamp(min=0)
        coordinates = (features @ self._own.to(features) for features in signed)
        self._blocks = torch.stack(
            [
                0.25 * x.double().T @ (x * weight[:, None])
                for x, weight in zip(coordinates, weights, strict=True)
            ]
        )

    def preconditioner(self, members: Bool[Tensor, "m n"], regularization: float) -> Preconditioner:
        """Prepare m subsets; folds hardly differ and share one.

        Raises
        ------
        ValueError
            If λ is so small that a Hessian is singular in float64.
        """
        subset, task = torch.nonzero(members, as_tuple=True)
        # A "bag" is a sum of rows: the cost is that of the members, not of all tasks.
        starts = torch.searchsorted(subset, torch.arange(len(members)))
        block = F.embedding_bag(task, self._blocks.flatten(1), starts, mode="sum")
        block = (block / (members.double() @ self._sizes)[:, None]).unflatten(1, self._blocks.shape[1:])
        block.diagonal(dim1=1, dim2=2).add_(regularization)
        factors, failed = torch.linalg.cholesky_ex(block)
        shared = self._eigenvalues + regularization
        pivots = torch.cat([factors.diagonal(dim1=1, dim2=2).square().flatten(), shared])
        if failed.any() or pivots.min() < torch.finfo(pivots.dtype).eps * pivots.max():
            raise ValueError(f"regularization {regularization} is lost in rounding: choose a larger one")
        # Products with an inverse run on the whole batch at once, where triangular solves would go subset by
        # subset.
        identity = torch.eye(factors.shape[1], dtype=torch.float64)
        whitening = torch.linalg.solve_triangular(factors, identity, upper=False)
        parts = (self._own, self._others, whitening, shared)
        return Preconditioner(*(part.float() for part in parts))
