"""On which scale the observations of environments are that nobody has described: a short look at them.

About 2,000 steps are taken with random actions, at least 20 in each task, by a seed of their own. A number of
order one, at most 5 and with a deviation of at least 0.05 or none at all, is left as it is. Any other is
centred and divided by its deviation, or by a fifth of its largest distance from the centre if that is more;
where it does not vary it is divided by its size.
"""

import copy
import warnings
from collections.abc import Callable, Mapping
from math import floor, log10

import gymnasium
import numpy as np
from jaxtyping import Float

from gradex.tasks.family import Scale
from gradex.tasks.simulator import SequentialSimulator

#: Steps of a look, over all tasks and at least in each; and how often each task starts anew meanwhile.
_STEPS, _LEAST, _STARTS = 2000, 20, 4
#: Numbers are of order one if none is larger, and if their deviation is not smaller.
_LARGEST, _SMALLEST = 5.0, 0.05
#: No observation of the look is farther from the centre than so many spreads.
_FARTHEST = 5.0
#: Deviations smaller than this share of the size, or than this, are rounding of single precision, in which
#: policies see: brought to order one, what moves later would be enormous.
_ROUNDING, _NOISE = 2.5e-7, 1e-7
#: What moves by less than this share of the spread is not seen. Within one task it is a tenth or more.
_UNSEEN = 0.005
#: A value that is read so often in a task, far from all others, may stand for "nothing seen".
_OFTEN = 0.02
#: Deviations that are a smaller share of the size than this are rounding of double precision, too.
_DOUBLE = 1e-14


