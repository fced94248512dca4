"""The loss of every subset of tasks, its slopes, and its curvature (PolicyGradEx, Sec. 3.1, Eq. (3) and (4)).

Factoring the Hessian of each subset at θ = 0, the mean of |Â| σ'(z₀) g̃g̃ᵀ, would cost d³ a subset. But policy
gradients have few large eigenvalues, and a direction in which all tasks together have little curvature has
little for each subset too. So subsets get a curvature of their own in the leading eigenvectors of all tasks'
Hessian, and share the eigenvalues of the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

#: Leading eigenvectors in which each subset has a curvature of its own.
_OWN = 64
#: Samples that are taken to float64 together.
_SAMPLES = 8192


@dataclass(frozen=True, eq=False)
class BlockSamples:
    """Samples by block, padded; with the tasks that each block serves, Â⁺ and |Â|."""

    tasks: Sequence[Int[Tensor, " n_b"]]
    features: Float[Tensor, "blocks N d"]
    offsets: Float[Tensor, "blocks N"]
    favours: Sequence[Float[Tensor, "n_b N"]]
    weights: Sequence[Float[Tensor, "n_b N"]]

    def counted(self, times: Float[Tensor, "blocks folds N"], dtype: torch.dtype) -> "CountedSamples":
        """Prepare for a precision, with how often each sample counts in each fold."""
        features, offsets, counts = (each.to(dtype) for each in (self.features, self.offsets, times))
        favours, weights = ([each.to(dtype) for each in own] for own in (self.favours, self.weights))
        slopes = features.new_zeros(sum(map(len, self.tasks)), times.shape[1], features.shape[-1])
        blocks = zip(self.tasks, features, offsets, counts, favours, weights, strict=True)
        for tasks, rows, offset, count, favour, weight in blocks:
            pull = torch.addcmul(-favour, weight, torch.sigmoid(offset))
            for fold, each in enumerate(count):
                slopes[tasks, fold] = (pull * each) @ rows
        return CountedSamples(self.tasks, features, offsets, favours, weights, counts, slopes)


@dataclass(frozen=True, eq=False)
class CountedSamples(BlockSamples):
    """Samples that count in some folds; the slopes are the sums of each task's gradients at θ = 0."""

    counts: Float[Tensor, "blocks folds N"]
    slopes: Float[Tensor, "n folds d"]


