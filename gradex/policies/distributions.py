"""What a policy does with the output of its network: distributions over actions."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import log, pi, sqrt

import gymnasium
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

#: Range of the log-standard-deviations of a squashed Gaussian.
_LOG_STD = (-20.0, 2.0)
#: Share of half an interval at either end within which squashed actions count as one and the same: 64 steps
#: of single precision at 1. Closer to the end rounding says where an action lies, not the policy.
_END = 2.0**-17
#: Nodes of the Gauss-Hermite rule for the entropy of a squashed Gaussian.
_NODES = 32


class ActionDistribution(ABC):
    """Distribution over the actions of a batch, given the network's outputs.

    Sampling takes its noise as an argument, so that a seed fixes the actions.

    Examples
    --------
    >>> from gradex.policies import Categorical, Gaussian
    >>> [(each.outputs, dict(each.parameters)) for each in (Categorical(3), Gaussian(2))]
    [(3, {}), (2, {'log_std': (2,)})]
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
    """One of `actions` discrete actions; the outputs are logits.

    Examples
    --------
    >>> import torch
    >>> from gradex.policies import Categorical
    >>> logits = torch.tensor([[[0.0, 0.0, 1.0]]])
    >>> Categorical(3).mode(logits).tolist()
    [[2]]
    >>> Categorical(3).sample(logits, {}, noise=torch.tensor([[0.1]])).tolist()
    [[0]]
    """

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

    The outputs are the means, in units of `half_width` from `centre`; the log-standard-deviations, in the
    same units, are parameters of their own. Actions are not squashed: the learner clips them to the action
    space when it hands them to a simulator, and the density is that of the action before clipping.

    Attributes
    ----------
    dimensions : int
    centre, half_width : tuple of float, optional
        Where the actions of a fresh policy lie and how far they spread; 0 and 1 by default.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from gymnasium.spaces import Box
    >>> from gradex.policies import Gaussian
    >>> law = Gaussian.of(Box(np.float32([0.0]), np.float32([10.0])))
    >>> law.mode(torch.zeros(1, 1, 1)).item()
    5.0
    >>> law.sample(torch.zeros(1, 1, 1), {"log_std": torch.zeros(1, 1)}, noise=torch.ones(1, 1, 1)).item()
    10.0
    """

    dimensions: int
    centre: tuple[float, ...] = ()
    half_width: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        centre = self.centre or (0.0,) * self.dimensions
        half_width = self.half_width or (1.0,) * self.dimensions
        if not all(number > 0 for number in half_width):
            raise ValueError(f"a half-width of {min(half_width)} leaves no choice: choose positive numbers")
        # The default is left unsaid: equal distributions compare equal, and nothing is computed for it.
        scaled = any(centre) or any(number != 1 for number in half_width)
        object.__setattr__(self, "centre", centre if scaled else ())
        object.__setattr__(self, "half_width", half_width if scaled else ())

    def __repr__(self) -> str:
        # Without a scale as it has always been: trainings on disk are told apart by it.
        scale = f", centre={self.centre}, half_width={self.half_width}" if self.centre else ""
        return f"Gaussian(dimensions={self.dimensions}{scale})"

    @classmethod
    def of(cls, space: gymnasium.spaces.Box) -> "Gaussian":
        """Fit a one-dimensional Box: where it ends on both sides, a fresh policy acts in shares of its range.

        Ends at the limits of single precision count as none, and a range of one point as one of width 2.
        """
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        limit = np.finfo(np.float32).max
        ends = (np.abs(low) < limit) & (np.abs(high) < limit)
        low, high = np.where(ends, low, -1.0), np.where(ends, high, 1.0)
        half = high / 2 - low / 2
        return cls(
            space.shape[0],
            tuple((high / 2 + low / 2).tolist()),
            tuple(np.where(half > 0, half, 1.0).tolist()),
        )

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
        return self._stretched(outputs + own["log_std"].exp().unsqueeze(1) * noise)

    def mode(self, outputs):  # type: ignore[no-untyped-def]
        return self._stretched(outputs)

    def log_prob(self, outputs, own, actions):  # type: ignore[no-untyped-def]
        log_std = own["log_std"].unsqueeze(1)
        standardised = (self._shares(actions) - outputs) * (-log_std).exp()
        return -(0.5 * standardised**2 + log_std + 0.5 * log(2 * pi)).sum(dim=-1) - self._log_volume

    def entropy(self, outputs, own):  # type: ignore[no-untyped-def]
        each = (own["log_std"] + 0.5 * (1 + log(2 * pi))).sum(dim=-1, keepdim=True) + self._log_volume
        return each.expand(outputs.shape[:2])

    @property
    def _log_volume(self) -> float:
        """Log-Jacobian of the scale: a constant, which no gradient sees."""
        return sum(map(log, self.half_width))

    def _stretched(self, shares: Tensor) -> Tensor:
        if not self.centre:
            return shares
        return shares.new_tensor(self.centre) + shares.new_tensor(self.half_width) * shares

    def _shares(self, actions: Tensor) -> Tensor:
        if not self.centre:
            return actions
        return (actions - actions.new_tensor(self.centre)) / actions.new_tensor(self.half_width)


@dataclass(frozen=True)
class SquashedGaussian(ActionDistribution):
    """Independent normal numbers u, squashed into an interval each (Haarnoja et al. 2018, Appendix C).

    The action is the middle of its interval plus tanh(u) times half the width. The outputs are the means and
    the log-standard-deviations of u, which are clamped to [-20, 2].

    Attributes
    ----------
    dimensions : int
    low, high : tuple of float, optional
        Ends of the intervals; -1 and 1 by default.

    Notes
    -----
    The density of an action that is only known squashed is that at u = atanh(tanh u). Its gradient with
    respect to the outputs is that of a normal log-density at this u, because the Jacobian of the squashing
    does not depend on them. Where |u| is above 6.2 single precision tells actions badly apart: all in this
    piece at the end of an interval have its mean density, its probability over its width. So the gradient of
    a log-density is 0 on average however far out the mean lies, and 0 where all actions are the same.
    The piece is wider where numbers are large beside the interval and hence rounded more coarsely.

    Examples
    --------
    >>> import torch
    >>> from gradex.policies import SquashedGaussian
    >>> law = SquashedGaussian(1, low=(0.0,), high=(10.0,))
    >>> outputs = torch.tensor([[[0.0, 0.0]]])  # mean and log-deviation of u
    >>> law.mode(outputs).item()
    5.0
    >>> law.sample(outputs, {}, noise=torch.full((1, 1, 1), 50.0)).item()
    10.0
    """

    dimensions: int
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", self.low or (-1.0,) * self.dimensions)
        object.__setattr__(self, "high", self.high or (1.0,) * self.dimensions)

    @classmethod
    def of(cls, space: gymnasium.Space) -> "SquashedGaussian":
        """Fill an action space.

        Raises
        ------
        ValueError
            If the space is not a one-dimensional Box with finite ends.
        """
        if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1 or not space.is_bounded():
            raise ValueError(
                f"action space {space} cannot be filled by a squashed Gaussian: "
                "use a one-dimensional Box with finite ends, or the learner 'ppo'"
            )
        return cls(space.shape[0], tuple(space.low.tolist()), tuple(space.high.tolist()))

    @property
    def outputs(self) -> int:
        return 2 * self.dimensions

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return (self.dimensions,)

    def squash(
        self, outputs: Float[Tensor, "policies batch o"], noise: Float[Tensor, "policies batch n"]
    ) -> tuple[Float[Tensor, "policies batch n"], Float[Tensor, "policies batch"]]:
        """Draw tanh(u), differentiably, and give its log-density, stable however far out u lies.

        log(1 - tanh²u) is taken as 2 (log 2 - u - softplus(-2u)).
        """
        mean, log_std = self._moments(outputs)
        u = torch.addcmul(mean, log_std.exp(), noise)
        normal = torch.addcmul(log_std, noise, noise, value=0.5)
        jacobian = u + F.softplus(-2 * u)
        constant = self.dimensions * (2 * log(2) + 0.5 * log(2 * pi))
        return torch.tanh(u), (2 * jacobian - normal).sum(dim=-1) - constant

    def squashed(self, actions: Float[Tensor, "*shape n"]) -> Float[Tensor, "*shape n"]:
        """Give tanh(u) of actions, numbers from -1 to 1."""
        middle, half = self._intervals(actions)
        return (actions - middle) / half

    def sample(self, outputs, own, noise):  # type: ignore[no-untyped-def]
        mean, log_std = self._moments(outputs)
        return self._stretched(torch.addcmul(mean, log_std.exp(), noise))

    def mode(self, outputs):  # type: ignore[no-untyped-def]
        """Give the action of the most probable u, which is the median of the action."""
        return self._stretched(self._moments(outputs)[0])

    def log_prob(self, outputs, own, actions):  # type: ignore[no-untyped-def]
        mean, log_std = self._moments(outputs)
        half = self._intervals(outputs)[1]
        squashed, end = self.squashed(actions), self._end(outputs)
        inside = squashed.clamp(end - 1, 1 - end)
        u, precision = torch.atanh(inside), (-log_std).exp()
        normal = 0.5 * ((u - mean) * precision) ** 2 + log_std + 0.5 * log(2 * pi)
        within = -normal - torch.log1p(-(inside**2))
        beyond = _log_normal_cdf((mean - u) * precision * squashed.sign()) - end.log()
        return (torch.where(squashed.abs() < 1 - end, within, beyond) - half.log()).sum(dim=-1)

    def entropy(self, outputs, own):  # type: ignore[no-untyped-def]
        """Add the entropy of u and the mean of the log-Jacobian, by 32 Gauss-Hermite nodes.

        There is no closed form. The rule is within 0.02 nats per dimension at the largest deviation and much
        closer at smaller ones.
        """
        mean, log_std = self._moments(outputs)
        half = self._intervals(outputs)[1]
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        node = torch.from_numpy(nodes).to(outputs)
        u = mean.unsqueeze(-1) + log_std.exp().unsqueeze(-1) * node
        weight = torch.from_numpy(weights / weights.sum()).to(outputs)
        jacobian = (2 * (log(2) - u - F.softplus(-2 * u))) @ weight
        return (log_std + 0.5 * (1 + log(2 * pi)) + jacobian + half.log()).sum(dim=-1)

    def _moments(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = outputs.split(self.dimensions, dim=-1)
        return mean, log_std.clamp(*_LOG_STD)

    def _intervals(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Give the middles and half the widths of the intervals."""
        low, high = like.new_tensor(self.low), like.new_tensor(self.high)
        return (high + low) / 2, (high - low) / 2

    def _end(self, like: Tensor) -> Tensor:
        """Give the width of the piece at either end of [-1, 1] in which squashed actions count as one."""
        middle, half = self._intervals(like)
        return (_END * (middle.abs() + half) / half).clamp(max=0.5)

    def _stretched(self, u: Tensor) -> Tensor:
        middle, half = self._intervals(u)
        return middle + half * torch.tanh(u)


def _log_normal_cdf(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Give log Φ(x), with derivatives that stay finite far below 0, where those of torch's own do not."""
    below, above = x.clamp(max=0), x.clamp(min=0)
    tail = (0.5 * torch.special.erfcx(-below / sqrt(2))).log() - 0.5 * below**2
    return torch.where(x < 0, tail, torch.log1p(-0.5 * torch.special.erfc(above / sqrt(2))))
