"""One task: a Markov decision process by name and parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from gradex.tasks.options import plain


@dataclass(frozen=True)
class Task:
    """One Markov decision process of a suite.

    Attributes
    ----------
    name : str
        Unique within its suite.
    parameters : mapping of str to float
        What sets this task apart: physical constants, reward weights, a goal.
    group : int or None
        The group it was planted in, where the suite has planted groups.

    Examples
    --------
    >>> from gradex import Task
    >>> Task("moon", {"gravity": 1.6}, group=0).config
    {'name': 'moon', 'parameters': {'gravity': 1.6}, 'group': 0}
    """

    name: str
    parameters: Mapping[str, float]
    group: int | None = None

    def __post_init__(self) -> None:
        parameters = {name: plain(value) for name, value in self.parameters.items()}
        object.__setattr__(self, "parameters", MappingProxyType(parameters))
        object.__setattr__(self, "group", plain(self.group))

    def __reduce__(self) -> tuple[type["Task"], tuple[Any, ...]]:
        # A read-only view can be neither pickled nor copied.
        return type(self), (self.name, dict(self.parameters), self.group)

    @property
    def config(self) -> dict[str, Any]:
        """The task in plain JSON types: `Task(**config)` gives it back."""
        return {"name": self.name, "parameters": dict(self.parameters), "group": self.group}
