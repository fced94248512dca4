"""Environments that do as Gymnasium asks, in their own way, and those that do not repeat."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from gradex.tasks import TaskSuite

from .families import Drift


class Own(Drift):
    """Draws from a generator of its own."""

    def __init__(self, generator: Callable[[int | None], np.random.Generator]) -> None:
        super().__init__()
        self.generator = generator

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        self._np_random = self.generator(seed)
        self.place = self.np_random.uniform(-1, 1)
        return self._observe(), {}


def test_a_generator_of_its_own_is_as_good() -> None:
    suite = TaskSuite.from_gymnasium({"a": lambda: Own(np.random.default_rng)})
    with closing(suite.simulator(copies=2)) as one, closing(suite.simulator(copies=2)) as other:
        np.testing.assert_array_equal(one.reset(seed=5)[0], other.reset(seed=5)[0])


def test_what_does_not_repeat_is_told() -> None:
    rng = np.random.default_rng(0)
    makers = {"still": Drift, "moved": lambda: Own(lambda seed: rng), "more": lambda: Own(lambda seed: rng)}
    with pytest.warns(UserWarning, match="these tasks do not repeat: 'moved', 'more'"):
        TaskSuite.from_gymnasium(makers)


class Made(Drift):
    """Draws its task when it is made."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        super().__init__(drift=0.1 * self.made)


def test_another_task_in_each_copy_is_told() -> None:
    with pytest.warns(UserWarning, match="these tasks do not repeat: 'a'.* in another copy"):
        TaskSuite.from_gymnasium({"a": Made})


def test_what_is_registered_as_not_deterministic_is_known() -> None:
    rng = np.random.default_rng(0)

    def make() -> gymnasium.Env:
        made = Own(lambda seed: rng)
        made.spec = EnvSpec("Restless-v0", nondeterministic=True)
        return made

    TaskSuite.from_gymnasium({"a": make})
