"""Your own Gymnasium environments as a suite."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import isnan
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import VectorEnv

from gradex.tasks import checks
from gradex.tasks.checks import Factory
from gradex.tasks.family import Family, Scale, read_number
from gradex.tasks.interface import one_line, to_number
from gradex.tasks.scale import measure
from gradex.tasks.simulator import MOST_IN_TURN, Reset, Seeds, SequentialSimulator
from gradex.tasks.task import Task


@dataclass(frozen=True, eq=False)
class Custom(Family):
    """Tasks made by factories of Gymnasium environments, stepped one after the other in this process.

    There is no law to draw unseen tasks from, and no description to rebuild the suite from: keep the code
    that makes it. Each of `makers` makes a new environment of the task of this name.
    """

    makers: Mapping[str, Factory]
    spaces: tuple[Box, Discrete | Box]
    horizon: int | None
    discount: float = Family.discount

    name = "custom"
    most_environments = MOST_IN_TURN

    @classmethod
    def create(
        cls,
        environments: Mapping[Any, Factory | str] | Sequence[str],
        groups: Sequence[int] | None,
        discount: float,
    ) -> tuple[list[Task], Family]:
        """Check the environments, see `TaskSuite.from_gymnasium`."""
        factories = checks.read_factories(environments)
        labels = checks.read_groups(groups, len(factories))
        discount = read_number("discount", discount, above=0, most=1)
        limits: list[int | None] = []
        restless: list[str] = []
        with ExitStack() as closing:
            closing.enter_context(torch.set_grad_enabled(torch.is_grad_enabled()))  # see `Plain`
            made: dict[str, Any] = {}
            for name, factory in factories.items():
                made[name] = checks.make(name, factory)
                closing.enter_context(checks.closed_after(name, made[name]))
                twin = checks.make(name, factory)
                closing.enter_context(checks.closed_after(name, twin))
                checks.check(name, made[name], twin)
                if not checks.repeats(name, made[name], twin):
                    restless.append(repr(name))
                made[name] = checks.in_vectors(made[name])
                limits.append(checks.read_time_limit(twin))
            first_name, first = next(iter(made.items()))
            for name, environment in made.items():
                for kind in ("observation_space", "action_space"):
                    ours, theirs = getattr(environment, kind), getattr(first, kind)
                    if ours != theirs:
                        raise ValueError(
                            f"task {name!r} has {kind} {one_line(ours)}, task {first_name!r} has "
                            f"{one_line(theirs)}: wrap the environments until their spaces are equal"
                        )
            spaces = first.observation_space, first.action_space
        if restless:
            warnings.warn(
                f"these tasks do not repeat: {', '.join(restless)}. With the same seed and actions an "
                "episode goes another way, or does so in another copy, and so will results: let environments "
                "draw from self.np_random alone, after super().reset(seed=seed)",
                stacklevel=3,
            )
        known = [limit for limit in limits if limit is not None]
        horizon = max(known) if len(known) == len(limits) else None
        makers = {name: partial(_make_plain, name, factory) for name, factory in factories.items()}
        tasks = [Task(name, {}, group) for name, group in zip(factories, labels, strict=True)]
        return tasks, cls(makers, spaces, horizon, discount)

    @property
    def observation_space(self) -> Box:
        return self.spaces[0]

    @property
    def action_space(self) -> Discrete | Box:
        return self.spaces[1]

    @cached_property
    def observation_scale(self) -> Scale | None:
        return measure(self.makers, self.spaces[1])  # once, for all suites that share this family

    @property
    def settings(self) -> dict[str, Any]:
        # The usual discount is left unsaid: policies from before there was a choice are still welcome.
        told = {} if self.discount == Family.discount else {"discount": self.discount}
        return {**told, "time_limit": self.horizon}

    @property
    def measured(self) -> dict[str, Any]:
        return {"typical_observation": self.observation_scale}

    def as_measured(self, config: Mapping[str, Any]) -> Family:
        other, scale = replace(self), config.get("typical_observation")
        # Policies from before there was a scale were trained without one.
        found = None if scale is None else tuple(tuple(map(float, each)) for each in scale)
        vars(other)["observation_scale"] = found  # so it is not measured
        return other

    def draw(self, n: int, rng: np.random.Generator, known: Sequence[Task]) -> list[Task]:
        raise ValueError(
            "a custom suite cannot draw unseen tasks: make a second suite of target environments"
        )

    def build(self, tasks: Sequence[Task], seeds: Seeds) -> VectorEnv:
        return SequentialSimulator([self.makers[task.name] for task in tasks], seeds)


def _make_plain(name: str, factory: Factory) -> gymnasium.Env:
    with torch.set_grad_enabled(torch.is_grad_enabled()):
        return Plain(checks.in_vectors(checks.make(name, factory)), name)


class Plain(gymnasium.Wrapper):
    """A user's environment with rewards and flags that are Python's, and infos with success or nothing.

    Infos may hold anything: clocks, tables, arrays that change. Simulators would gather them, and fail on
    some. Observations are copied, as all environments of a class may fill one array. What the environment
    raises names the task. Whether torch differentiates stays as it is: an environment with a network of its
    own may turn that off.
    """

    def __init__(self, environment: gymnasium.Env, task: str) -> None:
        super().__init__(environment)
        self._task, self._shape = task, environment.observation_space.shape

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        observation, info = self._asked("reset", self.env.reset, seed=seed, options=options)
        return self._seen(observation), self._success(info)

    def close(self) -> None:
        self._asked("close", self.env.close)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self._asked("step", self.env.step, action)
        return (
            self._seen(observation),
            self._number("reward", reward),
            self._flag("terminated", terminated),
            self._flag("truncated", truncated),
            self._success(info),
        )

    def _asked(self, what: str, call: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        differentiating = torch.is_grad_enabled()
        try:
            return call(*arguments, **keywords)
        except Exception as error:
            raise checks.failed(self._task, what, error) from error
        finally:
            torch.set_grad_enabled(differentiating)

    def _seen(self, observation: Any) -> Any:
        if np.shape(observation) != self._shape:
            raise ValueError(
                f"task {self._task!r} gives an observation of shape {np.shape(observation)}, its space says "
                f"{self._shape}: mend its environment"
            )
        return copy(observation)

    def _success(self, info: Any) -> dict[str, bool]:
        if not isinstance(info, Mapping):
            given = one_line(repr(info))
            raise ValueError(f"task {self._task!r} gives info {given}: give a dictionary, which may be empty")
        told = info.get("success")
        return {} if told is None else {"success": self._number("success", told) > 0}

    def _flag(self, what: str, value: Any) -> bool:
        found = self._number(what, value)
        if isnan(found):
            raise ValueError(f"task {self._task!r} gives {what} nan: give True or False")
        return found != 0

    def _number(self, what: str, value: Any) -> float:
        found = to_number(value)
        if found is None:
            given = one_line(repr(value))
            raise ValueError(f"task {self._task!r} gives {what} {given}: give one number")
        return found
