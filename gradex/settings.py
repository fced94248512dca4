"""Settings as plain Python values, or refused by name, and estimators, which have settings and a fit."""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from copy import copy
from math import inf, isfinite, isnan
from numbers import Integral, Real
from operator import index
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, SupportsIndex, TypeVar, Union, get_args, get_origin

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

#: The largest seed; those of `gradex.seeds.child` lie below it, and a little more fits into 64 bits.
LARGEST_SEED = 2**62

#: How long a value may be in a message.
_SHOWN = 60

_WORDS = {int: "a whole number", float: "a number", str: "a name", bool: "True or False", NoneType: "None"}


# ---------------------------------------------------------------------- numbers
def whole(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """Give a whole number as a plain int: Python's, NumPy's, or a float without a fraction, such as 1e5.

    Anything else is refused by a TypeError or a ValueError whose message begins with the name.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} is {shown(value)}: give a whole number")
    if not isinstance(value, Integral) and not float(value).is_integer():
        raise ValueError(f"{name} is {shown(value)}: give a whole number")
    number = int(value) if isinstance(value, Integral) else int(float(value))
    if least is not None and number < least:
        raise ValueError(f"{name}={number} is too small: give at least {least}")
    if most is not None and number > most:
        raise ValueError(f"{name}={number} is too large: give at most {most}")
    return number


def real(name: str, value: Any) -> float:
    """Give a number as a plain float, or as an int where it was one; a TypeError refuses anything else."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} is {shown(value)}: give a number")
    return int(value) if isinstance(value, Integral) else float(value)


def finite_or_none(value: Any) -> Any:
    """Give a value as JSON knows it: a number that is not finite is None."""
    return None if isinstance(value, float) and not np.isfinite(value) else value


def check_positive(setting: str, value: float) -> None:
    """Refuse a setting that is not above zero."""
    if not value > 0:
        raise ValueError(f"{setting} is {value}: it must be positive")


def check_finite(setting: str, value: float, least: float = -inf, most: float = inf) -> None:
    """Refuse a setting that is not finite, or not from `least` to `most`."""
    if not isfinite(value):
        raise ValueError(f"{setting} is {value}: give a finite number")
    if not least <= value <= most:
        wanted = f"a number from {least} to {most}" if isfinite(most) else f"at least {least}"
        raise ValueError(f"{setting} is {value}: choose {wanted}")


def as_seed(value: Any, name: str = "seed") -> int:
    """Give a seed, a whole number from 0 to `LARGEST_SEED`, as a plain int; errors are those of `whole`."""
    return whole(name, value, 0, LARGEST_SEED)


def as_seeds(values: Sequence[Any], name: str = "seeds") -> list[int]:
    """Give seeds as plain ints, see `as_seed`."""
    if not isinstance(values, Iterable):
        raise TypeError(f"{name} is {shown(values)}: give a sequence of whole numbers")
    return [as_seed(value, f"{name}[{number}]") for number, value in enumerate(values)]


