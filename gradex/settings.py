"""Settings as plain Python values, or refused by name: what every class asks of its settings."""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import isnan
from numbers import Integral, Real
from operator import index
from types import NoneType, UnionType
from typing import Any, SupportsIndex, Union, get_args, get_origin

#: The largest seed; those of `gradex.seeds.child` lie below it, and a little more fits into 64 bits.
LARGEST_SEED = 2**62

#: How long a value may be in a message.
_SHOWN = 60


def whole(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """Give a whole number as a plain int: Python's, NumPy's, or a float without a fraction, such as 1e5.

    Parameters
    ----------
    name : str
        Of the setting, for the message.
    value
    least, most : int, optional
        Smallest and largest number that will do.

    Raises
    ------
    TypeError
        If it is no number.
    ValueError
        If it has a fraction, or is too small or too large.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} is {shown(value)}: give a whole number")
    if not isinstance(value, Integral) and not float(value).is_integer():
        raise ValueError(f"{name} is {shown(value)}: give a whole number")
    number = int(value) if isinstance(value, Integral) else int(float(value))
    if least is not None and number < least:
        raise ValueError(f"{name} is {number}: choose at least {least}")
    if most is not None and number > most:
        raise ValueError(f"{name} is {number}: choose at most {most}")
    return number


def real(name: str, value: Any) -> float:
    """Give a number as a plain float, or as an int where it was one.

    Raises
    ------
    TypeError
        If it is no number.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} is {shown(value)}: give a number")
    return int(value) if isinstance(value, Integral) else float(value)


def seed(value: Any, name: str = "seed", most: int = LARGEST_SEED) -> int:
    """Give a seed as a plain int.

    Raises
    ------
    TypeError, ValueError
        If it is no whole number from 0 to `most`.
    """
    return whole(name, value, 0, most)


def seeds(values: Sequence[Any], name: str = "seeds") -> list[int]:
    """Give seeds as plain ints, see `seed`."""
    return [seed(value, f"{name}[{number}]") for number, value in enumerate(values)]


def plain(kinds: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    """Give settings as plain Python values of the kinds that a signature declares.

    Numbers become Python's own, so that they can be written down and never overflow; a setting called "seed"
    must be one. What the signature says nothing simple about is left as it is.

    Parameters
    ----------
    kinds : callable
        Whose annotated parameters are the settings: a class.
    values : dict
        A value for each setting.

    Raises
    ------
    TypeError, ValueError
        Naming the first setting that is of another kind.
    """
    declared = inspect.signature(kinds).parameters
    return {name: as_kind(name, value, declared[name].annotation) for name, value in values.items()}


def plain_fields(settings: Any) -> None:
    """Make the fields of a frozen dataclass plain Python values, see `plain`; nan is refused too."""
    for name, value in plain(type(settings), vars(settings)).items():
        if isinstance(value, float) and isnan(value):
            raise ValueError(f"{name} is nan: give a number")
        object.__setattr__(settings, name, value)


def shown(value: Any) -> str:
    """Say in a few words of one line what somebody gave for a setting."""
    if value is None or isinstance(value, str | Real):
        text = repr(getattr(value, "item", lambda: value)())
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'AEIOaeio' else 'a'} {kind}"


def described(value: Any) -> Any:
    """Describe a setting in plain JSON types: equal settings alike in every process, and others otherwise.

    An object is described by its class and what it was made of; what begins with an underscore is its own.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "tolist"):  # of NumPy or torch
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): described(each) for key, each in value.items()}
    if isinstance(value, list | tuple | range):
        return [described(each) for each in value]
    if inspect.isroutine(value) or inspect.isclass(value):
        return f"{value.__module__}.{value.__qualname__}"
    slots = [name for each in type(value).__mro__ for name in getattr(each, "__slots__", ())]
    made_of = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    made_of |= getattr(value, "__dict__", {})
    public = {name: described(each) for name, each in sorted(made_of.items()) if not name.startswith("_")}
    return {"class": f"{type(value).__module__}.{type(value).__qualname__}", **public}


def as_kind(name: str, value: Any, kind: Any) -> Any:
    """Give a value as one of the kinds of an annotation, see `plain`.

    Raises
    ------
    TypeError, ValueError
        Naming it, if it is of another kind.
    """
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if not all(isinstance(each, type) and get_origin(each) is None for each in kinds):
        return value
    if any(each not in (int, float, bool) and isinstance(value, each) for each in kinds):
        return value
    if isinstance(value, Real) and not isinstance(value, bool):
        if float in kinds:
            return real(name, value)
        if int in kinds:
            return seed(value, name) if name == "seed" else whole(name, value)
    if bool in kinds and isinstance(value, bool):
        return value
    wanted = [
        _WORDS.get(each) or f"{'an' if each.__name__[0] in 'AEIO' else 'a'} {each.__name__}" for each in kinds
    ]
    raise TypeError(f"{name} is {shown(value)}: give {', or '.join(wanted)}")


_WORDS = {int: "a whole number", float: "a number", str: "a name", bool: "True or False", NoneType: "None"}


def check_subset(subset: Collection[SupportsIndex], n: int) -> None:
    """Refuse what is not a subset of n tasks.

    Raises
    ------
    ValueError
        If it is empty, names a task twice, or names one that is not there.
    """
    try:
        tasks = [index(task) for task in subset]
    except TypeError:
        tasks = []
    if len(tasks) == 0 or len(set(tasks)) != len(tasks) or not all(0 <= task < n for task in tasks):
        given = list(subset) if isinstance(subset, Iterable) and not isinstance(subset, str) else subset
        raise ValueError(f"{given} is not a subset of {n} tasks: give different indices from 0 to {n - 1}")
