"""Your own Gymnasium environments as a suite."""

import functools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from jaxtyping import Int

from gradex.tasks import checks
from gradex.tasks.checks import Factory
from gradex.tasks.plain import Plain, one_line
from gradex.tasks.scale import ObservationScale, Scale
from gradex.tasks.sequential import SequentialSimulator
from gradex.tasks.simulator import Step
from gradex.tasks.suite import Task, TaskSuite


class Custom(TaskSuite):
    """Tasks made by factories of Gymnasium environments, stepped one after the other in this process.

    Made by `TaskSuite.from_gymnasium`. There is no law to draw unseen tasks from, and no description to
    rebuild the suite from: keep the code that makes it. `horizon` is the longest time limit of the
    environments, by their `max_episode_steps` or a `gymnasium.wrappers.TimeLimit` around them, or None if one
    of them does not state it. If an environment puts a `success` into its `info`, the simulator hands it on;
    nothing else of an `info` is read.

    Notes
    -----
    Observations may have any scale. The first time that somebody asks for `typical_observation`, which is
    when the first policy is made, about 2,000 steps are taken with random actions, at least 20 in each task,
    by a seed of their own. A number that is of order one, at most 5 and with a deviation of at least 0.05 or
    none at all, is left as it is. Any other is centred and divided by its deviation, or by a fifth of its
    largest distance from the centre if that is more; where it does not vary it is divided by its size.
    Sub-suites share what was measured, and policies keep it on disk (see `MetaPolicy.load`), so that it is
    the same for all of them whatever a later measurement would say.
    """

    family = "custom"

    def __init__(
        self,
        tasks: Sequence[Task],
        factories: Mapping[str, Factory],
        observation_space: Any,
        action_space: Any,
        horizon: int | None,
        scale: ObservationScale,
    ) -> None:
        super().__init__(tasks)
        self._factories = dict(factories)
        self._observation_space, self._action_space, self._horizon = observation_space, action_space, horizon
        self._scale = scale

    @classmethod
    def create(
        cls, environments: Mapping[Any, Factory | str], groups: Sequence[int] | None = None
    ) -> "Custom":
        """Check the environments and make the suite.

        Parameters
        ----------
        environments : mapping of str to callable or str
            Name of each task, and a function without arguments that makes a new environment, a class, or an
            id for `gymnasium.make`. Names that are not text, such as numbers, become it.
        groups : sequence of int, optional
            A group for each task, if you know one.

        Raises
        ------
        ValueError
            If this is no mapping or empty, if an environment cannot be made or stands where a function
            should, if spaces differ or are of a kind that no policy here can serve, if an environment breaks
            Gymnasium's interface, if two names are equal, or if `groups` does not have a whole number for
            each task.
        """
        factories = checks.factories(environments)
        labels = checks.labels(groups, len(factories))
        limits: list[int | None] = []
        with ExitStack() as closing:
            made: dict[str, gymnasium.Env] = {}
            for name, factory in factories.items():
                made[name], twin = (_made(name, factory, closing) for _ in range(2))
                checks.check(name, made[name], twin)
                limits.append(checks.horizon(twin))
            first_name, first = next(iter(made.items()))
            for name, environment in made.items():
                for kind in ("observation_space", "action_space"):
                    ours, theirs = getattr(environment, kind), getattr(first, kind)
                    if ours != theirs:
                        raise ValueError(
                            f"task {name!r} has {kind} {one_line(ours)}, task {first_name!r} has "
                            f"{one_line(theirs)}: wrap the environments until their spaces are equal"
                        )
            observation_space, action_space = first.observation_space, first.action_space
        known = [limit for limit in limits if limit is not None]
        return cls(
            [Task(name, {}, group) for name, group in zip(factories, labels, strict=True)],
            factories,
            observation_space,
            action_space,
            max(known) if len(known) == len(limits) else None,
            ObservationScale(_makers(factories), action_space),
        )

    def _with(self, tasks: Sequence[Task], scale: ObservationScale) -> "Custom":
        spaces_and_horizon = self._observation_space, self._action_space, self._horizon
        return Custom(tasks, self._factories, *spaces_and_horizon, scale)

    def _with_tasks(self, tasks: Sequence[Task]) -> "Custom":
        return self._with(tasks, self._scale)

    @property
    def config(self) -> dict[str, Any]:
        """What there is to say about the suite, ready for JSON."""
        return {**super().config, "typical_observation": self.typical_observation}

    def on_scale_of(self, config: Mapping[str, Any]) -> "Custom":
        # Policies from before there was a scale were trained without one.
        return self._with(self.tasks, self._scale.known(config.get("typical_observation")))

    @property
    def observation_space(self) -> spaces.Box:
        return self._observation_space

    @property
    def action_space(self) -> spaces.Discrete | spaces.Box:
        return self._action_space

    @property
    def typical_observation(self) -> Scale | None:
        return self._scale.typical

    @property
    def horizon(self) -> int | None:
        return self._horizon

    def draw(self, n: int, rng: np.random.Generator) -> list[Task]:
        raise ValueError(
            "a custom suite cannot draw unseen tasks: make a second suite of target environments"
        )

    def build(self, tasks: Sequence[Task], seeds: Int[np.ndarray, " environments"]) -> VectorEnv:
        makers = _makers(self._factories)
        return CustomSimulator([makers[task.name] for task in tasks], seeds)


class CustomSimulator(SequentialSimulator):
    """Custom environments one after the other."""

    def step(self, actions: np.ndarray) -> Step:
        observation, reward, terminated, truncated, info = super().step(actions)
        if "success" in info:
            info["success"] = np.asarray(info["success"], dtype=bool)
        return observation, reward, terminated, truncated, info


def _made(name: str, factory: Factory, closing: ExitStack) -> gymnasium.Env:
    """Make an environment that is closed in the end."""
    environment = checks.make(name, factory)
    closing.callback(environment.close)
    return environment


def _makers(factories: Mapping[str, Factory]) -> dict[str, Factory]:
    """Give functions that make the environments as simulators take them."""
    return {name: functools.partial(_plain, name, factory) for name, factory in factories.items()}


def _plain(name: str, factory: Factory) -> gymnasium.Env:
    return Plain(checks.make(name, factory), name)
