"""User's own environments that fail while they run, or warn: who is named, and that all are closed."""

import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
from gymnasium.spaces import MultiDiscrete

from gradex import PPO, MetaPolicy
from gradex.tasks import TaskSuite

from .families import Drift
from .told import Told


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
