"""Environments with vectors of rewards: of MO-Gymnasium (Felten et al. 2023, NeurIPS), or one's own."""

import copy
import difflib
import importlib
import re
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Float

from gradex.seeds import child, generator_for
from gradex.tasks.scale import measure
from gradex.tasks.simulator import Reset

PREFIX = "mo-"

_MOVES = ("velocity", "control cost")
_TREASURE = ("treasure", "time")
#: Of each environment by name, without version and prefix. MO-Gymnasium has them in docstrings only.
OBJECTIVES: dict[str, tuple[str, ...]] = {
    "ant": ("x velocity", "y velocity", "control cost"),
    "ant-2obj": ("x velocity", "y velocity"),
    "breakable-bottles": ("time", "delivered", "dropped"),
    "deep-sea-treasure": _TREASURE,
    "deep-sea-treasure-concave": _TREASURE,
    "deep-sea-treasure-mirrored": _TREASURE,
    "fishwood": ("fish", "wood"),
    "four-room": ("blue square", "green triangle", "red circle"),
    "fruit-tree": ("protein", "carbohydrates", "fats", "vitamins", "minerals", "water"),
    "halfcheetah": _MOVES,
    "highway": ("speed", "right lane", "collision"),
    "highway-fast": ("speed", "right lane", "collision"),
    "hopper": ("velocity", "height", "control cost"),
    "hopper-2obj": ("velocity", "height"),
    "humanoid": _MOVES,
    "lunar-lander": ("landing", "shaping", "main engine", "side engines"),
    "lunar-lander-continuous": ("landing", "shaping", "main engine", "side engines"),
    "minecart": ("first ore", "second ore", "fuel"),
    "minecart-deterministic": ("first ore", "second ore", "fuel"),
    "mountaincar": ("time", "reverse", "forward"),
    "mountaincar-3d": ("time", "move", "speed"),
    "mountaincar-timemove": ("time", "move"),
    "mountaincar-timespeed": ("time", "speed"),
    "mountaincarcontinuous": ("time", "fuel"),
    "reacher": ("first target", "second target", "third target", "fourth target"),
    "resource-gathering": ("death", "gold", "diamond"),
    "swimmer": _MOVES,
    "walker2d": _MOVES,
    "water-reservoir": ("flooding", "water deficit"),
}
#: Steps after which these end by themselves, which their registration does not tell.
_ENDS = {"fishwood": 200, "fruit-tree": 6, "highway": 40, "highway-fast": 30, "water-reservoir": 100}
#: Steps after which any other one without a limit is cut off.
HORIZON = 500
#: To make them: the water released is a share of what may be released, not a number without bound.
_KEYWORDS: dict[str, dict[str, Any]] = {"water-reservoir": {"normalized_action": True}}
#: Too slow to measure (5 to 60 steps a second): observations are of order one, rewards at most 1 a step.
SLOW = {"highway": (20.0, 20.0, 1.0), "highway-fast": (20.0, 20.0, 1.0)}
#: A whole number with at most so many values is observed as one-hot.
_VALUES = 64
#: Random steps by which scales are measured, at least so many episodes, and their longest part that counts.
_STEPS, _EPISODES, _LONGEST = 10_000, 10, 1000
_PURPOSE = "scale of objectives"


def bare(environment: str) -> str:
    """Give the name of an environment of MO-Gymnasium without version and prefix.

    Examples
    --------
    >>> from gradex.tasks.vector_rewards import bare
    >>> bare("mo-hopper-v5"), bare("deep-sea-treasure-v0")
    ('hopper', 'deep-sea-treasure')
    """
    return re.sub(r"-v\d+$", "", environment).removeprefix(PREFIX)


def is_own(environment: str) -> bool:
    """Tell whether somebody else than MO-Gymnasium registered this id with Gymnasium."""
    spec = gymnasium.registry.get(environment)
    return spec is not None and not str(spec.entry_point).startswith("mo_gymnasium.")


def known_as(environment: str) -> str:
    """Give the name by which tables here know an environment: an own one is in none, whatever its name."""
    return "" if is_own(environment) else bare(environment)


