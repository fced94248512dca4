"""Small suites of every family, and how to roll them out."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv

from gradex.tasks import TaskSuite


class Drift(gymnasium.Env):
    """A point that drifts from a random start, with noise, until it is far away."""

    def __init__(self, drift: float = 0.3, limit: float = 2.0) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(3)
        self.drift, self.limit = drift, limit

    def _observe(self) -> np.ndarray:
        return np.array([self.place, self.drift], dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-1, 1)
        return self._observe(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.place += self.drift * (int(action) - 1) + self.np_random.normal(0, 0.1)
        over = bool(abs(self.place) > self.limit)
        return self._observe(), -abs(self.place), over, False, {"success": over}


def drift(speed: float) -> Callable[[], gymnasium.Env]:
    spec = gymnasium.envs.registration.EnvSpec("Drift-v0", Drift, max_episode_steps=25)
    return lambda: gymnasium.make(spec, drift=speed)


class Case(NamedTuple):
    make: Callable[[], TaskSuite]
    steps: int  # enough for several episodes to end
    random_starts: bool = True
    rebuilds: bool = True


CASES = {
    "ant-goal": Case(lambda: TaskSuite.make("ant-goal", n=3, groups=3, horizon=7), 20),
    "cartpole": Case(lambda: TaskSuite.make("cartpole", n=3), 60),
    "cartpole-reversed": Case(lambda: TaskSuite.make("cartpole", n=3, mass=(0.05, 0.5), reversed="half"), 60),
    "cartpole-one-reversed": Case(lambda: TaskSuite.make("cartpole", n=3, reversed=0.3), 60),
    "navigation": Case(lambda: TaskSuite.make("navigation", n=3, horizon=7), 20, random_starts=False),
    "lunarlander": Case(lambda: TaskSuite.make("lunarlander", n=2), 260),
    "lunarlander-wind": Case(
        lambda: TaskSuite.make("lunarlander", n=2, wind=(0.0, 15.0), turbulence=1.5), 260
    ),
    "lunarlander-reversed": Case(lambda: TaskSuite.make("lunarlander", n=2, reversed="half"), 260),
    "halfcheetah": Case(lambda: TaskSuite.make("halfcheetah", n=3, horizon=7), 20),
    "highway-density": Case(lambda: TaskSuite.make("highway", n=3), 60),
    "highway-objective": Case(lambda: TaskSuite.make("highway", n=3, vary="objective"), 60),
    "highway-original": Case(
        lambda: TaskSuite.make("highway", n=2, density=(5.0, 6.0), engine="gymnasium"), 6
    ),
    "mt10": Case(lambda: TaskSuite.make("mt10", n=3, horizon=7), 20),
    "mt10-original": Case(
        lambda: TaskSuite.make("mt10", tasks=["reach", "window-open"], horizon=3, engine="gymnasium"), 8
    ),
    "custom": Case(
        lambda: TaskSuite.from_gymnasium({"slow": drift(0.2), "fast": drift(0.5)}, groups=[0, 1]),
        80,
        rebuilds=False,
    ),
}
if find_spec("mo_gymnasium") is not None:
    CASES |= {
        "mo-deep-sea-treasure": Case(
            lambda: TaskSuite.make("mo-deep-sea-treasure", n=3, horizon=7), 20, random_starts=False
        ),
        "mo-mountaincar-groups": Case(
            lambda: TaskSuite.make("mo-mountaincar", n=3, groups=2, horizon=7, scale=[1, 2, 3]), 20
        ),
        "mo-hopper-pooled": Case(lambda: TaskSuite.make("mo-hopper", n=2, horizon=9, scale=[1, 2, 3]), 25),
        "mo-mountaincar-conditioned": Case(
            lambda: TaskSuite.make("mo-mountaincar", n=3, horizon=7, scale=[1, 2, 3], conditioned=True), 20
        ),
        # Its ores come from the global generator, unless one takes care.
        "mo-minecart": Case(lambda: TaskSuite.make("mo-minecart", n=2, horizon=60), 130, random_starts=False),
    }


class Rollout(NamedTuple):
    """Arrays [steps, environments]; `start` is the observation of the reset."""

    start: np.ndarray
    observations: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray

    @property
    def ended(self) -> np.ndarray:
        return self.terminated | self.truncated

    def of(self, environments: slice | list[int]) -> "Rollout":
        return Rollout(self.start[environments], *(array[:, environments] for array in self[1:]))


def actions(suite: TaskSuite, steps: int, environments: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if isinstance(suite.action_space, gymnasium.spaces.Discrete):
        return rng.integers(suite.action_space.n, size=(steps, environments))
    return rng.uniform(-1, 1, size=(steps, environments, *suite.action_space.shape)).astype(np.float32)


def roll(simulator: VectorEnv, plan: np.ndarray, disturb: Callable[[], None] = lambda: None) -> Rollout:
    start = simulator.reset()[0]
    rows = []
    for chosen in plan:
        disturb()
        rows.append(simulator.step(chosen)[:4])
    return Rollout(start, *map(np.stack, zip(*rows, strict=True)))


def assert_equal(one: Rollout, other: Rollout) -> None:
    for name, ours, theirs in zip(Rollout._fields, one, other, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
