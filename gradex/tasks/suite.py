"""Suites of tasks: what shares a state space, an action space, a horizon and a discount."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, TypeVar, overload

import gymnasium
import numpy as np
import pandas as pd
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import VectorEnv
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from gradex.display import card, folded, table
from gradex.seeds import generator_for
from gradex.settings import without_numpy
from gradex.tasks.custom import Custom
from gradex.tasks.families import FAMILIES, PREFIX, family_named
from gradex.tasks.family import Family, Recommended, Scale, read_seed, read_task_count, read_whole
from gradex.tasks.simulator import Seeds, seeds_of_copies
from gradex.tasks.task import Task, parameter_matrix, select

#: Environments of one simulator.
_MOST_ENVIRONMENTS = 1_000_000

Registered = TypeVar("Registered", bound=type[Family])


def _told(name: str) -> Any:
    """Make a property of a suite that its family tells."""
    return property(attrgetter(f"_family.{name}"))


class TaskSuite:
    """n tasks that could share one policy (PolicyGradEx, Sec. 2).

    A suite only describes; `simulator` builds something that runs.

    Parameters
    ----------
    tasks : sequence of Task
        Kept as a tuple.
    family : Family
        What they have in common.

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

    #: Name of the family, and what it keeps of the options that were given to `TaskSuite.make`.
    family: str = _told("name")
    options: dict[str, Any] = _told("settings")
    #: Of one environment.
    observation_space: Box = _told("observation_space")
    action_space: Discrete | Box = _told("action_space")
    #: Centre and spread of each number of an observation, or None where they are of order one.
    typical_observation: Scale | None = _told("observation_scale")
    #: Steps after which an episode is truncated, or None if a custom environment does not tell.
    horizon: int | None = _told("horizon")
    #: Of the Markov decision process, shared by all tasks.
    discount: float = _told("discount")
    #: How much to train on such tasks, and how.
    recommended: Recommended = _told("recommended")
    #: Whether tasks differ in reward only, so that one set of transitions serves all of them.
    shared_dynamics: bool = _told("shared_dynamics")
    #: See `Family`.
    most_environments: int | None = _told("most_environments")
    resets_together: bool = _told("resets_together")

    def __init__(self, tasks: Sequence[Task], family: Family) -> None:
        if not tasks:
            raise ValueError("a suite has no tasks: give at least one")
        if not isinstance(family, Family):
            raise TypeError(f"family is {family!r}: give a Family, or use TaskSuite.make with its name")
        self.tasks, self._family = tuple(tasks), family

    # ------------------------------------------------------------------ construction
    @staticmethod
    def register(family: Registered) -> Registered:
        """Let `TaskSuite.make` find a family of your own."""
        FAMILIES[family.name] = family
        return family

    @staticmethod
    def names() -> tuple[str, ...]:
        """Names that `TaskSuite.make` knows."""
        return tuple(sorted(FAMILIES))

    @staticmethod
    def summary(name: str) -> str:
        """Say in a line what the family of this name is and which options it takes."""
        return family_named(name).summary()

    @staticmethod
    def description(name: str) -> str:
        """Say what the family of this name is, and which values each option takes."""
        return family_named(name).description()

    @staticmethod
    def make(name: str, **options: Any) -> "TaskSuite":
        """Build a suite by the name of its family.

        Parameters
        ----------
        name : str
            One of `TaskSuite.names()`, or `mo-` and an environment with a vector of rewards, of MO-Gymnasium
            or one that you have registered with Gymnasium, as in `mo-lunar-lander`.
        **options
            `n`, at most 100,000, `seed` and whatever else `TaskSuite.description(name)` tells.

        Raises
        ------
        ValueError
            If the name or an option is unknown, or a value is out of range.
        """
        family = family_named(name)
        return TaskSuite(*family.create(**family.read(options)))

    @staticmethod
    def from_gymnasium(
        environments: Mapping[Any, Callable[[], gymnasium.Env] | str] | Sequence[str],
        groups: Sequence[int] | None = None,
        discount: float = Family.discount,
    ) -> "TaskSuite":
        """Build a suite of your own Gymnasium environments, stepped one after the other in this process.

        `horizon` is the longest of their time limits, or None if one of them does not state it. Of an `info`
        only `success` is read. Observations may have any scale: it is measured once, before the first policy
        is made (see `gradex.tasks.scale`), and kept with policies. Discrete ones are seen as one-hot vectors.
        To a policy, actions of a Box that ends on both sides are shares of its range; without two ends it
        begins near 0, or near the only end if 0 is beyond. A warning names tasks of which an episode with the
        same seed and actions goes another way, so that results do not repeat.

        Parameters
        ----------
        environments : mapping of str to callable or str, or sequence of str
            Name of each task, and a function without arguments that makes a new environment, a class, or an
            id for `gymnasium.make`. Names that are not text, such as numbers, become it. A sequence of ids is
            named by them.
        groups : sequence of int, optional
            A group for each task, if you know one: the planted `labels`.
        discount : float
            Above 0 and up to 1.

        Raises
        ------
        ValueError
            If this is no mapping or empty, if an environment cannot be made or stands where a function
            should, if spaces differ or are of a kind that no policy here can serve, if an environment breaks
            Gymnasium's interface, if two names are equal, or if `groups` does not have a whole number for
            each task.

        Examples
        --------
        >>> from gradex import TaskSuite
        >>> ids = {"one": "CartPole-v1", "two": "CartPole-v1"}
        >>> suite = TaskSuite.from_gymnasium(ids, groups=[0, 1], discount=0.98)
        >>> suite.horizon, suite.discount, suite.labels.tolist()
        (500, 0.98, [0, 1])
        """
        return TaskSuite(*Custom.create(environments, groups, discount))

    @property
    def config(self) -> dict[str, Any]:
        """Everything `TaskSuite.from_config` needs, ready for JSON."""
        tasks = [task.config for task in self.tasks]
        return {"family": self.family, "options": self.options, "tasks": tasks, **self._family.measured}

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> "TaskSuite":
        """Rebuild a suite from its `config`."""
        name = config["family"]
        if name not in FAMILIES and not name.startswith(PREFIX):
            raise ValueError(f"a {name!r} suite cannot be rebuilt from its config: give the suite itself")
        family = family_named(name)(**config["options"])
        return TaskSuite([Task(**task) for task in config["tasks"]], family)

    def on_scale_of(self, config: Mapping[str, Any]) -> "TaskSuite":
        """Give this suite with the scale of observations that another had, by its `config`."""
        return TaskSuite(self.tasks, self._family.as_measured(config))

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
    def __getitem__(self, chosen: slice | Sequence[int] | Sequence[str] | np.ndarray) -> "TaskSuite": ...

    def __getitem__(self, chosen: Any) -> "Task | TaskSuite":
        """Give a task, or a sub-suite: `gradex.tasks.task.select` says what may stand for them."""
        found = select(self.tasks, chosen)
        return found if isinstance(found, Task) else TaskSuite(found, self._family)

    @property
    def labels(self) -> Int[np.ndarray, " n"] | None:
        """Planted group of each task, or None where nothing was planted."""
        groups = [task.group for task in self.tasks]
        return None if any(group is None for group in groups) else np.array(groups, dtype=np.int64)

    @property
    def linear(self) -> bool:
        """Whether tasks are preferences: their rewards are sums of objectives, weighted by `weights`.

        Dynamics are then shared. A policy that does not see the task trains on the mean weights of its tasks,
        and is valued objective by objective: neither depends on how many tasks there are. Not so where
        observations show the weights, with `conditioned=True`.
        """
        return self._family.linear

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the components of the reward; only of suites `mo-…`, like `scale` and `weights`."""
        return self._family.required_objectives()

    @property
    def scale(self) -> Float[np.ndarray, " k"]:
        """What each component of the reward is divided by, before it is weighed."""
        self._family.required_objectives()
        return np.array(self._family.scale, dtype=np.float64)

    @property
    def weights(self) -> Float[np.ndarray, "n k"]:
        """Weight of each component for each task; rows sum to 1."""
        self._family.required_objectives()
        return parameter_matrix(self.tasks)

    def with_weights(self, weights: ArrayLike) -> "TaskSuite":
        """Give a suite of other preferences, on the same scale and in the same simulators."""
        self._family.required_objectives()
        return TaskSuite(self._family.preferring(weights), self._family)

    def unseen(self, n: int, seed: int) -> "TaskSuite":
        """Draw n target tasks from the law that this suite's tasks stand for.

        Parameters
        ----------
        n : int
            At most 100,000.
        seed : int
            The same seed draws the same tasks.
        """
        n, rng = read_task_count("n", n), generator_for(read_seed("seed", seed), "unseen tasks")
        return TaskSuite(self.draw(n, rng), self._family)

    def draw(self, n: int, rng: np.random.Generator) -> list[Task]:
        """Draw n target tasks, see `unseen`, with a generator."""
        return self._family.draw(n, rng, self.tasks)

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
        copies = read_whole("copies", copies, 1, _MOST_ENVIRONMENTS // len(self))
        first = read_whole("first", first, 0, _MOST_ENVIRONMENTS)
        seeds = seeds_of_copies(self._seeds(seed), copies, first)
        return self.build([task for task in self.tasks for _ in range(copies)], seeds)

    def _seeds(self, seed: int | Sequence[int]) -> list[int]:
        """Give the seed of each task."""
        given = without_numpy(seed)
        each = [given] * len(self) if isinstance(given, str) or not isinstance(given, Sequence) else given
        if len(each) != len(self):
            raise ValueError(f"seed has {len(each)} entries for {len(self)} tasks: give one, or one for each")
        return [read_seed("seed", one) for one in each]

    def build(self, tasks: Sequence[Task], seeds: Seeds) -> VectorEnv:
        """Make a simulator with one environment per entry of `tasks`, each with its own seed."""
        return self._family.build(tasks, seeds)

    def rewards(self, objectives: Float[np.ndarray, "*steps k"]) -> Float[np.ndarray, "tasks *steps"]:
        """Say what each task pays for steps that were taken in one of them, see `Family.rewards`."""
        return self._family.rewards(self.tasks, objectives)

    def fitting(self, environments: int) -> int | None:
        """Give how many times so many environments fit into memory, at least 1; None where all do."""
        return None if self.most_environments is None else max(1, self.most_environments // environments)

    # ------------------------------------------------------------------ looks
    def to_frame(self) -> pd.DataFrame:
        """Give a table of the tasks: name, parameters, planted group."""
        table = pd.DataFrame([{"task": task.name, **task.parameters} for task in self.tasks])
        if self.labels is not None:
            table["group"] = self.labels
        return table

    def __repr__(self) -> str:
        table = self.to_frame().to_string(index=False, float_format="{:.4g}".format)
        return f"{self.family}: {len(self)} tasks\n{table}"

    def _repr_html_(self) -> str:
        tasks = folded("tasks", table(self.to_frame()), shown=len(self) <= 20)
        facts = {"steps of an episode": self.horizon, "discount": self.discount}
        return card(f"{self.family}: {len(self)} tasks", facts, tasks)
