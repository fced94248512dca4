"""Your own Gymnasium environments as a suite."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import VectorEnv
from jaxtyping import Int

from gradex.tasks.sequential import SequentialSimulator
from gradex.tasks.simulator import Step
from gradex.tasks.suite import Task, TaskSuite

Factory = Callable[[], gymnasium.Env]

#: What Gymnasium's checker warns of although nothing is wrong: bounds without end, large actions, wrappers,
#: rounding.
_HARMLESS = ("infinity", "symmetric and normalized", "unwrapped version", "although similar")


class Custom(TaskSuite):
    """Tasks made by factories of Gymnasium environments, stepped one after the other in this process.

    Made by `TaskSuite.from_gymnasium`. There is no law to draw unseen tasks from, and no description to
    rebuild the suite from: keep the code that makes it. `horizon` is the longest `max_episode_steps` of the
    environments, or None if one of them does not state it. If an environment puts a `success` into its
    `info`, the simulator hands it on.
    """

    family = "custom"

    def __init__(
        self,
        tasks: Sequence[Task],
        factories: Mapping[str, Factory],
        observation_space: Any,
        action_space: Any,
        horizon: int | None,
    ) -> None:
        super().__init__(tasks)
        self._factories = dict(factories)
        self._observation_space, self._action_space, self._horizon = observation_space, action_space, horizon

    @classmethod
    def create(cls, environments: Mapping[str, Factory], groups: Sequence[int] | None = None) -> "Custom":
        """Check the environments and make the suite.

        Parameters
        ----------
        environments : mapping of str to callable
            Name of each task, and a function without arguments that makes a new environment.
        groups : sequence of int, optional
            A group for each task, if you know one.

        Raises
        ------
        ValueError
            If there is no environment, if spaces differ or are of a kind that no policy here can serve, if an
            environment breaks Gymnasium's interface, or if `groups` has another length.
        """
        if not environments:
            raise ValueError("environments is empty: a suite needs at least one task")
        if groups is not None and len(groups) != len(environments):
            raise ValueError(
                f"groups has {len(groups)} entries for {len(environments)} tasks: give one group per task"
            )
        made = {name: _made(name, factory) for name, factory in environments.items()}
        first_name, first = next(iter(made.items()))
        for name, environment in made.items():
            for kind in ("observation_space", "action_space"):
                ours, theirs = getattr(environment, kind), getattr(first, kind)
                if ours != theirs:
                    raise ValueError(
                        f"task {name!r} has {kind} {_line(ours)}, task {first_name!r} has {_line(theirs)}: "
                        "wrap the environments until their spaces are equal"
                    )
        limits = [getattr(environment.spec, "max_episode_steps", None) for environment in made.values()]
        known = [limit for limit in limits if limit is not None]
        labels = [None] * len(made) if groups is None else [int(group) for group in groups]
        for environment in made.values():
            environment.close()
        return cls(
            [Task(name, {}, label) for name, label in zip(made, labels, strict=True)],
            environments,
            first.observation_space,
            first.action_space,
            max(known) if len(known) == len(made) else None,
        )

    def _with_tasks(self, tasks: Sequence[Task]) -> "Custom":
        return Custom(tasks, self._factories, self._observation_space, self._action_space, self._horizon)

    @property
    def observation_space(self) -> spaces.Box:
        return self._observation_space

    @property
    def action_space(self) -> spaces.Discrete | spaces.Box:
        return self._action_space

    @property
    def horizon(self) -> int | None:
        return self._horizon

    def draw(self, n: int, rng: np.random.Generator) -> list[Task]:
        raise ValueError(
            "a custom suite cannot draw unseen tasks: make a second suite of target environments"
        )

    def build(self, tasks: Sequence[Task], seeds: Int[np.ndarray, " environments"]) -> VectorEnv:
        return CustomSimulator([self._factories[task.name] for task in tasks], seeds)


class CustomSimulator(SequentialSimulator):
    """Custom environments one after the other."""

    def step(self, actions: np.ndarray) -> Step:
        observation, reward, terminated, truncated, info = super().step(actions)
        if "success" in info:
            info["success"] = np.asarray(info["success"], dtype=bool)
        return observation, reward, terminated, truncated, info


def _made(name: str, factory: Factory) -> gymnasium.Env:
    """Make one environment of this task and check it."""
    environment, twin = factory(), factory()
    if not isinstance(environment, gymnasium.Env):
        raise ValueError(f"task {name!r} makes a {type(environment).__name__}: it must make a gymnasium.Env")
    if environment.unwrapped is twin.unwrapped:
        raise ValueError(f"task {name!r} gives the same environment twice: make a new one at each call")
    twin.close()
    observations, actions = environment.observation_space, environment.action_space
    if not (isinstance(observations, spaces.Box) and len(observations.shape) == 1):
        raise ValueError(
            f"task {name!r} has observations {_line(observations)}: "
            "wrap it in gymnasium.wrappers.FlattenObservation to get one vector"
        )
    one_dimensional = isinstance(actions, spaces.Box) and len(actions.shape) == 1
    if not (isinstance(actions, spaces.Discrete) or one_dimensional):
        raise ValueError(
            f"task {name!r} has actions {_line(actions)}: "
            "wrap it in gymnasium.wrappers.TransformAction to get Discrete(n) or a Box of one dimension"
        )
    problem = _problem(environment)
    if problem is not None:
        raise ValueError(
            f"task {name!r} breaks Gymnasium's interface, mend it until check_env passes: {problem}"
        )
    return environment


def _problem(environment: gymnasium.Env) -> str | None:
    """Give the first complaint of Gymnasium's checker, or None."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            check_env(environment, skip_render_check=True, skip_close_check=True)
        except Exception as problem:  # whatever an environment throws while it is checked is its problem
            return _line(problem) or type(problem).__name__
    complaints = [_line(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    return next((line for line in complaints if not any(word in line for word in _HARMLESS)), None)


def _line(thing: object) -> str:
    return " ".join(str(thing).split())
