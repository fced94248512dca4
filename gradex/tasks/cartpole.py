"""CartPole with poles of different lengths, and optionally with motors that run the other way."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import VectorEnv
from jaxtyping import Int

from gradex.seeds import derive, uniforms
from gradex.tasks.ranges import as_range, draw_ranges, draw_reversed, latin_grid
from gradex.tasks.simulator import Reset, Step, environment_seeds
from gradex.tasks.suite import Task, TaskSuite

_HORIZON = 500


@TaskSuite.register
class CartPole(TaskSuite):
    """CartPole-v1 (Barto, Sutton and Anderson 1983) by half-length of the pole: +1 a step, at most 500."""

    family = "cartpole"

    @classmethod
    def create(
        cls,
        n: int = 10,
        seed: int = 0,
        half_length: float | Sequence[float] = (0.1, 4.0),
        mass: float | Sequence[float] = 0.1,
        force: float | Sequence[float] = 10.0,
        gravity: float | Sequence[float] = 9.8,
        reversed: str = "none",
    ) -> "CartPole":
        """Make n tasks, spread geometrically over the ranges.

        Parameters
        ----------
        n, seed : int
            Number of tasks; the seed shuffles further parameters and chooses which motors are reversed.
        half_length : float or pair
            Half the length of the pole, in metres.
        mass, force, gravity : float or pair
            Mass of the pole in kilograms, force of the motor in newtons, gravity in metres per second
            squared.
        reversed : {"none", "half"}
            "half" swaps the two actions in half of the tasks. Reversed and plain tasks look the same and want
            opposite actions, so this plants two groups in true conflict.
        """
        if n < 1:
            raise ValueError(f"n is {n}: a suite needs at least one task")
        ranges = {
            "half_length": as_range("half_length", half_length, 0.0, 100.0),
            "mass": as_range("mass", mass, 0.0, 100.0),
            "force": as_range("force", force, 0.0, 1000.0),
            "gravity": as_range("gravity", gravity, 0.0, 100.0),
        }
        rng = np.random.default_rng(seed)
        tasks = cls._tasks(latin_grid(ranges, n, rng), reversed, rng)
        return cls(tasks, ranges={name: list(pair) for name, pair in ranges.items()}, reversed=reversed)

    @staticmethod
    def _tasks(columns: dict[str, np.ndarray], reversed: str, rng: np.random.Generator) -> list[Task]:
        n = len(columns["half_length"])
        flip = draw_reversed(reversed, n, rng)
        tasks = []
        for i in range(n):
            parameters: dict[str, Any] = {name: float(column[i]) for name, column in columns.items()}
            name = f"{i}: {parameters['half_length']:.2f} m"
            group = None
            if reversed == "half":
                parameters["motor"] = -1.0 if flip[i] else 1.0
                name += " reversed" if flip[i] else ""
                group = int(flip[i])
            tasks.append(Task(name, parameters, group))
        return tasks

    @property
    def kind(self) -> str:
        return "cartpole-reversed" if self.options["reversed"] == "half" else self.family

    @property
    def observation_space(self) -> spaces.Box:
        return cast(spaces.Box, CartPoleVectorEnv(1).single_observation_space)

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(2)

    @property
    def horizon(self) -> int:
        return _HORIZON

    def draw(self, n: int, rng: np.random.Generator) -> list[Task]:
        ranges = {name: tuple(pair) for name, pair in self.options["ranges"].items()}
        return self._tasks(draw_ranges(ranges, n, rng), self.options["reversed"], rng)

    def build(self, tasks: Sequence[Task], seeds: Int[np.ndarray, " environments"]) -> VectorEnv:
        return CartPoleSimulator(tasks, seeds)


class CartPoleSimulator(CartPoleVectorEnv):
    """Gymnasium's vector CartPole with constants, motor direction and random stream per environment."""

    def __init__(self, tasks: Sequence[Task], seeds: Int[np.ndarray, " environments"]) -> None:
        super().__init__(num_envs=len(tasks), max_episode_steps=_HORIZON)

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

    def _starts(self) -> np.ndarray:
        draws = uniforms(derive(self._seeds, self._episodes), 4)
        return (self.low + (self.high - self.low) * draws).T

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Reset:
        if seed is not None:
            self._seeds = environment_seeds(seed, self.num_envs)
        super().reset(seed=0, options=options)
        self._episodes[:] = 0
        self.state = self._starts()
        return self.state.T.astype(np.float32), {}

    def step(self, action: np.ndarray) -> Step:
        begins = self.prev_done.copy()
        chosen = np.where(self._reversed, 1 - action, action)
        observation, reward, terminated, truncated, info = super().step(chosen)
        if begins.any():
            self._episodes[begins] += 1
            self.state[:, begins] = self._starts()[:, begins]
            observation[begins] = self.state[:, begins].T
        return observation, reward, terminated, truncated, info
