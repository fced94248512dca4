"""Environments that tell what they are told to."""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from .families import Drift


class Pushed(Drift):
    """Takes a push instead of a choice; of further actions only the `fixed`."""

    def __init__(self, *fixed: float) -> None:
        super().__init__()
        self.action_space = Box(np.float32([-2.0, *fixed]), np.float32([2.0, *fixed]))

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        return super().step(int(np.sign(action[0])) + 1)


class Endless(Drift):
    """Has no end of its own."""

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        return *super().step(action)[:2], False, False, {}


class Told(Endless):
    """Cut off after five steps; tells whatever it is told to."""

    def __init__(self, tell: Callable[[int], dict] = lambda time: {}, **values: Callable[[int], Any]) -> None:
        super().__init__()
        self.tell, self.values = tell, values

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        self.time = 0
        return super().reset(seed=seed)[0], self.tell(0)

    def step(self, action: Any) -> tuple[np.ndarray, Any, Any, Any, dict]:
        self.time += 1
        usual = {
            "reward": lambda time: 1.0,
            "terminated": lambda time: time == 5,
            "truncated": lambda time: False,
        }
        reward, *flags = ({**usual, **self.values}[name](self.time) for name in usual)
        return super().step(action)[0], reward, *flags, self.tell(self.time)


class Variant(Drift):
    """Drift with other spaces."""

    def __init__(self, observations: Any = None, actions: Any = None) -> None:
        super().__init__()
        self.observation_space = observations or self.observation_space
        self.action_space = actions or self.action_space
