"""A point in the plane that must find a goal it does not see.

Finn, Abbeel and Levine 2017, Sec. 5.3; PolicyGradEx, Fig. 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Float

from gradex.tasks.family import (
    Family,
    Option,
    Recommended,
    if_given,
    one_of,
    read_number,
    read_seed,
    read_task_count,
    read_whole,
)
from gradex.tasks.simulator import Reset, Seeds, Step
from gradex.tasks.task import Task

_STEP = 0.1
#: Planted groups, unless a number is asked for.
_GROUPS = 3
#: Share of the circle that planted groups cover together, in groups of equal width.
_GROUPED = 1 / 3
#: Half-width, in radians, of the arc that "partial" covers and "biased" favours.
_ARC = np.pi / 4
_BIAS = 0.9


@dataclass(frozen=True)
class Navigation(Family):
    """The point starts at the origin and moves by at most 0.1 a step in each direction.

    It sees its position and the fraction of the episode that is left. The reward is minus the distance to the
    goal, plus a bonus at the end of an episode that ends within `threshold` of it. Tasks differ in their
    goal, hence in reward only.

    Options
    -------
    n, seed : int
    groups : int, optional
        Number of planted groups, used with `goals="groups"`; by default 3, or n if that is less.
    goals : {"groups", "uniform", "partial", "biased"}
        "groups": arcs around `groups` equally spaced directions, a third of the circle together, so that the
        gap between two groups is twice as wide as a group. "uniform": the whole circle, equally spaced.
        "partial": an arc of 90 degrees only. "biased": one goal in ten anywhere, the rest in that arc.
    radius, threshold : float
        Radius of the circle, and the final distance that counts as success, in units of length.
    bonus : float
        Reward for success, paid once at the end of the episode.
    horizon : int
        Steps per episode.

    Notes
    -----
    The end pays a bonus, so it belongs to the task: it is reported as a termination, and time is observed.
    Were it a truncation, critics would continue the return beyond it, into places that no policy has visited
    and that an untrained critic holds to be worth 0, the best value there is; policies then run away from all
    goals.
    """

    groups: int
    goals: str
    radius: float
    threshold: float
    bonus: float
    horizon: int
    rotation: float

    name = "navigation"
    options: ClassVar = {
        "n": Option(12, read_task_count),
        "seed": Option(0, read_seed),
        "groups": Option(None, if_given(read_whole)),
        "goals": Option("groups", one_of("groups", "uniform", "partial", "biased")),
        "radius": Option(1.0, partial(read_number, above=0)),
        "threshold": Option(0.2, partial(read_number, above=0)),
        "bonus": Option(5.0, read_number),
        "horizon": Option(30, partial(read_whole, least=1)),
    }
    recommended = Recommended(meta_steps=200_000)
    shared_dynamics = True

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(-np.inf, np.inf, (3,), np.float32)

    @property
    def action_space(self) -> spaces.Box:
        # In units of the longest step, so that a standard normal policy explores at the right scale.
        return spaces.Box(-1.0, 1.0, (2,), np.float32)

    @classmethod
    def create(
        cls, n: int, seed: int, groups: int | None, goals: str, **settings: Any
    ) -> tuple[list[Task], Family]:
        """Make n goals on a circle."""
        if groups is None:
            groups = min(_GROUPS, n) if goals == "groups" else _GROUPS
        if goals == "groups" and not 1 <= groups <= n:
            raise ValueError(f"groups is {groups} for {n} tasks: give 1 to {n}")
        rng = np.random.default_rng(seed)
        rotation = float(rng.uniform(0, 2 * np.pi))
        family = cls(groups, goals, rotation=rotation, **settings)
        if goals == "uniform":
            return _tasks(rotation + np.arange(n) * 2 * np.pi / n), family
        return family._source(n, rng), family

    def _source(self, n: int, rng: np.random.Generator) -> list[Task]:
        """Draw from the law of the source tasks."""
        if self.goals == "groups":
            label = rng.permutation(np.arange(n) % self.groups)
            spread = _GROUPED * np.pi / self.groups
            angles = self.rotation + label * 2 * np.pi / self.groups + rng.uniform(-spread, spread, n)
            return _tasks(angles, label)
        arc = self.rotation + rng.uniform(-_ARC, _ARC, n)
        around = rng.uniform(0, 2 * np.pi, n)
        # At least one goal off the arc: a biased source still covers the circle.
        off = max(1, round((1 - _BIAS) * n)) if self.goals == "biased" else 0
        everywhere = rng.permutation(np.arange(n) < off)
        return _tasks(np.where(everywhere, around, arc))

    def draw(self, n: int, rng: np.random.Generator, known: Sequence[Task]) -> list[Task]:
        """Draw target tasks: of the planted groups if there are any, else uniformly, whatever the source."""
        if self.goals == "groups":
            return self._source(n, rng)
        return _tasks(rng.uniform(0, 2 * np.pi, n))

    def build(self, tasks: Sequence[Task], seeds: Seeds) -> VectorEnv:
        return NavigationSimulator(self, self._goals(tasks))

    def rewards(
        self, tasks: Sequence[Task], objectives: Float[np.ndarray, "*steps k"]
    ) -> Float[np.ndarray, "tasks *steps"]:
        """Pay by position and the end of the episode, which the simulator tells as (x, y, 0 or 1)."""
        positions, ends = objectives[..., :2], objectives[..., 2]
        return np.stack([self.pay(positions, goal, ends > 0)[0] for goal in self._goals(tasks)])

    def _goals(self, tasks: Sequence[Task]) -> Float[np.ndarray, "tasks 2"]:
        angles = np.array([task.parameters["angle"] for task in tasks])
        return self.radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)

    def pay(
        self, positions: np.ndarray, goals: np.ndarray, ends: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give the reward of a step, and whether it succeeded."""
        distance = np.linalg.norm(positions - goals, axis=-1)
        success = ends & (distance < self.threshold)
        return -distance + self.bonus * success, success


