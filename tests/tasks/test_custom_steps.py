"""What the steps of a user's own environments may give, and what is made of it."""

from collections.abc import Callable
from contextlib import closing
from time import perf_counter
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pandas as pd
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Space, Tuple
from gymnasium.wrappers import PassiveEnvChecker, RecordEpisodeStatistics

from gradex import PPO, MetaPolicy
from gradex.tasks import TaskSuite

from .families import Drift, roll
from .told import Pushed, Told, Variant


class Listing(gymnasium.Env):
    """Shows one state after the other."""

    action_space = Discrete(2)

    def __init__(self, space: Space, *states: Any) -> None:
        self.observation_space, self.states = space, states

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.time = 0
        return self.states[0], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        self.time += 1
        return self.states[self.time], float(action), self.time == len(self.states) - 1, False, {}


class Stubborn:
    """Lets itself be neither compared nor judged."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("do not compare me")

    __hash__ = None  # type: ignore[assignment]


SAME = np.zeros(2)


@pytest.mark.parametrize(
    "tell",
    [
        lambda time: {"clock": perf_counter()},
        lambda time: {"error": float("nan")},
        lambda time: {"weights": SAME},
        lambda time: {"latent": torch.zeros(2)},
        lambda time: {"table": pd.DataFrame({"a": [1]})},
        lambda time: {"hash": 2**70},
        lambda time: {"thing": Stubborn(), 3: Stubborn()},
        lambda time: {"shape": np.zeros(time + 1)},
    ],
)
def test_nothing_of_an_info_is_read_but_success(tell: Callable[[int], dict]) -> None:
    suite = TaskSuite.from_gymnasium({"a": lambda: RecordEpisodeStatistics(Told(tell))})
    run = roll(suite.simulator(2), np.ones((12, 2), int))
    np.testing.assert_array_equal(np.nonzero(run.ended[:, 0])[0], [4, 10])


@pytest.mark.parametrize(
    ("one", "zero"),
    [
        (True, False),
        (np.True_, np.False_),
        (1, 0),
        (np.array([True]), np.array([False])),
        (np.array(1.0), np.array(0.0)),
        (np.float32(1), np.float32(0)),
        (torch.tensor(1), torch.tensor(0)),
    ],
)
def test_rewards_flags_and_success_of_any_type(one: Any, zero: Any) -> None:
    def make() -> Told:
        return Told(
            lambda time: {"success": one if time == 3 else zero},
            reward=lambda time: one,
            terminated=lambda time: one if time == 5 else zero,
            truncated=lambda time: zero,
        )

    simulator = TaskSuite.from_gymnasium({"a": make}).simulator(1)
    simulator.reset()
    steps = [simulator.step(np.array([1])) for _ in range(6)]
    assert [step[1].item() for step in steps] == [1, 1, 1, 1, 1, 0]
    assert [step[2].item() for step in steps] == [False] * 4 + [True, False]
    assert [step[4]["success"].item() for step in steps] == [False] * 2 + [True] + [False] * 3


@pytest.mark.parametrize("flag", ["terminated", "truncated"])
def test_episodes_of_one_step(flag: str) -> None:
    suite = TaskSuite.from_gymnasium({"a": lambda: Told(**{flag: lambda time: np.True_})})
    run = roll(suite.simulator(1), np.ones((4, 1), int))
    assert run.ended[:, 0].tolist() == [True, False, True, False]


@pytest.mark.parametrize("flag", ["terminated", "truncated"])
def test_a_flag_that_is_nan_is_named(flag: str) -> None:
    suite = TaskSuite.from_gymnasium(
        {"a": lambda: Told(**{flag: lambda time: np.nan if time > 3 else False})}
    )
    with pytest.raises(ValueError, match=f"^task 'a' gives {flag} nan: give True or False$"):
        roll(suite.simulator(1), np.ones((9, 1), int))


class Reuses(Pushed):
    """Fills one array of the class with every observation, and rounds its action in place."""

    seen: ClassVar[np.ndarray] = np.zeros(2, np.float32)

    def _observe(self) -> np.ndarray:
        self.seen[:] = super()._observe()
        return self.seen

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        action[:] = np.sign(action)
        return super().step(action)


def test_arrays_may_be_used_again() -> None:
    learner = PPO(steps=16, copies=2)
    one, other = (
        MetaPolicy(TaskSuite.from_gymnasium({"a": each, "b": each}), learner=learner, layers=2, width=4)
        for each in (Pushed, Reuses)
    )
    np.testing.assert_array_equal(one.fit(100).parameters, other.fit(100).parameters)
    np.testing.assert_array_equal(one.transitions(16).observations, other.transitions(16).observations)


@pytest.mark.parametrize("around", [lambda made: made, PassiveEnvChecker])  # as `gymnasium.make` does
def test_observations_may_be_any_finite_numbers(around: Callable[[Any], Any]) -> None:
    def make(place: float) -> gymnasium.Env:
        made = Variant(observations=Box(0.0, 0.1, (2,), np.float32))
        made._observe = lambda: np.array([place, 0.5], np.float32)  # type: ignore[method-assign]
        return around(made)

    assert len(TaskSuite.from_gymnasium({"a": lambda: make(3e38)})) == 1
    for place in (np.nan, np.inf):
        with pytest.raises(ValueError, match="not within the observation space"):
            TaskSuite.from_gymnasium({"a": lambda place=place: make(place)})


def test_success_of_the_environments_is_handed_on() -> None:
    suite = TaskSuite.from_gymnasium({"fast": lambda: Drift(0.5)})
    simulator = suite.simulator(2, seed=0)
    simulator.reset()
    for _ in range(12):
        _, _, terminated, _, info = simulator.step(np.array([2, 0]))
        if terminated.any():
            break
    assert info["success"].dtype == bool
    np.testing.assert_array_equal(info["success"], terminated)
    assert terminated.any()


@pytest.mark.parametrize(
    ("space", "states", "shown"),
    [
        (Discrete(3), (0, 2, np.int64(1)), [[1, 0, 0], [0, 0, 1], [0, 1, 0]]),
        (Discrete(3, start=1), (1, 3, 2), [[1, 0, 0], [0, 0, 1], [0, 1, 0]]),
        (MultiDiscrete([2, 3]), (np.array([1, 0]), np.array([0, 2])), [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]),
        (MultiBinary(2), (np.array([1, 0], np.int8), np.array([1, 1], np.int8)), [[1, 0], [1, 1]]),
        (Tuple([Discrete(2), Discrete(3)]), ((1, 0), (0, 2)), [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]),
    ],
)
def test_discrete_observations_are_one_hot(space: Space, states: tuple, shown: list[list[int]]) -> None:
    suite = TaskSuite.from_gymnasium({"a": lambda: Listing(space, *states)})
    assert suite.observation_space.shape == (len(shown[0]),)
    with closing(suite.simulator(copies=1)) as simulator:
        seen = [simulator.reset()[0], *(simulator.step(np.array([0]))[0] for _ in shown[1:])]
    np.testing.assert_array_equal(np.concatenate(seen), shown)


class Thinks(Drift):
    """Has a network of its own, for which it turns differentiation off."""

    def __init__(self) -> None:
        super().__init__()
        torch.set_grad_enabled(False)

    def reset(self, **kw: Any) -> tuple[np.ndarray, dict]:
        torch.set_grad_enabled(False)
        return super().reset(**kw)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        torch.set_grad_enabled(False)
        return super().step(action)


def test_an_environment_may_turn_differentiation_off() -> None:
    suite = TaskSuite.from_gymnasium({"a": Thinks})
    assert torch.is_grad_enabled()
    meta = MetaPolicy(suite, layers=2, width=4, learner=PPO(steps=16, copies=2))
    before = meta.fit(32).parameters
    assert torch.is_grad_enabled()
    assert not np.array_equal(before, meta.fit(320).parameters)


def test_an_observation_outside_of_its_space_is_refused() -> None:
    """One-hot it would be another state."""
    space, states = MultiDiscrete([3, 4]), (np.array([0, 0]), np.array([3, 0]))
    with pytest.raises(ValueError, match=r"breaks Gymnasium's interface.* not within the observation"):
        TaskSuite.from_gymnasium({"a": lambda: Listing(space, *states)})
