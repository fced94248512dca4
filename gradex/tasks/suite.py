"""Tasks and suites of tasks: what shares a state space, an action space, a horizon and a discount."""

import difflib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import gymnasium
import numpy as np
import pandas as pd
from gymnasium.vector import VectorEnv
from jaxtyping import Int

Family = TypeVar("Family", bound="TaskSuite")


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
    """

    name: str
    parameters: Mapping[str, float]
    group: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))

    @property
    def config(self) -> dict[str, Any]:
        """The task in plain JSON types: `Task(**config)` gives it back."""
        return {"name": self.name, "parameters": dict(self.parameters), "group": self.group}


class TaskSuite(ABC):
    """n tasks that could share one policy (PolicyGradEx, Sec. 2).

    A suite only describes; `simulator` builds something that runs. Every family is a final subclass in a
    module of its own.

    Attributes
    ----------
    tasks : tuple of Task
    options : dict
        What all tasks have in common, as given to `TaskSuite.make`.
    """

    family: ClassVar[str]
    #: Discount of the Markov decision process, shared by all tasks.
    discount: ClassVar[float] = 0.99
    #: Environments that fit into a laptop's memory at the same time, where each takes much of it.
    most_environments: ClassVar[int | None] = None
    #: Whether all episodes end at the horizon, in step with each other, and take long to reset: learners then
    #: let simulators reset between rollouts, while they learn.
    resets_together: ClassVar[bool] = False
    #: Whether tasks differ in reward only, so that one set of transitions serves all of them.
    shared_dynamics: bool = False

    _families: ClassVar[dict[str, type["TaskSuite"]]] = {}

    def __init__(self, tasks: Sequence[Task], **options: Any) -> None:
        if not tasks:
            raise ValueError("a suite needs at least one task, got none; ask for n >= 1")
        self.tasks = tuple(tasks)
        self.options = options

    # ------------------------------------------------------------------ construction
    @staticmethod
    def register(family: type[Family]) -> type[Family]:
        """Let `TaskSuite.make` find a family: a subclass with a classmethod `create`."""
        TaskSuite._families[family.family] = family
        return family

    @classmethod
    @abstractmethod
    def create(cls: type[Family], *args: Any, **options: Any) -> Family:
        """Make the suite of this family that the options describe."""

    @staticmethod
    def names() -> tuple[str, ...]:
        """Names that `TaskSuite.make` knows."""
        return tuple(sorted(TaskSuite._families))

    @staticmethod
    def summary(name: str) -> str:
        """Say in a line what the family of this name is and which options it takes."""
        family = TaskSuite._families[name]
        about = (inspect.getdoc(family) or "").partition("\n")[0]
        options = ", ".join(
            f"{option.name}={option.default!r}"
            for option in inspect.signature(family.create).parameters.values()
        )
        return f"{about} Options: {options}"

    @staticmethod
    def make(name: str, **options: Any) -> "TaskSuite":
        """Build a suite by the name of its family.

        Parameters
        ----------
        name : str
            One of `TaskSuite.names()`.
        **options
            `n`, `seed` and whatever the family's `create` takes.

        Raises
        ------
        ValueError
            If the name or an option is unknown, or a value is out of range.
        """
        family = TaskSuite._families.get(name)
        if family is None:
            near = difflib.get_close_matches(name, TaskSuite.names(), n=1, cutoff=0.3)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"unknown suite {name!r}: {hint}known are {', '.join(TaskSuite.names())}")
        known = inspect.signature(family.create).parameters
        for option, value in options.items():
            if option not in known:
                raise ValueError(f"suite {name!r} has no option {option!r}: it takes {', '.join(known)}")
            wholes = {int: (int,), int | None: (int, type(None))}.get(known[option].annotation)
            if isinstance(value, np.integer):
                options[option] = int(value)
            elif wholes and (isinstance(value, bool) or not isinstance(value, wholes)):
                raise ValueError(f"{option} is {value!r}: give a whole number")
            if known[option].annotation is float and not isinstance(value, int | float):
                raise ValueError(f"{option} is {value!r}: give a number")
            if known[option].annotation == Sequence[str] | None and not _are_names(value):
                raise ValueError(f"{option} is {value!r}: give a list of names")
        if options.get("seed", 0) < 0:
            raise ValueError(f"seed is {options['seed']}: choose 0 or more")
        return family.create(**options)

    @staticmethod
    def from_gymnasium(
        environments: Mapping[str, Callable[[], gymnasium.Env]], groups: Sequence[int] | None = None
    ) -> "TaskSuite":
        """Build a suite from your own Gymnasium environments; see `gradex.tasks.custom`."""
        from gradex.tasks.custom import Custom

        return Custom.create(environments, groups)

    @property
    def kind(self) -> str:
        """The family, refined where an option makes its tasks another matter to learn."""
        return self.family

    @property
    def config(self) -> dict[str, Any]:
        """Everything `TaskSuite.from_config` needs, ready for JSON."""
        tasks = [task.config for task in self.tasks]
        return {"family": self.family, "options": self.options, "tasks": tasks}

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> "TaskSuite":
        """Rebuild a suite from its `config`."""
        family = TaskSuite._families.get(config["family"])
        if family is None:
            name = config["family"]
            raise ValueError(f"a {name!r} suite cannot be rebuilt from its config: pass the suite itself")
        return family([Task(**task) for task in config["tasks"]], **config["options"])

    # ------------------------------------------------------------------ a suite as a sequence of tasks
    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self: Family, subset: Sequence[int]) -> Family:
        """Give the sub-suite of these task indices, in this order; an index may come more than once."""
        for index in subset:
            if not -len(self) <= index < len(self):
                raise ValueError(
                    f"task {index} is not in a suite of {len(self)}: indices run from 0 to {len(self) - 1}"
                )
        return self._with_tasks([self.tasks[index] for index in subset])

    def _with_tasks(self: Family, tasks: Sequence[Task]) -> Family:
        return type(self)(tasks, **self.options)

    @property
    def labels(self) -> Int[np.ndarray, " n"] | None:
        """Planted group of each task, or None where nothing was planted."""
        groups = [task.group for task in self.tasks]
        return None if any(group is None for group in groups) else np.array(groups, dtype=np.int64)

    def unseen(self: Family, n: int, seed: int) -> Family:
        """Draw n target tasks from the law that this suite's tasks stand for.

        Parameters
        ----------
        n : int
        seed : int
            The same seed draws the same tasks.
        """
        if n < 1:
            raise ValueError(f"cannot draw {n} tasks: ask for at least 1")
        return self._with_tasks(self.draw(n, np.random.default_rng([seed, 1])))

    # ------------------------------------------------------------------ simulation
    def simulator(self, copies: int = 8, seed: int | Sequence[int] = 0, first: int = 0) -> VectorEnv:
        """Make a simulator that runs `copies` of each task at once.

        Parameters
        ----------
        copies : int
            Environments per task; environment `task * copies + copy` runs that copy of that task.
        seed : int or sequence of int
            One seed for all tasks, or one for each. Copy c of every task with the same seed sees the same
            random numbers, whichever other environments run beside it (common random numbers).
        first : int
            Number of the first copy: those before it are left to another simulator.

        Returns
        -------
        gymnasium.vector.VectorEnv
            With `len(self) * copies` environments and next-step autoreset: the observation that ends an
            episode is returned as it is, and the step after it only resets (reward 0, action ignored).
        """
        if copies < 1:
            raise ValueError(f"copies is {copies}: at least one environment per task is needed")
        seeds = np.broadcast_to(np.asarray(seed, dtype=np.int64), (len(self),))
        states = [np.random.SeedSequence([int(s), 0]).generate_state(first + copies)[first:] for s in seeds]
        tasks = [task for task in self.tasks for _ in range(copies)]
        # EnvPool takes seeds as signed 32-bit integers.
        return self.build(tasks, (np.concatenate(states) % 2**31).astype(np.int64))

    @property
    @abstractmethod
    def observation_space(self) -> gymnasium.spaces.Box:
        """Observation space of one environment."""

    @property
    @abstractmethod
    def action_space(self) -> gymnasium.spaces.Discrete | gymnasium.spaces.Box:
        """Action space of one environment."""

    @property
    def typical_observation(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Centre and spread of each number of an observation, or None where they are of order one."""
        return None

    @property
    @abstractmethod
    def horizon(self) -> int | None:
        """Steps after which an episode is truncated, or None if a custom environment does not tell."""

    @abstractmethod
    def draw(self, n: int, rng: np.random.Generator) -> list[Task]:
        """Draw n tasks of this family."""

    @abstractmethod
    def build(self, tasks: Sequence[Task], seeds: Int[np.ndarray, " environments"]) -> VectorEnv:
        """Make a simulator with one environment per entry of `tasks`, each with its own seed."""

    def fitting(self, environments: int) -> int | None:
        """Give how many times so many environments fit into memory, at least 1; None where all do."""
        return None if self.most_environments is None else max(1, self.most_environments // environments)

    # ------------------------------------------------------------------ looks
    def to_frame(self) -> pd.DataFrame:
        """Give a table of the tasks: name, parameters, planted group."""
        rows = [{"task": task.name, **task.parameters} for task in self.tasks]
        table = pd.DataFrame(rows)
        if self.labels is not None:
            table["group"] = self.labels
        return table

    def __repr__(self) -> str:
        table = self.to_frame().to_string(index=False, float_format="{:.4g}".format)
        return f"{self.family}: {len(self)} tasks\n{table}"

    def _repr_html_(self) -> str:
        table = self.to_frame().to_html(index=False, float_format="{:.4g}".format, border=0)
        return f"<b>{self.family}</b>: {len(self)} tasks{table}"


def _are_names(value: Any) -> bool:
    return value is None or (isinstance(value, list | tuple) and all(isinstance(name, str) for name in value))
