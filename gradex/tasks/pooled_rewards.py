"""Vectors of rewards in EnvPool, which tells only scalars: rebuilt from what a step shows."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from jaxtyping import Float

from gradex.tasks.conditioned import conditioned_space
from gradex.tasks.simulator import PoolSimulator, Reset, Seeds, Step


class Transition(NamedTuple):
    """A step of all environments: what a vector of rewards is made of. Actions are clipped already."""

    before: np.ndarray
    actions: np.ndarray
    after: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    info: dict[str, Any]


class Port(NamedTuple):
    """EnvPool's port of an environment: its id, how the vector is rebuilt, and what EnvPool has to tell."""

    environment: str
    vector: Callable[[Transition], list[np.ndarray]]
    signals: tuple[str, ...] = ()


def _shaping(seen: np.ndarray) -> np.ndarray:
    x, y, vx, vy, angle, _, left, right = seen.astype(np.float64).T
    return -100 * (np.hypot(x, y) + np.hypot(vx, vy) + np.abs(angle)) + 10 * (left + right)


def _lunar_lander(step: Transition) -> list[np.ndarray]:
    main, side = step.actions == 2, (step.actions == 1) | (step.actions == 3)
    # The last reward is 100 or -100 and nothing else; the vector still has the rest.
    landing = np.where(step.terminated, step.reward, 0.0)
    return [landing, _shaping(step.after) - _shaping(step.before), -1.0 * main, -1.0 * side]


def _mountain_car(step: Transition) -> list[np.ndarray]:
    return [step.terminated - 1.0, -1.0 * (step.actions == 0), -1.0 * (step.actions == 2)]


def _continuous_mountain_car(step: Transition) -> list[np.ndarray]:
    return [step.terminated - 1.0, -(step.actions[:, 0].astype(np.float64) ** 2)]


def _effort(step: Transition) -> np.ndarray:
    return -(step.actions.astype(np.float64) ** 2).sum(axis=1)


def _half_cheetah(step: Transition) -> list[np.ndarray]:
    return [step.info["x_velocity"], _effort(step)]


def _hopper(step: Transition) -> list[np.ndarray]:
    healthy = 1.0 - step.terminated
    height = 10 * (step.after[:, 0].astype(np.float64) - 1.25)  # above where it starts, in tenths of a metre
    return [step.info["x_velocity"] + healthy, height + healthy, _effort(step) + healthy]


#: By MO-Gymnasium's id.
PORTS = {
    "mo-lunar-lander-v3": Port("LunarLander-v3", _lunar_lander),
    "mo-mountaincar-v0": Port("MountainCar-v0", _mountain_car),
    "mo-mountaincarcontinuous-v0": Port("MountainCarContinuous-v0", _continuous_mountain_car),
    "mo-halfcheetah-v5": Port("HalfCheetah-v5", _half_cheetah, ("x_velocity",)),
    "mo-hopper-v5": Port("Hopper-v5", _hopper, ("x_velocity",)),
}


class PooledRewards(PoolSimulator):
    """One pool for all tasks, which pays w·(r / scale) and tells r / scale in `info["objectives"]`.

    Of each environment `shown` are numbers behind what is observed; `observation_space` is that without.
    """

    def __init__(
        self,
        port: Port,
        horizon: int,
        scale: Float[np.ndarray, " k"],
        weights: Float[np.ndarray, "environments k"],
        seeds: Seeds,
        observation_space: spaces.Box,
        action_space: spaces.Discrete | spaces.Box,
        shown: Float[np.ndarray, "environments shown"] | None = None,
    ) -> None:
        options = [{"max_episode_steps": horizon} for _ in weights]
        signals = (*port.signals, "elapsed_step")
        super().__init__(
            port.environment, options, seeds, observation_space, action_space, signals=signals, extra="mo"
        )
        self._port, self._scale, self._weights = port, scale, weights
        self._actions = np.zeros((self.num_envs, *action_space.shape), action_space.dtype)  # type: ignore[misc]
        self._seen = np.zeros((self.num_envs, *observation_space.shape), np.float32)
        self._shown = None if shown is None else shown.astype(np.float32)
        if shown is not None:
            self.single_observation_space = conditioned_space(observation_space, shown.shape[1])
            self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Reset:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bounds that lose digits in single precision
            return super().reset(seed=seed, options=options)

    def step_async(self, actions: np.ndarray) -> None:
        super().step_async(actions)
        space = self.single_action_space
        box = isinstance(space, spaces.Box)
        self._actions = np.clip(actions, space.low, space.high) if box else np.array(actions)  # type: ignore[attr-defined]

    def _receive(self) -> Step:
        observation, reward, terminated, truncated, info = super()._receive()
        step = Transition(self._seen, self._actions, observation, reward, terminated, info)
        objectives = np.stack(self._port.vector(step), axis=1).astype(np.float64) / self._scale
        # A reset is no step, and pays nothing.
        objectives[info["elapsed_step"] == 0] = 0.0
        self._seen = observation.copy()
        paid = np.zeros(self.num_envs)
        for k in range(objectives.shape[1]):
            paid += self._weights[:, k] * objectives[:, k]
        if self._shown is not None:
            observation = np.concatenate([observation, self._shown], axis=1)
        return observation, paid, terminated, truncated, {"objectives": objectives}
