"""The description in a policy's file, and whether what is kept belongs to what it is wanted for."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, fields
from math import isfinite
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gradex.learners import Learner
from gradex.learners.recipes import learner_from
from gradex.settings import seed, whole
from gradex.store import difference, in_json
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
    seed, start : int
        Of its last training that was given one, and of the weights with which its first training began.
    layers, width : int
    suite : dict
        `TaskSuite.config` of its tasks.
    spaces : list of str
        See `spaces_of`.
    steps : int
        Environment steps of all its trainings.
    history : pandas.DataFrame
        Its learning curve.
    """

    network: str
    learner: Learner
    seed: int
    start: int
    layers: int
    width: int
    suite: dict[str, Any]
    spaces: list[str]
    steps: int
    history: pd.DataFrame

    @classmethod
    def of(cls, description: Mapping[str, Any], path: str | Path) -> "Description":
        """Read the description in the file at `path`.

        Raises
        ------
        ValueError
            If something is missing, unknown, or not of its kind.
        """
        try:
            return cls._of(description)
        except KeyError as error:
            reason = f"{error} is missing"
        # Whatever the constructors of learners and tables say about values that are not theirs.
        except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            reason = " ".join(str(error).split())
        raise ValueError(
            f"{str(path)!r} does not describe a policy of this version ({reason}): save it again"
        )

    @classmethod
    def _of(cls, description: Mapping[str, Any]) -> "Description":
        names = [field.name for field in fields(cls)]
        if unknown := sorted(description.keys() - set(names)):
            raise ValueError(f"{unknown[0]!r} is unknown")
        known = {name: description[name] for name in names}
        if not isinstance(known["network"], str):
            raise TypeError(f"network is {known['network']!r}")
        _check_suite(known["suite"])
        if not (isinstance(known["spaces"], list) and all(isinstance(each, str) for each in known["spaces"])):
            raise TypeError("the spaces are no texts")
        return cls(
            **known
            | {
                "learner": learner_from(known["learner"]),
                **{name: seed(known[name], name) for name in ("seed", "start")},
                **{name: whole(name, known[name], 0) for name in ("layers", "width", "steps")},
                "history": _curve(known["history"]),
            }
        )

    def rebuilt(self, path: str | Path) -> TaskSuite:
        """Make the suite of its tasks.

        Raises
        ------
        ValueError
            If that cannot be done from a description.
        """
        try:
            suite = TaskSuite.from_config(self.suite)
            known = _parameters(suite)
            wrong = [
                task.name for task in suite.tasks if known is not None and task.parameters.keys() != known
            ]
            if not wrong:
                return suite
            reason = f"task {wrong[0]!r} has other parameters than {', '.join(sorted(known or ()))}"
        except (KeyError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())
        raise ValueError(
            f"{str(path)!r} describes no suite of this version ({reason}): give the suite itself"
        )


def _parameters(suite: TaskSuite) -> Set[str] | None:
    """Give the parameters that every task of a family has, or None where no task can be drawn to tell."""
    try:
        [task] = suite.draw(1, np.random.default_rng(0))
    except ValueError:
        return None
    return task.parameters.keys()


def _check_suite(config: Any) -> None:
    """Refuse what no suite gives as its config."""
    if not isinstance(config["family"], str) or not isinstance(config["options"], dict):
        raise TypeError("the suite has no family or no options")
    for task in config["tasks"]:
        if task.keys() != {"name", "parameters", "group"}:
            raise ValueError("a task is not described by its name, parameters and group")
        if not isinstance(task["parameters"], dict):
            raise TypeError(f"the parameters of task {task['name']!r} are no numbers by name")
        for name, value in task["parameters"].items():
            if not isinstance(value, Real) or not isfinite(value):
                raise ValueError(f"{name} of task {task['name']!r} is {value!r}")
        if task["group"] is not None:
            whole("group", task["group"])


def _curve(history: Any) -> pd.DataFrame:
    """Read a learning curve."""
    if not isinstance(history, dict) or not history.keys() <= set(_CURVE):
        raise ValueError("the history is no learning curve")
    for name, column in history.items():
        if not isinstance(column, list) or not all(isinstance(each, Real) for each in column):
            raise TypeError(f"{name} of the history is no list of numbers")
    return pd.DataFrame(history)


def spaces_of(suite: TaskSuite) -> list[str]:
    """Say in two lines what observations and actions of a suite are."""
    return [" ".join(str(space).split()) for space in (suite.observation_space, suite.action_space)]


def tasks_of(suite: TaskSuite) -> dict[str, Any]:
    """Give what makes tasks those tasks, in JSON types; planted groups are somebody's opinion of them."""
    return _belonging(suite.config, spaces_of(suite))


def check_tasks(path: str | Path, description: Description, suite: TaskSuite) -> None:
    """Refuse a policy for other tasks than those of the suite: its critic knows them by their numbers.

    Raises
    ------
    ValueError
        Saying what differs.
    """
    found = difference(_belonging(description.suite, description.spaces), tasks_of(suite))
    if found is not None:
        raise ValueError(
            f"{str(path)!r} holds a policy for other tasks, with {found}: "
            "give the suite that it was fitted on, or choose another file"
        )


def _belonging(config: Mapping[str, Any], spaces: list[str]) -> dict[str, Any]:
    plain = in_json(config)
    return {
        "family": plain["family"],
        "names": [task["name"] for task in plain["tasks"]],
        "options": plain["options"],
        "parameters": {task["name"]: task["parameters"] for task in plain["tasks"]},
        "spaces": spaces,
    }
