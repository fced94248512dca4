"""A point in the plane that must find a goal it does not see.

Finn, Abbeel and Levine 2017, Sec. 5.3; PolicyGradEx, Fig. 3.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Float, Int

from gradex.tasks.simulator import Reset, Step
from gradex.tasks.suite import Task, TaskSuite

_STEP = 0.1
#: Share of the circle that planted groups cover together, in groups of equal width.
_GROUPED = 1 / 3
#: Half-width, in radians, of the arc that "partial" covers and "biased" favours.
_ARC = np.pi / 4
_BIAS = 0.9


@TaskSuite.register
class Navigation(TaskSuite):
    """The point starts at the origin and moves by at most 0.1 a step in each direction.

    It sees its position and the fraction of the episode that is left. The reward is minus the distance to the
    goal, plus a bonus at the end of an episode that ends within `threshold` of it. Tasks differ in their
    goal, hence in reward only.

    Notes
    -----
    The end pays a bonus, so it belongs to the task: it is reported as a termination, and time is observed.
    Were it a truncation, critics would continue the return beyond it, into places that no policy has visited
    and that an untrained critic holds to be worth 0, the best value there is; policies then run away from all
    goals.
    """

    family = "navigation"
    shared_dynamics = True

    @classmethod
    def create(
        cls,
        n: int = 12,
        seed: int = 0,
        groups: int = 3,
        goals: str = "groups",
        radius: float = 1.0,
        threshold: float = 0.2,
        bonus: float = 5.0,
        horizon: int = 30,
    ) -> "Navigation":
        """Make n goals on a circle.

        Parameters
        ----------
        n, seed : int
        groups : int
            Number of planted groups, used with `goals="groups"`.
        goals : {"groups", "uniform", "partial", "biased"}
            "groups": arcs around `groups` equally spaced directions, a third of the circle together, so that
            the gap between two groups is twice as wide as a group. "uniform": the whole circle, equally
            spaced. "partial": an arc of 90 degrees only. "biased": one goal in ten
            anywhere, the rest in that arc.
        radius, threshold : float
            Radius of the circle, and the final distance that counts as success, in units of length.
        bonus : float
            Reward for success, paid once at the end of the episode.
        horizon : int
            Steps per episode.
        """
        if n < 1:
            raise ValueError(f"n is {n}: a suite needs at least one task")
        if goals not in ("groups", "uniform", "partial", "biased"):
            raise ValueError(f"goals is {goals!r}: choose 'groups', 'uniform', 'partial' or 'biased'")
        if goals == "groups" and not 1 <= groups <= n:
            raise ValueError(f"groups is {groups} for {n} tasks: choose 1 to {n}")
        if radius <= 0 or threshold <= 0 or horizon < 1:
            raise ValueError(f"radius {radius}, threshold {threshold} and horizon {horizon} must be positive")
        rng = np.random.default_rng(seed)
        rotation = float(rng.uniform(0, 2 * np.pi))
        options: dict[str, Any] = {
            "groups": groups,
            "goals": goals,
            "radius": float(radius),
            "threshold": float(threshold),
            "bonus": float(bonus),
            "horizon": horizon,
            "rotation": rotation,
        }
        suite = cls([Task("origin", {"angle": 0.0})], **options)
        if goals == "uniform":
            return suite._with_tasks(suite._tasks(rotation + np.arange(n) * 2 * np.pi / n, None))
        return suite._with_tasks(suite._source(n, rng))

    def _source(self, n: int, rng: np.random.Generator) -> list[Task]:
        """Draw from the law of the source tasks."""
        rotation, goals, groups = (self.options[name] for name in ("rotation", "goals", "groups"))
        if goals == "groups":
            label = rng.permutation(np.arange(n) % groups)
            spread = _GROUPED * np.pi / groups
            angles = rotation + label * 2 * np.pi / groups + rng.uniform(-spread, spread, n)
            return self._tasks(angles, label)
        arc = rotation + rng.uniform(-_ARC, _ARC, n)
        around = rng.uniform(0, 2 * np.pi, n)
        everywhere = {"uniform": np.ones(n, bool), "partial": np.zeros(n, bool)}.get(goals)
        if everywhere is None:
            # At least one goal off the arc: a biased source still covers the circle.
            everywhere = rng.permutation(np.arange(n) < max(1, round((1 - _BIAS) * n)))
        return self._tasks(np.where(everywhere, around, arc), None)

    def _tasks(self, angles: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"] | None) -> list[Task]:
        angles = np.mod(angles, 2 * np.pi)
        return [
            Task(
                f"{i}: {np.degrees(angle):.0f}°",
                {"angle": float(angle)},
                None if labels is None else int(labels[i]),
            )
            for i, angle in enumerate(angles)
        ]

    def draw(self, n: int, rng: np.random.Generator) -> list[Task]:
        """Draw target tasks: of the planted groups if there are any, else uniformly, whatever the source."""
        if self.options["goals"] == "groups":
            return self._source(n, rng)
        return self._tasks(rng.uniform(0, 2 * np.pi, n), None)

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(-np.inf, np.inf, (3,), np.float32)

    @property
    def action_space(self) -> spaces.Box:
        # In units of the longest step, so that a standard normal policy explores at the right scale.
        return spaces.Box(-1.0, 1.0, (2,), np.float32)

    @property
    def horizon(self) -> int:
        return int(self.options["horizon"])

    def build(self, tasks: Sequence[Task], seeds: Int[np.ndarray, " environments"]) -> VectorEnv:
        angles = np.array([task.parameters["angle"] for task in tasks])
        goals = self.options["radius"] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return NavigationSimulator(self, goals)


class NavigationSimulator(VectorEnv):
    """All points at once; the dynamics and the start are deterministic."""

    def __init__(self, suite: Navigation, goals: Float[np.ndarray, "environments 2"]) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.num_envs = len(goals)
        self.single_observation_space = suite.observation_space
        self.single_action_space = suite.action_space
        self.observation_space = batch_space(suite.observation_space, self.num_envs)
        self.action_space = batch_space(suite.action_space, self.num_envs)
        self._goals, self._options = goals, suite.options
        self._positions = np.zeros_like(goals)
        self._steps = np.zeros(self.num_envs, dtype=np.int64)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Reset:
        self._positions[:] = 0
        self._steps[:] = 0
        return self._observation(), {}

    def step(self, actions: np.ndarray) -> Step:
        begins = self._steps >= self._options["horizon"]
        move = _STEP * np.clip(actions, -1.0, 1.0)
        self._positions = np.where(begins[:, None], 0.0, self._positions + move)
        self._steps = np.where(begins, 0, self._steps + 1)
        distance = np.linalg.norm(self._positions - self._goals, axis=1)
        terminated = self._steps >= self._options["horizon"]
        success = terminated & (distance < self._options["threshold"])
        reward = np.where(begins, 0.0, -distance + self._options["bonus"] * success)
        return self._observation(), reward, terminated, np.zeros_like(terminated), {"success": success}

    def _observation(self) -> Float[np.ndarray, "environments 3"]:
        left = 1 - self._steps / self._options["horizon"]
        return np.column_stack([self._positions, left]).astype(np.float32)