def find(name: str) -> str:
    """Give the id of the environment of a suite, whose name is `mo-`, a name, and maybe a version.

    It is MO-Gymnasium's environment, else one that the user has registered as exactly that. It raises a
    ValueError if there is none that works here, and an ImportError if only MO-Gymnasium could have it, which
    is not installed.
    """
    wanted = name.removeprefix(PREFIX)
    own = next((each for each in (wanted, name) if is_own(each)), None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of while it is imported is not ours to mend
            importlib.import_module("mo_gymnasium")
    except ImportError:
        if own is not None:
            return own
        raise ImportError(
            f'suite {name!r} needs MO-Gymnasium, which is missing: pip install "gradex[mo]", or register an '
            f"environment of your own as {wanted!r}"
        ) from None
    known: dict[str, list[tuple[int, str]]] = {}
    for spec in gymnasium.registry.values():
        if not is_own(spec.id):
            known.setdefault(bare(spec.id), []).append((spec.version or 0, spec.id))
    return _choose(name, known, own)


def _choose(name: str, known: dict[str, list[tuple[int, str]]], own: str | None) -> str:
    """Choose among MO-Gymnasium's versions by name, or else the environment of the user's own."""
    wanted, version = bare(name), re.search(r"-v(\d+)$", name)
    versions = dict(known.get(wanted, ()))
    number = int(version[1]) if version else max(versions, default=0)
    if own is not None and number not in versions:
        return own
    if not versions:
        near = difflib.get_close_matches(wanted, sorted(known), n=3, cutoff=0.5)
        hint = " or ".join(repr(PREFIX + each) for each in near)
        raise ValueError(
            f"MO-Gymnasium has no environment for suite {name!r}: "
            + (f"did you mean {hint}?" if near else "take 'mo-lunar-lander', or register one with Gymnasium")
        )
    if number not in versions:
        have = ", ".join(f"v{each}" for each in sorted(versions))
        raise ValueError(f"MO-Gymnasium has {PREFIX + wanted!r} as {have}, not v{number}: leave it out")
    _refuse(name, wanted, versions[number], set(known))
    return versions[number]


def _refuse(name: str, wanted: str, environment: str, known: set[str]) -> None:
    """Refuse an environment that does not work here, with the reason."""
    if wanted == "supermario":
        raise ValueError(f"suite {name!r} needs gym-super-mario-bros, for NumPy before 2: take another")
    entry = str(gymnasium.registry[environment].entry_point)
    if "mujoco" in entry and environment.endswith("-v4"):
        newer = wanted.replace("-2d", "-2obj")
        other = f"take {PREFIX + newer!r}" if newer in known else "take another"
        raise ValueError(f"suite {name!r} has a robot of version 4, which Gymnasium deprecates: {other}")
    if wanted.endswith("-rgb"):
        other = PREFIX + wanted.removesuffix("-rgb")
        raise ValueError(f"suite {name!r} shows images, which no policy here can see: take {other!r}")


def longest(environment: str) -> tuple[int, bool]:
    """Give the steps after which an episode ends, and whether the environment itself ends it there."""
    own = _ENDS.get(known_as(environment))
    limit = gymnasium.spec(environment).max_episode_steps
    return (own, True) if own is not None else (limit or HORIZON, False)


def make(environment: str, horizon: int) -> gymnasium.Env:
    """Make an environment whose step gives a vector of rewards, and plain vectors of observations."""
    keywords = _KEYWORDS.get(known_as(environment), {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of bounds that lose digits in single precision, and the like
        return PlainVectors(
            gymnasium.make(environment, max_episode_steps=horizon, disable_env_checker=True, **keywords)
        )


class PlainVectors(gymnasium.Wrapper):
    """Observations as one vector of float32, actions clipped to their space, and infos left out.

    A whole number of at most 64 values becomes one-hot, one of more is divided by its largest size. Parts of
    a `Dict` are put side by side, as `gymnasium.spaces.flatten` does.
    """

    def __init__(self, environment: gymnasium.Env) -> None:
        super().__init__(environment)
        seen = environment.observation_space
        self._flatten: Callable[[Any], Any] = partial(spaces.flatten, seen)
        flat = spaces.flatten_space(seen)
        if not isinstance(flat, spaces.Box):
            raise ValueError(f"observations of {environment.spec} are no vector: take another environment")
        space = spaces.Box(flat.low.astype(np.float32), flat.high.astype(np.float32), dtype=np.float32)
        if isinstance(seen, spaces.Box) and np.issubdtype(seen.dtype, np.integer):
            parts: list[tuple[int, int, int]] = []
            width = 0
            # Python's whole numbers: how many values there are may be more than their own type can count.
            for least, most in zip(seen.low.ravel().tolist(), seen.high.ravel().tolist(), strict=True):
                values = most - least + 1
                parts.append((least, values, width))
                width += values if values <= _VALUES else 1
            self._flatten = partial(_one_hot, parts=tuple(parts), width=width)
            space = spaces.Box(-1.0, 1.0, (width,), np.float32)
        self.observation_space = space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        observation, _ = self.env.reset(seed=seed, options=options)
        # Ores of random mines come from NumPy's global generator otherwise.
        for mine in getattr(self.unwrapped, "mines", ()):
            for each in getattr(mine, "distributions", ()):
                each.random_state = self.unwrapped.np_random
        return self._flatten(observation).astype(np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        if isinstance(self.action_space, spaces.Box):
            action = np.clip(action, self.action_space.low, self.action_space.high)
        observation, reward, terminated, truncated, _ = self.env.step(action)
        paid = np.array(reward, dtype=np.float64)
        return self._flatten(observation).astype(np.float32), paid, bool(terminated), bool(truncated), {}


def _one_hot(numbers: np.ndarray, parts: Sequence[tuple[int, int, int]], width: int) -> np.ndarray:
    """Write each whole number as one-hot, or divided by its size where it has many values.

    Of each, `parts` tell the least value, how many there are, and where it is written.
    """
    row = np.zeros(width, dtype=np.float32)
    for number, (least, count, start) in zip(numbers.ravel().tolist(), parts, strict=True):
        if count <= _VALUES:
            row[start + number - least] = 1.0
        else:
            row[start] = number / max(-least, least + count - 1)
    return row


class Scalarized(gymnasium.Wrapper):
    """Pays w·(r / scale) for a step with the vector r, and tells r / scale in `info["objectives"]`."""

    def __init__(
        self, environment: gymnasium.Env, scale: Float[np.ndarray, " k"], weights: Float[np.ndarray, " k"]
    ) -> None:
        super().__init__(environment)
        self._scale, self._weights = scale, weights.tolist()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        observation, _ = self.env.reset(seed=seed, options=options)
        # A reset is no step, and pays nothing.
        return observation, {"objectives": np.zeros_like(self._scale)}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, vector, terminated, truncated, _ = self.env.step(action)
        objectives = np.asarray(vector) / self._scale
        # As `weigh` sums, in a tenth of its time for a single step.
        paid = 0.0
        for weight, objective in zip(self._weights, objectives.tolist(), strict=True):
            paid += weight * objective
        return observation, paid, terminated, truncated, {"objectives": objectives}


def typical_observation(environment: str, horizon: int) -> list[list[float]] | None:
    """Measure the scale of observations, see `gradex.tasks.scale`."""
    if known_as(environment) in SLOW:
        return None
    plain = make(environment, horizon)
    one = np.ones(plain.unwrapped.reward_space.shape)  # type: ignore[attr-defined]
    plain.close()
    makers = {environment: lambda: Scalarized(make(environment, horizon), one, one)}
    found = measure(makers, plain.action_space)
    return None if found is None else [list(each) for each in found]


def measure_scale(environment: str, horizon: int, discount: float) -> list[float]:
    """Measure by how much each component of the reward is divided, in the way that `MultiObjective` says.

    The random policy is uniform and takes 10,000 steps or 10 episodes, whichever are more, of which the first
    1,000 steps count, with a seed of their own. What it earns is summed in absolute values, as it may run to
    and fro. The highways are too slow to measure: 20, 20 and 1 for speed, lane and collision, a guess.
    """
    slow = SLOW.get(known_as(environment))
    if slow is not None:
        return list(slow)
    made = make(environment, horizon)
    try:
        found = _front_range(made, discount)
        missing = ~(found > 0)
        if missing.any():
            found[missing] = _random_size(made, discount)[missing]
        bounds = made.unwrapped.reward_space  # type: ignore[attr-defined]
    finally:
        made.close()
    largest = np.maximum(np.abs(bounds.low), np.abs(bounds.high)).astype(np.float64)
    fallback = np.where(np.isfinite(largest) & (largest > 0), largest, 1.0)
    sizes: list[float] = np.where(found > 0, found, fallback).tolist()
    return sizes


def _front_range(made: gymnasium.Env, discount: float) -> Float[np.ndarray, " k"]:
    """Give the range of each component over the Pareto front, not a number where it is unknown."""
    unwrapped: Any = made.unwrapped
    front = getattr(unwrapped, "pareto_front", None)
    if front is None:
        return np.full(unwrapped.reward_space.shape, np.nan)
    return np.ptp(np.array(front(gamma=discount), dtype=np.float64), axis=0)


def _random_size(made: gymnasium.Env, discount: float) -> Float[np.ndarray, " k"]:
    """Give the mean of the discounted sum of absolute rewards of a random policy, where there is any."""
    rng = generator_for(0, _PURPOSE)
    space: Any = copy.deepcopy(made.action_space)  # the environment's own stays where it is
    space.seed(0)
    bounded = isinstance(space, spaces.Box) and space.dtype.kind == "f" and space.is_bounded()
    sums: list[np.ndarray] = []
    taken = 0
    while taken < _STEPS or len(sums) < _EPISODES:
        made.reset(seed=child(0, _PURPOSE, len(sums)) % 2**31)
        total: Any = 0.0
        for step in range(_LONGEST):
            if isinstance(space, spaces.Discrete):
                action: Any = int(rng.integers(space.n)) + space.start
            elif bounded:
                action = rng.uniform(space.low, space.high).astype(space.dtype)
            else:  # whole numbers up to the last one, or as far as numbers go
                action = space.sample()
            _, reward, terminated, truncated, _ = made.step(action)
            total = total + discount**step * np.abs(np.asarray(reward))
            taken += 1
            if terminated or truncated:
                break
        sums.append(total)
    seen = np.stack(sums)
    earned = (seen > 0).sum(axis=0)
    return seen.sum(axis=0) / np.maximum(earned, 1)
