"""Suites of one environment with a vector of rewards: a task is a preference, one weight per component."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property, partial
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from jaxtyping import Float

from gradex.seeds import generator_for
from gradex.settings import shown, without_numpy
from gradex.tasks import own_vectors, preferences, vector_rewards
from gradex.tasks.conditioned import Conditioned, conditioned_scale, conditioned_space
from gradex.tasks.family import (
    Family,
    Option,
    Recommended,
    Scale,
    if_given,
    one_of,
    read_number,
    read_seed,
    read_switch,
    read_task_count,
    read_whole,
)
from gradex.tasks.lunarlander import LunarLander
from gradex.tasks.pooled_rewards import PORTS, PooledRewards
from gradex.tasks.simulator import MOST_IN_TURN, Seeds, SequentialSimulator
from gradex.tasks.task import Task, parameter_matrix

#: Tasks where neither `n` nor weights say how many.
_TASKS = 12


def read_scale(name: str, value: Any) -> str | list[float]:
    """Read "measured", or what each component is divided by."""
    if value == "measured" and isinstance(value, str):
        return value
    sizes = without_numpy(value)
    if not isinstance(sizes, list):
        raise ValueError(f"{name} is {shown(value)}: give 'measured' or a number above 0 for each objective")
    return [read_number(f"each number of {name}", each, above=0) for each in sizes]


@dataclass(frozen=True)
class MultiObjective(Family):
    """One environment with a vector of rewards under n preferences over its components.

    The name of a suite is `mo-` and that of an environment of MO-Gymnasium, such as `mo-lunar-lander`; its
    newest version is taken, or the one that is named, as in `mo-hopper-v5`. One of your own needs no
    MO-Gymnasium: register it with Gymnasium, in every process, and put `mo-` before its whole id, version
    included. It has a `reward_space`, a Box of one dimension, pays an array of that shape, and may name its
    components by an attribute `objectives`, else they are "objective 0" and so on. None is named "task" or
    "group", as tables have such columns.

    A task is a weight vector w, with entries that are not negative and sum to 1, and pays w·(r / scale) for a
    step with the vector r. Tasks differ in reward only. Simulators tell r / scale in `info["objectives"]`.

    The scale of a component is frozen, and kept with the suite and on disk. It is the range of the component
    over the Pareto front where MO-Gymnasium knows that; else the mean of Σ γᵗ |rᵗ| over the episodes of a
    random policy in which there is any; else the largest size that its bounds allow, or 1. See
    `gradex.tasks.vector_rewards.measure_scale`.

    Whole numbers are observed as one-hot, other observations on a measured scale.

    Options
    -------
    n, seed : int
        n is 12 by default, or as many as there are rows of weights.
    weights : {"dirichlet", "lattice"} or array [n, K]
        "dirichlet": uniform draws from the simplex. "lattice": the coarsest simplex lattice with at least n
        points, evenly thinned to n. Rows of an array are normalised to sum 1. Unseen preferences are uniform,
        or from the planted groups.
    groups : int, optional
        Plants so many groups of equal size: draws from Dirichlet(100 · centre), closer where centres are
        near, around centres that are far from each other.
    scale : "measured" or array [K]
    horizon : int, optional
        By default the environment's own limit, or 500 steps where it has none.
    discount : float
        0.99 by default, and 0.999 for the lunar landers.
    engine : {"auto", "envpool", "gymnasium"}
        "auto": EnvPool where the vector of rewards can be rebuilt from what it tells (lunar lander, mountain
        car and its continuous version, half cheetah, hopper), else MO-Gymnasium itself.
    conditioned : bool
        False by default. True puts the weights of a task behind its observations: one policy then acts by the
        preference that it sees, also by unseen ones. It trains in all its tasks, and neither steps nor
        episodes of one serve others. See `gradex.tasks.conditioned`.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex import TaskSuite
    >>> suite = TaskSuite.make("mo-deep-sea-treasure", n=3, weights="lattice")
    >>> suite.objectives, suite.weights.tolist()
    (('treasure', 'time'), [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    >>> suite.scale.round(2).tolist()  # the ranges over the Pareto front
    [19.08, 16.38]
    >>> suite.rewards(np.array([0.1, -0.2])).round(2).tolist()  # for a step with 0.1 and -0.2 of them
    [-0.2, -0.05, 0.1]
    """

    environment: str
    horizon: int
    engine: str
    typical: Sequence[Sequence[float]] | None
    discount: float
    scale: Sequence[float]
    centres: Sequence[Sequence[float]] | None = None
    conditioned: bool = False

    options: ClassVar = {
        "n": Option(None, if_given(read_task_count)),
        "seed": Option(0, read_seed),
        "weights": Option("dirichlet", preferences.read_law),
        "groups": Option(None, if_given(partial(read_whole, least=1))),
        "scale": Option("measured", read_scale),
        "horizon": Option(None, if_given(partial(read_whole, least=1, most=2**31 - 1))),
        "discount": Option(None, if_given(partial(read_number, above=0, most=1))),
        "engine": Option("auto", one_of("auto", "gymnasium", "envpool")),
        "conditioned": Option(False, read_switch),
    }

    @classmethod
    def create(
        cls,
        n: int | None,
        seed: int,
        weights: str | list[list[float]],
        groups: int | None,
        scale: str | list[float],
        horizon: int | None,
        discount: float | None,
        engine: str,
        conditioned: bool,
    ) -> tuple[list[Task], Family]:
        """Make the family, with what it measures, and its preferences."""
        environment = vector_rewards.find(cls.name)
        horizon = _horizon(cls.name, environment, horizon)
        if vector_rewards.is_own(environment):
            own_vectors.check(environment, horizon)
        engine = _engine(cls.name, environment, engine)
        discount = discount or (LunarLander.discount if _is_lander(environment) else Family.discount)
        measure = vector_rewards.measure_scale
        sizes = scale if isinstance(scale, list) else measure(environment, horizon, discount)
        typical = vector_rewards.typical_observation(environment, horizon)
        family = cls(environment, horizon, engine, typical, discount, sizes, conditioned=conditioned)
        family._require_one_each("scale has", "numbers", len(sizes))
        if isinstance(weights, list):
            if groups is not None:
                raise ValueError(f"groups={groups} says how weights are drawn: leave out groups, or weights")
            if n not in (None, len(weights)):
                raise ValueError(f"weights has {len(weights)} rows for n={n} tasks: leave out n")
            return family.preferring(weights), family
        n, count, rng = n or _TASKS, len(family.objectives), generator_for(seed, "preferences")
        if groups is None:
            lattice = weights == "lattice"
            law = preferences.lattice(n, count) if lattice else preferences.dirichlet(n, count, rng)
            return family.preferring(law), family
        if weights == "lattice":
            raise ValueError("weights='lattice' has no groups: leave out groups, or give weights='dirichlet'")
        if groups > n:
            raise ValueError(f"groups is {groups} for {n} tasks: give 1 to {n}")
        centres = preferences.centres(groups, count, rng)
        drawn, labels = preferences.planted(n, centres, rng)
        return family.preferring(drawn, labels), replace(family, centres=centres.tolist())

    def preferring(self, weights: Any, labels: Sequence[int] | np.ndarray | None = None) -> list[Task]:
        rows = preferences.read_weights("weights", weights)
        self._require_one_each("weights has", "columns", len(rows[0]))
        groups = [None] * len(rows) if labels is None else [int(label) for label in labels]
        tasks = []
        for i, (row, group) in enumerate(zip(rows, groups, strict=True)):
            name = f"{i}: {' '.join(f'{weight:.2f}' for weight in row)}"
            tasks.append(Task(name, dict(zip(self.objectives, row, strict=True)), group))
        return tasks

    def _require_one_each(self, what: str, unit: str, count: int) -> None:
        if count != len(self.objectives):
            raise ValueError(
                f"{what} {count} {unit} for {len(self.objectives)} objectives "
                f"({', '.join(self.objectives)}): give one for each"
            )

    def draw(self, n: int, rng: np.random.Generator, known: Sequence[Task]) -> list[Task]:
        """Draw preferences: of the planted groups if tasks have some, else uniform."""
        if self.centres is not None and all(task.group is not None for task in known):
            return self.preferring(*preferences.planted(n, np.array(self.centres), rng))
        return self.preferring(preferences.dirichlet(n, len(self.objectives), rng))

    @cached_property
    def objectives(self) -> tuple[str, ...]:
        count = self._plain.unwrapped.reward_space.shape[0]  # type: ignore[attr-defined]
        named = vector_rewards.OBJECTIVES.get(vector_rewards.known_as(self.environment), ())
        if vector_rewards.is_own(self.environment):
            named = own_vectors.names_of_objectives(self._plain, count)
        return named if len(named) == count else tuple(f"objective {k}" for k in range(count))

    @cached_property
    def _plain(self) -> gymnasium.Env:
        """One environment, closed, to ask what it is."""
        plain = vector_rewards.make(self.environment, self.horizon)
        plain.close()
        return plain

    # New ones each time: simulators would share the generator of a space that is kept.
    @property
    def observation_space(self) -> spaces.Box:
        return conditioned_space(self._plain_space, len(self.objectives) if self.conditioned else 0)

    @property
    def _plain_space(self) -> spaces.Box:
        seen: Any = self._plain.observation_space
        return spaces.Box(seen.low, seen.high, dtype=np.float32)

    @property
    def action_space(self) -> spaces.Discrete | spaces.Box:
        own: Any = self._plain.action_space
        if isinstance(own, spaces.Discrete):
            return spaces.Discrete(own.n, start=own.start)
        return spaces.Box(own.low, own.high, dtype=own.dtype)

    @property
    def observation_scale(self) -> Scale | None:
        plain = None if self.typical is None else (tuple(self.typical[0]), tuple(self.typical[1]))
        return conditioned_scale(plain, len(self.objectives)) if self.conditioned else plain

    @property
    def shared_dynamics(self) -> bool:
        return not self.conditioned

    @property
    def linear(self) -> bool:
        return not self.conditioned

    @property
    def most_environments(self) -> int | None:  # type: ignore[override]
        return None if self.engine == "envpool" else MOST_IN_TURN

    @property
    def settings(self) -> dict[str, Any]:
        told = super().settings
        # What is usual is left unsaid: policies from before there was a choice are still welcome.
        return told if self.conditioned else {k: v for k, v in told.items() if k != "conditioned"}

    @property
    def recommended(self) -> Recommended:
        if not _is_lander(self.environment):
            return Recommended()
        lander = LunarLander.recommended
        # On mean weights a policy trains like one of a single task.
        return replace(lander, meta_steps=600_000, group_steps=1_200_000) if self.linear else lander

    def rewards(
        self, tasks: Sequence[Task], objectives: Float[np.ndarray, "*steps k"]
    ) -> Float[np.ndarray, "tasks *steps"]:
        """Pay by scaled components, which the simulator tells as r / scale."""
        return preferences.weigh(parameter_matrix(tasks), objectives)

    def build(self, tasks: Sequence[Task], seeds: Seeds) -> VectorEnv:
        rows = parameter_matrix(tasks)
        if self.engine == "envpool":
            port, space, scale = PORTS[self.environment], self._plain_space, np.array(self.scale)
            seen = rows if self.conditioned else None
            return PooledRewards(port, self.horizon, scale, rows, seeds, space, self.action_space, seen)
        return SequentialSimulator([partial(self._make, row) for row in rows], seeds)

    def _make(self, weights: np.ndarray) -> gymnasium.Env:
        plain = vector_rewards.make(self.environment, self.horizon)
        paying = vector_rewards.Scalarized(plain, np.array(self.scale), weights)
        return Conditioned(paying, weights) if self.conditioned else paying

    def __reduce__(self) -> Any:
        # The class of a name is made at run time, so it is found again by its name.
        return _restore, (self.name, asdict(self))


@cache
def multi_objective_named(name: str) -> type[MultiObjective]:
    """Give the family of a name that starts with `mo-`; see `vector_rewards.find` for what may be wrong."""
    vector_rewards.find(name)
    return type("MultiObjective", (MultiObjective,), {"name": name, "__doc__": MultiObjective.__doc__})


def _restore(name: str, settings: dict[str, Any]) -> MultiObjective:
    return multi_objective_named(name)(**settings)


def _horizon(name: str, environment: str, wanted: int | None) -> int:
    """Read the steps of an episode, which an environment may end by itself."""
    longest, fixed = vector_rewards.longest(environment)
    if wanted is not None and fixed and wanted > longest:
        raise ValueError(f"horizon={wanted} is too large: {name!r} ends after {longest} steps")
    return wanted or longest


def _engine(name: str, environment: str, wanted: str) -> str:
    """Choose what runs an environment."""
    ported = environment in PORTS and not vector_rewards.is_own(environment)
    if wanted == "envpool" and not ported:
        raise ValueError(f"engine='envpool' has no {name!r}: give 'gymnasium'")
    return ("envpool" if ported else "gymnasium") if wanted == "auto" else wanted


def _is_lander(environment: str) -> bool:
    return vector_rewards.known_as(environment).startswith("lunar-lander")
