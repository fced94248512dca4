"""Highway driving in traffic of different densities, or with different objectives in the same traffic.

EnvPool 1.2.5 is about a thousand times faster than highway-env 1.12.1 and has the same law, but for the side
on which cars overtake where both would do: `tests/tasks/test_highway.py` has the comparison.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from jaxtyping import Float

from gradex.tasks.family import Family, Option, Recommended, if_given, one_of, read_seed, read_task_count
from gradex.tasks.ranges import draw_ranges, latin_grid, read_range
from gradex.tasks.simulator import PoolSimulator, Seeds, SequentialSimulator, Step
from gradex.tasks.task import Task

#: Seconds of an episode; one decision a second.
_DURATION = {"highway-fast-v0": 30, "highway-v0": 40}
_DENSITIES = (0.5, 2.5)
#: The objectives in the order of `info["objectives"]`, and the range of their weights in the two planted
#: camps.
_OBJECTIVES = ("high_speed_reward", "right_lane_reward", "collision_reward")
_CAMPS: tuple[dict[str, tuple[float, float]], ...] = (
    {"high_speed_reward": (0.3, 0.5), "right_lane_reward": (-0.3, -0.1), "collision_reward": (-1.5, -0.5)},
    {"high_speed_reward": (-0.3, -0.1), "right_lane_reward": (0.3, 0.5), "collision_reward": (-1.5, -0.5)},
)
_CAMP_NAMES = ("fast and left", "slow and right")


@dataclass(frozen=True)
class Highway(Family):
    """highway-v0 and highway-fast-v0 of highway-env (Leurent 2018), in EnvPool's port or the original.

    The agent sees itself and the four nearest cars ahead, and chooses every second between left, idle, right,
    faster and slower.

    Options
    -------
    n, seed : int
    vary : {"density", "objective"}
        "density": n densities spread geometrically, with highway-env's own reward, between 0 and 1 a second.
        "objective": one density, n mixtures of the rewards for speed, right lane and collision, from two
        planted camps of which one is paid for driving fast on the left and the other for driving slowly on
        the right. The reward is then the plain weighted sum: highway-env's rescaling to [0, 1] assumes
        weights that are not negative.
    density : float or pair, optional
        Cars per default spacing; 0.5 to 2.5 by default, and 1 with `vary="objective"`.
    scenario : {"highway-fast-v0", "highway-v0"}
        Three lanes and 20 cars for 30 seconds, or four lanes and 50 cars for 40.
    engine : {"envpool", "gymnasium"}
        "gymnasium" is highway-env itself: the same law, about a thousand times slower.
    """

    vary: str
    density: Sequence[float]
    scenario: str
    engine: str

    name = "highway"
    options: ClassVar = {
        "n": Option(10, read_task_count),
        "seed": Option(0, read_seed),
        "vary": Option("density", one_of("density", "objective")),
        "density": Option(None, if_given(partial(read_range, low=0.0, high=10.0))),
        "scenario": Option("highway-fast-v0", one_of(*_DURATION)),
        "engine": Option("envpool", one_of("envpool", "gymnasium")),
    }

    @property
    def observation_space(self) -> spaces.Box:
        # Presence, position and velocity of five cars.
        return spaces.Box(-np.inf, np.inf, (25,), np.float32)

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(5)

    @classmethod
    def create(
        cls, n: int, seed: int, vary: str, density: tuple[float, float] | None, scenario: str, engine: str
    ) -> tuple[list[Task], Family]:
        """Make n tasks."""
        low, high = density or (_DENSITIES if vary == "density" else (1.0, 1.0))
        if vary == "objective" and low != high:
            raise ValueError(
                f"density is {density!r} with vary='objective': give one number, as all tasks share it"
            )
        family, rng = cls(vary, [low, high], scenario, engine), np.random.default_rng(seed)
        if vary == "density":
            return _densities(latin_grid({"vehicles_density": (low, high)}, n, rng)), family
        return _mixtures(n, low, rng), family

    def draw(self, n: int, rng: np.random.Generator, known: Sequence[Task]) -> list[Task]:
        if self.shared_dynamics:
            return _mixtures(n, self.density[0], rng)
        return _densities(draw_ranges({"vehicles_density": self.density}, n, rng))

    @property
    def shared_dynamics(self) -> bool:
        return self.vary == "objective"

    @property
    def recommended(self) -> Recommended:
        return Recommended(meta_steps=600_000 if self.vary == "density" else 400_000)

    @property
    def horizon(self) -> int:  # type: ignore[override]  # families whose horizon is an option have a field
        return _DURATION[self.scenario]

    def rewards(
        self, tasks: Sequence[Task], objectives: Float[np.ndarray, "*steps k"]
    ) -> Float[np.ndarray, "tasks *steps"]:
        """Weigh the objectives; with `vary="density"` traffic differs, and the tasks share nothing."""
        if not self.shared_dynamics:
            return super().rewards(tasks, objectives)
        return np.moveaxis(objectives @ _weights(tasks).T, -1, 0)

    def build(self, tasks: Sequence[Task], seeds: Seeds) -> VectorEnv:
        simulator = EnvPoolHighway if self.engine == "envpool" else GymnasiumHighway
        return simulator(self, tasks, seeds)


def _densities(columns: Mapping[str, Float[np.ndarray, " n"]]) -> list[Task]:
    values = map(float, columns["vehicles_density"])
    return [Task(f"{i}: density {value:.2f}", {"vehicles_density": value}) for i, value in enumerate(values)]


def _mixtures(n: int, density: float, rng: np.random.Generator) -> list[Task]:
    tasks = []
    for i, camp in enumerate(rng.permutation(np.arange(n) % 2)):
        weights = {name: float(rng.uniform(*_CAMPS[camp][name])) for name in _OBJECTIVES}
        tasks.append(Task(f"{i}: {_CAMP_NAMES[camp]}", {"vehicles_density": density, **weights}, int(camp)))
    return tasks


def _weights(tasks: Sequence[Task]) -> Float[np.ndarray, "tasks 3"]:
    return np.array([[task.parameters[name] for name in _OBJECTIVES] for task in tasks])


class EnvPoolHighway(PoolSimulator):
    """EnvPool's port, with `info["success"]` (drove to the end) and `info["objectives"]` if they vary.

    EnvPool returns only a weighted sum of the objectives. With the weights 1, 4 and -8 it can be taken apart
    again, since speed lies in [0, 1] and the lane is one of three or four equally spaced values in [0, 1]. So
    one pool serves every mixture.
    """

    _CODE = (1.0, 4.0, -8.0)

    def __init__(self, family: Highway, tasks: Sequence[Task], seeds: Seeds) -> None:
        self._weights: Float[np.ndarray, "environments 3"] | None = None
        common: dict[str, Any] = {}
        if family.shared_dynamics:
            self._weights = _weights(tasks)
            common = dict(zip(_OBJECTIVES, self._CODE, strict=True), normalize_reward=False)
        super().__init__(
            family.scenario,
            [{"vehicles_density": task.parameters["vehicles_density"], **common} for task in tasks],
            seeds,
            family.observation_space,
            family.action_space,
            signals=("crashed",),
        )
        self._lanes = 3 if family.scenario == "highway-fast-v0" else 4

    def step(self, actions: np.ndarray) -> Step:
        observation, reward, terminated, truncated, info = super().step(actions)
        # EnvPool calls a crash in the very last second a truncation only; highway-env calls it both.
        terminated = terminated | info["crashed"]
        info["success"] = truncated & ~terminated
        if self._weights is not None:
            info["objectives"] = self._objectives(reward)
            reward = np.sum(self._weights * info["objectives"], axis=1)
        return observation, reward, terminated, truncated, info

    def _objectives(self, code: Float[np.ndarray, " environments"]) -> Float[np.ndarray, "environments 3"]:
        _, right, collision = self._CODE
        crashed = code < -1
        code = code - collision * crashed
        spacing = right / (self._lanes - 1)
        lane = np.floor((code + 0.1) / spacing)  # 0.1: between rounding and the gap of at least 1/3
        return np.stack([code - lane * spacing, lane / (self._lanes - 1), crashed], axis=1)


class GymnasiumHighway(SequentialSimulator):
    """highway-env itself, with the same `info` as `EnvPoolHighway`."""

    def __init__(self, family: Highway, tasks: Sequence[Task], seeds: Seeds) -> None:
        common = {"normalize_reward": False} if family.shared_dynamics else {}
        self._shared = family.shared_dynamics
        factories = [partial(_original, family.scenario, {**task.parameters, **common}) for task in tasks]
        super().__init__(factories, seeds)

    def step(self, actions: np.ndarray) -> Step:
        resets = self._autoreset_envs.copy()
        observation, reward, terminated, truncated, extra = super().step(actions)
        info: dict[str, Any] = {"crashed": terminated, "success": truncated & ~terminated}
        if self._shared:
            counts = extra["rewards"]["on_road_reward"] * ~resets
            info["objectives"] = np.stack([extra["rewards"][name] * counts for name in _OBJECTIVES], axis=1)
        return observation, reward, terminated, truncated, info


def _original(scenario: str, config: dict[str, Any]) -> gymnasium.Env:
    try:
        import highway_env
    except ImportError as missing:
        raise ValueError("engine 'gymnasium' needs highway-env: pip install 'gradex[highway]'") from missing
    gymnasium.register_envs(highway_env)
    environment = gymnasium.make(scenario, config=config, disable_env_checker=True)
    return gymnasium.wrappers.FlattenObservation(environment)
