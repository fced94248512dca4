"""Where a policy comes from, and whether it belongs where it is wanted."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradex.settings import as_seed, check_subset, shown, whole
from gradex.store import difference, in_json
from gradex.tasks import TaskSuite


@dataclass(frozen=True)
class Lineage:
    """Where a policy comes from: its last training, how the first one began, and the steps of all.

    The critic knows the tasks of `suite` by their numbers. `seed` is that of the last training that was given
    one, `start` that of the weights with which the first began. `parent` is the `ActorCritic.fingerprint` of
    the policy with which the last one began, None for fresh weights; `subset` are its tasks, by default all.

    Examples
    --------
    >>> from gradex import MetaPolicy, TaskSuite
    >>> meta = MetaPolicy(TaskSuite.make("navigation", n=4), layers=2, width=8).fit(steps=4_000)
    >>> lineage = meta.adapt([0, 1], steps=2_000).lineage
    >>> lineage.subset, lineage.steps, lineage.parent == meta.agent_.fingerprint
    ((0, 1), 6144, True)
    """

    suite: TaskSuite
    seed: int
    start: int
    parent: str | None = None
    subset: tuple[int, ...] = ()
    steps: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "subset", tuple(self.subset) or tuple(range(len(self.suite))))

    @property
    def config(self) -> dict[str, Any]:
        """Everything in plain JSON types."""
        own = {"seed": self.seed, "start": self.start, "steps": self.steps}
        more = {"parent": self.parent, "subset": list(self.subset)}
        return own | more | {"suite": {**self.suite.config, "spaces": _spaces(self.suite)}}

    @classmethod
    def of(cls, config: Mapping[str, Any], suite: TaskSuite | None = None) -> "Lineage":
        """Read a lineage from its `config`, with the suite that is described there, or one of the same tasks.

        Other tasks are refused by a ValueError, what is missing or not of its kind by whatever Python raises.
        """
        suite = _rebuilt(config["suite"]) if suite is None else suite.on_scale_of(config["suite"])
        if (other := other_tasks(config["suite"], suite)) is not None:
            raise ValueError(
                f"it is for other tasks, with {other}: give the suite that it was fitted on, or another file"
            )
        numbers = {name: as_seed(config[name], name) for name in ("seed", "start")}
        parent, subset = config["parent"], config["subset"]
        if not isinstance(parent, str | None):
            raise TypeError(f"parent is {shown(parent)}: give a fingerprint, or None")
        check_subset(subset, len(config["suite"]["tasks"]))
        steps = whole("steps", config["steps"], 0)
        return cls(suite, **numbers, parent=parent, subset=tuple(subset), steps=steps)


def other_tasks(kept: TaskSuite | Mapping[str, Any], wanted: TaskSuite) -> str | None:
    """Say what sets the tasks of two suites apart, or None where nothing does.

    Planted groups do not: they are somebody's opinion of the tasks. A mapping is the entry of a lineage's
    `config`.
    """
    if isinstance(kept, TaskSuite):
        kept = {**kept.config, "spaces": _spaces(kept)}
    return difference(_belonging(kept), _belonging({**wanted.config, "spaces": _spaces(wanted)}))


def check_same_tasks(kept: TaskSuite, wanted: TaskSuite) -> None:
    """Refuse a meta-policy for other tasks: its critic knows them by their numbers."""
    other = other_tasks(kept, wanted)
    if other is not None:
        raise ValueError(
            f"the meta-policy is one for other tasks, with {other}: give one that was fitted on this suite"
        )


def _belonging(config: Mapping[str, Any]) -> dict[str, Any]:
    """Give what makes tasks those tasks."""
    plain = in_json(config)
    return {
        "family": plain["family"],
        "names": [task["name"] for task in plain["tasks"]],
        "options": plain["options"],
        "parameters": {task["name"]: task["parameters"] for task in plain["tasks"]},
        "spaces": plain["spaces"],
    }


def _spaces(suite: TaskSuite) -> list[str]:
    """Say in two lines what observations and actions of a suite are."""
    return [" ".join(str(space).split()) for space in (suite.observation_space, suite.action_space)]


def _rebuilt(config: Mapping[str, Any]) -> TaskSuite:
    """Make the suite that is described."""
    try:
        suite = TaskSuite.from_config(config)
        known = _parameters(suite)
        wrong = [task.name for task in suite.tasks if known is not None and task.parameters.keys() != known]
        if not wrong:
            return suite
        reason = f"task {wrong[0]!r} has other parameters than {', '.join(sorted(known or ()))}"
    except (KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
    raise ValueError(f"its suite cannot be rebuilt by this version ({reason}): give the suite itself")


def _parameters(suite: TaskSuite) -> Set[str] | None:
    """Give the parameters that every task of a family has, or None where no task can be drawn to tell."""
    try:
        [task] = suite.draw(1, np.random.default_rng(0))
    except ValueError:
        return None
    return task.parameters.keys()