def _tasks(angles: Float[np.ndarray, " n"], labels: Sequence[int] | np.ndarray | None = None) -> list[Task]:
    angles = np.mod(angles, 2 * np.pi)
    groups = [None] * len(angles) if labels is None else [int(label) for label in labels]
    return [
        Task(f"{i}: {np.degrees(angle):.0f}°", {"angle": float(angle)}, group)
        for i, (angle, group) in enumerate(zip(angles, groups, strict=True))
    ]


class NavigationSimulator(VectorEnv):
    """All points at once; the dynamics and the start are deterministic."""

    def __init__(self, family: Navigation, goals: Float[np.ndarray, "environments 2"]) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.num_envs = len(goals)
        self.single_observation_space = family.observation_space
        self.single_action_space = family.action_space
        self.observation_space = batch_space(family.observation_space, self.num_envs)
        self.action_space = batch_space(family.action_space, self.num_envs)
        self._goals, self._family = goals, family
        self._positions = np.zeros_like(goals)
        self._steps = np.zeros(self.num_envs, dtype=np.int64)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Reset:
        self._positions[:] = 0
        self._steps[:] = 0
        return self._observation(), {}

    def step(self, actions: np.ndarray) -> Step:
        begins = self._steps >= self._family.horizon
        move = _STEP * np.clip(actions, -1.0, 1.0)
        self._positions = np.where(begins[:, None], 0.0, self._positions + move)
        self._steps = np.where(begins, 0, self._steps + 1)
        terminated = self._steps >= self._family.horizon
        reward, success = self._family.pay(self._positions, self._goals, terminated)
        info = {"success": success, "objectives": np.column_stack([self._positions, terminated])}
        return self._observation(), np.where(begins, 0.0, reward), terminated, np.zeros_like(terminated), info

    def _observation(self) -> Float[np.ndarray, "environments 3"]:
        left = 1 - self._steps / self._family.horizon
        return np.column_stack([self._positions, left]).astype(np.float32)
