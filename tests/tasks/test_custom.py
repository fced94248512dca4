"""Suites of a user's own environments, and what is said about environments that cannot be used."""

import json
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pandas as pd
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Sequence, Space, Tuple
from gymnasium.wrappers import PassiveEnvChecker, RecordEpisodeStatistics, TimeLimit

from gradex import PPO, SAC, MetaPolicy
from gradex.tasks import TaskSuite

from .families import Drift, drift, roll


class Variant(Drift):
    """Drift with other spaces."""

    def __init__(self, observations: Any = None, actions: Any = None) -> None:
        super().__init__()
        self.observation_space = observations or self.observation_space
        self.action_space = actions or self.action_space


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


class Pushed(Drift):
    """Takes a push instead of a choice; of further actions only the `fixed`."""

    def __init__(self, *fixed: float) -> None:
        super().__init__()
        self.action_space = Box(np.float32([-2.0, *fixed]), np.float32([2.0, *fixed]))

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        return super().step(int(np.sign(action[0])) + 1)


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


class Endless(Drift):
    """Has no end of its own."""

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        return *super().step(action)[:2], False, False, {}


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


class Told(Endless):
    """Cut off after five steps; tells whatever it is told to."""

    def __init__(self, tell: Callable[[int], dict] = lambda time: {}, **values: Callable[[int], Any]) -> None:
        super().__init__()
        self.tell, self.values = tell, values

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        self.time = 0
        return super().reset(seed=seed)[0], self.tell(0)

    def step(self, action: Any) -> tuple[np.ndarray, Any, Any, Any, dict]:
        self.time += 1
        usual = {
            "reward": lambda time: 1.0,
            "terminated": lambda time: time == 5,
            "truncated": lambda time: False,
        }
        reward, *flags = ({**usual, **self.values}[name](self.time) for name in usual)
        return super().step(action)[0], reward, *flags, self.tell(self.time)


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


def test_what_is_no_number_is_named_and_closes_all() -> None:
    suite = TaskSuite.from_gymnasium(
        {"a": lambda: Told(lambda time: {"success": "yes" if time > 6 else False})}
    )
    closed = count_closed(suite)
    simulator = suite.simulator(2)
    simulator.reset()
    with pytest.raises(ValueError, match=r"^task 'a' gives success 'yes': give one number$"):
        for _ in range(9):
            simulator.envs[0].unwrapped.values["terminated"] = lambda time: False  # type: ignore[attr-defined]
            simulator.step(np.array([1, 1]))
    assert len(closed) == 2


class Late(Told):
    """Observes three numbers in its seventh step, and cannot be closed after that."""

    def step(self, action: Any) -> tuple[np.ndarray, Any, Any, Any, dict]:
        _, reward, _, _, info = super().step(action)
        return np.zeros(3 if self.time == 7 else 2, np.float32), reward, False, False, info

    def close(self) -> None:
        if getattr(self, "time", 0) == 7:
            raise OSError("display already closed")


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Late, r"task 'a' gives an observation of shape \(3,\), its space says \(2,\): mend its environment"),
        (
            lambda: Told(lambda time: None if time == 5 else {}),  # type: ignore[return-value, arg-type]
            "task 'a' gives info None: give a dictionary, which may be empty",
        ),
    ],
)
def test_what_comes_late_and_wrong_names_the_task(make: Any, message: str) -> None:
    suite = TaskSuite.from_gymnasium({"a": make})
    with pytest.raises(ValueError, match=f"^{message}$"):
        MetaPolicy(suite, learner=PPO(steps=16, copies=2), layers=2, width=4).fit(64)


def count_closed(suite: TaskSuite) -> list[Any]:
    """Note which environments of a suite are closed from now on."""
    closed: list[Any] = []
    build = type(suite).build

    def spied(*arguments: Any) -> Any:
        simulator = build(suite, *arguments)
        for environment in simulator.envs:  # type: ignore[attr-defined]
            environment.unwrapped.close = lambda each=environment: closed.append(each)
        return simulator

    suite.build = spied  # type: ignore[method-assign]
    return closed


class Breaks(Told):
    """Fails in its 7th step."""

    def step(self, action: Any) -> tuple[np.ndarray, Any, Any, Any, dict]:
        observation, reward, _, _, info = super().step(action)
        if self.time == 7:
            raise ZeroDivisionError("division\nby zero")
        return observation, reward, False, False, info


def test_a_failure_in_a_run_names_the_task_and_closes_all() -> None:
    suite = TaskSuite.from_gymnasium({"sound": Told, "bad": Breaks})
    closed = count_closed(suite)
    simulator = suite.simulator(2)
    simulator.reset()
    line = r"^task 'bad' failed in step\(\) \(ZeroDivisionError: division by zero\): mend its environment$"
    with pytest.raises(ValueError, match=line) as caught:
        for _ in range(9):
            simulator.step(np.ones(4, int))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert len(closed) == 4


class Counted(Drift):
    """Counts what is made and closed."""

    made: ClassVar[list[Any]] = []
    closed: ClassVar[list[Any]] = []

    def __init__(self, sound: bool = True) -> None:
        super().__init__()
        self.made.append(self)
        if not sound:
            self.action_space = MultiDiscrete([2, 3])

    def close(self) -> None:
        self.closed.append(self)


def test_every_environment_is_closed() -> None:
    Counted.made.clear()
    Counted.closed.clear()
    suite = TaskSuite.from_gymnasium({"a": Counted, "b": Counted})
    assert len(Counted.closed) == len(Counted.made) == 4
    assert suite.typical_observation is None
    assert len(Counted.closed) == len(Counted.made) == 6
    with pytest.raises(ValueError, match="task 'b' has actions"):
        TaskSuite.from_gymnasium({"a": Counted, "b": lambda: Counted(sound=False)})
    assert len(Counted.closed) == len(Counted.made) == 10
    pair = TaskSuite.from_gymnasium({"a": Counted, "b": failing_after(3)})
    with pytest.raises(ValueError, match=r"task 'b' cannot be made \(OSError: no more"):
        pair.simulator(2)
    assert len(Counted.closed) == len(Counted.made)


def failing_after(calls: int) -> Callable[[], Counted]:
    left = iter(range(calls))

    def make() -> Counted:
        if next(left, None) is None:
            raise OSError("no more")
        return Counted()

    return make


class Warns(Drift):
    """Warns of what is not wrong."""

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        warnings.warn("joint limit reached", stacklevel=1)
        warnings.warn("use something else", DeprecationWarning, stacklevel=1)
        return super().step(action)


def test_what_an_environment_warns_of_is_no_fault_of_its_and_is_heard() -> None:
    suite = TaskSuite.from_gymnasium({"a": Warns})
    simulator = suite.simulator(1)
    simulator.reset()
    with pytest.warns(UserWarning, match="joint limit reached"), pytest.warns(DeprecationWarning):
        simulator.step(np.array([1]))


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
