"""The squashed Gaussian: normal numbers, squashed into the intervals of a bounded action space."""

from dataclasses import dataclass
from math import inf, log, pi, sqrt

import gymnasium
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gradex.policies.action_distribution import ActionDistribution

#: Range of the log-standard-deviations of a squashed Gaussian.
_LOG_STD = (-20.0, 2.0)
#: Share of half an interval at either end within which squashed actions count as one and the same: 64 steps
#: of single precision at 1. Closer to the end rounding says where an action lies, not the policy.
_END = 2.0**-17
#: The largest number of single precision.
_LARGEST = float(np.finfo(np.float32).max)
#: Nodes of the Gauss-Hermite rule for the entropy of a squashed Gaussian.
_NODES = 32


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
    Where |u| is above 6.2 single precision tells squashed actions badly apart: all in this piece at the end
    of an interval have its mean density, its probability over its width. So the gradient of a log-density is
    0 on average however far out the mean lies, and 0 where all actions are the same. The piece is wider where
    numbers are large beside the interval and hence rounded more coarsely.

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
            If the space is not a one-dimensional Box with finite ends, apart from each other and so far from
            the limits of single precision that middle and width can be told.
        """
        box = space if isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1 else None
        # Neither the sum nor the difference of two ends may overflow.
        reach = inf if box is None else np.abs([box.low, box.high], dtype=np.float64).sum(axis=0).max()
        if box is None or reach > _LARGEST or (box.low == box.high).any():
            raise ValueError(
                f"action space {space} is not one that a squashed Gaussian can cover: "
                "use a one-dimensional Box with two finite ends, of at most 1e38, or the learner 'ppo'"
            )
        return cls(box.shape[0], tuple(box.low.tolist()), tuple(box.high.tolist()))

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
