"""Suites of tasks: what shares a state space, an action space, a horizon and a discount."""

import difflib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar, overload

import gymnasium
import numpy as np
import pandas as pd
from gymnasium.vector import VectorEnv
from jaxtyping import Int

from gradex.seeds import generator_for
from gradex.tasks.options import MOST_ENVIRONMENTS, check_task_count, plain, read, seed_of, whole
from gradex.tasks.selection import is_index, place, places
from gradex.tasks.task import Task

Family = TypeVar("Family", bound="TaskSuite")


class TaskSuite(ABC):
    """n tasks that could share one policy (PolicyGradEx, Sec. 2).

    A suite only describes; `simulator` builds something that runs. Every family is a final subclass in a
    module of its own.

    Attributes
    ----------
    tasks : tuple of Task
    options : dict
        What all tasks have in common, as given to `TaskSuite.make`.

    Examples
    --------
    >>> from gradex import TaskSuite
    >>> suite = TaskSuite.make("navigation", n=6, groups=2, seed=0)
    >>> suite.labels.tolist()
    [1, 0, 1, 0, 0, 1]
    >>> suite[[0, 1]].simulator(copies=3).num_envs
    6
    >>> len(suite.unseen(50, seed=1))
    50
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
            `n`, at most 100,000, `seed` and whatever the family's `create` takes; NumPy's numbers are as good
            as Python's.

        Raises
        ------
        ValueError
            If the name or an option is unknown, or a value is out of range.
        """
        if not isinstance(name, str):
            raise ValueError(f"{name!r} is no name of a suite: choose {', '.join(TaskSuite.names())}")
        family = TaskSuite._families.get(name)
        if family is None:
            near = difflib.get_close_matches(name, TaskSuite.names(), n=1, cutoff=0.3)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"unknown suite {name!r}: {hint}known are {', '.join(TaskSuite.names())}")
        known = inspect.signature(family.create).parameters
        for option, value in options.items():
            if option not in known:
                raise ValueError(f"suite {name!r} has no option {option!r}: it takes {', '.join(known)}")
            options[option] = read(option, value, known[option].annotation)
        check_task_count("n", options.get("n") or 0)
        return family.create(**options)

    @staticmethod
    def from_gymnasium(
        environments: Mapping[Any, Callable[[], gymnasium.Env] | str], groups: Sequence[int] | None = None
    ) -> "TaskSuite":
        """Build a suite from functions that make your own Gymnasium environments, or from their ids.

        See `gradex.tasks.custom` for what is asked of them and how their observations are scaled.
        """
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

    def on_scale_of(self: Family, config: Mapping[str, Any]) -> Family:
        """Give this suite with the scale of observations that another had, by its `config`."""
        return self

    # ------------------------------------------------------------------ a suite as a sequence of tasks
    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)

    def __contains__(self, task: object) -> bool:
        """Tell whether this task, or one of this name, is in the suite."""
        return any(task in (each, each.name) for each in self.tasks)

    @overload
    def __getitem__(self, chosen: int | np.integer | str) -> Task: ...  # type: ignore[overload-overlap]

    @overload
    def __getitem__(self: Family, chosen: slice | Sequence[int] | Sequence[str] | np.ndarray) -> Family: ...

    def __getitem__(self: Family, chosen: Any) -> Task | Family:
        """Give a task, or a sub-suite.

        Parameters
        ----------
        chosen : int, str, slice, sequence or array
            An index or a name gives that `Task`; indices count from the end where they are negative. A slice,
            a sequence of indices or of names, and a mask with a truth value for each task give the sub-suite
            of these tasks, in this order; a task may come more than once.

        Raises
        ------
        IndexError, KeyError
            If there is no task with this one index, or of this one name.
        ValueError
            If a sequence asks for a task that is not there or for none, or a mask has another length.
        TypeError
            If it is none of these.
        """
        if isinstance(chosen, slice):
            return self._with_tasks(self.tasks[chosen])
        if isinstance(chosen, str) or is_index(chosen):
            return self.tasks[place(self._names, chosen)]
        return self._with_tasks([self.tasks[index] for index in places(self._names, chosen)])

    @property
    def _names(self) -> list[str]:
        return [task.name for task in self.tasks]

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
            At most 100,000.
        seed : int
            The same seed draws the same tasks.
        """
        n, seed = whole("n", n), seed_of(seed)
        if n < 1:
            raise ValueError(f"cannot draw {n} tasks: ask for at least 1")
        check_task_count("n", n)
        return self._with_tasks(self.draw(n, generator_for(seed, "unseen tasks")))

    # ------------------------------------------------------------------ simulation
    def simulator(self, copies: int = 8, seed: int | Sequence[int] = 0, first: int = 0) -> VectorEnv:
        """Make a simulator that runs `copies` of each task at once.

        Parameters
        ----------
        copies : int
            Environments per task; environment `task * copies + copy` runs that copy of that task. A simulator
            has at most a million environments.
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
        copies, first = whole("copies", copies), whole("first", first)
        if copies < 1:
            raise ValueError(f"copies is {copies}: at least one environment per task is needed")
        if len(self) * copies > MOST_ENVIRONMENTS or not 0 <= first <= MOST_ENVIRONMENTS:
            raise ValueError(
                f"{copies} copies of {len(self)} tasks, from copy {first} on, are too many: a simulator "
                f"has at most {MOST_ENVIRONMENTS:,} environments"
            )
        seeds = self._seeds(seed)
        states = [np.random.SeedSequence([s, 0]).generate_state(first + copies)[first:] for s in seeds]
        tasks = [task for task in self.tasks for _ in range(copies)]
        # EnvPool takes seeds as signed 32-bit integers.
        return self.build(tasks, (np.concatenate(states) % 2**31).astype(np.int64))

    def _seeds(self, seed: int | Sequence[int]) -> list[int]:
        """Give the seed of each task."""
        given = plain(seed)
        if not isinstance(given, Sequence) or isinstance(given, str):
            return [seed_of(given)] * len(self)
        if len(given) != len(self):
            raise ValueError(
                f"seed has {len(given)} entries for {len(self)} tasks: give one integer, or one for each"
            )
        return [seed_of(each) for each in given]

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
