"""Meta-World's fifty robotic manipulation tasks: the ten of MT10, all of MT50, or any of them.

EnvPool 1.2.5 is several times faster than Meta-World 3.1.1, whose rewards it has in version 2 only. On MT10
the two have the same episodes from the same draws, and scripted experts do equally well in both; nine of the
other forty tasks are not the same. `tests/tasks/test_metaworld.py` has the comparison.
"""

import difflib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from gradex.tasks.family import (
    Family,
    Option,
    Recommended,
    Scale,
    if_given,
    one_of,
    read_names,
    read_seed,
    read_whole,
)
from gradex.tasks.simulator import PoolSimulator, Reset, Seeds, SequentialSimulator, Step
from gradex.tasks.task import Task

_MT10 = (
    "reach", "push", "pick-place", "door-open", "drawer-open", "drawer-close", "button-press-topdown",
    "peg-insert-side", "window-open", "window-close",
)  # fmt: skip
_REST = (
    "assembly", "basketball", "bin-picking", "box-close", "button-press-topdown-wall", "button-press",
    "button-press-wall", "coffee-button", "coffee-pull", "coffee-push", "dial-turn", "disassemble",
    "door-close", "door-lock", "door-unlock", "hand-insert", "faucet-open", "faucet-close", "hammer",
    "handle-press-side", "handle-press", "handle-pull-side", "handle-pull", "lever-pull",
    "pick-place-wall", "pick-out-of-hole", "plate-slide", "plate-slide-side", "plate-slide-back",
    "plate-slide-back-side", "peg-unplug-side", "soccer", "stick-push", "stick-pull", "push-wall",
    "push-back", "reach-wall", "shelf-place", "sweep-into", "sweep",
)  # fmt: skip
#: In EnvPool these pay, start or move otherwise.
_OTHERWISE = (
    "button-press-topdown-wall", "door-lock", "soccer", "sweep", "sweep-into", "push-back", "disassemble",
    "door-close", "lever-pull",
)  # fmt: skip
_VERSION = "-v3"
_ALL = tuple(name + _VERSION for name in _MT10 + _REST)


#: Rollouts of whole episodes where the horizon is 200; tasks pay very differently until they are solved.
_PPO = {"steps": 200, "epochs": 8, "minibatches": 20, "learning_rate": 5e-4}


def _scale() -> Scale:
    # Hand, gripper, and place and orientation of two objects, now and before; then the goal.
    place, gripper, orientation = [(0.0, 0.2), (0.65, 0.2), (0.15, 0.2)], [(0.5, 0.5)], [(0.0, 1.0)] * 4
    frame = place + gripper + 2 * (place + orientation)
    centre, spread = zip(*(2 * frame + place), strict=True)
    return centre, spread


@dataclass(frozen=True)
class MetaWorld(Family):
    """Tasks of Meta-World v3 (Yu et al. 2019; McLean et al. 2025), in EnvPool's port or the original.

    A Sawyer arm moves its hand and its gripper by four actions, clipped to [-1, 1], and sees hand, gripper
    and objects, now and one step ago, and the goal: 39 numbers. They do not tell which task it is. Goals and
    objects are drawn anew for every episode. No episode ends before the horizon, and `info["success"]` tells
    at each step whether the task is solved at that moment.

    Options
    -------
    n : int, optional
        Take the first n tasks only.
    tasks : sequence of str, optional
        Any tasks of Meta-World v3, "reach" or "reach-v3", instead of the benchmark's; each once.
    seed : int
        Changes nothing: the tasks are a fixed list.
    horizon : int
        Steps of an episode: 500 is Meta-World's, 200 saves time and is enough for most tasks.
    engine : {"envpool", "gymnasium"}
        "gymnasium" is Meta-World itself, several times slower. A suite warns of tasks that differ in EnvPool.
    reward : {"v2", "v1"}
        Meta-World's version of the reward, between 0 and 10 in "v2". EnvPool has that one only: "v1", on
        another scale in each task, needs `engine="gymnasium"`.
    """

    horizon: int
    engine: str
    reward: str

    options: ClassVar = {
        "n": Option(None, if_given(read_whole)),
        "tasks": Option(None, if_given(read_names)),
        "seed": Option(0, read_seed),
        "horizon": Option(500, partial(read_whole, least=1, most=2**31 - 1)),
        "engine": Option("envpool", one_of("envpool", "gymnasium")),
        "reward": Option("v2", one_of("v2", "v1")),
    }
    observation_scale = _scale()
    #: In EnvPool each takes about 20 MB.
    most_environments = 160
    #: A reset takes as long as thirty steps.
    resets_together = True
    #: The tasks of the suite unless others are asked for.
    benchmark: ClassVar[tuple[str, ...]]

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(-np.inf, np.inf, (39,), np.float32)

    @property
    def action_space(self) -> spaces.Box:
        return spaces.Box(-1.0, 1.0, (4,), np.float32)

    @classmethod
    def create(
        cls, n: int | None, tasks: Sequence[str] | None, seed: int, horizon: int, engine: str, reward: str
    ) -> tuple[list[Task], Family]:
        """List the tasks."""
        if reward == "v1" and engine == "envpool":
            raise ValueError("reward is 'v1', which EnvPool does not have: choose engine='gymnasium'")
        if tasks is not None and len(tasks) == 0:
            raise ValueError("tasks is empty: give at least one name")
        names = cls.benchmark if tasks is None else tuple(_full_name(name) for name in tasks)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"task {twice[0]!r} comes more than once: give each name once")
        n = len(names) if n is None else n
        if not 1 <= n <= len(names):
            raise ValueError(f"n is {n}: give 1 to {len(names)}, or other tasks")
        family = cls(horizon, engine, reward)
        return family._listed(names[:n]), family

    def draw(self, n: int, rng: np.random.Generator, known: Sequence[Task]) -> list[Task]:
        """Draw n tasks of Meta-World that are not among the known ones, each at most once."""
        others = [name for name in _ALL if name not in {task.name for task in known}]
        if n > len(others):
            raise ValueError(
                f"n is {n}, but Meta-World has {len(others)} tasks that are not in this suite: ask for fewer"
            )
        return self._listed([others[index] for index in rng.choice(len(others), size=n, replace=False)])

    def _listed(self, names: Sequence[str]) -> list[Task]:
        """Give the tasks of these names, and tell which are others in EnvPool than in Meta-World."""
        others = [name for name in names if name.removesuffix(_VERSION) in _OTHERWISE]
        if others and self.engine == "envpool":
            warnings.warn(
                f"EnvPool's {', '.join(others)} {'are' if len(others) > 1 else 'is'} not quite Meta-World's: "
                "choose engine='gymnasium' for the original",
                stacklevel=4,
            )
        return [Task(name, {}) for name in names]

    def build(self, tasks: Sequence[Task], seeds: Seeds) -> VectorEnv:
        simulator = EnvPoolMetaWorld if self.engine == "envpool" else GymnasiumMetaWorld
        return simulator(self, tasks, seeds)