class SubsetObjective:
    """L_S for a chunk of subsets and all folds, at margins that are kept beside θ.

    Margins z are linear in θ: one product gives their change along a direction, and another the gradient.
    They are arranged by pairs of a block and a subset that it serves, block by block.
    """

    def __init__(
        self,
        samples: CountedSamples,
        sizes: Float[Tensor, "m folds"],
        members: Bool[Tensor, "m n"],
        regularization: float,
    ) -> None:
        self._samples, self._sizes, self._members = samples, sizes, members
        self._regularization = regularization
        self.dtype = samples.features.dtype
        inside = [members[:, tasks] for tasks in samples.tasks]
        subsets = [torch.nonzero(each.any(dim=1)).squeeze(1) for each in inside]
        self.subset = torch.cat(subsets)
        self._pairs = [len(each) for each in subsets]
        self._block = torch.cat([torch.full_like(each, block) for block, each in enumerate(subsets)])
        counts = samples.counts[self._block]

        def summed(numbers: Sequence[Float[Tensor, "n_b N"]]) -> Float[Tensor, "pairs folds N"]:
            """Sum over the tasks that subset and block share."""
            each = zip(inside, subsets, numbers, strict=True)
            return counts * torch.cat([own[rows].to(of) @ of for own, rows, of in each]).unsqueeze(1)

        self._favour, self._weight = summed(samples.favours), summed(samples.weights)
        #: ∇L_S(0)
        self.slope_at_zero = torch.tensordot(members.to(self.dtype), samples.slopes, dims=1)
        self.slope_at_zero /= sizes.unsqueeze(-1)

    def only(self, chosen: Bool[Tensor, " m"]) -> "SubsetObjective":
        """Give the objective of some of the subsets."""
        return SubsetObjective(
            self._samples, self._sizes[chosen], self._members[chosen], self._regularization
        )

    def margins_at_zero(self) -> Float[Tensor, "pairs folds N"]:
        """Give z at θ = 0."""
        return self._samples.offsets[self._block].unsqueeze(1).repeat(1, self._sizes.shape[1], 1)

    def change(self, theta: Float[Tensor, "m folds d"]) -> Float[Tensor, "pairs folds N"]:
        """Give g̃·θ of each block's samples under each subset that it serves."""
        each = zip(theta[self.subset].split(self._pairs), self._samples.features, strict=True)
        return torch.cat([rows @ features.T for rows, features in each])

    def gradient(
        self, theta: Float[Tensor, "m folds d"], chance: Float[Tensor, "pairs folds N"]
    ) -> Float[Tensor, "m folds d"]:
        """∇L_S = λθ + mean of (|Â| σ(z) - Â⁺) g̃, from the chances σ(z)."""
        pulls = torch.addcmul(-self._favour, self._weight, chance)
        each = zip(pulls.split(self._pairs), self._samples.features, strict=True)
        # Pairs and folds together, as else it would be one small product per pair.
        pulled = torch.cat([rows.flatten(0, 1) @ features for rows, features in each])
        pulled = pulled.view(-1, *theta.shape[1:])
        total = torch.zeros_like(theta).index_add_(0, self.subset, pulled)
        return self._regularization * theta + total / self._sizes.unsqueeze(-1)

    def step(
        self,
        slope: Float[Tensor, "m folds"],
        direction: Float[Tensor, "m folds d"],
        change: Float[Tensor, "pairs folds N"],
        chance: Float[Tensor, "pairs folds N"],
    ) -> Float[Tensor, "m folds"]:
        """Choose how far to go along a direction of descent; the objective surely decreases.

        With φ the objective along the direction and c the largest change of a margin, both
        φ''(t) ≤ φ''(0) exp(c t) (Bach 2010, Electron. J. Statist. 4, Lemma 1) and φ''(t) ≤ the curvature at
        margins 0, where σ' = ¼ (Böhning and Lindsay 1988), bound φ' from above. Each gives a t at which φ' is
        still not positive; the longer one is taken. Near the minimum it is Newton's.
        """
        square = change.square().mul_(self._weight)
        bound = torch.zeros_like(slope).index_add_(0, self.subset, square.sum(dim=-1))
        square = torch.linalg.vecdot(square, torch.addcmul(chance, chance, chance, value=-1))
        curvature = torch.zeros_like(slope).index_add_(0, self.subset, square)
        largest = slope.new_zeros(len(self._pairs), *slope.shape)
        largest[self._block, self.subset] = torch.linalg.vector_norm(change, float("inf"), dim=-1)
        ridge = self._regularization * direction.square().sum(dim=-1)
        tiny = torch.finfo(slope.dtype).tiny
        curvature = (curvature / self._sizes + ridge).clamp(min=tiny)
        bound = (0.25 * bound / self._sizes + ridge).clamp(min=tiny)
        steepest = largest.amax(dim=0).clamp(min=tiny)
        return torch.maximum(-slope / bound, torch.log1p(-slope * steepest / curvature) / steepest)


@dataclass(frozen=True, eq=False)
class Preconditioner:
    """The inverses of m subsets' approximate Hessians.

    `own` are the leading eigenvectors of all tasks' Hessian, with the inverse Cholesky factors of the
    subsets' Hessians in them; `shared` are the others, with their eigenvalues and λ.
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

    `weights` are |Â| σ'(z₀), the mean over the tasks of the block, and 0 where a block has fewer samples than
    the longest; `served` and `sizes` are its numbers of tasks and samples. All three are float64.
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
        self.hessian = features.new_zeros(features.shape[-1], features.shape[-1], dtype=torch.float64)
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
        weights, numbers = shares.double(), torch.arange(len(shares), device=shares.device)
        starts = torch.searchsorted(subset, numbers)
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
        identity = torch.eye(factors.shape[1], dtype=torch.float64, device=factors.device)
        whitening = torch.linalg.solve_triangular(factors, identity, upper=False)
        parts = (self._own, self._others, whitening, shared)
        return Preconditioner(*(part.float() for part in parts))
