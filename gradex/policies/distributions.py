"""What a policy does with the output of its network: distributions over actions."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log, pi

import gymnasium
import numpy as np
import torch
from torch import Tensor

from gradex.policies.action_distribution import ActionDistribution
from gradex.policies.squashed_gaussian import SquashedGaussian

__all__ = ["ActionDistribution", "Categorical", "Gaussian", "SquashedGaussian", "action_distribution"]

#: Where actions may end and a policy still draw some thirty ranges beyond, in single precision.
_FARTHEST = 1e37


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
            raise ValueError(f"a half-width of {min(half_width)} leaves no choice: give positive numbers")
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

        Elsewhere it acts around what the range has nearest to 0, which is 0 itself or the only end, with a
        half-width of 1. Ends beyond 1e37 count as none, as little more overflows single precision, and a
        range of one point as one of width 2.

        Examples
        --------
        >>> import numpy as np
        >>> from gymnasium.spaces import Box
        >>> from gradex.policies import Gaussian
        >>> Gaussian.of(Box(np.float32([-np.inf, 0, 10]), np.inf)).centre
        (0.0, 0.0, 10.0)
        """
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        lowest, highest = np.abs(low) <= _FARTHEST, np.abs(high) <= _FARTHEST
        nearest = np.clip(0.0, np.where(lowest, low, -np.inf), np.where(highest, high, np.inf))
        ends = lowest & highest
        low, high = np.where(ends, low, nearest - 1.0), np.where(ends, high, nearest + 1.0)
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


def action_distribution(space: gymnasium.Space) -> ActionDistribution:
    """Choose the distribution that fits an action space, and its scale.

    Raises
    ------
    ValueError
        If the space is neither Discrete nor a one-dimensional Box.

    Examples
    --------
    >>> from gymnasium.spaces import Box, Discrete
    >>> from gradex.policies import action_distribution
    >>> action_distribution(Discrete(3))
    Categorical(actions=3)
    >>> action_distribution(Box(-1.0, 1.0, (2,)))
    Gaussian(dimensions=2)
    """
    if isinstance(space, gymnasium.spaces.Discrete):
        return Categorical(int(space.n))
    if isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1:
        return Gaussian.of(space)
    raise ValueError(f"action space {space} is not supported: use Discrete or a one-dimensional Box")
