"""Environments as users write them, in kinds: a policy for one kind is a bad one for the next."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from jaxtyping import Float

Step = tuple[Any, float, bool, bool, dict[str, Any]]
Start = tuple[Any, dict[str, Any]]
Factory = Callable[[], gymnasium.Env]
#: What a step pays is multiplied by these in turn, as users do not think of a unit.
UNITS = (1.0, 20.0, 0.05)


class Bandit(gymnasium.Env):
    """Episodes of one step: which of four arms, given three numbers; what it pays is noisy."""

    observation_space = Box(-5, 5, (3,), np.float32)
    action_space = Discrete(4)

    def __init__(self, worth: Float[np.ndarray, "arms numbers"]) -> None:
        self.worth = worth

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """Draw the three numbers."""
        super().reset(seed=seed)
        self.seen = self.np_random.normal(size=3).clip(-5, 5).astype(np.float32)
        return self.seen.copy(), {}

    def step(self, action: Any) -> Step:
        """Pay for the arm."""
        pays = float(self.worth[int(action)] @ self.seen + self.np_random.normal())
        return self.seen.copy(), pays, True, False, {}


class Grid(gymnasium.Env):
    """Seven by seven fields, seen one-hot, with a goal at the edge; one step in ten goes astray."""

    side, limit = 7, 30
    observation_space = Box(0, 1, (side**2,), np.float32)
    action_space = Discrete(4)
    _moves = ((0, 1), (0, -1), (1, 0), (-1, 0))

    def __init__(self, goal: tuple[int, int]) -> None:
        self.goal = goal

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """Start on one of the nine fields in the middle."""
        super().reset(seed=seed)
        self.place, self.steps = self.np_random.integers(2, 5, 2), 0
        return self._seen(), {}

    def step(self, action: Any) -> Step:
        """Go to a neighbour, if there is one."""
        chosen = int(self.np_random.integers(4)) if self.np_random.random() < 0.1 else int(action)
        self.place = (self.place + self._moves[chosen]).clip(0, self.side - 1)
        self.steps += 1
        there = tuple(self.place.tolist()) == self.goal
        return self._seen(), 1.0 if there else -0.01, there, self.steps >= self.limit, {}

    def _seen(self) -> Float[np.ndarray, " fields"]:
        seen = np.zeros(self.side**2, dtype=np.float32)
        seen[self.place[0] * self.side + self.place[1]] = 1
        return seen


class Reach(gymnasium.Env):
    """A heavy point in the plane is paid for being near a goal that it does not see."""

    observation_space = Box(-np.inf, np.inf, (4,), np.float64)
    action_space = Box(-1, 1, (2,), np.float32)

    def __init__(self, goal: tuple[float, float]) -> None:
        self.goal = np.array(goal)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """Start near the origin, at rest."""
        super().reset(seed=seed)
        self.place, self.speed, self.steps = self.np_random.normal(0, 0.1, 2), np.zeros(2), 0
        return np.concatenate([self.place, self.speed]), {}

    def step(self, action: Any) -> Step:
        """Push."""
        self.speed = 0.9 * self.speed + 0.1 * np.clip(action, -1, 1)
        self.place, self.steps = self.place + 0.1 * self.speed, self.steps + 1
        seen, distance = np.concatenate([self.place, self.speed]), np.linalg.norm(self.place - self.goal)
        return seen, -float(distance), False, self.steps >= 100, {}


class Sledge(gymnasium.Env):
    """A sledge on a line is paid for a speed that it does not see; wind pushes it about."""

    observation_space = Box(-np.inf, np.inf, (2,), np.float64)
    action_space = Box(-1, 1, (1,), np.float32)

    def __init__(self, aim: float) -> None:
        self.aim = aim

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """Start nearly at rest."""
        super().reset(seed=seed)
        self.speed, self.push = self.np_random.normal(0, 0.1, 2)
        self.steps = 0
        return np.array([self.speed, self.push]), {}

    def step(self, action: Any) -> Step:
        """Change the push, which changes the speed."""
        wanted = float(np.clip(action, -1, 1)[0])
        self.push = 0.8 * self.push + 0.2 * wanted + 0.02 * self.np_random.normal()
        self.speed, self.steps = 0.9 * self.speed + 0.3 * self.push, self.steps + 1
        pays = -abs(self.speed - self.aim) - 0.05 * wanted**2
        return np.array([self.speed, self.push]), float(pays), False, self.steps >= 100, {}


class Thrusters(gymnasium.Env):
    """A point in three dimensions with two thrusters; it pays the less, the farther away from the origin."""

    limit = 50
    observation_space = Box(-10, 10, (3,), np.float32)
    action_space = Box(-1, 1, (2,), np.float32)

    def __init__(self, pushes: Float[np.ndarray, "3 2"]) -> None:
        self.pushes = pushes

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """Start somewhere around the origin."""
        super().reset(seed=seed)
        self.place, self.steps = self.np_random.normal(size=3), 0
        return self.place.astype(np.float32), {}

    def step(self, action: Any) -> Step:
        """Fire the thrusters, against some drag and wind."""
        moved = 0.95 * self.place + 0.3 * self.pushes @ np.clip(action, -1, 1)
        self.place = (moved + 0.03 * self.np_random.normal(size=3)).clip(-10, 10)
        self.steps += 1
        return (
            self.place.astype(np.float32),
            -float(self.place @ self.place),
            False,
            self.steps >= self.limit,
            {},
        )


class PendulumFor(gymnasium.Wrapper):
    """A pendulum that is to stand ("up"), to hang still ("down") or to turn fast ("spin")."""

    def __init__(self, environment: gymnasium.Env, aim: str) -> None:
        super().__init__(environment)
        self.aim = aim

    def step(self, action: Any) -> Step:
        """Pay for the aim; "up" is what Gymnasium pays for."""
        seen, pays, ended, cut, told = self.env.step(action)
        cosine, sine, speed = map(float, seen)
        if self.aim == "down":
            pays = -(np.arctan2(-sine, -cosine) ** 2) - 0.1 * speed**2
        elif self.aim == "spin":
            pays = abs(speed) - 4
        return seen, float(pays), ended, cut, told


class Corridor(gymnasium.Env):
    """A corridor with a key at one end and a door at the other; one step in ten goes astray.

    It pays 1, once, for reaching the door with the key. Both ends look alike: which has the key is not seen.
    """

    observation_space = Box(-1, 1, (3,), np.float32)
    action_space = Discrete(3)
    limit = 60

    def __init__(self, key: int, length: int) -> None:
        self.key, self.length = key, length

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Start:
        """Start in the middle, or next to it."""
        super().reset(seed=seed)
        self.place, self.has_key, self.steps = int(self.np_random.integers(-1, 2)), False, 0
        return self._seen(), {}

    def step(self, action: Any) -> Step:
        """Go left, stay, or go right."""
        astray = self.np_random.random() < 0.1
        move = int(self.np_random.integers(-1, 2)) if astray else int(action) - 1
        self.place, self.steps = int(np.clip(self.place + move, -self.length, self.length)), self.steps + 1
        self.has_key = self.has_key or self.place == self.key * self.length
        done = self.has_key and self.place == -self.key * self.length
        return self._seen(), float(done), done, self.steps >= self.limit, {}

    def _seen(self) -> Float[np.ndarray, " 3"]:
        return np.array([self.place / self.length, self.has_key, self.steps / self.limit], np.float32)


class Swapped(gymnasium.ActionWrapper):
    """A lunar lander whose engines on the left and on the right have changed places."""

    def action(self, action: Any) -> Any:
        """Fire the other one."""
        return {1: 3, 3: 1}.get(int(action), int(action))


class Mirrored(gymnasium.ActionWrapper):
    """An environment with two actions that have changed places."""

    def action(self, action: Any) -> Any:
        """Give the other one."""
        return 1 - action


def paid_in(unit: float, environment: gymnasium.Env) -> gymnasium.Env:
    """Pay in another unit."""
    return gymnasium.wrappers.TransformReward(environment, lambda pays: float(pays) * unit)


def bandits(kinds: list[int], rng: np.random.Generator) -> list[Factory]:
    """Make bandits whose arms are worth about the same within a kind."""
    worth = rng.normal(size=(max(kinds) + 1, 4, 3))
    own = [worth[kind] + 0.3 * rng.normal(size=(4, 3)) for kind in kinds]
    return [partial(Bandit, each) for each in own]


def grids(kinds: list[int], rng: np.random.Generator) -> list[Factory]:
    """Make grids with goals around one corner or the one across."""
    near, last = [(0, 0), (0, 1), (1, 0), (0, 2)], Grid.side - 1
    goals = near, [(last - x, last - y) for x, y in near]
    own = [goals[kind][kinds[:task].count(kind)] for task, kind in enumerate(kinds)]
    return [partial(Grid, each) for each in own]


def reaches(kinds: list[int], rng: np.random.Generator) -> list[Factory]:
    """Make goals in three directions, 120 degrees apart, 17 degrees to either side, paid in several units."""
    angles = 2 * np.pi * np.array(kinds) / 3 + rng.uniform(-0.3, 0.3, len(kinds))
    goals = [(float(np.cos(angle)), float(np.sin(angle))) for angle in angles]

    def make(goal: tuple[float, float], unit: float) -> gymnasium.Env:
        return paid_in(unit, Reach(goal))

    return [partial(make, goal, UNITS[task % 3]) for task, goal in enumerate(goals)]


def distances(kinds: list[int], rng: np.random.Generator) -> list[Factory]:
    """Make goals in two opposite directions, some four times as far as others."""
    angles = np.pi * np.array(kinds) + rng.uniform(-0.15, 0.15, len(kinds))
    far = rng.uniform(0.4, 1.6, len(kinds))
    goals = far[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return [partial(Reach, (float(x), float(y))) for x, y in goals]


def sledges(kinds: list[int], rng: np.random.Generator) -> list[Factory]:
    """Make sledges that are to go to the right or to the left, some five times as fast as others."""
    signs = 2 * np.array(kinds) - 1
    return [partial(Sledge, float(aim)) for aim in signs * rng.uniform(0.5, 2.5, len(kinds))]


def thrusters(kinds: list[int], rng: np.random.Generator) -> list[Factory]:
    """Make points whose thrusters push into about the same directions within a kind."""
    pushes = rng.normal(size=(max(kinds) + 1, 3, 2))
    return [partial(Thrusters, pushes[kind] + 0.15 * rng.normal(size=(3, 2))) for kind in kinds]


def pendulums(kinds: list[int], rng: np.random.Generator) -> list[Factory]:
    """Make pendulums of some gravity that are to stand, to hang or to spin."""

    def make(aim: str, gravity: float) -> gymnasium.Env:
        return PendulumFor(gymnasium.make("Pendulum-v1", g=gravity), aim)

    own = [(("up", "down", "spin")[kind], float(rng.uniform(8, 12))) for kind in kinds]
    return [partial(make, *each) for each in own]


def poles(kinds: list[int], rng: np.random.Generator) -> list[Factory]:
    """Make cart-poles of some length whose actions have changed places or not, paid in several units."""

    def make(kind: int, length: float, unit: float) -> gymnasium.Env:
        environment = gymnasium.make("CartPole-v1")
        plain: Any = environment.unwrapped
        plain.length, plain.polemass_length = length, plain.masspole * length
        paid = paid_in(unit, environment)
        return Mirrored(paid) if kind else paid

    own = [(kind, float(rng.uniform(0.3, 0.9)), UNITS[task % 3]) for task, kind in enumerate(kinds)]
    return [partial(make, *each) for each in own]


def corridors(kinds: list[int], rng: np.random.Generator) -> list[Factory]:
    """Make corridors of some length with the key on the left or on the right."""
    return [partial(Corridor, 2 * kind - 1, int(rng.integers(3, 6))) for kind in kinds]


def landers(kinds: list[int], rng: np.random.Generator) -> list[Factory]:
    """Make lunar landers of some gravity whose engines have changed places or not."""

    def make(kind: int, gravity: float) -> gymnasium.Env:
        with warnings.catch_warnings():  # of SWIG, which crash Box2D where warnings are errors
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            environment = gymnasium.make("LunarLander-v3", gravity=gravity)
        return Swapped(environment) if kind else environment

    return [partial(make, kind, float(rng.uniform(-11, -6))) for kind in kinds]
