"""Simulators: environments of Gymnasium in turn, or of EnvPool at once, each with its own random stream."""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any, Protocol, cast, runtime_checkable

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Int
from joblib import cpu_count

#: One for each environment.
Seeds = Int[np.ndarray, " environments"]
#: Observations and info.
Reset = tuple[np.ndarray, dict[str, Any]]
#: Observations, rewards, terminated, truncated and info.
Step = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]

#: Environments of Gymnasium that are made at a time, where more can wait: those of MuJoCo take a megabyte or
#: two each, and stepping ever more of them in turn saves nothing.
MOST_IN_TURN = 2_000
#: That this process may use; fewer where LOKY_MAX_CPU_COUNT says so.
_CORES = cpu_count()


@runtime_checkable
class StepsAhead(Protocol):
    """A simulator that works on a step while its caller does something else, as `AsyncVectorEnv` does."""

    def step_async(self, actions: np.ndarray) -> None:
        """Begin a step."""

    def step_wait(self) -> Step:
        """Give the result of the step that was begun."""


@runtime_checkable
class Resumable(Protocol):
    """A simulator that another one of the same making can go on from."""

    def begin_noting(self) -> None:
        """From here on note what `state` needs."""

    def state(self) -> dict[str, np.ndarray]:
        """Give what `restore` needs."""

    def restore(self, state: Mapping[str, np.ndarray]) -> np.ndarray:
        """Go to a `state`; give the observations there."""


@runtime_checkable
class GoesOn(Protocol):
    """A simulator that cannot be seeded again, and is dear to make, but can begin fresh episodes."""

    def begin_episodes(self) -> np.ndarray:
        """End all episodes and begin fresh ones, which follow from the seeds and all that came before."""


def seeds_of_copies(seeds: Sequence[int], copies: int, first: int = 0) -> Seeds:
    """Give the seeds of copies `first` to first + copies - 1 of each task, task by task."""
    states = [np.random.SeedSequence([s, 0]).generate_state(first + copies)[first:] for s in seeds]
    # EnvPool takes seeds as signed 32-bit integers.
    return (np.concatenate(states) % 2**31).astype(np.int64)


def environment_seeds(seed: Any, environments: int) -> Seeds:
    """Read the `seed` of a `reset` as Gymnasium does: an integer stands for seed, seed + 1, and so on."""
    seeds = np.asarray(seed, dtype=np.int64)
    if seeds.ndim == 0:
        return seeds + np.arange(environments)
    if seeds.shape != (environments,):
        raise ValueError(
            f"seed has {len(seeds)} entries for {environments} environments: give one, or one for each"
        )
    return seeds


