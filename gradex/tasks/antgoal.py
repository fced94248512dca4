"""An ant that must find a goal in the plane, with goals in clusters, as in meta-reinforcement learning.

Chu and Wang 2023 (MiLEt, arXiv 2302.07958); the ant with goals anywhere: Rothfuss et al. 2019, Rakelly et al.
2019.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from jaxtyping import Float

from gradex.tasks.family import (
    Family,
    Option,
    Recommended,
    Scale,
    if_given,
    read_number,
    read_seed,
    read_task_count,
    read_whole,
)
from gradex.tasks.simulator import PoolSimulator, Seeds, Step
from gradex.tasks.task import Task

#: Price of an action, times its squared norm, as in MiLEt's code.
_CONTROL_COST = 0.01
#: No ant gets so far before the longest horizon that anybody wants, in m.
_FARTHEST = 1000.0
#: MuJoCo's own numbers of the ant: seven of its place and orientation, eight joints, and their velocities.
_FEATURES = 29


def _scale() -> Scale:
    # Place (two), height and orientation (a quaternion) of the trunk, and hip and ankle of each leg, in m and
    # rad; then the velocities of the trunk along the axes and around them, and those of hips and ankles.
    # Ankles are bent to one side or the other. Means and deviations while policies learn, rounded.
    legs = (0.0, 0.9, 0.0, -0.9, 0.0, -0.9, 0.0, 0.9)
    centre = (0.0, 0.0, 0.7, 0.5, 0.0, 0.0, 0.0, *legs, *(0.0,) * 14)
    spread = (1.0, 1.0, 0.3, *(0.5,) * 4, *(0.4, 0.3) * 4, *(1.0,) * 3, *(2.0,) * 3, *(5.0,) * 8)
    return centre, spread


@dataclass(frozen=True)
class AntGoal(Family):
    """An ant that must walk to a goal in the plane that it does not see; goals come in clusters.

    It moves eight joints by torques, clipped to [-1, 1], and sees its place, height and orientation, its
    joints, and all velocities: Ant-v5 of Gymnasium in EnvPool's port. A step lasts 0.05 s. The reward is
    −|x − x_goal| − |y − y_goal| − 0.01 ‖a‖², with the place (x, y) of the trunk after the step, in m. No
    episode ends before the horizon, also if the ant lies on its back.

    Tasks differ in their goal, hence in reward only. The planted groups are clusters of goals around
    directions that are equally spaced, 45°, 135°, 225° and 315° where there are four: each cluster then lies
    in a quadrant of its own, and all its goals pull in the same direction at the start.

    Options
    -------
    n, seed : int
        The seed draws goals within their clusters, and which task belongs to which.
    groups : int, optional
        Number of clusters; by default 4, or n if that is less.
    spread : float
        Goals are drawn uniformly up to so many degrees to either side of the middle of their cluster. Less
        than half of the way to the next one, so that clusters do not touch. The default leaves gaps as wide
        as clusters.
    distance : float
        From the start to each goal, in m.
    horizon : int
        Steps of an episode.

    Notes
    -----
    Directions, distance, horizon, distance by coordinates and the price of an action are those of MiLEt's
    code. There are two departures. (1) MiLEt draws directions from normal distributions with a deviation of
    36°; a fifth of the goals then lies nearer to the middle of another cluster, so that the planted groups
    would not be the right ones. (2) Contact forces are neither seen nor paid for. They are most of the
    numbers that Ant-v5 shows, 78 of 105, and make policies larger and slower.

    Two cores do not go far here: MiLEt's code trains for 50 million steps, fifty times what is recommended.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex import TaskSuite
    >>> suite = TaskSuite.make("ant-goal", n=4, spread=0)
    >>> [task.name for task in suite], suite.labels.tolist()
    (['0: 225°', '1: 45°', '2: 135°', '3: 315°'], [2, 0, 1, 3])
    >>> suite.rewards(np.array([1.0, 1.0, -0.05])).round(2).tolist()  # at (1, 1), for an action of 0.05
    [-4.88, -0.88, -2.88, -2.88]
    """

    groups: int
    spread: float
    distance: float
    horizon: int

    name = "ant-goal"
    options: ClassVar = {
        "n": Option(12, read_task_count),
        "seed": Option(0, read_seed),
        "groups": Option(None, if_given(partial(read_whole, least=1))),
        "spread": Option(22.5, read_number),
        "distance": Option(2.0, partial(read_number, above=0, most=_FARTHEST)),
        "horizon": Option(100, partial(read_whole, least=1, most=2**31 - 1)),
    }
    observation_scale = _scale()
    shared_dynamics = True
    #: What two cores allow, by speed alone: one core trains 5,000 steps a second, so each amount takes three
    #: minutes. Groups played no part in the choice. MiLEt's code trains for 50 million steps.
    recommended = Recommended(meta_steps=960_000, group_steps=960_000, ppo={"steps": 100, "minibatches": 20})
    #: Episodes are as long as each other, and so are rollouts.
    resets_together = True

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(-np.inf, np.inf, (_FEATURES,), np.float32)

    @property
    def action_space(self) -> spaces.Box:
        return spaces.Box(-1.0, 1.0, (8,), np.float32)

    @classmethod
    def create(
        cls, n: int, seed: int, groups: int | None, spread: float, **settings: Any
    ) -> tuple[list[Task], Family]:
        """Draw n goals, as many of each cluster as of the others, or one more."""
        groups = min(4, n) if groups is None else groups
        if groups > n:
            raise ValueError(f"groups is {groups} for {n} tasks: give 1 to {n}")
        if not 0 <= spread < 180 / groups:
            raise ValueError(
                f"spread is {spread:g}° for {groups} groups, which must not touch: "
                f"give at least 0 and less than {180 / groups:g}"
            )
        family = cls(groups, spread, **settings)
        return family.draw(n, np.random.default_rng(seed), []), family

    def draw(self, n: int, rng: np.random.Generator, known: Sequence[Task]) -> list[Task]:
        labels = rng.permutation(np.arange(n) % self.groups)
        degrees = (labels + 0.5) * 360 / self.groups + rng.uniform(-self.spread, self.spread, n)
        goals = self.distance * np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1)
        return [
            Task(f"{i}: {angle:.0f}°", {"x": x, "y": y}, label)
            for i, (angle, (x, y), label) in enumerate(
                zip(degrees.tolist(), goals.tolist(), labels.tolist(), strict=True)
            )
        ]

    def build(self, tasks: Sequence[Task], seeds: Seeds) -> VectorEnv:
        return EnvPoolAnt(self, tasks, seeds)

    def rewards(
        self, tasks: Sequence[Task], objectives: Float[np.ndarray, "*steps k"]
    ) -> Float[np.ndarray, "tasks *steps"]:
        """Pay by place and the price of the action, which the simulator tells as (x, y, −0.01 ‖a‖²)."""
        return _pay(objectives, _goals(tasks).reshape(-1, *(1,) * (objectives.ndim - 1), 2))


def _goals(tasks: Sequence[Task]) -> Float[np.ndarray, "tasks 2"]:
    return np.array([[task.parameters["x"], task.parameters["y"]] for task in tasks])


def _pay(objectives: np.ndarray, goals: np.ndarray) -> np.ndarray:
    return objectives[..., 2] - np.abs(objectives[..., :2] - goals).sum(axis=-1)


class EnvPoolAnt(PoolSimulator):
    """EnvPool's port: one pool for all tasks, whose rewards are made of what it tells of each step."""

    def __init__(self, family: AntGoal, tasks: Sequence[Task], seeds: Seeds) -> None:
        common = {
            "ctrl_cost_weight": _CONTROL_COST,
            "exclude_current_positions_from_observation": False,
            "max_episode_steps": family.horizon,
            "terminate_when_unhealthy": False,
            "use_contact_force": False,
        }
        super().__init__(
            "Ant-v5",
            [common for _ in tasks],
            seeds,
            family.observation_space,
            family.action_space,
            signals=("reward_ctrl", "elapsed_step"),
            extra="ant-goal",
        )
        self._goals = _goals(tasks)

    def _receive(self) -> Step:
        observation, _, terminated, truncated, info = super()._receive()
        # The place is that of the observation: EnvPool tells another one beside it, off by a millimetre.
        objectives = np.column_stack([observation[:, :2], info["reward_ctrl"]])
        # A reset is no step, and pays nothing.
        reward = np.where(info["elapsed_step"] > 0, _pay(objectives, self._goals), 0.0)
        return observation, reward, terminated, truncated, {"objectives": objectives}
