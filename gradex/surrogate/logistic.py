"""Weighted logistic regressions on all subsets of tasks at once (PolicyGradEx, Sec. 3.1, Eq. (3) and (4)).

Subset S has the objective

    L_S(θ) = mean over the tasks' samples of Â⁺ log(1 + exp(-z)) + Â⁻ log(1 + exp(z)) + λ/2 |θ|²,

with z = z₀ + g̃·θ and Â = Â⁺ - Â⁻: the loss w log(1 + exp(-y z)) of the label y = sign Â, weighted by w = |Â|.
Where samples serve several tasks, those of S enter by the sums over them of Â⁺ and Â⁻, two weights a sample:
neither the size of S nor the number of tasks costs anything. It is minimised by nonlinear conjugate gradients
(Polak and Ribière 1969), preconditioned by what the tasks share, see `objective`, with steps that need no
line search. All subsets move together, so that the work is one matrix product per block of samples.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from gradex.progress import bar
from gradex.surrogate.objective import BlockSamples, Preconditioner, SharedCurvature, SubsetObjective
from gradex.surrogate.samples import Block
from gradex.tensors import without_autocast
from gradex.threads import one_thread

#: A coarser tolerance is reached in float32; a finer one lies below the rounding of its sums.
_SINGLE_PRECISION = 1e-5
#: Bytes that the chunks of subsets under way may take, and subsets from which a chunk is worth a thread.
_CHUNK, _WORTHWHILE = 2**28, 64


@dataclass(frozen=True, eq=False)
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

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.surrogate import Solution
    >>> Solution(np.zeros((1, 3)), np.array(["converged"]), np.zeros(1), np.zeros(1, int)).theta.shape
    (1, 3)
    """

    theta: Float[np.ndarray, "m *folds d"]
    status: np.ndarray
    kkt_residual: Float[np.ndarray, "m *folds"]
    iterations: Int[np.ndarray, "m *folds"]


