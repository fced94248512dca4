"""A user's environment as simulators and Gymnasium's checker take it, whatever it says besides."""

import functools
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from gradex.tasks.simulator import Reset


class Plain(gymnasium.Wrapper):
    """Rewards and flags are Python's, and nothing of an info is kept but its success.

    Infos may hold anything: clocks, tables, arrays that change. Simulators would gather them, and fail on
    some. What the environment raises names the task.

    Parameters
    ----------
    environment : gymnasium.Env
    task : str
    """

    def __init__(self, environment: gymnasium.Env, task: str) -> None:
        super().__init__(environment)
        self._task = task

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        observation, info = self._asked("reset", self.env.reset, seed=seed, options=options)
        return observation, self._success(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self._asked("step", self.env.step, action)
        return (
            observation,
            self._number("reward", reward),
            self._number("terminated", terminated) != 0,
            self._number("truncated", truncated) != 0,
            self._success(info),
        )

    def _asked(self, what: str, call: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        try:
            return call(*arguments, **keywords)
        except Exception as error:  # whatever it is, the user needs to know which environment it was
            raise ValueError(
                f"task {self._task!r} failed in {what}(): {one_line(error)}; mend its environment"
            ) from error

    def _success(self, info: dict[str, Any]) -> dict[str, bool]:
        told = info.get("success")
        return {} if told is None else {"success": self._number("success", told) > 0}

    def _number(self, what: str, value: Any) -> float:
        found = _number(value)
        if found is None:
            raise ValueError(f"task {self._task!r} gives {what} {one_line(repr(value))}: give one number")
        return found


class Checked(gymnasium.Wrapper):
    """An environment before Gymnasium's checker, which shall not look at what nobody here needs.

    Infos are empty, as it compares them; rewards and flags are read as in a run; and an episode may be cut
    off after one step, which it takes for a fault.
    """

    def __init__(self, environment: gymnasium.Env) -> None:
        super().__init__(environment)
        # The checker reads the signatures of the environment itself.
        self.reset = _without_info(environment.reset)  # type: ignore[method-assign]

    def step(self, action: Any) -> Any:
        result = self.env.step(action)
        if not isinstance(result, tuple) or len(result) != 5 or not isinstance(result[4], dict):
            return result
        observation, reward, terminated, truncated, _ = result
        numbers = [_number(each) for each in (reward, terminated, truncated)]
        if None in numbers:
            return (*result[:4], {})  # the checker says what is wrong with them
        return observation, numbers[0], any(numbers[1:]), False, {}


def _without_info(reset: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(reset)
    def emptied(**keywords: Any) -> Any:
        result = reset(**keywords)
        sound = isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)
        return (result[0], {}) if sound else result

    return emptied


def _number(value: Any) -> float | None:
    """Read a number or a truth value, which may be the only entry of an array; None if it is neither."""
    try:
        if isinstance(value, int | float):  # most are, and reading arrays takes longer
            return float(value)
        array = np.asarray(value)
        return float(array.item()) if array.size == 1 and array.dtype.kind in "buif" else None
    except Exception:  # whatever a strange object throws, it is no number
        return None


def one_line(thing: object) -> str:
    """Say in one line what this is; an exception with its class."""
    text = " ".join(str(thing).split())
    if isinstance(thing, BaseException):
        return f"{type(thing).__name__}: {text}" if text else type(thing).__name__
    return text
