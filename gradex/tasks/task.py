"""One task: a Markov decision process by name and parameters; and how tasks are chosen from several."""

import difflib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import compress
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float

from gradex.settings import without_numpy

_REMEDY = "give an index, a name, a slice, a sequence of indices or names, or a mask"
#: Of tables of tasks, beside their parameters.
_COLUMNS = ("task", "group")


@dataclass(frozen=True)
class Task:
    """One Markov decision process of a suite.

    Attributes
    ----------
    name : str
        Unique within its suite.
    parameters : mapping of str to float
        What sets this task apart: physical constants, reward weights, a goal. None is named "task" or
        "group", as tables have such columns; a ValueError says so.
    group : int or None
        The group it was planted in, where the suite has planted groups.

    Examples
    --------
    >>> from gradex import Task
    >>> Task("moon", {"gravity": 1.6}, group=0).config
    {'name': 'moon', 'parameters': {'gravity': 1.6}, 'group': 0}
    """

    name: str
    parameters: Mapping[str, float] = field(hash=False)  # a mapping has none; equal tasks have equal names
    group: int | None = None

    def __post_init__(self) -> None:
        parameters = {name: without_numpy(value) for name, value in self.parameters.items()}
        if (taken := next((name for name in parameters if name in _COLUMNS), None)) is not None:
            raise ValueError(
                f"task {self.name!r} has a parameter or objective {taken!r}, which names another column of "
                "tables: give it another name"
            )
        object.__setattr__(self, "parameters", MappingProxyType(parameters))
        object.__setattr__(self, "group", without_numpy(self.group))

    def __reduce__(self) -> tuple[type["Task"], tuple[Any, ...]]:
        # A read-only view can be neither pickled nor copied.
        return type(self), (self.name, dict(self.parameters), self.group)

    @property
    def config(self) -> dict[str, Any]:
        """The task in plain JSON types: `Task(**config)` gives it back."""
        return {"name": self.name, "parameters": dict(self.parameters), "group": self.group}


def parameter_matrix(tasks: Sequence[Task]) -> Float[np.ndarray, "n parameters"]:
    """Give the parameters of tasks as one matrix, a row for each task and a column for each parameter.

    Raises
    ------
    ValueError
        If a task has no parameters, or others than the first.

    Examples
    --------
    >>> from gradex.tasks import TaskSuite, parameter_matrix
    >>> parameter_matrix(TaskSuite.make("navigation", n=3, seed=0).tasks).shape  # each has an angle
    (3, 1)
    """
    names = list(tasks[0].parameters) if tasks else []
    for task in tasks:
        if not task.parameters:
            raise ValueError(
                f"task {task.name!r} has no parameters: give each task some, or group them in another way"
            )
        if set(task.parameters) != set(names):
            raise ValueError(
                f"task {task.name!r} has parameters {', '.join(task.parameters)}, task {tasks[0].name!r} has "
                f"{', '.join(names)}: give all tasks the same ones"
            )
    rows = [[task.parameters[name] for name in names] for task in tasks]
    return np.array(rows, dtype=np.float64).reshape(len(tasks), len(names))


def select(tasks: Sequence[Task], chosen: Any) -> Task | Sequence[Task]:
    """Give one task, or several.

    An index or a name gives that task; indices count from the end where they are negative. A slice, a
    sequence of indices or of names, and a mask with a truth value for each task give these tasks, in this
    order; a task may come more than once.

    Where a task is not there, it raises an IndexError or a KeyError for one index or name, and a ValueError
    for a sequence or a mask of another length; a TypeError where `chosen` is none of these.
    """
    if isinstance(chosen, slice):
        return tasks[chosen]
    if isinstance(chosen, str) or _is_index(chosen):
        return _find(tasks, chosen)
    if isinstance(chosen, Set | Mapping | bytes) or not hasattr(chosen, "__iter__"):
        raise TypeError(f"{_short(chosen)} chooses no tasks: {_REMEDY}")
    wanted = without_numpy(chosen if isinstance(chosen, np.ndarray) else list(chosen))
    if isinstance(wanted, list) and wanted and all(isinstance(each, bool) for each in wanted):
        if len(wanted) != len(tasks):
            raise ValueError(
                f"a mask of {len(wanted)} does not fit a suite of {len(tasks)}: give one truth value per task"
            )
        return list(compress(tasks, wanted))
    if not isinstance(wanted, list) or not all(isinstance(each, str) or _is_index(each) for each in wanted):
        raise TypeError(f"{_short(chosen)} chooses no tasks: {_REMEDY}")
    try:
        return [_find(tasks, each) for each in wanted]
    except (IndexError, KeyError) as error:
        raise ValueError(error.args[0]) from None


def _is_index(chosen: Any) -> bool:
    """Tell whether this is one whole number, Python's or NumPy's."""
    return isinstance(without_numpy(chosen), int) and not isinstance(without_numpy(chosen), bool)


def _find(tasks: Sequence[Task], chosen: Any) -> Task:
    """Give the task with this index or name."""
    if isinstance(chosen, str):
        named = {task.name: task for task in reversed(tasks)}  # of equal names the first one counts
        if chosen not in named:
            near = difflib.get_close_matches(chosen, named, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the first is {tasks[0].name!r}"
            raise KeyError(f"task {str(chosen)!r} is not in this suite: {hint}")
        return named[chosen]
    index, n = int(without_numpy(chosen)), len(tasks)
    if not -n <= index < n:
        raise IndexError(f"task {index} is not in a suite of {n}: indices run from 0 to {n - 1}")
    return tasks[index]


def _short(chosen: Any) -> str:
    text = " ".join(repr(chosen).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
