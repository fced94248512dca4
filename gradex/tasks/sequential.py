"""Scalar Gymnasium environments as one simulator: stepped in turn, each with a random stream of its own."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from jaxtyping import Int

from gradex.tasks.simulator import Reset, environment_seeds


class SequentialSimulator(SyncVectorEnv):
    """Gymnasium's `SyncVectorEnv` whose starts depend on the environment's seed and episode number alone.

    Parameters
    ----------
    factories : sequence of callable
        One per environment; each call makes an environment that shares nothing with the others.
    seeds : int array [environments]
        The first episode of environment i is that of `reset(seed=seeds[i])` in the scalar environment.
    """

    def __init__(
        self, factories: Sequence[Callable[[], gymnasium.Env]], seeds: Int[np.ndarray, " environments"]
    ) -> None:
        self._seeds = seeds
        wrapped = [functools.partial(_with_episode_seeds, make) for make in factories]
        super().__init__(wrapped, autoreset_mode=AutoresetMode.NEXT_STEP)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Reset:
        if seed is not None:
            self._seeds = environment_seeds(seed, self.num_envs)
        return super().reset(seed=self._seeds.tolist(), options=options)


class EpisodeSeeds(gymnasium.Wrapper):
    """Seeds every episode anew: how many random numbers the last one consumed does not matter."""

    _seed: int = 0
    _episode: int = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        self._episode = 0 if seed is not None else self._episode + 1
        if seed is not None:
            self._seed = seed
            return self.env.reset(seed=seed, options=options)
        state = np.random.SeedSequence([self._seed, self._episode]).generate_state(1)
        return self.env.reset(seed=int(state[0]) % 2**31, options=options)


def _with_episode_seeds(make: Callable[[], gymnasium.Env]) -> gymnasium.Env:
    return EpisodeSeeds(make())
