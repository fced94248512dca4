"""Suites of a user's own environments, and what is said about environments that cannot be used."""

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Sequence, Space
from gymnasium.wrappers import RecordEpisodeStatistics, TimeLimit

from gradex import PPO, SAC, MetaPolicy
from gradex.tasks import TaskSuite

from .families import Drift, drift, roll
from .told import Endless, Pushed, Told, Variant


class Unclosable(Variant):
    """Fails when it is closed."""

    def close(self) -> None:
        raise OSError("display\nalready closed")


class WrongType(Drift):
    """Observes in float64 although its space says float32: Gymnasium warns."""

    def _observe(self) -> np.ndarray:
        return np.array([self.place, self.drift])


class Listed(Drift):
    """Observes in a list."""

    def _observe(self) -> Any:
        return super()._observe().tolist()


SHARED = Drift()


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("environments", "groups", "message"),
    [
        (
            [Drift],
            None,
            r"environments is a list: give a mapping from names to functions, such as \{'a'",
        ),
        ({"a": Drift()}, None, "task 'a' is an environment: give a function that makes a new one"),
        ({"a": 3}, None, "task 'a' is 3: give a function that makes a gymnasium.Env"),
        (
            {"a": "Drift-v9"},
            None,
            "task 'a' cannot be made .NameNotFound: .*: give a function without arguments",
        ),
        (
            {"a": lambda speed: Drift(2 * speed)},
            None,
            "task 'a' cannot be made .TypeError: .* 'speed'.: give a function",
        ),
        ({"a": lambda: None}, None, "task 'a' makes nothing: give a function that makes a gymnasium.Env"),
        ({1: Drift, "1": Drift}, None, "two tasks are named '1': give each a name that is another as text"),
        (
            ["CartPole-v1"] * 2,
            None,
            "environments has 'CartPole-v1' twice: give a mapping, with a name for each task",
        ),
        ([], None, "environments is empty: give at least one task"),
        (["Drift-v9"], None, "task 'Drift-v9' cannot be made .NameNotFound"),
        ({"a": Drift}, "a", "groups is 'a': give a list with a whole number for each task"),
        ({"a": Drift}, 1, "groups is 1: give a list with a whole number for each task"),
        ({"a": Drift}, [0.5], r"groups is \[0.5\]: give a list with a whole number for each task"),
        ({"a": Drift}, {"a": 1}, r"groups is .*: give a list with a whole number for each task"),
        (
            {"a": lambda: Variant(observations="?")},
            None,
            "task 'a' has no observation_space: give it one of gym",
        ),
        ({}, None, "environments is empty: give at least one task"),
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
        *(
            (
                {"a": lambda space=space: Variant(observations=space)},
                None,
                f"task 'a' has observations {name}.*: show them as one vector, .*TransformObservation$",
            )
            for name, space in (("Sequence", Sequence(Box(-1.0, 1.0))), ("", Space((3,))))
        ),
        (
            {"a": lambda: Variant(observations=MultiDiscrete([3, 10**6]))},
            None,
            r"task 'a' has observations MultiDiscrete.*, 1000003 numbers if one-hot: show them as fewer",
        ),
        (
            {"a": lambda: Variant(observations=Box(-1.0, 1.0, (0,)))},
            None,
            "task 'a' observes nothing: give it a Box of at least one number",
        ),
        (
            {"a": lambda: Variant(actions=Box(-1.0, 1.0, (0,)))},
            None,
            r"task 'a' has actions Box.* a Box of one dimension that is not empty",
        ),
        (
            {"a": Unclosable},
            None,
            r"task 'a' failed in close\(\) \(OSError: display already closed\): mend its environment",
        ),
        # What went wrong first is told.
        (
            {"a": lambda: Unclosable(actions=MultiDiscrete([2, 3]))},
            None,
            "task 'a' has actions MultiDiscrete",
        ),
        (
            {"a": lambda: Variant(actions=MultiDiscrete([2, 3]))},
            None,
            r"task 'a' has actions MultiDiscrete.*TransformAction",
        ),
        (
            {"bad": WrongType},
            None,
            "task 'bad' breaks Gymnasium's interface.*not within the observation space",
        ),
        (
            {"bad": Listed},
            None,
            r"passes: The obs returned by the `reset\(\)` method was expecting a numpy array, .* 'list'>$",
        ),
        ({"a": lambda: Told(reward=lambda time: np.nan)}, None, "passes: The reward is a NaN value.$"),
        *(
            (
                {"a": lambda flag=flag: Told(**{flag: lambda time: None})},
                None,
                f"passes: Expects `{flag}` signal to be a boolean, actual type: <class 'NoneType'>$",
            )
            for flag in ("terminated", "truncated")
        ),
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
        ({"a": lambda: "CartPole-v1"}, None, "task 'a' makes 'CartPole-v1': give a function that"),
    ],
)
def test_what_cannot_be_used_is_named(environments: Any, groups: Any, message: str) -> None:
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


