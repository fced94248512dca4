"""PPO end to end against stable-baselines3."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import cast

import gymnasium

from gradex.bench.peers import stable_baselines3_speed
from gradex.bench.reaching import installed, original_reaching, reaching
from gradex.learners import PPO, ActorCritic
from gradex.learners.recipes import recipe
from gradex.tasks import TaskSuite

#: Steps of an episode of Meta-World, and environments: those that ten tasks of MT10 have together.
_HORIZON, _COPIES = 200, 80
#: Rollouts of ours on Meta-World, and of the peer's.
_ROLLOUTS, _PEER_ROLLOUTS = 3, 1


def rows() -> Iterator[dict[str, object]]:
    """Learn ten CartPoles, and a task of Meta-World, with equal rollouts, epochs and networks."""
    yield from _cartpole()
    if installed():
        yield from _reaching()


def _cartpole() -> Iterator[dict[str, object]]:
    """Train one policy on 10 tasks × 8 copies."""
    ours = PPO()
    suite = TaskSuite.make("cartpole", n=10)
    speed = _speed(ours, suite, 20)
    yield from _compared("", ours, 10 * ours.copies, lambda: gymnasium.make("CartPole-v1"), (2, 5), speed)


def _reaching() -> Iterator[dict[str, object]]:
    """Train with the settings recommended for MT10; ours in EnvPool, the peer in the original."""
    ours = replace(cast(PPO, recipe("mt10").learner), copies=_COPIES)
    suite = reaching(_HORIZON)
    speed = _speed(ours, suite, _ROLLOUTS)
    task = f"mt10, {suite.tasks[0].name}, horizon {_HORIZON}, "
    rollouts = _PEER_ROLLOUTS, _PEER_ROLLOUTS
    yield from _compared(task, ours, _COPIES, lambda: original_reaching(_HORIZON), rollouts, speed)


def _speed(ours: PPO, suite: TaskSuite, rollouts: int) -> float:
    """Give the environment steps per second of one policy for all tasks of a suite."""
    everything = range(len(suite))
    steps = rollouts * ours.round_steps(suite, [everything])
    agent = ActorCritic.initial(suite, [0])
    start = time.perf_counter()
    ours.train(agent, suite, [everything], steps, [0])
    return steps / (time.perf_counter() - start)


def _compared(
    task: str,
    ours: PPO,
    environments: int,
    make: Callable[[], gymnasium.Env],
    rollouts: tuple[int, int],
    speed: float,
) -> Iterator[dict[str, object]]:
    """Time the peer with both minibatches."""
    rollout = ours.steps * environments
    same = rollout // ours.minibatches
    names = "its own minibatch of 64", f"our minibatch of {same}"
    for setting, batch, count in zip(names, (64, same), rollouts, strict=True):
        theirs = stable_baselines3_speed(make, environments, ours, batch, count * rollout)
        yield {
            "peer": "stable-baselines3 PPO",
            "setting": f"{task}{environments} environments, {ours.epochs} epochs, {setting}",
            "gradex": speed,
            "peer_value": theirs,
            "unit": "steps/s",
            "ratio": speed / theirs,
        }
