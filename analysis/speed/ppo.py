"""PPO end to end against stable-baselines3."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gymnasium

from analysis.speed.comparison import Comparison
from analysis.speed.peers import installed, stable_baselines3_speed
from analysis.speed.reaching import ENGINES, original_reaching, reaching
from analysis.speed.timing import Pace, alternately
from gradex.learners import PPO, ActorCritic, Collector
from gradex.tasks import TaskSuite
from gradex.threads import one_thread

#: What is left out without a package.
WITHOUT = {"stable_baselines3": "ppo"} | dict.fromkeys(ENGINES, "ppo on Meta-World")

#: Steps of an episode of Meta-World.
_HORIZON = 200
#: Minibatch of the peer, unless it is told another.
_BATCH = 64


@dataclass(frozen=True)
class _Amount:
    """How much is learnt, and how often.

    Attributes
    ----------
    tasks : int
        CartPoles, with eight environments each.
    cartpole, reach : tuple of int
        Rollouts: of ours, and those on which the peer is timed, with its own minibatch and with ours.
    settings : dict
        Of PPO on Meta-World, beside the recommended ones. There are as many environments as ten tasks of
        MT10 have together.
    times : int
        Measurements of each.
    """

    tasks: int = 10
    cartpole: tuple[int, int, int] = (20, 2, 5)
    reach: tuple[int, int, int] = (4, 1, 1)
    settings: Mapping[str, Any] = field(default_factory=lambda: {"copies": 80})
    times: int = 3


_SMOKE = _Amount(2, (2, 1, 1), (2, 1, 1), {"copies": 2, "steps": 32, "minibatches": 2, "epochs": 1}, times=1)
_AMOUNTS = {"smoke": _SMOKE, "laptop": _Amount(), "paper": _Amount()}


def compare(scale: str) -> Iterator[Comparison]:
    """Learn ten CartPoles, and a task of Meta-World, with equal rollouts, epochs and networks."""
    if not installed("stable_baselines3"):
        return
    amount = _AMOUNTS[scale]
    yield from _cartpole(amount)
    if installed(*ENGINES):
        yield from _reaching(amount)


def _cartpole(amount: _Amount) -> Iterator[Comparison]:
    """Train one policy for all tasks."""
    ours = PPO()
    suite = TaskSuite.make("cartpole", n=amount.tasks)
    rollouts, *theirs = amount.cartpole
    speeds = {"CartPole": partial(_speed, ours, suite, rollouts)}
    peers = _peers(partial(gymnasium.make, "CartPole-v1"), amount.tasks * ours.copies, ours, theirs)
    yield from _compared(speeds, peers, f"{amount.tasks * ours.copies} environments", ours, amount.times)


def _reaching(amount: _Amount) -> Iterator[Comparison]:
    """Train with the settings recommended for MT10; ours in EnvPool, the peer in the original."""
    ours = PPO(**{**reaching().recommended.ppo, **amount.settings})
    suite = reaching(_HORIZON)
    rollouts, *theirs = amount.reach
    name = suite.tasks[0].name
    speeds = {
        name: partial(_speed, ours, suite, rollouts),
        # No learning could be faster than none.
        f"{name}, ours only collecting": partial(_collecting_speed, ours, suite, rollouts),
    }
    peers = _peers(partial(original_reaching, _HORIZON), ours.copies, ours, theirs)
    setting = f"horizon {_HORIZON}, {ours.copies} environments"
    yield from _compared(speeds, peers, setting, ours, amount.times)


def _peers(
    make: Callable[[], gymnasium.Env], environments: int, ours: PPO, rollouts: list[int]
) -> dict[str, Callable[[], float]]:
    """Give the speed of the peer with two minibatches; the first rollout never counts."""
    rollout = ours.steps * environments
    same = rollout // ours.minibatches
    batches = {f"its own minibatch of {_BATCH}": _BATCH, f"our minibatch of {same}": same}
    return {
        name: partial(stable_baselines3_speed, make, environments, ours, batch, count * rollout, warm_up=True)
        for (name, batch), count in zip(batches.items(), rollouts, strict=True)
    }


def _compared(
    speeds: Mapping[str, Callable[[], float]],
    peers: Mapping[str, Callable[[], float]],
    setting: str,
    ours: PPO,
    times: int,
) -> Iterator[Comparison]:
    """Time ours, whole and perhaps without learning, and the peer with two minibatches, in turn."""
    measured = alternately(times, *speeds.values(), *peers.values())
    for case, speed in zip(speeds, measured[: len(speeds)], strict=True):
        for batch, their in zip(peers, measured[len(speeds) :], strict=True):
            told = f"{setting}, {ours.epochs} epochs, {batch}; medians of {times}"
            yield Comparison(case, "stable-baselines3 PPO", told, speed, their, "steps/s")


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
