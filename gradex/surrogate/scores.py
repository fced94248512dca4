"""What a fitted surrogate says about a subset of tasks: f̂(S) (PolicyGradEx, Algorithm 1, step 6)."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gradex.surrogate.samples import Block
from gradex.surrogate.subset_scores import SubsetScores
from gradex.tensors import without_autocast

#: Bytes that samples under way may take, at some ten numbers for a sample and a step or task.
_CHUNK, _NUMBERS = 2**28, 10


class Score(ABC):
    """How well a step of the parameters serves a sample; the mean over a task's samples is the task's score.

    Higher is better.

    Attributes
    ----------
    divergence : float or None
        If given, steps keep their direction but get the length at which the mean Kullback-Leibler divergence
        of the policies, to second order ½ mean (g·Δθ)² over the samples of the subset, is this number: the
        trust region of Schulman et al. 2015 (TRPO). If None, or left out, steps stay as the fit made them.

    Examples
    --------
    A score of one's own, the first-order gain Â (g·Δθ):

    >>> import torch
    >>> from gradex.surrogate import Score
    >>> class Linear(Score):
    ...     divergence = 0.001
    ...     def per_sample(self, change, offsets):
    ...         return change, -change
    >>> Linear().per_sample(torch.tensor(0.5), torch.tensor(0.0))
    (tensor(0.5000), tensor(-0.5000))
    """

    divergence: float | None  # no default: the field of a dataclass of one's own would take it over

    @abstractmethod
    def per_sample(
        self, change: Float[Tensor, "*m N"], offsets: Float[Tensor, " N"]
    ) -> tuple[Float[Tensor, "*m N"], Float[Tensor, "*m N"]]:
        """Score each sample under each of m steps, if its advantage were 1, and if it were -1.

        Parameters
        ----------
        change : Tensor [..., N]
            g·Δθ, what a step adds to the log-probability.
        offsets : Tensor [N]
            z₀, 0 unless the samples have offsets.
        """


@final
@dataclass(frozen=True)
class NegativeLoss(Score):
    """Minus the logistic loss of Eq. (3), -|Â| log(1 + exp(-sign(Â) (z₀ + g·Δθ))), and nothing else.

    Without offsets a step of length 0 scores -|Â| log 2. This depends on the task, not on the others, so
    that only the diagonal of Eq. (5) takes notice of it.

    Examples
    --------
    >>> import torch
    >>> from gradex.surrogate import NegativeLoss
    >>> gain, loss = NegativeLoss().per_sample(torch.tensor([0.0, 2.0]), torch.zeros(2))
    >>> gain
    tensor([-0.6931, -0.1269])
    """

    divergence: float | None = None

    def __post_init__(self) -> None:
        check_divergence(self.divergence)

    def per_sample(self, change, offsets):  # type: ignore[no-untyped-def]
        margins = offsets + change
        return -F.softplus(-margins), -F.softplus(margins)


@final
@dataclass(frozen=True)
class Improvement(Score):
    """Clipped policy-gradient objective min(r Â, clip(r) Â) - Â with the ratio of Eq. (1), r = exp(g·Δθ).

    The logistic fit does not know about ratios and goes further than they can be trusted, so far that
    clipping rules the score; hence `divergence` sets the length of the steps. With its default ratios are off
    1 by 4 to 5 %; longer steps order subsets less and less as the held-out loss does.

    Attributes
    ----------
    divergence : float or None
    clip : float
        r counts between 1 - clip and 1 + clip (Schulman et al. 2017, Eq. (7)).

    Examples
    --------
    >>> import torch
    >>> from gradex.surrogate import Improvement
    >>> gain, loss = Improvement(clip=0.2).per_sample(torch.tensor([0.1, 2.0]), torch.zeros(2))
    >>> gain
    tensor([0.1052, 0.2000])
    """

    divergence: float | None = 0.001
    clip: float = 0.2

    def __post_init__(self) -> None:
        check_divergence(self.divergence)
        if not 0 < self.clip < 1:
            raise ValueError(f"clip is {self.clip}: choose a number between 0 and 1")

    def per_sample(self, change, offsets):  # type: ignore[no-untyped-def]
        # Beyond exp(20) clipping decides anyway where Â > 0; where Â < 0 it keeps the unclipped side finite.
        ratio = torch.expm1(change.clamp(max=20))
        clipped = ratio.clamp(-self.clip, self.clip)
        return torch.minimum(ratio, clipped), -torch.maximum(ratio, clipped)


def check_divergence(divergence: float | None) -> None:
    """Refuse by a ValueError what is no length of a step."""
    if divergence is not None and not 0 < divergence < inf:
        raise ValueError(f"divergence is {divergence}: choose a positive number, or None")


#: Scores by name.
SCORES: dict[str, Score] = {"loss": NegativeLoss(), "improvement": Improvement()}


@without_autocast()
def score_subsets(
    score: Score,
    members: Bool[np.ndarray, "m n"],
    theta: Float[np.ndarray, "m folds d"],
    features: Float[np.ndarray, "N d"],
    blocks: Sequence[Block],
    folds: Int[np.ndarray, " N"],
    times: Float[np.ndarray, " N"] | None = None,
    fitted: Bool[np.ndarray, "m n"] | None = None,
) -> SubsetScores:
    """Score every sample by the fit of its own fold, and average over the samples of each task.

    The fit of fold f did not see the samples of fold f. `times` is how often each sample counts, once by
    default; some sample of every task does. `fitted` are the tasks of each fit, where others are scored.
    """
    times = np.ones(len(features)) if times is None else times
    steps = torch.from_numpy(theta.astype(features.dtype))
    if (divergence := getattr(score, "divergence", None)) is not None:
        own = (members if fitted is None else fitted, theta, features, blocks, folds, times)
        steps *= divergence_factors(divergence, *own).to(steps.dtype).unsqueeze(-1)
    totals, sizes = np.zeros(members.shape), np.zeros(members.shape[1])
    for block, served, _, held, change in _changes(members, steps, features, blocks, folds):
        counted = times[block.rows[held]]
        pair = score.per_sample(change.double(), torch.from_numpy(block.offsets[held]))
        if not isinstance(pair, Sequence) or [np.shape(each) for each in pair] != [change.shape] * 2:
            wanted = f"two tensors of shape {tuple(change.shape)}, for the advantages 1 and -1"
            raise ValueError(f"{type(score).__name__}.per_sample gives no pair of scores: give {wanted}")
        gain, loss = map(np.asarray, pair)
        weighed = block.advantages[:, held] * counted
        totals[np.ix_(served, block.tasks)] += gain @ weighed.clip(min=0).T - loss @ weighed.clip(max=0).T
        sizes[block.tasks] += counted.sum()
    per_task = np.where(members, totals / sizes, np.nan)
    subsets = tuple(tuple(np.flatnonzero(inside).tolist()) for inside in members)
    return SubsetScores(subsets, per_task, np.nanmean(per_task, axis=1))


@without_autocast()
def divergence_factors(
    divergence: float,
    members: Bool[np.ndarray, "m n"],
    theta: Float[np.ndarray, "m folds d"],
    features: Float[np.ndarray, "N d"],
    blocks: Sequence[Block],
    folds: Int[np.ndarray, " N"],
    times: Float[np.ndarray, " N"] | None = None,
) -> Float[Tensor, "m folds"]:
    """Give the factor by which each step gets the length that `Score.divergence` describes.

    It is 0 for a step that changes nothing. Arguments are those of `score_subsets`.
    """
    times = np.ones(len(features)) if times is None else times
    steps = torch.from_numpy(theta.astype(features.dtype))
    squares, counts = torch.zeros(2, *theta.shape[:2], dtype=torch.float32, device="cpu")
    for block, served, fold, held, change in _changes(members, steps, features, blocks, folds):
        counted = torch.from_numpy(times[block.rows[held]].astype(features.dtype))
        share = torch.from_numpy(members[np.ix_(served, block.tasks)].sum(axis=1)).to(squares)
        squares[served, fold] += share * (change.square() @ counted).to(squares.dtype)
        counts[served, fold] += share * counted.sum()
    length = (2 * divergence * counts / squares.clamp(min=torch.finfo(squares.dtype).tiny)).sqrt()
    return torch.where(squares > 0, length, 0)


def _changes(
    members: Bool[np.ndarray, "m n"],
    steps: Float[Tensor, "m folds d"],
    features: Float[np.ndarray, "N d"],
    blocks: Sequence[Block],
    folds: Int[np.ndarray, " N"],
) -> Iterator[tuple[Block, Int[np.ndarray, " served"], int, Int[np.ndarray, " held"], Tensor]]:
    """Give block, subsets that it serves, fold, some samples there, and g·Δθ [served, held] of these."""
    for block in blocks:
        served = np.flatnonzero(members[:, block.tasks].any(axis=1))
        most = max(1, _CHUNK // (8 * _NUMBERS * max(len(served), len(block.tasks))))
        for fold in range(steps.shape[1]):
            places = np.flatnonzero(folds[block.rows] == fold)
            for start in range(0, len(places), most):
                held = places[start : start + most]
                change = steps[served, fold] @ torch.from_numpy(features[block.rows[held]]).T
                yield block, served, fold, held, change
