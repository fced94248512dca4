"""LunarLander under different gravities, optionally in wind or with side engines swapped."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import ClassVar, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from gradex.tasks.family import Option, Recommended, read_seed, read_task_count, read_whole
from gradex.tasks.ranges import RangedFamily, read_range, read_reversed
from gradex.tasks.simulator import Seeds, SequentialSimulator, Step
from gradex.tasks.task import Task

#: Paid once, for coming to rest on the ground; the only reward of this size that ends an episode.
_LANDED = 100.0
#: Actions are nothing, left, main and right engine.
_SWAP = np.array([0, 3, 2, 1])


@dataclass(frozen=True)
class LunarLander(RangedFamily):
    """LunarLander-v3 of Gymnasium by gravity: discrete engines, 1000 steps at most.

    Tasks are spread evenly over the ranges. A clean landing is worth about 250 points. Discounting by 0.99
    teaches the lander to hover, because a landing is hundreds of steps away.

    Options
    -------
    n, seed : int
        Number of tasks; the seed shuffles further parameters and chooses which engines are swapped.
    gravity : float or pair
        Gravity in Box2D's units, between -12 and 0.
    wind, turbulence : float or pair
        Greatest linear force of the wind, 0 to 20, and greatest torque, 0 to 2. Both zero switches the wind
        off.
    reversed : {"none", "half"} or float
        Swaps the left and right engines in this share of the tasks, a number from 0 to 1 that is
        rounded to whole tasks: 0.1 of ten tasks is one.
    horizon : int
        Steps of an episode, at most.
    """

    horizon: int = 1000

    name = "lunarlander"
    options: ClassVar = {
        "n": Option(10, read_task_count),
        "seed": Option(0, read_seed),
        "gravity": Option((-2.0, -11.9), partial(read_range, low=-12.0, high=0.0)),
        "wind": Option(0.0, partial(read_range, low=0.0, high=20.0, closed=True)),
        "turbulence": Option(0.0, partial(read_range, low=0.0, high=2.0, closed=True)),
        "reversed": Option("none", read_reversed),
        "horizon": Option(1000, partial(read_whole, least=1, most=2**31 - 1)),
    }
    title, actuators = "{gravity:.2f}", "side_engines"
    action_space = spaces.Discrete(4)
    discount = 0.999
    recommended = Recommended(4_000_000, 600_000, {"steps": 256, "learning_rate": 7e-4, "gae_lambda": 0.98})

    @cached_property
    def observation_space(self) -> spaces.Box:
        return cast(spaces.Box, _make(self.horizon).observation_space)

    def build(self, tasks: Sequence[Task], seeds: Seeds) -> VectorEnv:
        return LunarLanderSimulator(tasks, seeds, self.horizon)


class LunarLanderSimulator(SequentialSimulator):
    """LunarLanders one after the other, with `info["success"]`: the lander came to rest on the ground."""

    def __init__(self, tasks: Sequence[Task], seeds: Seeds, horizon: int) -> None:
        physics = [{k: v for k, v in task.parameters.items() if k != "side_engines"} for task in tasks]
        super().__init__([partial(_make, horizon, **each) for each in physics], seeds)
        self._swapped = np.array([task.parameters.get("side_engines", 1.0) < 0 for task in tasks])

    def step(self, actions: np.ndarray) -> Step:
        swapped = np.where(self._swapped, _SWAP[actions], actions)
        observation, reward, terminated, truncated, info = super().step(swapped)
        info["success"] = terminated & (reward == _LANDED)
        return observation, reward, terminated, truncated, info


def _make(horizon: int, gravity: float = -10.0, wind: float = 0.0, turbulence: float = 0.0) -> gymnasium.Env:
    with warnings.catch_warnings():
        # SWIG's types lack __module__; Python warns while Box2D's C code runs, which crashes if warnings are
        # errors.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        return gymnasium.make(
            "LunarLander-v3",
            max_episode_steps=horizon,
            disable_env_checker=True,  # a third of the Python time of a step
            gravity=gravity,
            enable_wind=wind > 0 or turbulence > 0,
            wind_power=wind,
            turbulence_power=turbulence,
        )
