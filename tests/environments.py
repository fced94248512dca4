"""Environments that play back a script, for tests that know what must come out."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from gradex.tasks import TaskSuite


class Scripted(gymnasium.Env):
    """Pays `rewards` one after the other; the observation is the number of the step, at the start 0.

    Parameters
    ----------
    rewards : sequence of float
        Their number is the length of an episode.
    ends : {"terminated", "truncated"}
        How an episode ends.
    success : int, optional
        The step at which success is flagged; without it none is reported.
    observed : mapping of int to float
        Observations that differ from the number of the step.
    action_space : gymnasium.Space
    """

    def __init__(
        self,
        rewards: Sequence[float],
        ends: str = "terminated",
        success: int | None = None,
        observed: dict[int, float] | None = None,
        action_space: gymnasium.Space | None = None,
    ) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = spaces.Discrete(2) if action_space is None else action_space
        self.rewards, self.ends, self.success = list(rewards), ends, success
        self.observed = observed or {}
        #: What came in since the last reset.
        self.actions: list[Any] = []

    def _observe(self) -> np.ndarray:
        time = len(self.actions)
        return np.array([self.observed.get(time, time)], dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.actions = []
        return self._observe(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        time = len(self.actions)
        self.actions.append(action)
        over = time + 1 == len(self.rewards)
        info = {} if self.success is None else {"success": time == self.success}
        reward = float(self.rewards[time])
        return (
            self._observe(),
            reward,
            over and self.ends == "terminated",
            over and self.ends == "truncated",
            info,
        )


_PAIR = spaces.Box(0, 1, (2,), np.float32)


class Fork(gymnasium.Env):
    """Pays 1 in the objective that is chosen, and 0 in the others, for three steps; observed is the time.

    Parameters
    ----------
    objectives : sequence of str, optional
        Their names; none by default.
    reward_space : gymnasium.Space, optional
        None leaves it out.
    pays : callable
        Gives the reward from the vector.
    continuous : bool
        Actions are then a vector, and its entries are paid.
    """

    observation_space = spaces.Box(0, 3, (1,), np.float32)

    def __init__(
        self,
        objectives: Sequence[str] | None = None,
        reward_space: gymnasium.Space | None = _PAIR,
        pays: Callable[[np.ndarray], Any] = np.asarray,
        continuous: bool = False,
    ) -> None:
        self.action_space = spaces.Box(0, 1, (2,), np.float32) if continuous else spaces.Discrete(2)
        self.pays = pays
        if objectives is not None:
            self.objectives = objectives
        if reward_space is not None:
            self.reward_space = reward_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        self.time += 1
        vector = np.eye(2)[action] if isinstance(self.action_space, spaces.Discrete) else action
        return np.full(1, self.time, np.float32), self.pays(vector), self.time == 3, False, {}


def scripted(*arguments: Any, **keywords: Any) -> Callable[[], Scripted]:
    """Give a function that makes such environments."""
    return lambda: Scripted(*arguments, **keywords)


def scripted_suite(**tasks: Callable[[], Scripted]) -> TaskSuite:
    """Make a suite of scripted tasks."""
    return TaskSuite.from_gymnasium(tasks)