def test_of_many_episodes_so_many_are_played_at_a_time_as_fit_into_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suite = TaskSuite.from_gymnasium({"slow": drift(0.1), "fast": drift(0.5)})
    made, build = [], TaskSuite.build
    monkeypatch.setattr(
        TaskSuite, "build", lambda self, tasks, seeds: made.append(len(tasks)) or build(self, tasks, seeds)
    )
    policy = MetaPolicy(suite, layers=2, width=8).fit(100, snapshots=1)
    made.clear()
    policy.evaluate(episodes=1_100)
    assert made == [2_000, 200]


def test_ids_name_their_tasks() -> None:
    suite = TaskSuite.from_gymnasium(["MountainCar-v0"])
    assert [task.name for task in suite] == ["MountainCar-v0"]
    assert TaskSuite.from_gymnasium({"MountainCar-v0": "MountainCar-v0"}).config == suite.config


@pytest.mark.wrong_types
@pytest.mark.parametrize("value", [0, 1.01, -0.5, float("nan"), "0.9", True])
def test_what_is_no_discount_is_named(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^discount( is |=)\S+.*: give (a .*number|more than 0|at most 1)$"):
        TaskSuite.from_gymnasium({"a": Drift}, discount=value)


def test_a_discount_is_that_of_the_policy(tmp_path: Path) -> None:
    suite = TaskSuite.from_gymnasium({"a": drift(0.2), "b": drift(0.5)}, discount=np.float64(0.9))
    usual = TaskSuite.from_gymnasium({"a": drift(0.2), "b": drift(0.5)})
    assert (suite.discount, suite[[0]].discount, usual.discount) == (0.9, 0.9, 0.99)
    assert (suite.options, usual.options) == ({"discount": 0.9, "time_limit": 25}, {"time_limit": 25})
    learner = PPO(steps=16, copies=1)
    policy, other = (MetaPolicy(each, layers=2, width=4, learner=learner).fit(64) for each in (suite, usual))
    assert not np.array_equal(policy.parameters, other.parameters)
    policy.save(tmp_path / "policy")
    assert MetaPolicy.load(tmp_path / "policy", suite).suite.discount == 0.9
    with pytest.raises(ValueError, match="it is for other tasks, with options discount"):
        MetaPolicy.load(tmp_path / "policy", usual)


@pytest.mark.parametrize("limits", [(25, 40), (25, None)])
def test_the_horizon_is_the_longest_that_is_known(limits: tuple) -> None:
    def factory(limit: int | None) -> Any:
        spec = gymnasium.envs.registration.EnvSpec("Drift-v0", Drift, max_episode_steps=limit)
        return lambda: gymnasium.make(spec)

    suite = TaskSuite.from_gymnasium({str(limit): factory(limit) for limit in limits})
    assert suite.horizon == (None if None in limits else 40)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (Endless, None),
        (lambda: TimeLimit(Endless(), 10), 10),
        (lambda: RecordEpisodeStatistics(TimeLimit(Endless(), 10)), 10),
        (lambda: TimeLimit(RecordEpisodeStatistics(TimeLimit(Endless(), 10)), 20), 10),
        (lambda: TimeLimit(gymnasium.make("CartPole-v1"), 600), 500),
        ("CartPole-v1", 500),
    ],
)
def test_time_limits_are_seen_through_wrappers(make: Any, expected: int | None) -> None:
    suite = TaskSuite.from_gymnasium({"a": make})
    assert suite.horizon == expected
    simulator = suite.simulator(1)
    simulator.reset()
    length = 1
    while expected == 10 and not simulator.step(np.array([1]))[3].any():
        length += 1
    assert expected != 10 or length == expected
    simulator.close()


def test_names_become_text() -> None:
    suite = TaskSuite.from_gymnasium({0: Drift, np.int64(1): Drift})
    assert [task.name for task in suite] == ["0", "1"]
    assert json.loads(json.dumps(suite.config))["tasks"][1]["name"] == "1"
    assert suite[["1"]].simulator(1).num_envs == 1


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


def test_an_action_without_a_choice_is_no_fault() -> None:
    class Fixed(Pushed):
        def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
            assert action[1] == 3
            return super().step(action)

    suite = TaskSuite.from_gymnasium({"a": lambda: Fixed(3.0)})
    small: Any = {"layers": 2, "width": 4}
    policy = MetaPolicy(suite, learner=PPO(steps=16, copies=2), **small).fit(64)
    assert np.isfinite(policy.parameters).all()
    with pytest.raises(ValueError, match="two finite ends, of at most 1e38, or the learner 'ppo'"):
        MetaPolicy(suite, learner=SAC(), **small).fit(64)


def test_actions_are_noted_only_for_those_who_resume() -> None:
    suite = TaskSuite.from_gymnasium({"a": "CartPole-v1"})
    for noting in (False, True):
        simulator = suite.simulator(copies=2)
        if noting:
            simulator.begin_noting()
        simulator.reset()
        simulator.step(np.zeros(2, dtype=np.int64))
        assert simulator.state()["lengths"].tolist() == [noting, noting]
        simulator.close()
