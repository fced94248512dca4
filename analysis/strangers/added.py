"""Environments that were added late: no choice was made on the seeds that are reported."""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from analysis.strangers.environments import Factory, Start, Step


class Market(gymnasium.Env):
    """Sell, stay out or buy: the next move follows the last one, or turns back."""

    observation_space = Box(-np.inf, np.inf, (3,), np.float32)
    action_space = Discrete(3)

    def __init__(self, momentum: float, volatility: float) -> None:
        self.momentum, self.volatility = momentum, volatility

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """Start with two moves by chance, and nothing bought."""
        super().reset(seed=seed)
        self.last, self.before = self.volatility * self.np_random.normal(size=2)
        self.held, self.steps = 0, 0
        return self._seen(), {}

    def step(self, action: Any) -> Step:
        """Pay what is held times the next move, less the costs of trading."""
        costs = 0.05 * self.volatility * abs(int(action) - 1 - self.held)
        self.held, self.steps, self.before = int(action) - 1, self.steps + 1, self.last
        self.last = self.momentum * self.last + self.volatility * self.np_random.normal()
        return self._seen(), float(self.held * self.last - costs), False, self.steps >= 100, {}

    def _seen(self) -> np.ndarray:
        return np.array([self.last, self.before, self.held], np.float32)


class Tag(gymnasium.Env):
    """Two in a square, the other one bounces off the walls: be near it, or far from it."""

    observation_space = Box(-2, 2, (6,), np.float32)
    action_space = Box(-1, 1, (2,), np.float32)

    def __init__(self, chases: bool, speed: float) -> None:
        self.chases, self.speed = chases, speed

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """Start anywhere, the other one in any direction."""
        super().reset(seed=seed)
        self.own, self.other = self.np_random.uniform(-1, 1, (2, 2))
        angle, self.steps = self.np_random.uniform(0, 2 * np.pi), 0
        self.heading = np.array([np.cos(angle), np.sin(angle)])
        return self._seen(), {}

    def step(self, action: Any) -> Step:
        """Move both; who chases is done when it is there."""
        self.own = (self.own + 0.1 * np.clip(action, -1, 1)).clip(-1, 1)
        self.other = self.other + 0.1 * self.speed * self.heading
        self.heading = np.where(np.abs(self.other) > 1, -self.heading, self.heading)
        self.other, self.steps = self.other.clip(-1, 1), self.steps + 1
        apart = float(np.linalg.norm(self.own - self.other))
        caught = self.chases and apart < 0.1
        pays = 5 - apart if caught else -apart if self.chases else apart
        return self._seen(), pays, caught, self.steps >= 60, {}

    def _seen(self) -> np.ndarray:
        return np.concatenate([self.own, self.other, self.heading]).astype(np.float32)


class Errands(gymnasium.Env):
    """Five by five fields, seen one-hot, with three places to visit in an order that is not seen."""

    side, pays = 5, (3.0, 5.0, 10.0)
    observation_space = Box(0, 1, (side**2 + 4,), np.float32)
    action_space = Discrete(4)
    _moves = ((0, 1), (0, -1), (1, 0), (-1, 0))

    def __init__(self, places: list[tuple[int, int]]) -> None:
        self.places = places

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """Start in the middle."""
        super().reset(seed=seed)
        self.field, self.done, self.steps = np.array([2, 2]), 0, 0
        return self._seen(), {}

    def step(self, action: Any) -> Step:
        """Go to a neighbour, if there is one."""
        self.field = (self.field + self._moves[int(action)]).clip(0, self.side - 1)
        self.steps, pays = self.steps + 1, -0.1
        if tuple(self.field.tolist()) == self.places[self.done]:
            pays += self.pays[self.done]
            self.done += 1
        return self._seen(), pays, self.done == len(self.places), self.steps >= 50, {}

    def _seen(self) -> np.ndarray:
        seen = np.zeros(self.side**2 + 4, np.float32)
        seen[[self.field[0] * self.side + self.field[1], self.side**2 + self.done]] = 1
        return seen


class Arm(gymnasium.Env):
    """An arm of two joints is paid for having its hand near a place that it does not see."""

    observation_space = Box(-10, 10, (6,), np.float32)
    action_space = Box(-2, 2, (2,), np.float32)

    def __init__(self, place: tuple[float, float], lengths: tuple[float, float]) -> None:
        self.place, self.lengths = np.array(place), np.array(lengths)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """Start in any position, at rest."""
        super().reset(seed=seed)
        self.angles, self.speeds, self.steps = self.np_random.uniform(-np.pi, np.pi, 2), np.zeros(2), 0
        return self._seen(), {}

    def step(self, action: Any) -> Step:
        """Turn the joints, the second one with the first."""
        self.speeds = (0.9 * self.speeds + 0.3 * np.clip(action, -2, 2)).clip(-5, 5)
        self.angles, self.steps = self.angles + 0.1 * self.speeds, self.steps + 1
        turned = np.cumsum(self.angles)
        hand = self.lengths @ np.stack([np.cos(turned), np.sin(turned)], axis=1)
        return self._seen(), -float(np.linalg.norm(hand - self.place)), False, self.steps >= 60, {}

    def _seen(self) -> np.ndarray:
        return np.concatenate([np.sin(self.angles), np.cos(self.angles), self.speeds]).astype(np.float32)


def markets(kinds: list[int], rng: np.random.Generator) -> list[Factory]:
    """Make markets whose moves go on, or turn back."""
    momentum = np.array([0.6, -0.6])[kinds] * rng.uniform(0.7, 1.2, len(kinds))
    own = zip(momentum.tolist(), rng.uniform(0.5, 2, len(kinds)).tolist(), strict=True)
    return [partial(Market, *each) for each in own]


def tags(kinds: list[int], rng: np.random.Generator) -> list[Factory]:
    """Make games of tag with others of some speed, to chase or to flee."""
    return [partial(Tag, kind == 0, float(rng.uniform(0.3, 0.9))) for kind in kinds]


def errands(kinds: list[int], rng: np.random.Generator) -> list[Factory]:
    """Make errands to three corners, to begin at the first, the second or the third of them."""

    def places(kind: int) -> list[tuple[int, int]]:
        near, far, wide = rng.integers(0, 2), rng.integers(3, 5), rng.integers(3, 5)
        corners = [(0, int(near)), (4, int(far)), (int(wide), 0)]
        return corners[kind:] + corners[:kind]

    return [partial(Errands, places(kind)) for kind in kinds]


def arms(kinds: list[int], rng: np.random.Generator) -> list[Factory]:
    """Make arms of some lengths, with places ahead, behind, to the left or to the right."""

    def make(kind: int) -> Factory:
        angle = kind * np.pi / 2
        place = rng.uniform(0.8, 1.2) * np.array([np.cos(angle), np.sin(angle)]) + 0.1 * rng.normal(size=2)
        first, second = rng.uniform(0.6, 1, 2)
        return partial(Arm, (float(place[0]), float(place[1])), (float(first), float(second)))

    return [make(kind) for kind in kinds]
