"""Which tasks of a suite an index, a name, a sequence of them or a mask stands for."""

import difflib
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np

from gradex.tasks.options import plain

_REMEDY = "give an index, a name, a slice, a sequence of indices or names, or a mask"


def is_index(chosen: Any) -> bool:
    """Tell whether this is one whole number, Python's or NumPy's."""
    return isinstance(plain(chosen), int) and not isinstance(plain(chosen), bool)


def place(names: Sequence[str], chosen: Any) -> int:
    """Give the place of the task with this index or name.

    Raises
    ------
    IndexError, KeyError
        If there is none.
    """
    n = len(names)
    if isinstance(chosen, str):
        if chosen not in names:
            near = difflib.get_close_matches(chosen, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the first is {names[0]!r}"
            raise KeyError(f"task {str(chosen)!r} is not in this suite: {hint}")
        return names.index(chosen)
    index = int(plain(chosen))
    if not -n <= index < n:
        raise IndexError(f"task {index} is not in a suite of {n}: indices run from 0 to {n - 1}")
    return index % n


def places(names: Sequence[str], chosen: Any) -> list[int]:
    """Give the places of the tasks of a sequence of indices or names, or of a mask.

    Raises
    ------
    ValueError
        If a task is not there, or a mask has another length than the suite.
    TypeError
        If it is no such sequence.
    """
    n = len(names)
    if isinstance(chosen, Set | Mapping | bytes) or not hasattr(chosen, "__iter__"):
        raise TypeError(f"{_short(chosen)} chooses no tasks: {_REMEDY}")
    wanted = plain(chosen if isinstance(chosen, np.ndarray) else list(chosen))
    if isinstance(wanted, list) and wanted and all(isinstance(each, bool) for each in wanted):
        if len(wanted) != n:
            raise ValueError(
                f"a mask of {len(wanted)} does not fit a suite of {n}: give one truth value per task"
            )
        return [index for index, kept in enumerate(wanted) if kept]
    if not isinstance(wanted, list) or not all(isinstance(each, str) or is_index(each) for each in wanted):
        raise TypeError(f"{_short(chosen)} chooses no tasks: {_REMEDY}")
    try:
        return [place(names, each) for each in wanted]
    except (IndexError, KeyError) as error:
        raise ValueError(error.args[0]) from None


def _short(chosen: Any) -> str:
    text = " ".join(repr(chosen).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
