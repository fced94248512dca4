"""PPO end to end against stable-baselines3."""

import time
from collections.abc import Callable, Iterator
from typing import cast

import gymnasium

from gradex.bench.peers import stable_baselines3_speed
from gradex.bench.reaching import installed, original_reaching, reaching
from gradex.learners import PPO, ActorCritic
from gradex.learners.recipes import recipe
from gradex.tasks import TaskSuite

#: Steps of an episode of Meta-World, and policies of our stacks.
_HORIZON, _STACKS = 200, (1, 8)
#: Rollouts of ours on Meta-World, and of the peer's.
_ROLLOUTS, _PEER_ROLLOUTS = 6, 3


def rows() -> Iterator[dict[str, object]]:
    """Learn ten CartPoles, and a task of Meta-World, with equal rollouts, epochs and networks."""
    yield from _cartpole()
    if installed():
        yield from _reaching()


def _cartpole() -> Iterator[dict[str, object]]:
    """Train one policy on 10 tasks × 8 copies."""
    ours = PPO()
    suite = TaskSuite.make("cartpole", n=10)
    speed = _speed(ours, suite, range(10), 1, 20)
    yield from _compared(
        "", ours, 10 * ours.copies, lambda: gymnasium.make("CartPole-v1"), (2, 5), [(1, speed)]
    )


def _reaching() -> Iterator[dict[str, object]]:
    """Train one policy, and a stack, with the settings recommended for MT10; ours in EnvPool."""
    ours = cast(PPO, recipe("mt10").learner)
    suite = reaching(_HORIZON)
    speeds = [(policies, _speed(ours, suite, [0], policies, _ROLLOUTS)) for policies in _STACKS]
    task = f"mt10, {suite.tasks[0].name}, horizon {_HORIZON}, "
    rollouts = _PEER_ROLLOUTS, _PEER_ROLLOUTS
    yield from _compared(task, ours, ours.copies, lambda: original_reaching(_HORIZON), rollouts, speeds)


def _speed(ours: PPO, suite: TaskSuite, subset: range | list[int], policies: int, rollouts: int) -> float:
    """Give the environment steps per second of all policies of a stack together."""
    seeds, subsets = list(range(policies)), [subset] * policies
    steps = rollouts * ours.round_steps(suite, subsets)
    agent = ActorCritic.initial(suite, seeds)
    start = time.perf_counter()
    ours.train(agent, suite, subsets, steps, seeds)
    return steps / (time.perf_counter() - start)


def _compared(
    task: str,
    ours: PPO,
    environments: int,
    make: Callable[[], gymnasium.Env],
    rollouts: tuple[int, int],
    speeds: list[tuple[int, float]],
) -> Iterator[dict[str, object]]:
    """Time the peer with both minibatches, and compare each with all our stacks."""
    rollout = ours.steps * environments
    same = rollout // ours.minibatches
    names = "its own minibatch of 64", f"our minibatch of {same}"
    for setting, batch, count in zip(names, (64, same), rollouts, strict=True):
        theirs = stable_baselines3_speed(make, environments, ours, batch, count * rollout)
        for policies, speed in speeds:
            stack = f", a stack of {policies} against one" if policies > 1 else ""
            yield {
                "peer": "stable-baselines3 PPO",
                "setting": f"{task}{environments} environments, {ours.epochs} epochs, {setting}{stack}",
                "gradex": speed,
                "peer_value": theirs,
                "unit": "steps/s",
                "ratio": speed / theirs,
            }