class SubsetLogisticRegression:
    """Samples in blocks, to be fitted on any subsets of the tasks that they serve.

    Parameters
    ----------
    features : float array [N, d]
        g̃.
    blocks : sequence of Block
        Each of the tasks 0 to n - 1 is in one of them.
    regularization : float
        λ > 0.

    Attributes
    ----------
    hessian : Tensor [d, d]
        |Â| σ'(z₀) g̃g̃ᵀ, the mean over all samples of all tasks: the Hessian of all tasks together at θ = 0,
        without λ. σ'(0) is ¼.

    Raises
    ------
    ValueError
        From `solve`, if λ is so small that the Hessian is singular in float64.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.surrogate import Samples, SubsetLogisticRegression
    >>> features, tasks = np.array([[1.0], [-1.0], [1.0], [-1.0]]), np.array([0, 0, 1, 1])
    >>> samples = Samples(np.array([1.0, -1.0, -1.0, 1.0]), tasks)
    >>> regression = SubsetLogisticRegression(features, samples.blocks(), regularization=0.1)
    >>> members = np.array([[True, False], [True, True]])
    >>> regression.solve(members, np.ones((1, 4), dtype=bool), 1e-6).theta[:, 0, 0].round(2)
    array([1.63, 0.  ])
    """

    @without_autocast()
    def __init__(
        self, features: Float[np.ndarray, "N d"], blocks: Sequence[Block], regularization: float
    ) -> None:
        self.regularization = regularization
        # Blocks lie side by side, padded to the longest with samples that weigh nothing.
        self._rows = [torch.from_numpy(block.rows) for block in blocks]
        self._longest = longest = max(map(len, self._rows))
        padded = self._padded(torch.from_numpy(features))
        offsets = padded.new_zeros(len(features), dtype=torch.float64)
        for rows, block in zip(self._rows, blocks, strict=True):
            offsets[rows] = torch.from_numpy(block.offsets)
        advantages = [
            F.pad(torch.from_numpy(block.advantages), (0, longest - len(block.rows))) for block in blocks
        ]
        self._samples = BlockSamples(
            [torch.from_numpy(block.tasks) for block in blocks],
            padded,
            self._padded(offsets),
            [each.clamp(min=0) for each in advantages],
            [each.abs() for each in advantages],
        )
        served = padded.new_tensor([len(block.tasks) for block in blocks], dtype=torch.float64)
        sizes = padded.new_tensor([len(block.rows) for block in blocks], dtype=torch.float64)
        slope = torch.sigmoid(self._samples.offsets)
        weights = torch.stack([each.mean(dim=0) for each in self._samples.weights]) * slope * (1 - slope)
        with one_thread():
            self._curvature = SharedCurvature(padded, weights, served, sizes)
        self.hessian = self._curvature.hessian

    def _padded(self, array: Shaped[Tensor, "N *rest"]) -> Shaped[Tensor, "blocks longest *rest"]:
        padded = array.new_zeros(len(self._rows), self._longest, *array.shape[1:])
        for place, rows in zip(padded, self._rows, strict=True):
            place[: len(rows)] = array[rows]
        return padded

    @without_autocast()
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
            How often each sample counts in each fold, True and False for once and not at all.
        tolerance : float
            On the KKT residual. Down to 1e-5 all work is done in float32, below that the last steps in
            float64.
        max_iterations : int
        regularization : float, optional
            Another λ than the regression's own.
        start : array [m, folds, d], optional
            Where to start, instead of 0, where the first gradient is for free.
        """
        inside = torch.from_numpy(members)
        times = self._padded(torch.from_numpy(counts).T.double()).mT
        ridge = self.regularization if regularization is None else regularization
        shares = torch.stack([inside[:, tasks].sum(dim=1) for tasks in self._samples.tasks], dim=1)
        stages = [(torch.float32, max(tolerance, _SINGLE_PRECISION))]
        if tolerance < _SINGLE_PRECISION:
            stages.append((torch.float64, tolerance))
        samples = [(self._samples.counted(times, dtype), goal) for dtype, goal in stages]
        most = int((shares > 0).sum(dim=1).max())
        threads = torch.get_num_threads()
        length = max(1, _CHUNK // (threads * stages[-1][0].itemsize * 7 * most * times[0].numel()))
        length = min(length, max(_WORTHWHILE, -(-len(members) // threads)))
        chunks = list(zip(inside.split(length), shares.split(length), strict=True))
        starts = [None] * len(chunks) if start is None else torch.from_numpy(start).split(length)

        def fit(
            chunk: tuple[Bool[Tensor, "m n"], Int[Tensor, "m blocks"]],
            begin: Float[Tensor, "m folds d"] | None,
        ) -> tuple[Tensor, ...]:
            subsets, share = chunk
            precondition = self._curvature.preconditioner(share, ridge)
            # Where nothing counts the sums are 0, and so should be the means.
            sizes = (share.double() @ times.sum(dim=-1)).clamp(min=1)
            at, iterations = begin, torch.zeros_like(sizes, dtype=torch.int64)
            for counted, goal in samples:
                objective = SubsetObjective(counted, sizes.to(counted.features.dtype), subsets, ridge)
                left = max_iterations - int(iterations.max())
                theta, residual, steps = _minimise(objective, precondition, at, goal, left)
                at, iterations = theta, iterations + steps
            return theta.double(), residual.double(), iterations

        # A thread works on a chunk alone: torch's own would wait for each other after every operation.
        with one_thread(), ThreadPoolExecutor(threads) as pool:
            fits = map(fit, chunks, starts) if threads == 1 else pool.map(fit, chunks, starts)
            pieces = list(bar(fits, "fitting subsets", total=len(chunks)))
        minimiser, kkt_residual, used = (torch.cat(parts).numpy() for parts in zip(*pieces, strict=True))
        status = np.where(kkt_residual <= tolerance, "converged", "iteration limit")
        return Solution(minimiser, status, kkt_residual, used)


def _minimise(
    objective: SubsetObjective,
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
        theta, margins = torch.zeros_like(gradient), objective.margins_at_zero()
        chance = torch.sigmoid(margins)
    else:
        theta = start.to(objective.dtype, copy=True)
        margins = objective.margins_at_zero() + objective.change(theta)
        chance = torch.sigmoid(margins)
        gradient = objective.gradient(theta, chance)
    scale = torch.linalg.vector_norm(objective.slope_at_zero, dim=-1)
    residual = _relative(gradient, scale)
    minimiser, residuals = theta.clone(), residual.clone()
    iterations = torch.zeros_like(scale, dtype=torch.int64)
    under_way, tiny = torch.arange(len(theta), device=theta.device), torch.finfo(theta.dtype).tiny
    natural = precondition(gradient)
    direction = -natural
    for _ in range(max_iterations):
        moving = residual > tolerance
        if not moving.any():
            break
        left = moving.any(dim=1)
        if 2 * int(left.sum()) <= len(left):
            minimiser[under_way], residuals[under_way] = theta, residual
            margins, chance = margins[left[objective.subset]], chance[left[objective.subset]]
            objective, precondition = objective.only(left), precondition.only(left)
            states = (under_way, moving, scale, theta, gradient, natural, direction)
            under_way, moving, scale, theta, gradient, natural, direction = (x[left] for x in states)
        iterations[under_way] += moving
        change = objective.change(direction)
        slope = torch.linalg.vecdot(gradient, direction)
        t = torch.where(moving, objective.step(slope, direction, change, chance), 0).unsqueeze(-1)
        theta += t * direction
        margins.addcmul_(t[objective.subset], change)
        torch.sigmoid(margins, out=chance)
        previous, before = gradient, torch.linalg.vecdot(gradient, natural)
        gradient = objective.gradient(theta, chance)
        residual = _relative(gradient, scale)
        natural = precondition(gradient)
        conjugate = torch.linalg.vecdot(gradient - previous, natural) / before.clamp(min=tiny)
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
