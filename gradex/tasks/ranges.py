"""Ranges of task parameters: how a suite spreads its own tasks over them and draws unseen ones."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool

from gradex.settings import shown, without_numpy
from gradex.tasks.family import Family, read_number
from gradex.tasks.task import Task

#: Shares of reversed tasks that have a name.
_SHARES = {"none": 0.0, "half": 0.5}


def latin_grid(
    ranges: Mapping[str, Sequence[float]], n: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Spread n values of each parameter over its range, geometrically where the range is positive.

    The first parameter that varies runs in order, further ones in a random order (a Latin hypercube), so that
    two parameters that vary together are not confounded.
    """
    columns: dict[str, np.ndarray] = {}
    varying = 0
    for name, (low, high) in ranges.items():
        spread = np.geomspace if low > 0 and high > 0 else np.linspace
        middle = (low * high) ** 0.5 if low > 0 else (low + high) / 2
        values = spread(low, high, n) if n > 1 else np.array([middle])
        if low != high:
            values = values if varying == 0 else rng.permutation(values)
            varying += 1
        columns[name] = values
    return columns


def draw_ranges(
    ranges: Mapping[str, Sequence[float]], n: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draw n values of each parameter from its range, log-uniformly where the range is positive."""
    columns = {}
    for name, ends in ranges.items():
        low, high = sorted(ends)
        log = low > 0 and high > 0
        values = rng.uniform(np.log(low) if log else low, np.log(high) if log else high, size=n)
        columns[name] = np.exp(values) if log else values
    return columns


def read_range(
    name: str, value: float | Sequence[float], low: float, high: float, closed: bool = False
) -> tuple[float, float]:
    """Read a number or a pair (from, to) as a range, and check that it lies between low and high.

    The interval is open unless `closed`.
    """
    found = without_numpy(value)
    pair = tuple(found) if isinstance(found, Sequence) else (found, found)

    def inside(end: Any) -> bool:
        if not isinstance(end, int | float) or isinstance(end, bool):
            return False
        return low <= end <= high if closed else low < end < high

    if len(pair) != 2 or not all(map(inside, pair)):
        raise ValueError(
            f"{name} is {value!r}: give a number or a pair of numbers between {low:g} and {high:g}"
        )
    return float(pair[0]), float(pair[1])


def read_reversed(name: str, value: Any) -> float | str:
    """Read which share of the tasks is reversed: "none", "half", or a number from 0 to 1.

    Examples
    --------
    >>> from gradex.tasks.ranges import read_reversed
    >>> read_reversed("reversed", 0.1), read_reversed("reversed", 0.5), read_reversed("reversed", 0)
    (0.1, 'half', 'none')
    """
    if isinstance(value, str) and value in _SHARES:
        return value
    try:
        share = read_number(name, value)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise ValueError(
            f"{name} is {shown(value)}: choose 'none', 'half' or a share of the tasks, a number from 0 to 1"
        )
    # One name for one suite: what is kept on disk is compared by it.
    return next((word for word, known in _SHARES.items() if known == share), share)


def choose_reversed(n: int, share: float, rng: np.random.Generator) -> Bool[np.ndarray, " n"]:
    """Choose which of n tasks are reversed, `share` of them, rounded to whole tasks; half a task is none.

    With one state of the generator, a larger share reverses more tasks, and all those of a smaller one.
    """
    turn = np.r_[1:n:2, 0:n:2]
    chosen = np.zeros(n, dtype=bool)
    chosen[turn[: math.ceil(share * n - 0.5)]] = True
    return rng.permutation(chosen)


@dataclass(frozen=True)
class RangedFamily(Family):
    """Tasks that differ in constants of their physics, each within a range of its own.

    The option `reversed` swaps actions in a share of the tasks. Reversed and plain tasks look the same and
    want opposite actions, so this plants two groups in true conflict.

    A family says by `title` how tasks are named, and by `actuators` which parameter is -1 in reversed tasks,
    where there may be any, and 1 in the others. It has a field `horizon`, with a default of its own.
    """

    ranges: Mapping[str, Sequence[float]]
    reversed: str | float
    title: ClassVar[str]
    actuators: ClassVar[str]

    @classmethod
    def create(
        cls, n: int, seed: int, reversed: str | float, horizon: int | None = None, **ranges: Sequence[float]
    ) -> tuple[list[Task], Family]:
        """Make n tasks, spread over the ranges; the seed shuffles, and chooses which are reversed."""
        rng = np.random.default_rng(seed)
        own = {} if horizon is None else {"horizon": horizon}
        family = cls({name: list(pair) for name, pair in ranges.items()}, reversed, **own)
        return family._tasks(latin_grid(ranges, n, rng), rng), family

    def draw(self, n: int, rng: np.random.Generator, known: Sequence[Task]) -> list[Task]:
        return self._tasks(draw_ranges(self.ranges, n, rng), rng)

    @property
    def reversed_share(self) -> float:
        """Share of the tasks that are reversed."""
        return _SHARES[self.reversed] if isinstance(self.reversed, str) else self.reversed

    def _tasks(self, columns: Mapping[str, np.ndarray], rng: np.random.Generator) -> list[Task]:
        rows = list(zip(*columns.values(), strict=True))
        planted = self.reversed_share > 0
        flip = (
            choose_reversed(len(rows), self.reversed_share, rng)
            if planted
            else np.zeros(len(rows), dtype=bool)
        )
        tasks = []
        for i, row in enumerate(rows):
            parameters = dict(zip(columns, map(float, row), strict=True))
            name = f"{i}: {self.title.format(**parameters)}"
            if planted:
                parameters[self.actuators] = -1.0 if flip[i] else 1.0
            group = int(flip[i]) if planted else None
            tasks.append(Task(name + " reversed" * bool(flip[i]), parameters, group))
        return tasks
