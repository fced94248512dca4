"""Weighted logistic regressions on all subsets of tasks at once (PolicyGradEx, Sec. 3.1, Eq. (3) and (4)).

Subset S has the objective

    L_S(θ) = mean over the samples of the tasks in S of w log(1 + exp(-z)) + λ/2 |θ|²,   z = y g̃·θ,

and subsets share their samples. At θ = 0 the Hessian of a subset is a sum over its tasks of ¼ Σ w g̃g̃ᵀ, one
matrix per task for all subsets; it also bounds the Hessian everywhere, as σ(1 - σ) ≤ ¼ (Böhning and Lindsay
1988). Its Cholesky factor preconditions a nonlinear conjugate gradient method (Polak and Ribière 1969) whose
steps need no line search. All subsets move together, so that the work is one matrix product per task: of its
samples with the directions of all subsets that contain it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm.auto import tqdm

#: A coarser tolerance is reached in float32; a finer one lies below the rounding of its sums.
_SINGLE_PRECISION = 1e-5
#: Bytes that a chunk of subsets may take.
_CHUNK = 2**27


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
        self._rows = [np.flatnonzero(tasks == task) for task in range(int(tasks.max()) + 1)]
        signed = torch.from_numpy(features) * torch.from_numpy(labels[:, None].astype(features.dtype))
        self._signed = [signed[torch.from_numpy(rows)] for rows in self._rows]
        self._weights = torch.from_numpy(weights).double()
        # In float64: where λ is small, rounding would otherwise cost a matrix its positive definiteness.
        self._bounds = torch.stack([self._bound(task) for task in range(len(self._rows))])

    def _bound(self, task: int) -> Float[Tensor, "d d"]:
        """¼ Σ w g̃g̃ᵀ over the samples of a task."""
        signed = self._signed[task].double()
        return 0.25 * signed.T @ (signed * self._weights[self._rows[task], None])

    def _factors(self, members: Bool[Tensor, "m n"], sizes: Float[Tensor, " m"]) -> Float[Tensor, "m d d"]:
        """Cholesky factors of each subset's bound on its Hessian; folds hardly differ and share one."""
        subset, task = torch.nonzero(members, as_tuple=True)
        # A "bag" is a sum of rows: the cost is that of the members, not of all tasks.
        starts = torch.searchsorted(subset, torch.arange(len(members)))
        bound = F.embedding_bag(task, self._bounds.flatten(1), starts, mode="sum") / sizes[:, None]
        bound = bound.unflatten(1, self._bounds.shape[1:])
        bound.diagonal(dim1=1, dim2=2).add_(self.regularization)
        factors, failed = torch.linalg.cholesky_ex(bound)
        if failed.any():
            raise ValueError(f"regularization {self.regularization} is lost in rounding: choose a larger one")
        return factors

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
        mask = torch.from_numpy(fitted)
        features = [signed.to(dtype) for signed in self._signed]
        weights = [(self._weights * mask)[:, rows].to(dtype) for rows in self._rows]
        counts = torch.stack([mask[:, rows].sum(dim=1) for rows in self._rows]).double()
        sizes = torch.tensor([len(rows) for rows in self._rows]).double()
        d = self._bounds.shape[-1]
        each = 8 * (len(mask) * members.sum(axis=1).max() * float(sizes.mean()) * 4 + 2 * d**2)
        pieces = []
        chunks = torch.from_numpy(members).split(max(1, int(_CHUNK / each)))
        for chunk in tqdm(chunks, desc="fitting subsets", delay=2, leave=False):
            inside = chunk.double()
            factors = self._factors(chunk, inside @ sizes).to(dtype)
            objective = _Objective(features, weights, (inside @ counts).to(dtype), chunk, self.regularization)
            pieces.append(_minimise(objective, factors, tolerance, max_iterations))
        theta, residual, iterations = (torch.cat(parts).numpy() for parts in zip(*pieces, strict=True))
        status = np.where(residual <= tolerance, "converged", "iteration limit")
        return Solution(theta.astype(np.float64), status, residual.astype(np.float64), iterations)


