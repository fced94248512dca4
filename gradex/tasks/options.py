"""Options of a family: what it takes, by default and at all, and how values become plain Python.

A reader takes the name of an option and a value in plain types. It gives the value back as the family wants
it, or raises a ValueError of one clear line.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradex.settings import LARGEST_SEED

Reader = Callable[[str, Any], Any]

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


@dataclass(frozen=True)
class Option:
    """What a family declares of one of its options.

    Attributes
    ----------
    default
        As a user would write it; it is read too.
    read : callable
        Reads a value that somebody gave.

    Examples
    --------
    >>> from gradex.tasks.options import Option, one_of
    >>> Option("none", one_of("none", "half")).read("reversed", "all")
    Traceback (most recent call last):
        ...
    ValueError: reversed is 'all': choose 'none' or 'half'
    """

    default: Any
    read: Reader


def whole(name: str, value: Any) -> int:
    """Read a whole number; a truth value, text, or a number with a point is none."""
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"{name} is {value!r}: give a whole number")
    return number


def task_count(name: str, value: Any, least: int = 1) -> int:
    """Read a number of tasks that a suite can hold."""
    n = whole(name, value)
    if n < least:
        raise ValueError(f"{name} is {n}: a suite needs at least one task")
    if n > MOST_TASKS:
        raise ValueError(f"{name} is {n}: a suite holds at most {MOST_TASKS:,} tasks")
    return n


def number(name: str, value: Any) -> float:
    """Read a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is {value!r}: give a number")
    if not abs(value) <= sys.float_info.max:
        raise ValueError(f"{name} is {value!r}: give a finite number")
    return float(value)


def seed(name: str, value: Any) -> int:
    """Read a whole number from 0 to 2⁶²."""
    found = whole(name, value)
    if found < 0:
        raise ValueError(f"{name} is {found}: choose 0 or more")
    if found > LARGEST_SEED:
        raise ValueError(f"{name} is {found}: choose at most {LARGEST_SEED}")
    return found


def task_names(name: str, value: Any) -> list[str]:
    """Read a list of names."""
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{name} is {value!r}: give a list of names")
    return value


def one_of(*choices: str) -> Reader:
    """Make a reader of one of these names."""
    *others, last = map(repr, choices)

    def read(name: str, value: Any) -> str:
        if value not in choices:
            raise ValueError(f"{name} is {value!r}: choose {', '.join(others)} or {last}")
        return value

    return read


def if_given(reader: Reader) -> Reader:
    """Make a reader that lets None pass."""
    return lambda name, value: None if value is None else reader(name, value)
