"""Your own Gymnasium environments as a suite."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import VectorEnv

from gradex.tasks import checks
from gradex.tasks.checks import Factory
from gradex.tasks.family import Family, Scale
from gradex.tasks.options import number, plain
from gradex.tasks.plain import Plain, one_line
from gradex.tasks.scale import measure
from gradex.tasks.sequential import SequentialSimulator
from gradex.tasks.simulator import Seeds, Step
from gradex.tasks.task import Task


@dataclass(frozen=True, eq=False)
class Custom(Family):
    """Tasks made by factories of Gymnasium environments, stepped one after the other in this process.

    There is no law to draw unseen tasks from, and no description to rebuild the suite from: keep the code
    that makes it.

    Attributes
    ----------
    makers : mapping of str to callable
        Each makes a new environment of the task of this name.
    spaces : pair of gymnasium.spaces.Space
        Of observations and actions.
    horizon : int or None
    discount : float
    """

    makers: Mapping[str, Factory]
    spaces: tuple[Box, Discrete | Box]
    horizon: int | None
    discount: float = Family.discount

    name = "custom"

    @classmethod
    def create(
        cls,
        environments: Mapping[Any, Factory | str] | Sequence[str],
        groups: Sequence[int] | None,
        discount: float,
    ) -> tuple[list[Task], Family]:
        """Check the environments, see `TaskSuite.from_gymnasium`."""
        factories = checks.factories(environments)
        labels = checks.labels(groups, len(factories))
        discount = number("discount", plain(discount))
        if not 0 < discount <= 1:
            raise ValueError(f"discount is {discount}: choose a number above 0 and up to 1")
        limits: list[int | None] = []
        with ExitStack() as closing:
            made: dict[str, Any] = {}
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
            spaces = first.observation_space, first.action_space
        known = [limit for limit in limits if limit is not None]
        horizon = max(known) if len(known) == len(limits) else None
        makers = {name: partial(_plain, name, factory) for name, factory in factories.items()}
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
        return {} if self.discount == Family.discount else {"discount": self.discount}

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
        return CustomSimulator([self.makers[task.name] for task in tasks], seeds)


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


def _plain(name: str, factory: Factory) -> gymnasium.Env:
    return Plain(checks.make(name, factory), name)
