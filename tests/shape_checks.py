"""The checker of types and shapes that tests use: of every function, the first calls in each test.

A training calls the same few functions ten thousands of times. To check each of these calls takes as long as
the training, and tells nothing that the first did not.
"""

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

import beartype

FIRST_CALLS = 3

# An int passes where a float is annotated, as type checkers have it (the tower of PEP 484).
_check = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))

_calls: dict[tuple[str, str], int] = {}
_at_rest: list[Callable] = []


def first_calls(function: Callable) -> Callable:
    """Check `function`, which jaxtyping made from a signature, until its original has been called often."""
    checked, name = _check(function), (function.__module__, function.__qualname__)

    @functools.wraps(checked)
    def counted(*args: Any, **kwargs: Any) -> Any:
        calls = _calls[name] = _calls.get(name, 0) + 1
        if calls == 2 * FIRST_CALLS:  # arguments and result are checked one after the other
            original = _original(*name)
            if original is not None:
                original.__no_type_check__ = True  # jaxtyping leaves such functions alone
                _at_rest.append(original)
        return checked(*args, **kwargs)

    return counted


def start_again() -> None:
    """Check all functions again, from their next call."""
    _calls.clear()
    while _at_rest:
        del _at_rest.pop().__no_type_check__


def _original(module: str, qualname: str) -> Any:
    """Return the function of this name as it was written, or None where the name leads to none."""
    found: Any = sys.modules[module]
    for part in qualname.split("."):
        found = inspect.getattr_static(found, part, None)
    for attribute in ("__func__", "fget", "func"):  # of class methods, properties and cached properties
        found = getattr(found, attribute, None) or found
    found = inspect.unwrap(found) if found is not None else None
    return found if inspect.isfunction(found) else None
