"""How a suite reads the numbers that it is given: as plain Python, within bounds, or with one clear line."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradex.settings import LARGEST_SEED

#: A suite is described task by task: one of more than this would take minutes and gigabytes to make.
MOST_TASKS = 100_000
#: Environments of one simulator.
MOST_ENVIRONMENTS = 1_000_000


def plain(value: Any) -> Any:
    """Give NumPy's numbers and arrays, also those in a list or tuple, in the types that JSON knows."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def whole(name: str, value: Any) -> int:
    """Read a whole number.

    Raises
    ------
    ValueError
        If it is anything else: a truth value, text, or a number with a point.
    """
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"{name} is {value!r}: give a whole number")
    return number


def number(name: str, value: Any) -> float:
    """Read a finite number.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    found = plain(value)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise ValueError(f"{name} is {value!r}: give a number")
    if not abs(found) <= sys.float_info.max:
        raise ValueError(f"{name} is {value!r}: give a finite number")
    return found


def seed_of(value: Any) -> int:
    """Read a seed.

    Raises
    ------
    ValueError
        If it is no whole number from 0 to 2⁶².
    """
    seed = whole("seed", value)
    if seed < 0:
        raise ValueError(f"seed is {seed}: choose 0 or more")
    if seed > LARGEST_SEED:
        raise ValueError(f"seed is {seed}: choose at most {LARGEST_SEED}")
    return seed


def check_task_count(name: str, n: int) -> None:
    """Refuse more tasks than a suite can hold.

    Raises
    ------
    ValueError
        If there are more than `MOST_TASKS`.
    """
    if n > MOST_TASKS:
        raise ValueError(f"{name} is {n}: a suite holds at most {MOST_TASKS:,} tasks")


def read(option: str, value: Any, annotation: Any) -> Any:
    """Read the value of an option of a family, whose annotation says what it is.

    Raises
    ------
    ValueError
        If it is something else.
    """
    value = plain(value)
    if option == "seed":
        return seed_of(value)
    if annotation is int or (annotation == int | None and value is not None):
        return whole(option, value)
    if annotation is float:
        return number(option, value)
    if annotation == Sequence[str] | None and not _are_names(value):
        raise ValueError(f"{option} is {value!r}: give a list of names")
    return value


def _are_names(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(name, str) for name in value))
