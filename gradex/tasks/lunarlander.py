"""LunarLander under different gravities, optionally in wind or with side engines swapped."""

import functools
import warnings
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from jaxtyping import Int

from gradex.tasks.ranges import as_range, draw_ranges, draw_reversed, latin_grid
from gradex.tasks.sequential import SequentialSimulator
from gradex.tasks.simulator import Step
from gradex.tasks.suite import Task, TaskSuite

_HORIZON = 1000
#: Paid once, for coming to rest on the ground; the only reward of this size that ends an episode.
_LANDED = 100.0
#: Actions are nothing, left, main and right engine.
_SWAP = np.array([0, 3, 2, 1])


@TaskSuite.register
class LunarLander(TaskSuite):
    """LunarLander-v3 of Gymnasium by gravity: discrete engines, 1000 steps at most.

    A clean landing is worth about 250 points. Discounting by 0.99 teaches the lander to hover, because a
    landing is hundreds of steps away.
    """

    family = "lunarlander"
    discount = 0.999

    @classmethod
    def create(
        cls,
        n: int = 10,
        seed: int = 0,
        gravity: float | Sequence[float] = (-2.0, -11.9),
        wind: float | Sequence[float] = 0.0,
        turbulence: float | Sequence[float] = 0.0,
        reversed: str = "none",
    ) -> "LunarLander":
        """Make n tasks, spread evenly over the ranges.

        Parameters
        ----------
        n, seed : int
            Number of tasks; the seed shuffles further parameters.
        gravity : float or pair
            Gravity in Box2D's units, between -12 and 0.
        wind, turbulence : float or pair
            Greatest linear force of the wind, 0 to 20, and greatest torque, 0 to 2. Both zero switches the
            wind off.
        reversed : {"none", "half"}
            "half" swaps the left and right engines in half of the tasks. Swapped and plain tasks look the
            same and want opposite actions, so this plants two groups in true conflict.

        Raises
        ------
        ValueError
            If a range leaves the interval that Gymnasium accepts, or `reversed` is none of its choices.
        """
        if n < 1:
            raise ValueError(f"n is {n}: a suite needs at least one task")
        ranges = {
            "gravity": as_range("gravity", gravity, -12.0, 0.0),
            "wind": as_range("wind", wind, 0.0, 20.0, closed=True),
            "turbulence": as_range("turbulence", turbulence, 0.0, 2.0, closed=True),
        }
        rng = np.random.default_rng(seed)
        tasks = cls._tasks(latin_grid(ranges, n, rng), reversed, rng)
        return cls(tasks, ranges={name: list(pair) for name, pair in ranges.items()}, reversed=reversed)

    @staticmethod
    def _tasks(columns: dict[str, np.ndarray], reversed: str, rng: np.random.Generator) -> list[Task]:
        n = len(columns["gravity"])
        flip = draw_reversed(reversed, n, rng)
        tasks = []
        for i, row in enumerate(zip(*columns.values(), strict=True)):
            parameters: dict[str, Any] = dict(zip(columns, map(float, row), strict=True))
            name = f"{i}: {parameters['gravity']:.2f}"
            group = None
            if reversed == "half":
                parameters["side_engines"] = -1.0 if flip[i] else 1.0
                name += " reversed" if flip[i] else ""
                group = int(flip[i])
            tasks.append(Task(name, parameters, group))
        return tasks

    @property
    def kind(self) -> str:
        return "lunarlander-reversed" if self.options["reversed"] == "half" else self.family

    @property
    def observation_space(self) -> spaces.Box:
        return _spaces()[0]

    @property
    def action_space(self) -> spaces.Discrete:
        return _spaces()[1]

    @property
    def horizon(self) -> int:
        return _HORIZON

    def draw(self, n: int, rng: np.random.Generator) -> list[Task]:
        ranges = {name: tuple(pair) for name, pair in self.options["ranges"].items()}
        return self._tasks(draw_ranges(ranges, n, rng), self.options["reversed"], rng)

    def build(self, tasks: Sequence[Task], seeds: Int[np.ndarray, " environments"]) -> VectorEnv:
        return LunarLanderSimulator(tasks, seeds)


class LunarLanderSimulator(SequentialSimulator):
    """LunarLanders one after the other, with `info["success"]`: the lander came to rest on the ground."""

    def __init__(self, tasks: Sequence[Task], seeds: Int[np.ndarray, " environments"]) -> None:
        super().__init__([functools.partial(_make, **_physics(task)) for task in tasks], seeds)
        self._swapped = np.array([task.parameters.get("side_engines", 1.0) < 0 for task in tasks])

    def step(self, actions: np.ndarray) -> Step:
        swapped = np.where(self._swapped, _SWAP[actions], actions)
        observation, reward, terminated, truncated, info = super().step(swapped)
        return (
            observation,
            reward,
            terminated,
            truncated,
            {**info, "success": terminated & (reward == _LANDED)},
        )


def _physics(task: Task) -> dict[str, float]:
    return {name: value for name, value in task.parameters.items() if name != "side_engines"}


def _make(gravity: float = -10.0, wind: float = 0.0, turbulence: float = 0.0) -> gymnasium.Env:
    with warnings.catch_warnings():
        # SWIG's types lack __module__; Python warns while Box2D's C code runs, which crashes if warnings are
        # errors.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        return gymnasium.make(
            "LunarLander-v3",
            max_episode_steps=_HORIZON,
            disable_env_checker=True,  # a third of the Python time of a step
            gravity=gravity,
            enable_wind=wind > 0 or turbulence > 0,
            wind_power=wind,
            turbulence_power=turbulence,
        )


@functools.cache
def _spaces() -> tuple[Any, Any]:
    environment = _make()
    return environment.observation_space, environment.action_space
