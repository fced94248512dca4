"""Scalar Gymnasium environments as one simulator: stepped in turn, each with a random stream of its own."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from gradex.tasks.simulator import Reset, Seeds, Step, environment_seeds


class SequentialSimulator(SyncVectorEnv):
    """Gymnasium's `SyncVectorEnv` whose starts depend on the environment's seed and episode number alone.

    Parameters
    ----------
    factories : sequence of callable
        One per environment; each call makes an environment that shares nothing with the others.
    seeds : int array [environments]
        The first episode of environment i is that of `reset(seed=seeds[i])` in the scalar environment.
    """

    def __init__(self, factories: Sequence[Callable[[], gymnasium.Env]], seeds: Seeds) -> None:
        self._seeds = seeds
        made: list[gymnasium.Env] = []
        wrapped = [functools.partial(_with_episode_seeds, make, made) for make in factories]
        try:
            super().__init__(wrapped, autoreset_mode=AutoresetMode.NEXT_STEP)
        except BaseException:
            close_all(made)
            raise

    def step(self, actions: np.ndarray) -> Step:
        with self._closing_on_failure():
            return super().step(actions)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Reset:
        if seed is not None:
            self._seeds = environment_seeds(seed, self.num_envs)
        with self._closing_on_failure():
            return super().reset(seed=self._seeds.tolist(), options=options)

    @contextlib.contextmanager
    def _closing_on_failure(self) -> Iterator[None]:
        """Close all environments where one fails: nobody comes back to the others."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(Exception):  # the failure matters, and it may be why closing fails
                self.close()
            raise


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


def close_all(environments: Sequence[gymnasium.Env]) -> None:
    """Close environments that something else has failed with, each even if another does not close."""
    for environment in environments:
        with contextlib.suppress(Exception):
            environment.close()


def _with_episode_seeds(make: Callable[[], gymnasium.Env], made: list[gymnasium.Env]) -> gymnasium.Env:
    environment = EpisodeSeeds(make())
    made.append(environment)
    return environment
