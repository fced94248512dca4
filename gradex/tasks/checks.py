"""What a user's environments must be before a suite takes them: each function raises a ValueError if not."""

import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from typing import Any

import gymnasium
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from gradex.settings import shown, whole, without_numpy
from gradex.tasks import interface
from gradex.tasks.interface import one_line

Factory = Callable[[], gymnasium.Env]

#: One-hot vectors of more numbers would make networks of many millions of parameters.
_MOST_STATES = 20_000


def read_factories(environments: Any) -> dict[str, Factory]:
    """Read a mapping of names to functions that make environments, or to ids that Gymnasium knows.

    A list of ids stands for tasks of these names.
    """
    if isinstance(environments, list | tuple) and all(isinstance(each, str) for each in environments):
        twice = [each for each in environments if environments.count(each) > 1]
        if twice:
            raise ValueError(
                f"environments has {twice[0]!r} twice: give a mapping, with a name for each task"
            )
        environments = {each: each for each in environments}
    if not isinstance(environments, Mapping):
        raise ValueError(
            f"environments is {shown(environments)}: give a mapping from names to functions, such as "
            "{'a': make_a, 'b': make_b}, or a list of ids"
        )
    if not environments:
        raise ValueError("environments is empty: give at least one task")
    read: dict[str, Factory] = {}
    for name, given in environments.items():
        text = str(name)
        if text in read:
            raise ValueError(f"two tasks are named {text!r}: give each a name that is another as text")
        read[text] = _factory(text, given)
    return read


def _factory(name: str, given: Any) -> Factory:
    if isinstance(given, str):
        return functools.partial(gymnasium.make, given)
    if isinstance(given, gymnasium.Env):
        raise ValueError(
            f"task {name!r} is an environment: give a function that makes a new one at each call, or a class"
        )
    if not callable(given):
        raise ValueError(
            f"task {name!r} is {one_line(repr(given))}: give a function that makes a gymnasium.Env"
        )
    return given


def read_groups(groups: Any, n: int) -> Sequence[int | None]:
    """Read the group of each of n tasks."""
    if groups is None:
        return [None] * n
    ordered = hasattr(groups, "__iter__") and not isinstance(groups, str | bytes | Mapping | Set)
    try:
        read = [whole("group", each) for each in without_numpy(list(groups))] if ordered else None
    except (TypeError, ValueError):
        read = None
    if read is None:
        raise ValueError(f"groups is {one_line(repr(groups))}: give a list with a whole number for each task")
    if len(read) != n:
        raise ValueError(f"groups has {len(read)} entries for {n} tasks: give one group per task")
    return read


def make(name: str, factory: Factory) -> gymnasium.Env:
    """Make an environment of this task."""
    try:
        environment: Any = factory()
    except Exception as error:  # whatever it throws, the user needs to know which function it was
        raise ValueError(
            f"task {name!r} cannot be made ({one_line(error)}): give a function without arguments that makes "
            "a gymnasium.Env"
        ) from error
    if not isinstance(environment, gymnasium.Env):
        made = "nothing" if environment is None else shown(environment)
        raise ValueError(f"task {name!r} makes {made}: give a function that makes a gymnasium.Env")
    return environment


@contextmanager
def closed_after(name: str, environment: gymnasium.Env) -> Iterator[None]:
    """Close an environment of this task in the end, and complain of that unless something else went wrong."""
    try:
        yield
    except BaseException:
        with suppress(Exception):
            environment.close()
        raise
    try:
        environment.close()
    except Exception as error:
        raise failed(name, "close", error) from error


def failed(name: str, what: str, error: Exception) -> ValueError:
    """Say in which task and call an environment failed: whatever it threw, the user needs to know."""
    return ValueError(f"task {name!r} failed in {what}() ({one_line(error)}): mend its environment")