# ---------------------------------------------------------------------- settings of a class
def plain(kinds: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    """Give settings as plain Python values of the kinds that a signature declares.

    Numbers become Python's own, so that they can be written down and never overflow; a setting called "seed"
    must be one. What the signature says nothing simple about is left as it is. A TypeError or a ValueError
    names the first setting that is of another kind.
    """
    declared = inspect.signature(kinds).parameters
    return {name: as_kind(name, value, declared[name].annotation) for name, value in values.items()}


def plain_fields(settings: Any) -> None:
    """Make the fields of a frozen dataclass plain Python values, see `plain`; nan is refused too."""
    for name, value in plain(type(settings), vars(settings)).items():
        if isinstance(value, float) and isnan(value):
            raise ValueError(f"{name} is nan: give a number")
        object.__setattr__(settings, name, value)


def as_kind(name: str, value: Any, kind: Any) -> Any:
    """Give a value as one of the kinds of an annotation, see `plain`; errors name it."""
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if not all(isinstance(each, type) and get_origin(each) is None for each in kinds):
        return value
    if any(each not in (int, float, bool) and isinstance(value, each) for each in kinds):
        return value
    if isinstance(value, Real) and not isinstance(value, bool):
        if float in kinds:
            return real(name, value)
        if int in kinds:
            return as_seed(value, name) if name == "seed" else whole(name, value)
    if bool in kinds and isinstance(value, bool | np.bool_):
        return bool(value)
    wanted = ", or ".join(_WORDS.get(each) or _with_article(each) for each in kinds)
    raise TypeError(f"{name} is {shown(value)}: give {wanted}")


def check_draws(bootstrap: int) -> None:
    """Refuse a single draw, which tells no spread, and less than none."""
    if bootstrap < 0 or bootstrap == 1:
        raise ValueError(f"bootstrap={bootstrap} is too small: give at least 2 draws, or 0 for none")


def as_task(value: Any) -> int:
    """Give the index of a task as a plain int: Python's, NumPy's or torch's whole numbers.

    Anything else is refused by a ValueError, also True and False: a mask would be read as tasks 1 and 0.
    """
    if type(value) is int or isinstance(value, np.integer):  # nearly always, and of many thousands
        return int(value)
    if isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool"):
        raise ValueError(f"a subset names task {shown(value)}: give indices, not a mask")
    try:
        return index(value)
    except TypeError:
        raise ValueError(f"a subset names task {shown(value)}: give indices, whole numbers from 0") from None


def check_subset(subset: Collection[SupportsIndex], n: int) -> None:
    """Refuse by a ValueError what is no subset of n tasks: empty, or with a task twice or unknown.

    So is what can be gone through only once, such as a generator.
    """
    given: Any = subset if isinstance(subset, str) else shown(subset)
    tasks: list[int] = []
    with suppress(TypeError, ValueError):  # of an array without axes, or of what is no index
        if isinstance(subset, Collection) and not isinstance(subset, str):
            given = list(subset)
            tasks = [as_task(task) for task in given]
    if len(tasks) == 0 or len(set(tasks)) != len(tasks) or not all(0 <= task < n for task in tasks):
        raise ValueError(f"{given} is not a subset of {n} tasks: give different indices from 0 to {n - 1}")


def check_subsets(subsets: Collection[Collection[SupportsIndex]], n: int) -> None:
    """Refuse by a ValueError what is not one subset of n tasks or more, see `check_subset`."""
    try:
        count = len(subsets)
    except TypeError:  # also of an array without axes, which has all that a collection has
        raise ValueError(f"subsets are {shown(subsets)}: give a sequence of sequences of indices") from None
    if count == 0:
        raise ValueError("no subset was given: give at least one sequence of task indices")
    for subset in subsets:
        check_subset(subset, n)


def as_subsets(subsets: Collection[Collection[SupportsIndex]], n: int) -> list[tuple[int, ...]]:
    """Give subsets of n tasks as tuples, the tasks of a set in order; errors are those of `check_subsets`."""
    check_subsets(subsets, n)
    tasks = [tuple(map(as_task, subset)) for subset in subsets]
    pairs = zip(tasks, subsets, strict=True)
    return [tuple(sorted(own)) if isinstance(subset, Set) else own for own, subset in pairs]


# ---------------------------------------------------------------------- how settings look
def shown(value: Any) -> str:
    """Say in a few words of one line what somebody gave for a setting."""
    if value is None or isinstance(value, str | Real):
        text = repr(getattr(value, "item", lambda: value)())
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return _with_article(type(value))


def _with_article(kind: type) -> str:
    return f"{'an' if kind.__name__[0] in 'AEIOaeio' else 'a'} {kind.__name__}"


def without_numpy(value: Any) -> Any:
    """Give NumPy's numbers and arrays, also those in a list or tuple, in the types that JSON knows."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [without_numpy(each) for each in value] if isinstance(value, list | tuple) else value


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


# ---------------------------------------------------------------------- what is fitted
class Fitted:
    """Something with results that are there after a fit, and says so before.

    `hasattr` and `copy` work as if results were plain attributes: the error is an AttributeError too.
    """

    #: What fills the results in.
    _fitting: ClassVar[str]
    #: Attributes that are there afterwards; properties that need them come by themselves.
    _results: ClassVar[tuple[str, ...]]

    def _not_fitted(self) -> NotFittedError:
        return NotFittedError(f"this {type(self).__name__} is not fitted: call {self._fitting} first")

    def _is_fitted(self) -> bool:
        return all(name in vars(self) for name in self._results)

    def _forget(self) -> None:
        """Drop the results of an earlier fit, so that one that is cut off leaves no mixture of both."""
        for name in self._results:
            vars(self).pop(name, None)

    if not TYPE_CHECKING:  # or type checkers would take every name for an attribute

        def __getattr__(self, name: str) -> NoReturn:
            owner = type(self)
            result = name in owner._results or isinstance(getattr(owner, name, None), property)
            if result and not self._is_fitted():
                raise self._not_fitted()
            raise AttributeError(f"{owner.__name__!r} object has no attribute {name!r}")


Same = TypeVar("Same", bound="Estimator")


class Estimator(Fitted, BaseEstimator):
    """A scikit-learn estimator: `get_params`, `set_params`, `sklearn.base.clone`, and a repr with settings.

    `__init__` keeps its settings as they were given, as scikit-learn asks; work is done with `_plain`.
    """

    @property
    def config(self) -> dict[str, Any]:
        """The settings, in plain JSON types: the same ones look alike in every process."""
        return {name: described(value) for name, value in self._plain().get_params(deep=False).items()}

    def _plain(self: Same) -> Same:
        """Give a copy whose settings are plain Python values; errors name a setting that will not do."""
        other = copy(self)
        for name, value in plain(type(self), self.get_params(deep=False)).items():
            setattr(other, name, value)
        other._check()
        return other

    def _check(self) -> None:
        """Refuse plain settings that will not do."""

    def _repr_html_(self) -> str:
        """Show results to notebooks where there are any, else settings as scikit-learn does."""
        return self._card() if self._is_fitted() else super()._repr_html_()

    def _repr_mimebundle_(self, **settings: Any) -> dict[str, str]:
        """Show the same to Jupyter, which asks here first, and would get what scikit-learn has here."""
        if not self._is_fitted():
            return super()._repr_mimebundle_(**settings)
        return {"text/plain": repr(self), "text/html": self._card()}

    def _card(self) -> str:
        """Give results as HTML, see `gradex.display`."""
        return super()._repr_html_()
