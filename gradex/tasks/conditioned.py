"""Preferences that a policy sees: the weights of a task stand behind the numbers that are observed.

So one policy serves all preferences (universal value functions: Schaul et al. 2015, ICML; with vectors of
rewards Abels et al. 2019, ICML; Yang et al. 2019, NeurIPS, arXiv 1908.08342).
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Float

from gradex.tasks.family import Scale
from gradex.tasks.simulator import Reset


def conditioned_space(space: spaces.Box, objectives: int) -> spaces.Box:
    """Give a space of observations with a weight of each objective behind them.

    Examples
    --------
    >>> from gymnasium.spaces import Box
    >>> from gradex.tasks.conditioned import conditioned_space
    >>> conditioned_space(Box(-5, 5, (1,)), objectives=2).low.tolist()
    [-5.0, 0.0, 0.0]
    """
    low = np.concatenate([space.low, np.zeros(objectives, np.float32)])
    return spaces.Box(low, np.concatenate([space.high, np.ones(objectives, np.float32)]), dtype=np.float32)


def conditioned_scale(scale: Scale | None, objectives: int) -> Scale | None:
    """Give a scale of observations with weights behind them, which stay as they are."""
    if scale is None:
        return None
    return (*scale[0], *(0.0,) * objectives), (*scale[1], *(1.0,) * objectives)


class Conditioned(gymnasium.Wrapper):
    """An environment that shows the weights of its task behind what is observed, a vector of float32."""

    def __init__(self, environment: gymnasium.Env, weights: Float[np.ndarray, " k"]) -> None:
        super().__init__(environment)
        self._weights = weights.astype(np.float32)
        plain: Any = environment.observation_space
        self.observation_space = conditioned_space(plain, len(weights))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        observation, info = self.env.reset(seed=seed, options=options)
        return np.concatenate([observation, self._weights]), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, paid, terminated, truncated, info = self.env.step(action)
        return np.concatenate([observation, self._weights]), paid, terminated, truncated, info
