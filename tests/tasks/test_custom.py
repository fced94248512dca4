"""Suites of a user's own environments, and what is said about environments that cannot be used."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete

from gradex.tasks import TaskSuite

from .families import Drift, drift, roll


class Variant(Drift):
    """Drift with other spaces."""

    def __init__(self, observations: Any = None, actions: Any = None) -> None:
        super().__init__()
        self.observation_space = observations or self.observation_space
        self.action_space = actions or self.action_space


class Unseeded(Drift):
    """Forgets to seed its generator."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        self.place = 0.0
        self._np_random = np.random.default_rng()
        return self._observe(), {}


class WrongType(Drift):
    """Observes in float64 although its space says float32: Gymnasium warns."""

    def _observe(self) -> np.ndarray:
        return np.array([self.place, self.drift])


class Pushed(Drift):
    """Takes a push instead of a choice."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = Box(-2.0, 2.0, (1,), np.float32)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        return super().step(int(np.sign(action[0])) + 1)


SHARED = Drift()


@pytest.mark.parametrize(
    ("environments", "groups", "message"),
    [
        ({}, None, "environments is empty: a suite needs at least one task"),
        ({"a": Drift, "b": Drift}, [0], "groups has 1 entries for 2 tasks: give one group per task"),
        (
            {"a": Drift, "b": lambda: Variant(observations=Box(-9.0, 9.0, (2,), np.float32))},
            None,
            r"task 'b' has observation_space Box\(-9.*, task 'a' has Box\(-inf.*wrap the environments",
        ),
        (
            {"a": Drift, "b": lambda: Variant(actions=Discrete(4))},
            None,
            r"task 'b' has action_space Discrete\(4\), task 'a' has Discrete\(3\)",
        ),
        (
            {"a": lambda: Variant(observations=Dict({"x": Box(-1.0, 1.0, (2,))}))},
            None,
            r"task 'a' has observations Dict.*gymnasium\.wrappers\.FlattenObservation",
        ),
        (
            {"a": lambda: Variant(observations=Box(-1.0, 1.0, (2, 2)))},
            None,
            r"task 'a' has observations Box.*FlattenObservation",
        ),
        (
            {"a": lambda: Variant(actions=MultiDiscrete([2, 3]))},
            None,
            r"task 'a' has actions MultiDiscrete.*TransformAction",
        ),
        ({"good": Drift, "bad": Unseeded}, None, "task 'bad' breaks Gymnasium's interface.*super"),
        ({"bad": WrongType}, None, "task 'bad' breaks Gymnasium's interface.*"),
        (
            {"a": lambda: SHARED},
            None,
            "task 'a' gives the same environment twice: make a new one at each call",
        ),
        (
            {"a": lambda: gymnasium.wrappers.TimeLimit(SHARED, 5)},
            None,
            "task 'a' gives the same environment twice",
        ),
        ({"a": lambda: "CartPole-v1"}, None, "task 'a' makes a str: it must make a gymnasium.Env"),
    ],
)
def test_what_cannot_be_used_is_named(environments: dict, groups: list | None, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        TaskSuite.from_gymnasium(environments, groups)
    assert "\n" not in str(caught.value)


def test_a_suite_of_ones_own() -> None:
    suite = TaskSuite.from_gymnasium({"slow": drift(0.2), "fast": drift(0.5)}, groups=[1, 0])
    assert [task.name for task in suite.tasks] == ["slow", "fast"]
    np.testing.assert_array_equal(suite.labels, [1, 0])
    assert suite.horizon == 25
    assert not suite.shared_dynamics
    assert TaskSuite.from_gymnasium({"a": Drift}).labels is None


@pytest.mark.parametrize("limits", [(25, 40), (25, None)])
def test_the_horizon_is_the_longest_that_is_known(limits: tuple) -> None:
    def factory(limit: int | None) -> Any:
        spec = gymnasium.envs.registration.EnvSpec("Drift-v0", Drift, max_episode_steps=limit)
        return lambda: gymnasium.make(spec)

    suite = TaskSuite.from_gymnasium({str(limit): factory(limit) for limit in limits})
    assert suite.horizon == (None if None in limits else 40)


def test_factories_travel_with_their_tasks() -> None:
    suite = TaskSuite.from_gymnasium(
        {name: drift(speed) for name, speed in (("a", 0.1), ("b", 0.2), ("c", 0.3))}
    )
    simulator = suite[[0, 2, 2]].simulator(2, seed=0)
    # The second observation is the drift.
    np.testing.assert_allclose(simulator.reset()[0][:, 1], np.repeat([0.1, 0.3, 0.3], 2), rtol=1e-6)


def test_environments_of_one_class_share_nothing() -> None:
    suite = TaskSuite.from_gymnasium({"a": Drift, "b": Drift})
    still, moving = np.full((9, 1), 1), np.full((9, 1), 2)
    run = roll(suite.simulator(1, seed=[3, 3]), np.hstack([still, moving]))
    np.testing.assert_array_equal(run.start[0], run.start[1])
    moved = run.observations[:3, 1, 0] - run.observations[:3, 0, 0]
    np.testing.assert_allclose(moved, 0.3 * np.arange(1, 4), rtol=1e-5)


def test_continuous_actions_and_harmless_warnings() -> None:
    # Bounds of 2 make Gymnasium's checker recommend a normalised space; that is no reason to refuse the
    # environment.
    suite = TaskSuite.from_gymnasium({"a": Pushed, "b": Pushed})
    simulator = suite.simulator(1, seed=0)
    before, _ = simulator.reset()
    after, *_ = simulator.step(np.array([[-2.0], [2.0]], np.float32))
    assert after[0, 0] < before[0, 0]
    assert after[1, 0] > before[1, 0]


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