class SequentialSimulator(SyncVectorEnv):
    """Gymnasium's `SyncVectorEnv` whose starts depend on the environment's seed and episode number alone.

    The first episode of environment i is that of `reset(seed=seeds[i])` in the scalar environment. Each call
    of a factory makes an environment that shares nothing with the others.
    """

    def __init__(self, factories: Sequence[Callable[[], gymnasium.Env]], seeds: Seeds) -> None:
        self._seeds = seeds
        made: list[gymnasium.Env] = []

        def make_noted(make: Callable[[], gymnasium.Env]) -> gymnasium.Env:
            made.append(EpisodeSeeds(make()))
            return made[-1]

        try:
            noted = [functools.partial(make_noted, make) for make in factories]
            super().__init__(noted, autoreset_mode=AutoresetMode.NEXT_STEP)
        except BaseException:
            for environment in made:
                with contextlib.suppress(Exception):  # the others are closed even if this one does not
                    environment.close()
            raise

    def step(self, actions: np.ndarray) -> Step:
        with self._closing_on_failure():
            return super().step(actions)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Reset:
        if seed is not None:
            self._seeds = environment_seeds(seed, self.num_envs)
        with self._closing_on_failure():
            return super().reset(seed=self._seeds.tolist(), options=options)

    def close_extras(self, **kwargs: Any) -> None:
        """Close all environments, once: one that fails leaves none of the others open."""
        self.closed = True
        with contextlib.ExitStack() as closing:
            for environment in reversed(getattr(self, "envs", ())):
                closing.callback(environment.close)

    def begin_noting(self) -> None:
        """Note the actions of running episodes; without need they would pile up in one that never ends."""
        for each in cast(Sequence[EpisodeSeeds], self.envs):
            each.noting = True

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

    If it is `noting`, `actions` are those of the running episode. With its number, `episode`, they say where
    a deterministic environment stands.
    """

    def __init__(self, environment: gymnasium.Env) -> None:
        super().__init__(environment)
        self._seed = self.episode = 0
        self.actions: list[Any] = []
        self.noting = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        self.episode = 0 if seed is not None else self.episode + 1
        self.actions = []
        if seed is not None:
            self._seed = seed
            return self.env.reset(seed=seed, options=options)
        state = np.random.SeedSequence([self._seed, self.episode]).generate_state(1)
        return self.env.reset(seed=int(state[0]) % 2**31, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        if self.noting:
            self.actions.append(copy(action))  # it may be a part of an array that its owner fills again
        return self.env.step(action)

    def play(self, seed: int, episode: int, actions: Iterable[Any]) -> Any:
        """Begin an episode and take these actions; give the observation to which they lead."""
        self._seed, self.episode = seed, episode - 1
        observation, _ = self.reset(seed=None if episode else seed)
        for action in actions:
            observation = self.step(action)[0]
        return observation


class PoolSimulator(VectorEnv):
    """Environments with equal options share a pool; the pools run at the same time.

    Observations are flattened, and actions clipped to their space. EnvPool resets an environment on the step
    after its last, as `AutoresetMode.NEXT_STEP` asks, and gives each environment a generator of its own.

    Options are EnvPool's keyword arguments of each environment, signals the entries of its `info` to pass on,
    as arrays [environments]. There are `per_core` threads of all pools together for each core, and at least
    `least` of each pool; results do not depend on them. `extra` is the one of this package that installs
    EnvPool for this environment.
    """

    def __init__(
        self,
        environment: str,
        options: Sequence[Mapping[str, Any]],
        seeds: Seeds,
        observation_space: spaces.Box,
        action_space: spaces.Discrete | spaces.Box,
        signals: Sequence[str] = (),
        per_core: int = 1,
        least: int = 1,
        extra: str = "highway",
    ) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.num_envs = len(options)
        self.single_observation_space, self.single_action_space = observation_space, action_space
        self.observation_space = batch_space(observation_space, self.num_envs)
        self.action_space = batch_space(action_space, self.num_envs)
        self._environment, self._signals, self._seeds = environment, tuple(signals), np.asarray(seeds)
        self._extra = extra
        members: dict[tuple[tuple[str, Any], ...], list[int]] = {}
        for index, each in enumerate(options):
            members.setdefault(tuple(sorted(each.items())), []).append(index)
        self._members = [(dict(key), np.array(indices)) for key, indices in members.items()]
        self._threads = max(least, per_core * _CORES // len(members))
        self._features = observation_space.shape[0]
        self._pools: list[Any] = []

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Reset:
        if seed is not None:
            self._seeds = environment_seeds(seed, self.num_envs)
        try:
            import envpool
        except ImportError:
            raise ImportError(
                f"this suite runs in EnvPool, which is missing: pip install 'gradex[{self._extra}]'"
            ) from None
        # A pool cannot be seeded again; making one takes about a millisecond, with MuJoCo twenty for each
        # environment.
        self._pools = [
            envpool.make(
                self._environment,
                env_type="gymnasium",
                num_envs=len(indices),
                env_seed=self._seeds[indices].tolist(),
                num_threads=min(len(indices), self._threads),
                **keywords,
            )
            for keywords, indices in self._members
        ]
        for pool in self._pools:
            pool.async_reset()
        observation, _, _, _, info = self._receive()
        return observation, info

    def begin_episodes(self) -> np.ndarray:
        for pool in self._pools:
            pool.async_reset()
        return self._receive()[0]

    def step(self, actions: np.ndarray) -> Step:
        self.step_async(actions)
        return self.step_wait()

    def step_async(self, actions: np.ndarray) -> None:
        if not self._pools:
            raise gymnasium.error.ResetNeeded("the simulator has not been reset: call reset before step")
        space = self.single_action_space
        if isinstance(space, spaces.Box):
            actions = np.clip(actions, space.low, space.high)
        for pool, (_, indices) in zip(self._pools, self._members, strict=True):
            pool.send(actions[indices], np.arange(len(indices), dtype=np.int32))

    def step_wait(self) -> Step:
        return self._receive()

    def _receive(self) -> Step:
        n = self.num_envs
        observation = np.zeros((n, self._features), np.float32)
        reward, terminated, truncated = np.zeros(n), np.zeros(n, bool), np.zeros(n, bool)
        info: dict[str, Any] = {}
        for pool, (_, indices) in zip(self._pools, self._members, strict=True):
            seen, gained, ended, stopped, extra = pool.recv()
            # A pool may return its environments in the order in which they finished.
            where = indices[extra["env_id"]]
            observation[where] = seen.reshape(len(where), -1)
            reward[where], terminated[where], truncated[where] = gained, ended, stopped
            for name in self._signals:
                info.setdefault(name, np.zeros(n, extra[name].dtype))[where] = extra[name]
        return observation, reward, terminated, truncated, info

    def close_extras(self, **kwargs: Any) -> None:
        self._pools = []
