"""Ranges of task parameters: how a suite spreads its own tasks over them and draws unseen ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradex.tasks.options import plain


def latin_grid(
    ranges: Mapping[str, tuple[float, float]], n: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Spread n values of each parameter over its range, geometrically where the range is positive.

    The first parameter that varies runs in order, further ones in a random order (a Latin hypercube), so that
    two parameters that vary together are not confounded.
    """
    columns: dict[str, np.ndarray] = {}
    varying = 0
    for name, (low, high) in ranges.items():
        spread = np.geomspace if low > 0 and high > 0 else np.linspace
        values = (
            spread(low, high, n)
            if n > 1
            else np.array([(low * high) ** 0.5 if low > 0 else (low + high) / 2])
        )
        if low != high:
            values = values if varying == 0 else rng.permutation(values)
            varying += 1
        columns[name] = values
    return columns


def draw_ranges(
    ranges: Mapping[str, tuple[float, float]], n: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draw n values of each parameter from its range, log-uniformly where the range is positive."""
    columns = {}
    for name, ends in ranges.items():
        low, high = sorted(ends)
        log = low > 0 and high > 0
        values = rng.uniform(np.log(low) if log else low, np.log(high) if log else high, size=n)
        columns[name] = np.exp(values) if log else values
    return columns


def as_range(
    name: str, value: float | Sequence[float], low: float, high: float, closed: bool = False
) -> tuple[float, float]:
    """Read a number or a pair (from, to) as a range, and check that it lies between low and high.

    The interval is open unless `closed`.
    """
    found = plain(value)
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


def draw_reversed(reversed: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Choose which of n tasks have reversed actuators: none, or half of them at random.

    Raises
    ------
    ValueError
        If `reversed` is neither "none" nor "half".
    """
    if reversed not in ("none", "half"):
        raise ValueError(f"reversed is {reversed!r}: choose 'none' or 'half'")
    return rng.permutation(np.arange(n) % 2 == 1) if reversed == "half" else np.zeros(n, dtype=bool)
