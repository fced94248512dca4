"""HalfCheetah by target velocity, a benchmark of meta-reinforcement learning.

Finn, Abbeel and Levine 2017, Sec. 5.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from jaxtyping import Float

from gradex.tasks.family import Family, Option, Recommended, Scale, read_seed, read_task_count, read_whole
from gradex.tasks.ranges import read_range
from gradex.tasks.simulator import PoolSimulator, Seeds, Step
from gradex.tasks.task import Task

#: Price of an action, times its squared norm: half of what Gymnasium takes, as in the benchmark.
_CONTROL_COST = 0.05
#: No cheetah runs so fast, in m/s.
_FASTEST = 20.0


def _scale() -> Scale:
    # Height and pitch of the trunk and six joints, in m and rad; then the velocity along the track, and those
    # of height, pitch and joints. How far they deviate while policies learn, rounded.
    return (0.0,) * 17, (0.2, 0.5, *(0.3,) * 6, 1.0, 1.0, 2.0, *(7.0,) * 6)


@dataclass(frozen=True)
class HalfCheetah(Family):
    """A planar cheetah that must run at a velocity that it does not see.

    It moves six joints by torques, clipped to [-1, 1], and sees its height, pitch and joints, and all
    velocities: HalfCheetah-v5 of Gymnasium in EnvPool's port. A step lasts 0.05 s. The reward is
    −|v − target| − 0.05 ‖a‖², with the mean velocity v of the step, as in the benchmark of MAML. No episode
    ends before the horizon.

    Tasks differ in their target, hence in reward only. Nearby targets want nearly the same and distant ones
    do not: conflict is graded, and no groups are planted.

    Options
    -------
    n, seed : int
        The seed changes nothing: targets are evenly spread.
    velocity : float or pair
        Range of the targets in m/s, both ends included; negative ones run backwards. Unseen tasks are drawn
        uniformly from it.
    horizon : int
        Steps of an episode: 200 is the benchmark's, Gymnasium has 1000.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex import TaskSuite
    >>> suite = TaskSuite.make("halfcheetah", n=3, velocity=(0, 3))
    >>> [task.name for task in suite]
    ['0: 0.00 m/s', '1: 1.50 m/s', '2: 3.00 m/s']
    >>> suite.rewards(np.array([1.0, -0.1])).round(3).tolist()  # at 1 m/s, by an action that costs 0.1
    [-1.1, -0.6, -2.1]
    """

    velocity: Sequence[float]
    horizon: int

    name = "halfcheetah"
    options: ClassVar = {
        "n": Option(12, read_task_count),
        "seed": Option(0, read_seed),
        "velocity": Option((-2.0, 2.0), partial(read_range, low=-_FASTEST, high=_FASTEST)),
        "horizon": Option(200, partial(read_whole, least=1, most=2**31 - 1)),
    }
    observation_scale = _scale()
    shared_dynamics = True
    recommended = Recommended(meta_steps=768_000, group_steps=768_000, ppo={"steps": 200, "minibatches": 20})
    #: Episodes are as long as each other, and so are rollouts.
    resets_together = True

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(-np.inf, np.inf, (17,), np.float32)

    @property
    def action_space(self) -> spaces.Box:
        return spaces.Box(-1.0, 1.0, (6,), np.float32)

    @classmethod
    def create(
        cls, n: int, seed: int, velocity: tuple[float, float], horizon: int
    ) -> tuple[list[Task], Family]:
        """Spread n targets evenly, from one end of the range to the other; one alone is its middle."""
        targets = np.linspace(*velocity, n) if n > 1 else np.array([sum(velocity) / 2])
        return _tasks(targets), cls(list(velocity), horizon)

    def draw(self, n: int, rng: np.random.Generator, known: Sequence[Task]) -> list[Task]:
        return _tasks(rng.uniform(min(self.velocity), max(self.velocity), n))

    def build(self, tasks: Sequence[Task], seeds: Seeds) -> VectorEnv:
        return EnvPoolHalfCheetah(self, tasks, seeds)

    def rewards(
        self, tasks: Sequence[Task], objectives: Float[np.ndarray, "*steps k"]
    ) -> Float[np.ndarray, "tasks *steps"]:
        """Pay by the velocity and the price of the action, which the simulator tells as (v, −0.05 ‖a‖²)."""
        return _pay(objectives, _targets(tasks).reshape(-1, *(1,) * (objectives.ndim - 1)))


def _tasks(targets: Float[np.ndarray, " n"]) -> list[Task]:
    # + 0.0: no -0.00
    return [
        Task(f"{i}: {round(v, 2) + 0.0:.2f} m/s", {"velocity": v}) for i, v in enumerate(targets.tolist())
    ]


def _targets(tasks: Sequence[Task]) -> Float[np.ndarray, " tasks"]:
    return np.array([task.parameters["velocity"] for task in tasks])


def _pay(objectives: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return objectives[..., 1] - np.abs(objectives[..., 0] - targets)


class EnvPoolHalfCheetah(PoolSimulator):
    """EnvPool's port: one pool for all tasks, whose rewards are made of what it tells of each step."""

    def __init__(self, family: HalfCheetah, tasks: Sequence[Task], seeds: Seeds) -> None:
        common = {"ctrl_cost_weight": _CONTROL_COST, "max_episode_steps": family.horizon}
        super().__init__(
            "HalfCheetah-v5",
            [common for _ in tasks],
            seeds,
            family.observation_space,
            family.action_space,
            signals=("x_velocity", "reward_ctrl", "elapsed_step"),
            extra="halfcheetah",
        )
        self._targets = _targets(tasks)

    def _receive(self) -> Step:
        observation, _, terminated, truncated, info = super()._receive()
        objectives = np.stack([info["x_velocity"], info["reward_ctrl"]], axis=1)
        # A reset is no step, and pays nothing.
        reward = np.where(info["elapsed_step"] > 0, _pay(objectives, self._targets), 0.0)
        return observation, reward, terminated, truncated, {"objectives": objectives}
