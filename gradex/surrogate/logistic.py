"""Weighted logistic regressions on all subsets of tasks at once (PolicyGradEx, Sec. 3.1, Eq. (3) and (4)).

Subset S has the objective

    L_S(θ) = mean over the samples of the tasks in S of w log(1 + exp(-z)) + λ/2 |θ|²,   z = y g̃·θ,

and subsets share their samples. At θ = 0 the Hessian of a subset is a sum over its tasks of ¼ Σ w g̃g̃ᵀ, one
matrix per task for all subsets; it also bounds the Hessian everywhere, as σ(1 - σ) ≤ ¼ (Böhning and Lindsay
1988). Its Cholesky factor preconditions a nonlinear conjugate gradient method (Polak and Ribière 1969) whose
steps need no line search. All subsets move together, so that the work is one matrix product per task: of its
samples with the directions of all subsets that contain it.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from tqdm.auto import tqdm

#: A coarser tolerance is reached in float32; a finer one lies below the rounding of its sums.
_SINGLE_PRECISION = 1e-5
#: Bytes that a chunk of subsets may take.
_CHUNK = 2**28


@dataclass(frozen=True)
class Solution:
    """Minimisers for m subsets, each with its statistics.

    Where every subset was fitted once per fold, the arrays have an axis over folds after the first.

    Attributes
    ----------
    theta : array [m, d]
        θ̂.
    status : array of str [m]
        "converged" or "iteration limit".
    kkt_residual : array [m]
        |∇L_S(θ̂)| / |∇L_S(0)|.
    iterations : int array [m]
    """

    theta: Float[np.ndarray, "m *folds d"]
    status: np.ndarray
    kkt_residual: Float[np.ndarray, "m *folds"]
    iterations: Int[np.ndarray, "m *folds"]


class SubsetLogisticRegression:
    """The samples of n tasks, to be fitted on any subsets of these tasks.

    Parameters
    ----------
    features : float array [N, d]
        g̃.
    labels, weights : float array [N]
        y in {-1, +1} and w ≥ 0.
    tasks : int array [N]
        Every task from 0 to n - 1 occurs.
    regularization : float
        λ > 0.

    Raises
    ------
    ValueError
        From `solve`, if λ is so small that the Hessian is singular in float64.
    """

    def __init__(
        self,
        features: Float[np.ndarray, "N d"],
        labels: Float[np.ndarray, " N"],
        weights: Float[np.ndarray, " N"],
        tasks: Int[np.ndarray, " N"],
        regularization: float,
    ) -> None:
        self.regularization = regularization
        # Tasks lie side by side, padded to the longest with samples of weight 0.
        sizes = np.bincount(tasks)
        order = np.argsort(tasks, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(tasks)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        self._place = (torch.from_numpy(tasks), torch.from_numpy(place))
        self._signed = self._pad(torch.from_numpy(features * labels[:, None].astype(features.dtype)))
        self._weights = self._pad(torch.from_numpy(weights.astype(np.float64)))
        self._sizes = torch.from_numpy(sizes).double()
        self._bounds = torch.stack(
            [self._bound(*task) for task in zip(self._signed, self._weights, strict=True)]
        )

    def _pad(self, samples: Shaped[Tensor, "N *rest"]) -> Shaped[Tensor, "n longest *rest"]:
        task, place = self._place
        padded = samples.new_zeros(int(task.max()) + 1, int(place.max()) + 1, *samples.shape[1:])
        padded[task, place] = samples
        return padded

    @staticmethod
    def _bound(signed: Float[Tensor, "N d"], weights: Float[Tensor, " N"]) -> Float[Tensor, "d d"]:
        """¼ Σ w g̃g̃ᵀ; in float64, as rounding would cost positive definiteness where λ is small."""
        return 0.25 * signed.double().T @ (signed * weights[:, None])

    def _whitening(self, members: Bool[Tensor, "m n"]) -> Float[Tensor, "m d d"]:
        """Invert Cholesky factors of subsets' bounds on their Hessians; folds hardly differ and share one."""
        subset, task = torch.nonzero(members, as_tuple=True)
        # A "bag" is a sum of rows: the cost is that of the members, not of all tasks.
        starts = torch.searchsorted(subset, torch.arange(len(members)))
        bound = F.embedding_bag(task, self._bounds.flatten(1), starts, mode="sum")
        bound = (bound / (members.double() @ self._sizes)[:, None]).unflatten(1, self._bounds.shape[1:])
        bound.diagonal(dim1=1, dim2=2).add_(self.regularization)
        factors, failed = torch.linalg.cholesky_ex(bound)
        if failed.any():
            raise ValueError(f"regularization {self.regularization} is lost in rounding: choose a larger one")
        # A preconditioner needs no more than single precision; and products with an inverse run on the whole
        # batch at once, where triangular solves would go subset by subset.
        return torch.linalg.solve_triangular(factors.float(), torch.eye(factors.shape[1]), upper=False)

    def solve(
        self,
        members: Bool[np.ndarray, "m n"],
        fitted: Bool[np.ndarray, "folds N"],
        tolerance: float,
        max_iterations: int = 1000,
    ) -> Solution:
        """Minimise L_S for every subset and fold.

        Parameters
        ----------
        members : bool array [m, n]
            Tasks of each subset.
        fitted : bool array [folds, N]
            Samples that count in each fold; a single row of True fits everything.
        tolerance : float
            On the KKT residual.
        max_iterations : int

        Returns
        -------
        Solution
            With an axis over folds.
        """
        dtype = torch.float32 if tolerance >= _SINGLE_PRECISION else torch.float64
        inside = self._pad(torch.from_numpy(fitted.T)).mT
        weights = (self._weights.unsqueeze(1) * inside).to(dtype)
        counts = inside.sum(dim=-1).double()
        features = self._signed.to(dtype)
        most = int(members.sum(axis=1).max())
        bytes_per_subset = dtype.itemsize * 6 * most * weights[0].numel() + 16 * self._bounds[0].numel()
        pieces = []
        chunks = torch.from_numpy(members).split(max(1, _CHUNK // bytes_per_subset))
        for chunk in tqdm(chunks, desc="fitting subsets", delay=2, leave=False):
            total = (chunk.double() @ counts).to(dtype)
            objective = _Objective(features, weights, total, chunk, self.regularization)
            pieces.append(_minimise(objective, self._whitening(chunk), tolerance, max_iterations))
        theta, residual, iterations = (torch.cat(parts).numpy() for parts in zip(*pieces, strict=True))
        status = np.where(residual <= tolerance, "converged", "iteration limit")
        return Solution(theta.astype(np.float64), status, residual.astype(np.float64), iterations)


class _Objective:
    """L_S for a chunk of subsets and all folds, at margins that are kept beside θ.

    Margins z are linear in θ: one product gives their change along a direction, and another the gradient.
    They are arranged by pairs of a task and a subset that contains it, task by task.
    """

    def __init__(
        self,
        features: Float[Tensor, "n N d"],
        weights: Float[Tensor, "n folds N"],
        counts: Float[Tensor, "m folds"],
        members: Bool[Tensor, "m n"],
        regularization: float,
    ) -> None:
        self.shape, self.dtype = (*counts.shape, features.shape[-1]), features.dtype
        self._features = features
        self._counts = counts
        self._regularization = regularization
        self._task, self.subset = torch.nonzero(members.T, as_tuple=True)
        self._weights = weights[self._task]
        self._pairs = torch.bincount(self._task, minlength=len(features)).tolist()

    def margins(self, theta: Float[Tensor, "m folds d"]) -> Float[Tensor, "pairs folds N"]:
        """Give z of each task's samples under each subset that contains it."""
        each = zip(theta[self.subset].split(self._pairs), self._features, strict=True)
        return torch.cat([rows @ features.T for rows, features in each])

    def gradient(
        self, theta: Float[Tensor, "m folds d"], misfit: Float[Tensor, "pairs folds N"]
    ) -> Float[Tensor, "m folds d"]:
        """∇L_S = λθ - mean of w σ(-z) y g̃, from the misfits σ(-z)."""
        each = zip((misfit * self._weights).split(self._pairs), self._features, strict=True)
        pulls = torch.cat([rows @ features for rows, features in each])
        total = torch.zeros_like(theta).index_add_(0, self.subset, pulls)
        return self._regularization * theta - total / self._counts.unsqueeze(-1)

    def step(
        self,
        slope: Float[Tensor, "m folds"],
        direction: Float[Tensor, "m folds d"],
        change: Float[Tensor, "pairs folds N"],
        misfit: Float[Tensor, "pairs folds N"],
    ) -> Float[Tensor, "m folds"]:
        """Choose how far to go along a direction of descent; the objective surely decreases.

        With φ the objective along the direction and c the largest change of a margin, both
        φ''(t) ≤ φ''(0) exp(c t) (Bach 2010, Electron. J. Statist. 4, Lemma 1) and φ''(t) ≤ the curvature at
        margins 0 bound φ' from above. Each gives a t at which φ' is still not positive; the longer one is
        taken. Near the minimum it is Newton's.
        """
        square = change.square().mul_(self._weights)
        bound = torch.zeros_like(slope).index_add_(0, self.subset, square.sum(dim=-1))
        square.mul_(misfit).mul_(1 - misfit)
        curvature = torch.zeros_like(slope).index_add_(0, self.subset, square.sum(dim=-1))
        largest = slope.new_zeros(len(self._features), *slope.shape)
        largest[self._task, self.subset] = change.abs().amax(dim=-1)
        ridge = self._regularization * direction.square().sum(dim=-1)
        tiny = torch.finfo(slope.dtype).tiny
        curvature = (curvature / self._counts + ridge).clamp(min=tiny)
        bound = (0.25 * bound / self._counts + ridge).clamp(min=tiny)
        steepest = largest.amax(dim=0).clamp(min=tiny)
        return torch.maximum(-slope / bound, torch.log1p(-slope * steepest / curvature) / steepest)


def _minimise(
    objective: _Objective, whitening: Float[Tensor, "m d d"], tolerance: float, max_iterations: int
) -> tuple[Float[Tensor, "m folds d"], Float[Tensor, "m folds"], Int[Tensor, "m folds"]]:
    """Preconditioned nonlinear conjugate gradients; gives θ, KKT residuals, iterations."""
    theta = whitening.new_zeros(objective.shape, dtype=objective.dtype)
    margins = objective.margins(theta)
    misfit = torch.sigmoid(-margins)
    gradient = objective.gradient(theta, misfit)
    start = torch.linalg.vector_norm(gradient, dim=-1)
    residual = (start > 0).to(theta.dtype)
    iterations = torch.zeros_like(start, dtype=torch.int64)
    natural = _precondition(whitening, gradient)
    direction = -natural
    for _ in range(max_iterations):
        moving = residual > tolerance
        if not moving.any():
            break
        iterations += moving
        change = objective.margins(direction)
        slope = torch.linalg.vecdot(gradient, direction)
        t = torch.where(moving, objective.step(slope, direction, change, misfit), 0).unsqueeze(-1)
        theta += t * direction
        margins.addcmul_(t[objective.subset], change)
        torch.sigmoid(-margins, out=misfit)
        previous, before = gradient, torch.linalg.vecdot(gradient, natural)
        gradient = objective.gradient(theta, misfit)
        residual = torch.where(start > 0, torch.linalg.vector_norm(gradient, dim=-1) / start, 0)
        natural = _precondition(whitening, gradient)
        conjugate = torch.linalg.vecdot(gradient - previous, natural) / before.clamp(
            min=torch.finfo(theta.dtype).tiny
        )
        direction = conjugate.clamp(min=0).unsqueeze(-1) * direction - natural
        uphill = torch.linalg.vecdot(gradient, direction) >= 0
        direction = torch.where(uphill.unsqueeze(-1), -natural, direction)
    return theta, residual, iterations


def _precondition(
    whitening: Float[Tensor, "m d d"], gradient: Float[Tensor, "m folds d"]
) -> Float[Tensor, "m folds d"]:
    return (gradient.to(whitening.dtype) @ whitening.mT @ whitening).to(gradient.dtype)
