"""Which tasks an index, a name, a slice, a sequence of them or a mask stands for."""

import difflib
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np

from gradex.tasks.options import plain
from gradex.tasks.task import Task

_REMEDY = "give an index, a name, a slice, a sequence of indices or names, or a mask"


def select(tasks: Sequence[Task], chosen: Any) -> Task | Sequence[Task]:
    """Give one task, or several.

    Parameters
    ----------
    tasks : sequence of Task
    chosen : int, str, slice, sequence or array
        An index or a name gives that task; indices count from the end where they are negative. A slice, a
        sequence of indices or of names, and a mask with a truth value for each task give these tasks, in this
        order; a task may come more than once.

    Raises
    ------
    IndexError, KeyError
        If there is no task with this one index, or of this one name.
    ValueError
        If a sequence asks for a task that is not there, or a mask has another length.
    TypeError
        If it is none of these.
    """
    if isinstance(chosen, slice):
        return tasks[chosen]
    names = [task.name for task in tasks]
    if isinstance(chosen, str) or _is_index(chosen):
        return tasks[_place(names, chosen)]
    return [tasks[index] for index in _places(names, chosen)]


def _is_index(chosen: Any) -> bool:
    """Tell whether this is one whole number, Python's or NumPy's."""
    return isinstance(plain(chosen), int) and not isinstance(plain(chosen), bool)


def _place(names: Sequence[str], chosen: Any) -> int:
    """Give the place of the task with this index or name."""
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


def _places(names: Sequence[str], chosen: Any) -> list[int]:
    """Give the places of the tasks of a sequence of indices or names, or of a mask."""
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
    if not isinstance(wanted, list) or not all(isinstance(each, str) or _is_index(each) for each in wanted):
        raise TypeError(f"{_short(chosen)} chooses no tasks: {_REMEDY}")
    try:
        return [_place(names, each) for each in wanted]
    except (IndexError, KeyError) as error:
        raise ValueError(error.args[0]) from None


def _short(chosen: Any) -> str:
    text = " ".join(repr(chosen).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
