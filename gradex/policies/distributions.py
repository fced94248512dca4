"""What a policy does with the output of its network: distributions over actions."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import log, pi

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


class ActionDistribution(ABC):
    """Distribution over the actions of a batch, given the network's outputs.

    Sampling takes its noise as an argument, so that a seed fixes the actions.
    """

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Numbers that the network must give per sample."""

    @property
    @abstractmethod
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the noise per sample: () for one uniform number, otherwise standard normal ones."""

    @property
    def parameters(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each of the distribution's own parameters; they start at 0."""
        return {}

    @abstractmethod
    def sample(
        self,
        outputs: Float[Tensor, "policies batch o"],
        own: Mapping[str, Tensor],
        noise: Float[Tensor, "policies batch *n"],
    ) -> Shaped[Tensor, "policies batch *a"]:
        """Turn noise into actions."""

    @abstractmethod
    def mode(self, outputs: Float[Tensor, "policies batch o"]) -> Shaped[Tensor, "policies batch *a"]:
        """Give the most probable action."""

    @abstractmethod
    def log_prob(
        self,
        outputs: Float[Tensor, "policies batch o"],
        own: Mapping[str, Tensor],
        actions: Shaped[Tensor, "policies batch *a"],
    ) -> Float[Tensor, "policies batch"]:
        """Log-probability, or log-density, of actions."""

    @abstractmethod
    def entropy(
        self, outputs: Float[Tensor, "policies batch o"], own: Mapping[str, Tensor]
    ) -> Float[Tensor, "policies batch"]:
        """Entropy at each sample, in nats."""


@dataclass(frozen=True)
class Categorical(ActionDistribution):
    """One of `actions` discrete actions; the outputs are logits."""

    actions: int

    @property
    def outputs(self) -> int:
        return self.actions

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return ()

    def sample(self, outputs, own, noise):  # type: ignore[no-untyped-def]
        cumulative = torch.softmax(outputs, dim=-1).cumsum(dim=-1)
        # The last boundary may fall short of 1 by rounding; it is not compared.
        return (noise.unsqueeze(-1) > cumulative[..., :-1]).sum(dim=-1)

    def mode(self, outputs):  # type: ignore[no-untyped-def]
        return outputs.argmax(dim=-1)

    def log_prob(self, outputs, own, actions):  # type: ignore[no-untyped-def]
        return torch.log_softmax(outputs, dim=-1).gather(-1, actions.unsqueeze(-1)).squeeze(-1)

    def entropy(self, outputs, own):  # type: ignore[no-untyped-def]
        logs = torch.log_softmax(outputs, dim=-1)
        return -(logs.exp() * logs).sum(dim=-1)


@dataclass(frozen=True)
class Gaussian(ActionDistribution):
    """`dimensions` independent normal actions.

    The outputs are the means; the log-standard-deviations are parameters of their own. Actions are not
    squashed: the learner clips them to the action space when it hands them to a simulator, and the density is
    that of the action before clipping.
    """

    dimensions: int

    @property
    def outputs(self) -> int:
        return self.dimensions

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return (self.dimensions,)

    @property
    def parameters(self) -> Mapping[str, tuple[int, ...]]:
        return {"log_std": (self.dimensions,)}

    def sample(self, outputs, own, noise):  # type: ignore[no-untyped-def]
        return outputs + own["log_std"].exp().unsqueeze(1) * noise

    def mode(self, outputs):  # type: ignore[no-untyped-def]
        return outputs

    def log_prob(self, outputs, own, actions):  # type: ignore[no-untyped-def]
        log_std = own["log_std"].unsqueeze(1)
        standardised = (actions - outputs) * (-log_std).exp()
        return -(0.5 * standardised**2 + log_std + 0.5 * log(2 * pi)).sum(dim=-1)

    def entropy(self, outputs, own):  # type: ignore[no-untyped-def]
        each = (own["log_std"] + 0.5 * (1 + log(2 * pi))).sum(dim=-1, keepdim=True)
        return each.expand(outputs.shape[:2])
