"""Weighted logistic regressions on all subsets of tasks at once (PolicyGradEx, Sec. 3.1, Eq. (3) and (4)).

Subset S has the objective

    L_S(θ) = mean over the samples of the tasks in S of w log(1 + exp(-z)) + λ/2 |θ|²,   z = y g̃·θ,

and subsets share their samples. They are minimised by nonlinear conjugate gradients (Polak and Ribière 1969),
preconditioned by what the tasks share, see `preconditioner`, with steps that need no line search. All subsets
move together, so that the work is one matrix product per task: of its samples with the directions of all
subsets that contain it.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from tqdm.auto import tqdm

from gradex.learners.threads import one_thread
from gradex.surrogate.preconditioner import Preconditioner, SharedCurvature

#: A coarser tolerance is reached in float32; a finer one lies below the rounding of its sums.
_SINGLE_PRECISION = 1e-5
#: Bytes that the chunks of subsets under way may take, and subsets from which a chunk is worth a thread.
_CHUNK, _WORTHWHILE = 2**28, 64


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

    Attributes
    ----------
    hessian : Tensor [d, d]
        ¼ w g̃g̃ᵀ, the mean over all samples: the Hessian of all tasks together at θ = 0, without λ.

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
        self._signed = self._pad(torch.from_numpy(features))
        self._signed *= self._pad(torch.from_numpy(labels.astype(features.dtype))).unsqueeze(-1)
        self._weights = self._pad(torch.from_numpy(weights.astype(np.float64)))
        with one_thread():
            self._curvature = SharedCurvature(self._signed, self._weights, torch.from_numpy(sizes).double())
        self.hessian = self._curvature.hessian

    def _pad(self, samples: Shaped[Tensor, "N *rest"]) -> Shaped[Tensor, "n longest *rest"]:
        task, place = self._place
        padded = samples.new_zeros(int(task.max()) + 1, int(place.max()) + 1, *samples.shape[1:])
        padded[task, place] = samples
        return padded

    def solve(
        self,
        members: Bool[np.ndarray, "m n"],
        counts: Shaped[np.ndarray, "folds N"],
        tolerance: float,
        max_iterations: int = 1000,
        regularization: float | None = None,
        start: Float[np.ndarray, "m folds d"] | None = None,
    ) -> Solution:
        """Minimise L_S for every subset and fold.

        Parameters
        ----------
        members : bool array [m, n]
            Tasks of each subset.
        counts : array [folds, N]
            How often each sample counts in each fold, True and False for once and not at all; a single row of
            True fits everything.
        tolerance : float
            On the KKT residual. Down to 1e-5 all work is done in float32, below that the last steps in
            float64.
        max_iterations : int
        regularization : float, optional
            Another λ than the regression's own.
        start : array [m, folds, d], optional
            Where to start, instead of 0, where the first gradient is for free.

        Returns
        -------
        Solution
            With an axis over folds.
        """
        times = self._pad(torch.from_numpy(counts.T)).mT
        ridge = self.regularization if regularization is None else regularization
        stages = [(torch.float32, max(tolerance, _SINGLE_PRECISION))]
        if tolerance < _SINGLE_PRECISION:
            stages.append((torch.float64, tolerance))
        samples = []
        for dtype, goal in stages:
            signed, weights = self._signed.to(dtype), (self._weights.unsqueeze(1) * times).to(dtype)
            # At θ = 0 all misfits are one half, whatever the subset.
            samples.append((signed, weights, -0.5 * weights @ signed, goal))
        most = int(members.sum(axis=1).max())
        threads = torch.get_num_threads()
        length = max(1, _CHUNK // (threads * stages[-1][0].itemsize * 6 * most * times[0].numel()))
        length = min(length, max(_WORTHWHILE, -(-len(members) // threads)))
        chunks = torch.from_numpy(members).split(length)
        starts = [None] * len(chunks) if start is None else torch.from_numpy(start).split(length)

        def fit(chunk: Bool[Tensor, "m n"], begin: Float[Tensor, "m folds d"] | None) -> tuple[Tensor, ...]:
            precondition = self._curvature.preconditioner(chunk, ridge)
            # Where nothing counts the sums are 0, and so should be the means.
            sizes = (chunk.double() @ times.sum(dim=-1).double()).clamp(min=1)
            at, iterations = begin, torch.zeros(sizes.shape, dtype=torch.int64)
            for features, weights, slopes, goal in samples:
                objective = _Objective(features, weights, slopes, sizes.to(features.dtype), chunk, ridge)
                left = max_iterations - int(iterations.max())
                theta, residual, steps = _minimise(objective, precondition, at, goal, left)
                at, iterations = theta, iterations + steps
            return theta.double(), residual.double(), iterations

        # A thread works on a chunk alone: torch's own would wait for each other after every operation.
        with one_thread(), ThreadPoolExecutor(threads) as pool:
            fits = map(fit, chunks, starts) if threads == 1 else pool.map(fit, chunks, starts)
            pieces = list(tqdm(fits, "fitting subsets", len(chunks), delay=2, leave=False))
        minimiser, kkt_residual, used = (torch.cat(parts).numpy() for parts in zip(*pieces, strict=True))
        status = np.where(kkt_residual <= tolerance, "converged", "iteration limit")
        return Solution(minimiser, status, kkt_residual, used)


class _Objective:
    """L_S for a chunk of subsets and all folds, at margins that are kept beside θ.

    Margins z are linear in θ: one product gives their change along a direction, and another the gradient.
    They are arranged by pairs of a task and a subset that contains it, task by task.
    """

    def __init__(
        self,
        features: Float[Tensor, "n N d"],
        weights: Float[Tensor, "n folds N"],
        slopes: Float[Tensor, "n folds d"],
        counts: Float[Tensor, "m folds"],
        members: Bool[Tensor, "m n"],
        regularization: float,
    ) -> None:
        self.dtype = features.dtype
        self._features = features
        self._samples = features, weights, slopes
        self._counts = counts
        self._members = members
        self._regularization = regularization
        self._task, self.subset = torch.nonzero(members.T, as_tuple=True)
        self._weights = weights[self._task]
        self._pairs = torch.bincount(self._task, minlength=len(features)).tolist()
        #: ∇L_S(0)
        self.slope_at_zero = torch.tensordot(members.to(features), slopes, dims=1) / counts.unsqueeze(-1)

    def only(self, chosen: Bool[Tensor, " m"]) -> "_Objective":
        """Give the objective of some of the subsets."""
        return _Objective(*self._samples, self._counts[chosen], self._members[chosen], self._regularization)

    def no_margins(self) -> Float[Tensor, "pairs folds N"]:
        """Give z at θ = 0."""
        return torch.zeros_like(self._weights)

    def margins(self, theta: Float[Tensor, "m folds d"]) -> Float[Tensor, "pairs folds N"]:
        """Give z of each task's samples under each subset that contains it."""
        each = zip(theta[self.subset].split(self._pairs), self._features, strict=True)
        return torch.cat([rows @ features.T for rows, features in each])

    def gradient(
        self, theta: Float[Tensor, "m folds d"], misfit: Float[Tensor, "pairs folds N"]
    ) -> Float[Tensor, "m folds d"]:
        """∇L_S = λθ - mean of w σ(-z) y g̃, from the misfits σ(-z)."""
        each = zip((misfit * self._weights).split(self._pairs), self._features, strict=True)
        # Pairs and folds together, as else it would be one small product per pair.
        pulls = torch.cat([rows.flatten(0, 1) @ features for rows, features in each]).view(
            -1, *theta.shape[1:]
        )
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
        square = torch.linalg.vecdot(square, torch.addcmul(misfit, misfit, misfit, value=-1))
        curvature = torch.zeros_like(slope).index_add_(0, self.subset, square)
        largest = slope.new_zeros(len(self._features), *slope.shape)
        largest[self._task, self.subset] = torch.linalg.vector_norm(change, float("inf"), dim=-1)
        ridge = self._regularization * direction.square().sum(dim=-1)
        tiny = torch.finfo(slope.dtype).tiny
        curvature = (curvature / self._counts + ridge).clamp(min=tiny)
        bound = (0.25 * bound / self._counts + ridge).clamp(min=tiny)
        steepest = largest.amax(dim=0).clamp(min=tiny)
        return torch.maximum(-slope / bound, torch.log1p(-slope * steepest / curvature) / steepest)


