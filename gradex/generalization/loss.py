"""The policy-gradient loss, bounded, and the samples that it is the mean of (PolicyGradEx, Sec. 4.4)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log, log1p

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from gradex.learners import Transitions
from gradex.policies import ActionDistribution, Categorical, Policy
from gradex.tensors import without_autocast

#: Samples, of all policies together, whose losses are evaluated at a time.
_CHUNK = 2**14


@dataclass(frozen=True, eq=False)
class StackedSamples:
    """N transitions of each of a stack of policies: row i belongs to policy i.

    Attributes
    ----------
    observations : Tensor [policies, N, features]
    tasks : int Tensor [policies, N]
    actions : Tensor [policies, N] or [policies, N, dimensions]
    advantages : Tensor [policies, N]

    Examples
    --------
    >>> from gradex import MetaPolicy, TaskSuite
    >>> from gradex.generalization import StackedSamples
    >>> meta = MetaPolicy(TaskSuite.make("navigation", n=3), layers=2, width=8).fit(steps=1)
    >>> samples = StackedSamples.of([meta.transitions(100, sharing="none")])
    >>> samples.count, [piece.count for piece in samples.chunks(128)]
    (300, [128, 128, 44])
    """

    observations: Float[Tensor, "policies N features"]
    tasks: Int[Tensor, "policies N"]
    actions: Shaped[Tensor, "policies N *a"]
    advantages: Float[Tensor, "policies N"]

    @classmethod
    def of(cls, transitions: Sequence[Transitions], dtype: torch.dtype = torch.float64) -> "StackedSamples":
        """Stack the transitions of one policy each, floating-point numbers in the given precision.

        Raises
        ------
        ValueError
            If one policy has more transitions than another, or if they serve all tasks.
        """
        if any(each.tasks is None for each in transitions):
            raise ValueError("these transitions serve all tasks: collect them with sharing='none'")
        lengths = sorted({len(each) for each in transitions})
        if len(lengths) != 1:
            raise ValueError(f"policies of one stack have {lengths} transitions: give all the same number")

        def stack(name: str) -> Tensor:
            array = torch.from_numpy(np.stack([getattr(each, name) for each in transitions]))
            return array.to(dtype) if array.is_floating_point() else array

        return cls(*(stack(name) for name in ("observations", "tasks", "actions", "advantages")))

    @property
    def count(self) -> int:
        """Number N of samples of each policy."""
        return self.tasks.shape[1]

    def chunks(self, size: int) -> Iterator["StackedSamples"]:
        """Cut into pieces of at most `size` samples of each policy."""
        pieces = (x.split(size, dim=1) for x in vars(self).values())
        return (StackedSamples(*piece) for piece in zip(*pieces, strict=True))


@dataclass(frozen=True)
class LossRange:
    """An interval that holds the loss of every sample.

    Attributes
    ----------
    low, high : float
    certified : bool
        True if it holds whatever sample may come, False if it only held for those that were seen.

    Raises
    ------
    ValueError
        If `low` is above `high`, or one of them nan.

    Examples
    --------
    >>> from gradex.generalization import LossRange
    >>> LossRange(-2.0, 3.0, certified=True).width
    5.0
    """

    low: float
    high: float
    certified: bool

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"the loss ranges from {self.low} to {self.high}: give numbers, the lower first")

    @property
    def width(self) -> float:
        """C of PolicyGradEx, Theorem 1: the loss less `low` lies in [0, C]."""
        return self.high - self.low


@dataclass(frozen=True)
class PolicyGradientLoss:
    """ℓ_θ(s, a, A) = -A log π_θ(a | s), whose mean over samples is what a policy gradient descends.

    PAC-Bayes needs a loss in an interval. Advantages, in units of their standard deviation, are clipped to
    ±a, and categorical policies are mixed with a little of the uniform law, π̃ = (1 - κ) π + κ / |A|. With
    log(κ / |A|) <= log π̃ <= 0 every sample has |ℓ| <= a log(|A| / κ), so that C = 2 a log(|A| / κ). A density
    has no such bound; nor has κ = 0. The range is then the observed one, and not certified.

    Attributes
    ----------
    advantage_limit : float
        a, in standard deviations.
    smoothing : float
        κ in [0, 1); 0 leaves π as it is. Densities are never mixed.

    Examples
    --------
    >>> import torch
    >>> from gradex.generalization import PolicyGradientLoss
    >>> from gradex.policies import Categorical, Gaussian
    >>> loss, seen = PolicyGradientLoss(), torch.tensor([-1.0, 0.5])
    >>> loss.range(Categorical(2), seen).certified, loss.range(Gaussian(2), seen).certified
    (True, False)
    >>> round(loss.range(Categorical(2), seen).width, 2)  # 2 · 5 · log(2 / 0.01)
    52.98
    """

    advantage_limit: float = 5.0
    smoothing: float = 0.01

    def __post_init__(self) -> None:
        if not (self.advantage_limit > 0 and isfinite(self.advantage_limit)):
            raise ValueError(f"advantage_limit is {self.advantage_limit}: give a positive, finite number")
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing is {self.smoothing}: choose a share of at least 0 and below 1")

    def of_outputs(
        self,
        distribution: ActionDistribution,
        outputs: Float[Tensor, "policies N o"],
        own: Mapping[str, Tensor],
        actions: Shaped[Tensor, "policies N *a"],
        advantages: Float[Tensor, "policies N"],
    ) -> Float[Tensor, "policies N"]:
        """Give the loss of each sample, from what the network says and the distribution's own parameters."""
        log_prob = distribution.log_prob(outputs, own, actions)
        if isinstance(distribution, Categorical) and self.smoothing > 0:
            floor = torch.full_like(log_prob, log(self.smoothing / distribution.actions))
            log_prob = torch.logaddexp(log_prob + log1p(-self.smoothing), floor)
        return -advantages.clamp(-self.advantage_limit, self.advantage_limit) * log_prob

    def of_samples(
        self, policy: Policy, parameters: Float[Tensor, "policies p"], samples: StackedSamples
    ) -> Float[Tensor, "policies N"]:
        """Give the loss of each sample; it can be differentiated."""
        outputs, own = policy.outputs(parameters, samples.observations, samples.tasks)
        return self.of_outputs(policy.distribution, outputs, own, samples.actions, samples.advantages)

    @torch.no_grad()
    @without_autocast()
    def evaluate(
        self, policy: Policy, parameters: Float[Tensor, "policies p"], samples: StackedSamples
    ) -> Float[Tensor, "policies N"]:
        """Give the loss of each sample, as numbers, in bounded memory."""
        chunks = samples.chunks(max(_CHUNK // len(parameters), 1))
        return torch.cat([self.of_samples(policy, parameters, chunk) for chunk in chunks], dim=1)

    def range(self, distribution: ActionDistribution, observed: Float[Tensor, "..."]) -> LossRange:
        """Give an interval that holds the loss.

        Parameters
        ----------
        distribution : ActionDistribution
        observed : Tensor
            Losses that were seen; they only matter where there is no certified range.
        """
        if isinstance(distribution, Categorical) and self.smoothing > 0:
            limit = self.advantage_limit * log(distribution.actions / self.smoothing)
            return LossRange(-limit, limit, certified=True)
        return LossRange(float(observed.min()), float(observed.max()), certified=False)


def losses_by_task(
    loss: PolicyGradientLoss,
    values: Float[Tensor, "policies N"],
    transitions: Sequence[Transitions],
    tasks: int,
) -> tuple[Float[np.ndarray, "policies tasks"], Float[np.ndarray, " policies"]]:
    """Average over each task, and give the variance of the mean over tasks, by episode.

    Samples come task by task, equally many of each, and the advantages of a task have mean 0 by construction:
    a baseline was subtracted. What of the loss is proportional to them, -A mean(log π), therefore varies from
    episode to episode but not in the mean, and is taken out; else the variance would be far too large. The
    rest is added up within an episode and squared, the variance of a mean over clusters.
    """
    policies = len(transitions)
    spread = values.numpy().reshape(policies, tasks, -1)
    advantages, episodes = (
        np.stack([getattr(each, name) for each in transitions]).reshape(spread.shape)
        for name in ("advantages", "episodes")
    )
    slopes = np.zeros_like(spread)
    inside = (np.abs(advantages) < loss.advantage_limit) & (advantages != 0)
    np.divide(spread, advantages, out=slopes, where=inside)
    means = spread.mean(axis=2)
    residuals = spread - means[:, :, None] - slopes.mean(axis=2, keepdims=True) * advantages
    owner = np.arange(policies * tasks).reshape(policies, tasks, 1)
    number = (owner * (episodes.max() + 1) + episodes).ravel()
    _, first, cluster = np.unique(number, return_index=True, return_inverse=True)
    sums = np.bincount(cluster, residuals.ravel())
    of_cluster = first // spread.shape[2]
    count, square = (np.bincount(of_cluster, weights) for weights in (None, sums**2))
    variance = square * count / np.maximum(count - 1, 1) / spread.shape[2] ** 2
    return means, variance.reshape(policies, tasks).sum(axis=1) / tasks**2
