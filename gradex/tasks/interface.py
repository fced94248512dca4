"""What Gymnasium's interface asks of an environment: its checker's complaint, and whether it repeats."""

import functools
import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import env_checker, passive_env_checker, seeding

#: What Gymnasium's checker warns of although nothing is wrong: bounds without end, or at one point, large
#: actions, which policies here scale, wrappers, rounding.
_HARMLESS = (
    "infinity", "minimum values are equal", "symmetric and normalized", "unwrapped version",
    "although similar",
)  # fmt: skip
#: Where its complaints come from; all other warnings are the environment's own.
_CHECKERS = (env_checker.__file__, passive_env_checker.__file__)
#: They are written for terminals.
_COLOUR = re.compile(r"\x1b\[\d*m")
#: The seed of an episode that is begun twice, and the steps that are compared.
_SEED, _STEPS = 123, 3


def problem(environment: gymnasium.Env) -> str | None:
    """Give the first complaint of Gymnasium's checker, or None; what the environment warns of is none."""
    failure = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            env_checker.check_env(Checked(environment), skip_render_check=True, skip_close_check=True)
        except Exception as error:  # whatever an environment throws while it is checked is its problem
            told = str(error) if isinstance(error, AssertionError | gymnasium.error.Error) else ""
            failure = one_line(told) or one_line(error)
    complaints = [
        one_line(_COLOUR.sub("", str(warning.message)).removeprefix("WARN: "))
        for warning in caught
        if issubclass(warning.category, UserWarning) and warning.filename in _CHECKERS
    ]
    # What it warned of comes first: it fails by that, as where a reward of nan does not equal itself.
    return next((line for line in complaints if not any(word in line for word in _HARMLESS)), failure)


def repeats(environment: gymnasium.Env, twin: gymnasium.Env) -> bool:
    """Tell whether an episode goes the same way twice and in a twin, by the same seed and actions.

    An environment that is registered as not deterministic is not asked: its user knows.
    """
    if environment.spec is not None and environment.spec.nondeterministic:
        return True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the environment's own, which are heard in a run
        first, *others = (_beginning(Checked(each)) for each in (environment, environment, twin))
    return all(env_checker.data_equivalence(first, other) for other in others)


def _beginning(environment: gymnasium.Env) -> list[Any]:
    """Give what an episode shows and pays in its first steps."""
    actions = deepcopy(environment.action_space)
    actions.seed(_SEED)
    met = [_comparable(environment.reset(seed=_SEED)[0])]
    for _ in range(_STEPS):
        observation, reward, over, *_ = environment.step(actions.sample())
        met += [_comparable(observation), _comparable(np.array(reward)), over]
        if over:
            break
    return met


def _comparable(value: Any) -> Any:
    """Give numbers that equal themselves; what is not finite is told of when it is met in a run."""
    return np.nan_to_num(value) if isinstance(value, np.ndarray) else value


class Checked(gymnasium.Wrapper):
    """An environment as Gymnasium's checker sees it, which shall not look at what nobody here needs.

    Infos are empty, as it compares them; rewards and flags are read as in a run; and an episode may be cut
    off after one step, which it takes for a fault. Observations may fill the same array again, and actions
    may be changed in place: simulators copy both. Observations may be any finite numbers of their type, as
    no policy reads between which ends they shall lie. Whether it repeats is for `repeats` to tell, whatever
    generator it draws from: the checker gets to see one that is seeded as it wants.
    """

    spec = EnvSpec("Checked-v0", nondeterministic=True)
    _np_random: Any = None

    def __init__(self, environment: gymnasium.Env) -> None:
        super().__init__(environment)
        seen = environment.observation_space
        if seen.dtype is not None and seen.dtype.kind == "f":
            most = np.finfo(seen.dtype).max
            self.observation_space = spaces.Box(-most, most, seen.shape, seen.dtype.type)
        self.reset = self._emptied(environment.reset)  # type: ignore[method-assign]

    @property
    def unwrapped(self) -> gymnasium.Env:
        return self

    def step(self, action: Any) -> Any:
        with _unchecked():
            result = self.env.step(copy(action))
        if not isinstance(result, tuple) or len(result) != 5 or not isinstance(result[4], dict):
            return result
        observation, reward, terminated, truncated, _ = result
        numbers = [to_number(each) for each in (reward, terminated, truncated)]
        if None in numbers:
            return (*result[:4], {})  # the checker says what is wrong with them
        return copy(observation), numbers[0], any(numbers[1:]), False, {}

    def _emptied(self, reset: Callable[..., Any]) -> Callable[..., Any]:
        """Leave the info of a reset out, and show the usual signature if it can be called as usual."""

        def emptied(**keywords: Any) -> Any:
            with _unchecked():
                result = reset(**keywords)
            if keywords.get("seed") is not None:
                self._np_random, _ = seeding.np_random(keywords["seed"])
            sound = isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)
            return (copy(result[0]), {}) if sound else result

        try:
            inspect.signature(reset).bind(seed=0, options=None)
        except TypeError:
            return functools.wraps(reset)(emptied)  # the checker says what is wrong with it
        return functools.wraps(_usual_reset)(emptied)


def _usual_reset(*, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
    """Have the signature of Gymnasium's reset."""


@contextmanager
def _unchecked() -> Iterator[None]:
    """Silence the checker that `gymnasium.make` puts around an environment: it sees what `Checked` hides."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"gymnasium\.utils\.passive_env_checker")
        yield


def to_number(value: Any) -> float | None:
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
