"""The policy-gradient loss, bounded (PolicyGradEx, Sec. 4.4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, log, log1p

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from gradex.generalization.samples import StackedSamples
from gradex.policies import ActionDistribution, Categorical, Policy

#: Samples, of all policies together, whose losses are evaluated at a time.
_CHUNK = 2**14


@dataclass(frozen=True)
class LossRange:
    """An interval that holds the loss of every sample.

    Attributes
    ----------
    low, high : float
    certified : bool
        True if it holds whatever sample may come, False if it only held for those that were seen.

    Examples
    --------
    >>> from gradex.generalization import LossRange
    >>> LossRange(-2.0, 3.0, certified=True).width
    5.0
    """

    low: float
    high: float
    certified: bool

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
            raise ValueError(
                f"advantages cannot be clipped to ±{self.advantage_limit}: give a positive number"
            )
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing is {self.smoothing}: choose a share from 0 up to, but not, 1")

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