def measure(makers: Mapping[str, Callable[[], gymnasium.Env]], action_space: gymnasium.Space) -> Scale | None:
    """Give centre and spread of what random actions meet, or None where all numbers are of order one already.

    Each of `makers` makes a new environment of one task. All tasks have one scale: policies may tell tasks by
    the size of a number.

    Raises
    ------
    ValueError
        If a number is too large for single precision.
    """
    steps = max(_LEAST, _STEPS // len(makers))
    actions = copy.deepcopy(action_space)  # the environment's own stays where it is
    actions.seed(0)
    looks = {name: _look(make, actions, steps) for name, make in makers.items()}
    for name, own in looks.items():
        _check_size(name, own)
    seen = np.concatenate(list(looks.values()))
    _warn_of_lost(seen)
    scale = scale_of(seen)
    spread = np.ones(seen.shape[1]) if scale is None else np.array(scale[1])
    if not _warn_of_unseen(looks, spread):
        _warn_of_squeezed(looks, spread)
    return scale


def scale_of(observations: Float[np.ndarray, "times features"]) -> Scale | None:
    """Give centre and spread of observations, or None where all numbers are of order one already.

    Numbers of order one keep centre 0 and spread 1. So do small ones that never vary: they may yet do so.
    What is not finite is left out.
    """
    seen = observations[np.isfinite(observations).all(axis=1)].astype(np.float64)
    if len(seen) == 0:
        return None
    size, centre = np.abs(seen).max(axis=0), seen.mean(axis=0)
    spread = np.maximum(seen.std(axis=0), np.abs(seen - centre).max(axis=0) / _FARTHEST)
    constant = (spread <= _ROUNDING * size) | (spread <= _NOISE)
    spread = np.where(constant, np.maximum(size, 1.0), spread)
    usual = (size <= _LARGEST) & (constant | (spread >= _SMALLEST))
    if usual.all():
        return None
    pairs = [
        (0.0, 1.0) if fine else _rounded(float(c), float(s))
        for fine, c, s in zip(usual, centre, spread, strict=True)
    ]
    return tuple(c for c, _ in pairs), tuple(s for _, s in pairs)


def _warn_of_lost(seen: np.ndarray) -> None:
    """Tell of numbers that move, though too little beside their size for a policy to see it."""
    if seen.dtype in (np.float16, np.float32):
        return
    seen = seen[np.isfinite(seen).all(axis=1)].astype(np.float64)
    if not len(seen):
        return
    size, spread = np.abs(seen).max(axis=0), seen.std(axis=0)
    lost = np.flatnonzero((spread > _DOUBLE * size) & (spread <= _ROUNDING * size) & (size > _LARGEST))
    if lost.size:
        number = lost[0]
        warnings.warn(
            f"number {number} of the observations is about {size[number]:.2g} and moves by "
            f"{spread[number]:.2g}, which policies cannot see in single precision: subtract a constant",
            stacklevel=2,
        )


def _check_size(task: str, seen: np.ndarray) -> None:
    """Refuse finite numbers that would be infinite to a policy."""
    largest = np.abs(seen, where=np.isfinite(seen), out=np.zeros(seen.shape)).max()
    if largest > np.finfo(np.float32).max:
        raise ValueError(
            f"task {task!r} observes numbers as large as {largest:.2g}, beyond single precision, in which "
            "policies see: divide them"
        )


def _warn_of_unseen(looks: Mapping[str, np.ndarray], spread: Float[np.ndarray, " features"]) -> bool:
    """Tell of a number that moves in a task, but hardly beside what it does from one task to another."""
    for task, look in looks.items():
        seen = look[np.isfinite(look).all(axis=1)].astype(np.float64)
        if not len(seen):
            continue
        moves = seen.std(axis=0)
        still = moves <= np.maximum(_ROUNDING * np.abs(seen).max(axis=0), _NOISE)
        unseen = np.flatnonzero(~still & (moves < _UNSEEN * spread))
        if unseen.size:
            number = unseen[0]
            warnings.warn(
                f"number {number} of the observations moves by {moves[number]:.2g} in task {task!r}, and by "
                f"{spread[number]:.2g} over all tasks, so that no policy sees it there: show it on one scale "
                "in all",
                stacklevel=2,
            )
            return True
    return False


def _warn_of_squeezed(looks: Mapping[str, np.ndarray], spread: Float[np.ndarray, " features"]) -> None:
    """Tell of a number that moves in a task, but hardly beside a single value that it has at times.

    How it moves is half the distance between its quartiles, which hold up while a quarter is read there. A
    number that has one value mostly, such as 0, does not move; nor is it told of where peaks differ, or are
    rare: what happens seldom may be all that matters.
    """
    for task, look in looks.items():
        seen = look[np.isfinite(look).all(axis=1)].astype(np.float64)
        if not len(seen):
            continue
        low, middle, high = np.quantile(seen, [0.25, 0.5, 0.75], axis=0)
        moves, away = (high - low) / 2, np.abs(seen - middle)
        still = moves <= np.maximum(_ROUNDING * np.abs(seen).max(axis=0), _NOISE)
        often = (away >= (1 - _ROUNDING) * away.max(axis=0)).mean(axis=0) >= _OFTEN
        squeezed = np.flatnonzero(~still & often & (moves < _UNSEEN * spread))
        if squeezed.size:
            number = squeezed[0]
            value = seen[away[:, number].argmax(), number]
            warnings.warn(
                f"number {number} of the observations moves by {moves[number]:.2g} in task {task!r}, and is "
                f"{value:.2g} at times, so that no policy sees how it moves: clip it, and put a flag beside "
                "it",
                stacklevel=2,
            )
            return


def _look(make: Callable[[], gymnasium.Env], actions: gymnasium.Space, steps: int) -> np.ndarray:
    """Give what random actions meet in one environment, [times, features]."""
    simulator = SequentialSimulator([make], np.zeros(1, dtype=np.int64))
    seen = []
    for start in range(_STARTS):
        seen.append(simulator.reset(seed=start)[0])
        for _ in range(steps // _STARTS):
            seen.append(simulator.step(np.array([actions.sample()]))[0])
    simulator.close()
    return np.concatenate(seen)


def _rounded(centre: float, spread: float) -> tuple[float, float]:
    """Keep two digits: environments that differ by rounding have the same scale."""
    digits = 1 - floor(log10(spread))
    return round(centre, digits) + 0.0, round(spread, digits)  # + 0.0: no -0.0
