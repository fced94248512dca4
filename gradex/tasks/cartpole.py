"""CartPole with poles of different lengths, and optionally with motors that run the other way."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, cast

import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import VectorEnv

from gradex.seeds import derive, uniforms
from gradex.tasks.family import Option, Recommended, read_seed, read_task_count, read_whole
from gradex.tasks.ranges import RangedFamily, read_range, read_reversed
from gradex.tasks.simulator import Reset, Seeds, Step, environment_seeds
from gradex.tasks.task import Task

#: Episodes whose beginnings are drawn at once; step by step that took nearly a tenth of a stack's time.
_AHEAD = 16


@dataclass(frozen=True)
class CartPole(RangedFamily):
    """CartPole-v1 (Barto, Sutton and Anderson 1983) by half-length of the pole: +1 a step, at most 500.

    Tasks are spread geometrically over the ranges.

    Options
    -------
    n, seed : int
        Number of tasks; the seed shuffles further parameters and chooses which motors are reversed.
    half_length : float or pair
        Half the length of the pole, in metres.
    mass, force, gravity : float or pair
        Mass of the pole in kilograms, force of the motor in newtons, gravity in metres per second squared.
    reversed : {"none", "half"} or float
        Swaps the two actions in this share of the tasks, a number from 0 to 1 that is
        rounded to whole tasks: 0.1 of ten tasks is one.
    horizon : int
        Steps of an episode, at most; CartPole-v0 had 200.
    """

    horizon: int = 500

    name = "cartpole"
    options: ClassVar = {
        "n": Option(10, read_task_count),
        "seed": Option(0, read_seed),
        "half_length": Option((0.1, 4.0), partial(read_range, low=0.0, high=100.0)),
        "mass": Option(0.1, partial(read_range, low=0.0, high=100.0)),
        "force": Option(10.0, partial(read_range, low=0.0, high=1000.0)),
        "gravity": Option(9.8, partial(read_range, low=0.0, high=100.0)),
        "reversed": Option("none", read_reversed),
        "horizon": Option(500, partial(read_whole, least=1, most=2**31 - 1)),
    }
    title, actuators = "{half_length:.2f} m", "motor"
    action_space = spaces.Discrete(2)
    recommended = Recommended(600_000, 600_000)

    @property
    def observation_space(self) -> spaces.Box:
        return cast(spaces.Box, CartPoleVectorEnv(1).single_observation_space)

    def build(self, tasks: Sequence[Task], seeds: Seeds) -> VectorEnv:
        return CartPoleSimulator(tasks, seeds, self.horizon)


class CartPoleSimulator(CartPoleVectorEnv):
    """Gymnasium's vector CartPole with constants, motor direction and random stream per environment."""

    def __init__(self, tasks: Sequence[Task], seeds: Seeds, horizon: int) -> None:
        super().__init__(num_envs=len(tasks), max_episode_steps=horizon)

        def column(name: str, default: float) -> np.ndarray:
            return np.array([task.parameters.get(name, default) for task in tasks])

        self.length: Any = column("half_length", 0.5)
        self.masspole: Any = column("mass", 0.1)
        self.force_mag: Any = column("force", 10.0)
        self.gravity: Any = column("gravity", 9.8)
        self.total_mass: Any = self.masspole + self.masscart
        self.polemass_length: Any = self.masspole * self.length
        self._reversed = column("motor", 1.0) < 0
        self._seeds = seeds
        self.state: Any = None
        self._episodes = np.zeros(len(tasks), dtype=np.int64)

    def _draw_ahead(self) -> None:
        """Draw the states in which the coming episodes of every environment begin."""
        self._drawn = self._episodes.copy()
        episodes = self._drawn[:, None] + np.arange(_AHEAD)
        draws = uniforms(derive(self._seeds.repeat(_AHEAD), episodes.ravel()), 4)
        self._ahead = (self.low + (self.high - self.low) * draws).reshape(-1, _AHEAD, 4)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Reset:
        if seed is not None:
            self._seeds = environment_seeds(seed, self.num_envs)
        super().reset(seed=0, options=options)
        self._episodes[:] = 0
        self._draw_ahead()
        self.state = self._ahead[:, 0].T.copy()
        return self.state.T.astype(np.float32), {}

    def step(self, action: np.ndarray) -> Step:
        begins = np.flatnonzero(self.prev_done)
        chosen = np.where(self._reversed, 1 - action, action)
        observation, reward, terminated, truncated, info = super().step(chosen)
        if begins.size:
            self._episodes[begins] += 1
            place = self._episodes[begins] - self._drawn[begins]
            if place.max() == _AHEAD:
                self._draw_ahead()
                place[:] = 0  # all begin where they stand now
            observation[begins] = starts = self._ahead[begins, place]
            self.state[:, begins] = starts.T
        return observation, reward, terminated, truncated, info
