"""The description in a policy's file."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

import pandas as pd

from gradex.learners import Learner
from gradex.learners.recipes import learner_from
from gradex.lineage import Lineage
from gradex.settings import whole
from gradex.tasks import TaskSuite

#: Columns of a learning curve.
_CURVE = (
    "steps", "policy", "task", "inner_steps", "return_mean", "episodes", "success", "explained_variance",
)  # fmt: skip


@dataclass(frozen=True)
class Description:
    """How a policy was made.

    Attributes
    ----------
    network : str
    learner : Learner
    layers, width : int
    lineage : Lineage
    history : pandas.DataFrame
        Its learning curve.
    """

    network: str
    learner: Learner
    layers: int
    width: int
    lineage: Lineage
    history: pd.DataFrame

    @classmethod
    def of(cls, description: Mapping[str, Any], suite: TaskSuite | None = None) -> "Description":
        """Read a description.

        Parameters
        ----------
        description : mapping
        suite : TaskSuite, optional
            Of the tasks that the policy must know; the one that is described by default.

        Raises
        ------
        ValueError, TypeError, KeyError, AttributeError
            If something is missing, unknown, or not of its kind; or if the policy is one for other tasks.
        """
        names = [field.name for field in fields(cls)]
        if unknown := sorted(description.keys() - set(names)):
            raise ValueError(f"{unknown[0]!r} is unknown")
        known = {name: description[name] for name in names}
        if not isinstance(known["network"], str):
            raise TypeError(f"network is {known['network']!r}")
        read = {
            "learner": learner_from(known["learner"]),
            "lineage": Lineage.of(known["lineage"], suite),
            "history": _curve(known["history"]),
        }
        return cls(**known | read | {name: whole(name, known[name], 0) for name in ("layers", "width")})


def _curve(history: Any) -> pd.DataFrame:
    """Read a learning curve."""
    if not isinstance(history, dict) or not history.keys() <= set(_CURVE):
        raise ValueError("the history is no learning curve")
    for name, column in history.items():
        if not isinstance(column, list) or not all(isinstance(each, Real) for each in column):
            raise TypeError(f"{name} of the history is no list of numbers")
    return pd.DataFrame(history)