def check(name: str, environment: gymnasium.Env, twin: gymnasium.Env) -> None:
    """Refuse an environment that no policy here can serve, or that breaks Gymnasium's interface.

    Its twin comes from another call of the same function.
    """
    if environment.unwrapped is twin.unwrapped:
        raise ValueError(f"task {name!r} gives the same environment twice: make a new one at each call")
    for kind in ("observation_space", "action_space"):
        if not isinstance(getattr(environment, kind, None), spaces.Space):
            raise ValueError(f"task {name!r} has no {kind}: give it one of gymnasium.spaces")
    observations, actions = environment.observation_space, environment.action_space
    if observations.shape == (0,):
        raise ValueError(f"task {name!r} observes nothing: give it a Box of at least one number")
    vectors = isinstance(observations, spaces.Box) and len(observations.shape) == 1
    if _is_discrete(observations):
        if (size := spaces.flatdim(observations)) > _MOST_STATES:
            raise ValueError(
                f"task {name!r} has observations {one_line(observations)}, {size} numbers if one-hot: "
                "show them as fewer numbers, for instance by gymnasium.wrappers.TransformObservation"
            )
    elif not vectors:
        wrapped = "wrap it in gymnasium.wrappers.FlattenObservation to get one vector"
        shown_as = "show them as one vector, for instance by gymnasium.wrappers.TransformObservation"
        raise ValueError(
            f"task {name!r} has observations {one_line(observations)}: "
            f"{wrapped if _has_one_length(observations) else shown_as}"
        )
    check_actions(f"task {name!r}", actions)
    problem = interface.problem(environment)
    if problem is not None:
        raise ValueError(
            f"task {name!r} breaks Gymnasium's interface, mend it until check_env passes: {problem}"
        )


def repeats(name: str, environment: gymnasium.Env, twin: gymnasium.Env) -> bool:
    """Tell whether an episode of this task goes the same way twice and in its twin, see `interface`."""
    try:
        return interface.repeats(environment, twin)
    except Exception as error:
        raise failed(name, "step", error) from error


def in_vectors(environment: gymnasium.Env) -> gymnasium.Env:
    """Show discrete observations as one-hot vectors, and leave other environments as they are."""
    discrete = _is_discrete(environment.observation_space)
    return gymnasium.wrappers.FlattenObservation(environment) if discrete else environment


def _is_discrete(space: spaces.Space) -> bool:
    if isinstance(space, spaces.Tuple):
        return len(space) > 0 and all(_is_discrete(each) for each in space)
    return isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)


def _has_one_length(space: spaces.Space) -> bool:
    """Tell whether all that a space holds is flattened to vectors of one length; sequences are not."""
    with suppress(NotImplementedError):  # spaces of a user's own may not say
        return space.is_np_flattenable
    return False


def check_actions(whose: str, actions: spaces.Space) -> None:
    """Refuse actions that no policy here can choose."""
    one_dimensional = isinstance(actions, spaces.Box) and len(actions.shape) == 1 and actions.shape != (0,)
    if not (isinstance(actions, spaces.Discrete) or one_dimensional):
        raise ValueError(
            f"{whose} has actions {one_line(actions)}: give it Discrete(n) or a Box of one dimension that is "
            "not empty, for instance by gymnasium.wrappers.TransformAction"
        )


def other_spaces(suite: Any, known: Any) -> str | None:
    """Say what sets a suite apart from a known one: the shape of observations, or the actions; else None."""
    ours, theirs = suite.observation_space.shape, known.observation_space.shape
    if ours != theirs:
        return f"other observations, of shape {ours} instead of {theirs}"
    ours, theirs = suite.action_space, known.action_space
    return None if ours == theirs else f"other actions, {one_line(ours)} instead of {one_line(theirs)}"


def read_time_limit(environment: gymnasium.Env) -> int | None:
    """Give the steps after which an episode is cut off, or None if the environment does not tell.

    The shortest limit counts, of the environment's own `spec` and of every `TimeLimit` around it. A wrapper
    tells its limit in its `spec` only, and has one only if what it wraps does: an environment that was made
    without gets an empty one first. So hand in one that is not needed any more.
    """
    if environment.unwrapped.spec is None:
        try:
            environment.unwrapped.spec = EnvSpec("Unnamed-v0")
        except AttributeError:  # the environment computes it
            return None
    layers = [environment]
    while isinstance(layers[-1], gymnasium.Wrapper):
        layers.append(layers[-1].env)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of wrappers whose arguments cannot be copied into a spec
        limits = [getattr(layer.spec, "max_episode_steps", None) for layer in layers]
    return min((int(limit) for limit in limits if limit is not None), default=None)