class _Objective:
    """L_S for a chunk of subsets and all folds, at margins that are kept beside θ.

    Margins z are linear in θ: one product gives their change along a direction, and another the gradient.
    """

    def __init__(
        self,
        features: Sequence[Float[Tensor, "_ d"]],
        weights: Sequence[Float[Tensor, "folds _"]],
        counts: Float[Tensor, "m folds"],
        members: Bool[Tensor, "m n"],
        regularization: float,
    ) -> None:
        self.shape = (*counts.shape, features[0].shape[1])
        self._counts = counts
        self._regularization = regularization
        each = zip(features, weights, (torch.nonzero(inside).squeeze(1) for inside in members.T), strict=True)
        self._tasks = [(features, weights, rows) for features, weights, rows in each if len(rows)]
        #: For each task that occurs, the subsets that contain it.
        self.rows = [rows for _, _, rows in self._tasks]

    def margins(self, theta: Float[Tensor, "m folds d"]) -> list[Float[Tensor, "_ folds _"]]:
        """Give z of each task's samples under each subset that contains it."""
        return [theta[rows] @ features.T for features, _, rows in self._tasks]

    def gradient(
        self, theta: Float[Tensor, "m folds d"], misfits: Sequence[Float[Tensor, "_ folds _"]]
    ) -> Float[Tensor, "m folds d"]:
        """∇L_S = λθ - mean of w σ(-z) y g̃, from the misfits σ(-z)."""
        total = torch.zeros_like(theta)
        for (features, weights, rows), misfit in zip(self._tasks, misfits, strict=True):
            total.index_add_(0, rows, (misfit * weights) @ features)
        return self._regularization * theta - total / self._counts.unsqueeze(-1)

    def step(
        self,
        slope: Float[Tensor, "m folds"],
        direction: Float[Tensor, "m folds d"],
        changes: Sequence[Float[Tensor, "_ folds _"]],
        misfits: Sequence[Float[Tensor, "_ folds _"]],
    ) -> Float[Tensor, "m folds"]:
        """Choose how far to go along a direction of descent; the objective surely decreases.

        With φ the objective along the direction and c the largest change of a margin, both
        φ''(t) ≤ φ''(0) exp(c t) (Bach 2010, Electron. J. Statist. 4, Lemma 1) and φ''(t) ≤ the curvature at
        margins 0 bound φ' from above. Each gives a t at which φ' is still not positive; the longer one is
        taken. Near the minimum it is Newton's.
        """
        curvature, bound, largest = (torch.zeros_like(slope) for _ in range(3))
        for (_, weights, rows), change, misfit in zip(self._tasks, changes, misfits, strict=True):
            square = change.square().mul_(weights)
            bound.index_add_(0, rows, square.sum(dim=-1))
            curvature.index_add_(0, rows, square.mul_(misfit).mul_(1 - misfit).sum(dim=-1))
            largest[rows] = torch.maximum(largest[rows], change.abs().amax(dim=-1))
        ridge = self._regularization * direction.square().sum(dim=-1)
        tiny = torch.finfo(slope.dtype).tiny
        curvature = (curvature / self._counts + ridge).clamp(min=tiny)
        bound = (0.25 * bound / self._counts + ridge).clamp(min=tiny)
        largest = largest.clamp(min=tiny)
        return torch.maximum(-slope / bound, torch.log1p(-slope * largest / curvature) / largest)


def _minimise(
    objective: _Objective, factors: Float[Tensor, "m d d"], tolerance: float, max_iterations: int
) -> tuple[Float[Tensor, "m folds d"], Float[Tensor, "m folds"], Int[Tensor, "m folds"]]:
    """Preconditioned nonlinear conjugate gradients; gives θ, KKT residuals, iterations."""
    theta = factors.new_zeros(objective.shape)
    margins = objective.margins(theta)
    misfits = [torch.sigmoid(-z) for z in margins]
    gradient = objective.gradient(theta, misfits)
    start = torch.linalg.vector_norm(gradient, dim=-1)
    residual = (start > 0).to(theta.dtype)
    iterations = torch.zeros_like(start, dtype=torch.int64)
    natural = _precondition(factors, gradient)
    direction = -natural
    for _ in range(max_iterations):
        moving = residual > tolerance
        if not moving.any():
            break
        iterations += moving
        changes = objective.margins(direction)
        slope = torch.linalg.vecdot(gradient, direction)
        t = torch.where(moving, objective.step(slope, direction, changes, misfits), 0).unsqueeze(-1)
        theta += t * direction
        for z, misfit, change, rows in zip(margins, misfits, changes, objective.rows, strict=True):
            torch.sigmoid(-z.addcmul_(t[rows], change), out=misfit)
        previous, before = gradient, torch.linalg.vecdot(gradient, natural)
        gradient = objective.gradient(theta, misfits)
        residual = torch.where(start > 0, torch.linalg.vector_norm(gradient, dim=-1) / start, 0)
        natural = _precondition(factors, gradient)
        conjugate = torch.linalg.vecdot(gradient - previous, natural) / before.clamp(
            min=torch.finfo(theta.dtype).tiny
        )
        direction = conjugate.clamp(min=0).unsqueeze(-1) * direction - natural
        uphill = torch.linalg.vecdot(gradient, direction) >= 0
        direction = torch.where(uphill.unsqueeze(-1), -natural, direction)
    return theta, residual, iterations


def _precondition(
    factors: Float[Tensor, "m d d"], gradient: Float[Tensor, "m folds d"]
) -> Float[Tensor, "m folds d"]:
    # Not cholesky_solve, which copies the factors at every call.
    half = torch.linalg.solve_triangular(factors, gradient.mT, upper=False)
    return torch.linalg.solve_triangular(factors.mT, half, upper=True).mT
