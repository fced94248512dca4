"""PPO end to end against stable-baselines3."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import gymnasium

from gradex.bench.peers import stable_baselines3_speed
from gradex.bench.reaching import installed, original_reaching, reaching
from gradex.bench.timing import Pace, alternately
from gradex.learners import PPO, ActorCritic
from gradex.learners.recipes import recipe
from gradex.learners.rollouts import Collector
from gradex.tasks import TaskSuite
from gradex.threads import one_thread

#: Steps of an episode of Meta-World, and environments: those that ten tasks of MT10 have together.
_HORIZON, _COPIES = 200, 80
#: Rollouts of ours on Meta-World, and those on which the peer is timed.
_ROLLOUTS, _PEER_ROLLOUTS = 4, 1
#: Measurements of each.
_TIMES = 3


def rows() -> Iterator[dict[str, object]]:
    """Learn ten CartPoles, and a task of Meta-World, with equal rollouts, epochs and networks."""
    yield from _cartpole()
    if installed():
        yield from _reaching()


def _cartpole() -> Iterator[dict[str, object]]:
    """Train one policy on 10 tasks × 8 copies."""
    ours = PPO()
    suite = TaskSuite.make("cartpole", n=10)
    speeds = [partial(_speed, ours, suite, 20)]
    make = partial(gymnasium.make, "CartPole-v1")
    yield from _compared("", ours, 10 * ours.copies, speeds, make, (2, 5))


def _reaching() -> Iterator[dict[str, object]]:
    """Train with the settings recommended for MT10; ours in EnvPool, the peer in the original."""
    ours = replace(cast(PPO, recipe("mt10").learner), copies=_COPIES)
    suite = reaching(_HORIZON)
    task = f"mt10, {suite.tasks[0].name}, horizon {_HORIZON}, "
    # No learning could be faster than none.
    speeds = [partial(speed, ours, suite, _ROLLOUTS) for speed in (_speed, _collecting_speed)]
    rollouts = _PEER_ROLLOUTS, _PEER_ROLLOUTS
    yield from _compared(task, ours, _COPIES, speeds, partial(original_reaching, _HORIZON), rollouts)


def _compared(
    task: str,
    ours: PPO,
    environments: int,
    speeds: Sequence[Callable[[], float]],
    make: Callable[[], gymnasium.Env],
    peer_rollouts: tuple[int, int],
) -> Iterator[dict[str, object]]:
    """Time ours, whole and perhaps without learning, and the peer with two minibatches, in turn.

    The first rollout never counts.
    """
    rollout = ours.steps * environments
    same = rollout // ours.minibatches
    names = {"its own minibatch of 64": 64, f"our minibatch of {same}": same}
    peers = [
        partial(stable_baselines3_speed, make, environments, ours, batch, count * rollout, warm_up=True)
        for batch, count in zip(names.values(), peer_rollouts, strict=True)
    ]
    measured = alternately(_TIMES, *speeds, *peers)
    whole = ("", ", ours only collecting experience")
    for which, speed in zip(whole, measured[: len(speeds)], strict=False):
        for name, their in zip(names, measured[len(speeds) :], strict=True):
            yield {
                "peer": "stable-baselines3 PPO",
                "setting": f"{task}{environments} environments, {ours.epochs} epochs, {name}{which}; "
                f"medians of {_TIMES}",
                "gradex": speed,
                "peer_value": their,
                "unit": "steps/s",
                "ratio": speed / their,
            }


def _speed(ours: PPO, suite: TaskSuite, rollouts: int) -> float:
    """Give the environment steps per second of one policy for all tasks of a suite."""
    everything = range(len(suite))
    steps = rollouts * ours.round_steps(suite, [everything])
    pace = Pace()
    ours.train(ActorCritic.initial(suite, [0]), suite, [everything], steps, [0], observe=pace)
    return pace.speed


def _collecting_speed(ours: PPO, suite: TaskSuite, rollouts: int) -> float:
    """Give the environment steps per second of a policy that does not learn."""
    everything, pace = range(len(suite)), Pace()
    agent = ActorCritic.initial(suite, [0])
    collector = Collector(suite, [everything], ours.copies, [0])
    with one_thread():
        for rollout in range(rollouts):
            collector.collect(agent, ours.steps)
            pace((rollout + 1) * ours.round_steps(suite, [everything]), agent)
    collector.close()
    return pace.speed
