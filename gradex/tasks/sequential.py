"""Scalar Gymnasium environments as one simulator: stepped in turn, each with a random stream of its own."""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any, cast

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

    def state(self) -> dict[str, np.ndarray]:
        """Give the number of each environment's episode and its actions so far: all that `restore` needs."""
        space, environments = self.single_action_space, cast(Sequence[EpisodeSeeds], self.envs)
        shape = cast(tuple[int, ...], space.shape)
        actions = [action for each in environments for action in each.actions]
        return {
            "episodes": np.array([each.episode for each in environments]),
            "lengths": np.array([len(each.actions) for each in environments]),
            "actions": np.array(actions, dtype=space.dtype).reshape(-1, *shape),
            "over": self._autoreset_envs,
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> np.ndarray:
        """Play the running episode of each environment again; give the observations to which that leads."""
        actions = np.split(state["actions"], state["lengths"].cumsum()[:-1])
        plays = zip(
            cast(Sequence[EpisodeSeeds], self.envs), self._seeds, state["episodes"], actions, strict=True
        )
        with self._closing_on_failure():
            seen = [each.play(int(seed), int(episode), own) for each, seed, episode, own in plays]
        self._autoreset_envs = state["over"].copy()
        return np.stack(seen)

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
    """Seeds every episode anew: how many random numbers the last one consumed does not matter.

    Attributes
    ----------
    episode : int
        Number of the running one.
    actions : list
        Those of the running episode. With its number they say where a deterministic environment stands.
    """

    def __init__(self, environment: gymnasium.Env) -> None:
        super().__init__(environment)
        self._seed = self.episode = 0
        self.actions: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        self.episode = 0 if seed is not None else self.episode + 1
        self.actions = []
        if seed is not None:
            self._seed = seed
            return self.env.reset(seed=seed, options=options)
        state = np.random.SeedSequence([self._seed, self.episode]).generate_state(1)
        return self.env.reset(seed=int(state[0]) % 2**31, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.actions.append(copy(action))  # it may be a part of an array that its owner fills again
        return self.env.step(action)

    def play(self, seed: int, episode: int, actions: Iterable[Any]) -> Any:
        """Begin an episode and take these actions; give the observation to which they lead."""
        self._seed, self.episode = seed, episode - 1
        observation, _ = self.reset(seed=None if episode else seed)
        for action in actions:
            observation = self.step(action)[0]
        return observation


def close_all(environments: Sequence[gymnasium.Env]) -> None:
    """Close environments that something else has failed with, each even if another does not close."""
    for environment in environments:
        with contextlib.suppress(Exception):
            environment.close()


def _with_episode_seeds(make: Callable[[], gymnasium.Env], made: list[gymnasium.Env]) -> gymnasium.Env:
    environment = EpisodeSeeds(make())
    made.append(environment)
    return environment
