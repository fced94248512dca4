"""SAC end to end against stable-baselines3, on one thread and on those that torch takes by itself.

Where Meta-World is installed the task is one of its own: ours in EnvPool, the peer's in the original.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import gymnasium
import torch

from analysis.speed.comparison import Comparison
from analysis.speed.peers import installed, stable_baselines3_sac_speed
from analysis.speed.reaching import ENGINES, original_reaching, reaching
from analysis.speed.timing import Pace, alternately, threads
from gradex.learners import SAC
from gradex.tasks import TaskSuite

#: What is left out without a package.
WITHOUT = {"stable_baselines3": "sac"} | dict.fromkeys(ENGINES, "sac on Meta-World (Pendulum instead)")


@dataclass(frozen=True)
class _Amount:
    """How much is learnt, and how often.

    Attributes
    ----------
    networks : tuple
        Affine layers, width, and policies of our stack; the first is the size that the peer has by default.
    steps, start : int
        Environment steps of each policy, and those of them before the first update.
    times : int
        Measurements of each.
    """

    networks: tuple[tuple[int, int, int], ...] = ((3, 256, 1), (4, 256, 1), (4, 64, 1), (4, 64, 8))
    steps: int = 1_000
    start: int = 256
    times: int = 3


_SMOKE = _Amount(((3, 8, 1), (3, 8, 2)), steps=48, start=32, times=1)
_AMOUNTS = {"smoke": _SMOKE, "laptop": _Amount(), "paper": _Amount()}


def compare(scale: str) -> Iterator[Comparison]:
    """Learn one task with equal batches, sizes of networks, and one update per environment step."""
    if not installed("stable_baselines3"):
        return
    amount = _AMOUNTS[scale]
    suite, make = _task()
    ours = SAC(start=amount.start)
    for count in sorted({1, torch.get_num_threads()}):
        for layers, width, policies in amount.networks:
            with threads(count):
                speed, theirs = alternately(
                    amount.times,
                    partial(_speed, suite, ours, layers, width, policies, amount.steps),
                    partial(stable_baselines3_sac_speed, make, ours, layers, width, amount.steps),
                )
            stack = f", a stack of {policies} against one" if policies > 1 else ""
            yield Comparison(
                f"{suite.tasks[0].name}, {layers} layers of {width}{stack}",
                "stable-baselines3 SAC",
                f"{count} thread{'s' * (count > 1)}, affine layers (tanh against ReLU), "
                f"batch {ours.batch}, 1 update per step; medians of {amount.times}",
                speed,
                theirs,
                "steps/s",
            )


def _task() -> tuple[TaskSuite, Callable[[], gymnasium.Env]]:
    """Give reaching with a robot's arm where that is installed, else a pendulum."""
    if installed(*ENGINES):
        return reaching(), original_reaching
    make = partial(gymnasium.make, "Pendulum-v1")
    return TaskSuite.from_gymnasium({"Pendulum": make}), make


def _speed(suite: TaskSuite, settings: SAC, layers: int, width: int, policies: int, steps: int) -> float:
    """Give the environment steps per second of all policies of a stack together."""
    seeds = list(range(policies))
    agent = settings.initial(suite, seeds, layers=layers, width=width)
    pace = Pace()
    settings.train(agent, suite, [[0]] * policies, steps * policies, seeds, observe=pace)
    return pace.speed