class MT10(MetaWorld):
    """The ten tasks of Meta-World's MT10, or any of its fifty, in EnvPool's port or the original."""

    name = "mt10"
    benchmark = _ALL[: len(_MT10)]
    recommended = Recommended(2_000_000, 2_000_000, _PPO)


class MT50(MetaWorld):
    """All fifty tasks of Meta-World, those of MT10 first, in EnvPool's port or the original."""

    name = "mt50"
    benchmark = _ALL
    #: As much for each task, in as many environments as fit into a laptop's memory; not tried.
    recommended = Recommended(10_000_000, 10_000_000, {**_PPO, "copies": 3})


class EnvPoolMetaWorld(PoolSimulator):
    """EnvPool's port: a pool per task."""

    def __init__(self, family: MetaWorld, tasks: Sequence[Task], seeds: Seeds) -> None:
        common = {"partially_observable": False, "max_episode_steps": family.horizon}
        super().__init__(
            "MetaWorld/Reach-v3",  # all are one class, to which `task_name` says what to load
            [{"task_name": task.name, **common} for task in tasks],
            seeds,
            family.observation_space,
            family.action_space,
            signals=("success", "elapsed_step"),
            # With one thread the slowest task keeps the others waiting; many get in each other's way.
            per_core=2,
            least=2,
            extra="metaworld",
        )

    def _receive(self) -> Step:
        observation, reward, terminated, truncated, info = super()._receive()
        # EnvPool pays for the first state of an episode too: a reset is no step.
        stepped = info["elapsed_step"] > 0
        success = (info["success"] > 0) & stepped
        return observation, reward * stepped, terminated, truncated, {"success": success}


class GymnasiumMetaWorld(SequentialSimulator):
    """Meta-World itself, with the same `info` as `EnvPoolMetaWorld`."""

    def __init__(self, family: MetaWorld, tasks: Sequence[Task], seeds: Seeds) -> None:
        super().__init__([partial(original, task.name, family) for task in tasks], seeds)

    def step(self, actions: np.ndarray) -> Step:
        observation, reward, terminated, truncated, info = super().step(np.clip(actions, -1, 1))
        return observation, reward, terminated, truncated, {"success": info["success"]}


class SeededMetaWorld(gymnasium.Wrapper):
    """Draws goals and objects from the environment's own generator, and reports nothing but success."""

    def __init__(self, environment: gymnasium.Env, family: MetaWorld) -> None:
        super().__init__(environment)
        self.observation_space, self.action_space = family.observation_space, family.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        if seed is not None:
            self.unwrapped.seed(seed)  # type: ignore[attr-defined]  # its `reset` ignores seeds
        observation, _ = self.env.reset(options=options)
        return observation.astype(np.float32), {"success": False}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        success = {"success": bool(info["success"])}
        return observation.astype(np.float32), float(reward), terminated, truncated, success


def original(name: str, family: MetaWorld) -> gymnasium.Env:
    """Make one environment of Meta-World itself, with the horizon and the reward of a family."""
    try:
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS
    except ImportError as missing:
        raise ValueError("engine 'gymnasium' needs Meta-World: pip install 'gradex[metaworld]'") from missing
    environment = ALL_V3_ENVIRONMENTS[name](reward_function_version=family.reward)
    environment.max_path_length = family.horizon
    # What `set_task` does, without its list of fifty goals: a new goal at each reset, and in sight.
    environment._set_task_called = True
    environment._freeze_rand_vec = False
    environment.seeded_rand_vec = True
    environment._partially_observable = False
    del environment.sawyer_observation_space  # computed while the goal was hidden
    return SeededMetaWorld(environment, family)


def _full_name(name: str) -> str:
    """Give the name as Meta-World writes it."""
    full = name if name.endswith(_VERSION) else name + _VERSION
    if full not in _ALL:
        near = difflib.get_close_matches(full, _ALL, n=1, cutoff=0.0)
        raise ValueError(f"unknown task {name!r}: did you mean {near[0]!r}?")
    return full
