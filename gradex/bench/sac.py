"""SAC end to end against stable-baselines3, on one thread and on those that torch takes by itself.

Where Meta-World is installed the task is one of its own: ours in EnvPool, the peer's in the original.
"""

from collections.abc import Callable, Iterator
from functools import partial

import gymnasium
import torch

from gradex.bench.peers import OneEnvironment, stable_baselines3_sac_speed
from gradex.bench.reaching import installed, original_reaching, reaching
from gradex.bench.timing import Pace, alternately
from gradex.learners import SAC
from gradex.tasks import TaskSuite

#: Affine layers, width, and policies of our stack; the first is the size that the peer has by default.
_SETTINGS = ((3, 256, 1), (4, 256, 1), (4, 64, 1), (4, 64, 8))
#: Environment steps of each policy, and those of them before the first update.
_STEPS, _START = 1_000, 256
#: Measurements of each.
_TIMES = 3


def rows() -> Iterator[dict[str, object]]:
    """Learn one task with equal batches, sizes of networks, and one update per environment step."""
    suite, make = _task()
    ours = SAC(start=_START)
    most = torch.get_num_threads()
    try:
        for threads in sorted({1, most}):
            torch.set_num_threads(threads)
            for layers, width, policies in _SETTINGS:
                speed, theirs = alternately(
                    _TIMES,
                    partial(_speed, suite, ours, layers, width, policies),
                    partial(stable_baselines3_sac_speed, make, ours, layers, width, _STEPS),
                )
                stack = f", a stack of {policies} against one" if policies > 1 else ""
                yield {
                    "peer": f"stable-baselines3 SAC, {threads} thread{'s' * (threads > 1)}",
                    "setting": f"{suite.family}, {suite.tasks[0].name}, {layers} affine layers of {width} "
                    f"(tanh against ReLU), batch {ours.batch}, 1 update per step{stack}; medians of {_TIMES}",
                    "gradex": speed,
                    "peer_value": theirs,
                    "unit": "steps/s",
                    "ratio": speed / theirs,
                }
    finally:
        torch.set_num_threads(most)


def _task() -> tuple[TaskSuite, Callable[[], gymnasium.Env]]:
    """Give reaching with a robot's arm where that is installed, else a point in the plane."""
    if installed():
        return reaching(), original_reaching
    suite = TaskSuite.make("navigation", n=1, groups=1)
    return suite, lambda: OneEnvironment(suite)


def _speed(suite: TaskSuite, settings: SAC, layers: int, width: int, policies: int) -> float:
    """Give the environment steps per second of all policies of a stack together."""
    seeds = list(range(policies))
    agent = settings.initial(suite, seeds, layers=layers, width=width)
    pace = Pace()
    settings.train(agent, suite, [[0]] * policies, _STEPS * policies, seeds, observe=pace)
    return pace.speed