def _minimise(
    objective: _Objective,
    precondition: Preconditioner,
    start: Float[Tensor, "m folds d"] | None,
    tolerance: float,
    max_iterations: int,
) -> tuple[Float[Tensor, "m folds d"], Float[Tensor, "m folds"], Int[Tensor, "m folds"]]:
    """Preconditioned nonlinear conjugate gradients; gives θ, KKT residuals, iterations.

    Subsets that converged are left behind as soon as they are half of those under way.
    """
    if start is None:
        gradient = objective.slope_at_zero
        theta, margins = torch.zeros_like(gradient), objective.no_margins()
        misfit = torch.full_like(margins, 0.5)
    else:
        theta = start.to(objective.dtype, copy=True)
        margins = objective.margins(theta)
        misfit = torch.sigmoid(-margins)
        gradient = objective.gradient(theta, misfit)
    scale = torch.linalg.vector_norm(objective.slope_at_zero, dim=-1)
    residual = _relative(gradient, scale)
    minimiser, residuals = theta.clone(), residual.clone()
    iterations = torch.zeros_like(scale, dtype=torch.int64)
    under_way = torch.arange(len(theta))
    natural = precondition(gradient)
    direction = -natural
    for _ in range(max_iterations):
        moving = residual > tolerance
        if not moving.any():
            break
        left = moving.any(dim=1)
        if 2 * int(left.sum()) <= len(left):
            minimiser[under_way], residuals[under_way] = theta, residual
            margins, misfit = margins[left[objective.subset]], misfit[left[objective.subset]]
            objective, precondition = objective.only(left), precondition.only(left)
            states = (under_way, moving, scale, theta, gradient, natural, direction)
            under_way, moving, scale, theta, gradient, natural, direction = (x[left] for x in states)
        iterations[under_way] += moving
        change = objective.margins(direction)
        slope = torch.linalg.vecdot(gradient, direction)
        t = torch.where(moving, objective.step(slope, direction, change, misfit), 0).unsqueeze(-1)
        theta += t * direction
        margins.addcmul_(t[objective.subset], change)
        torch.sigmoid(-margins, out=misfit)
        previous, before = gradient, torch.linalg.vecdot(gradient, natural)
        gradient = objective.gradient(theta, misfit)
        residual = _relative(gradient, scale)
        natural = precondition(gradient)
        conjugate = torch.linalg.vecdot(gradient - previous, natural) / before.clamp(
            min=torch.finfo(theta.dtype).tiny
        )
        direction = conjugate.clamp(min=0).unsqueeze(-1) * direction - natural
        uphill = torch.linalg.vecdot(gradient, direction) >= 0
        direction = torch.where(uphill.unsqueeze(-1), -natural, direction)
    minimiser[under_way], residuals[under_way] = theta, residual
    return minimiser, residuals, iterations


def _relative(
    gradient: Float[Tensor, "m folds d"], scale: Float[Tensor, "m folds"]
) -> Float[Tensor, "m folds"]:
    """Give |∇L| / |∇L(0)|; where there is no weight, 0 is the minimiser and the residual is 0."""
    return torch.where(scale > 0, torch.linalg.vector_norm(gradient, dim=-1) / scale, 0)
