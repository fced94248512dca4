"""Training on many subsets of tasks for real, against stable-baselines3 on one subset after the other."""

import time
from collections.abc import Callable, Iterator
from typing import cast

import gymnasium

from gradex.bench.peers import stable_baselines3_speed
from gradex.ground_truth import GroundTruth
from gradex.learners import PPO
from gradex.meta_policy import MetaPolicy
from gradex.tasks import TaskSuite

#: Tasks of the suite and of each subset.
_TASKS, _SIZE = 10, 3


def _highway() -> gymnasium.Env:
    import highway_env  # noqa: F401 - registers the environment

    return gymnasium.make("highway-fast-v0")


#: Subsets, environment steps of each, the environment of the peer, and the steps on which it is timed.
_FAMILIES: dict[str, tuple[int, int, Callable[[], gymnasium.Env], int]] = {
    "cartpole": (200, 50_000, lambda: gymnasium.make("CartPole-v1"), 50_000),
    "lunarlander": (32, 50_000, lambda: gymnasium.make("LunarLander-v3"), 50_000),
    "highway": (32, 50_000, _highway, 1),
}


def rows() -> Iterator[dict[str, object]]:
    """Fine-tune on subsets of three tasks, 8 environments each; rollouts, epochs and networks are equal."""
    for family, (count, steps, make, timed) in _FAMILIES.items():
        suite = TaskSuite.make(family, n=_TASKS)
        meta = MetaPolicy(suite).fit(20_000)
        subsets = [tuple((first + shift) % _TASKS for shift in (0, 1, 3)) for first in range(count)]
        truth = GroundTruth(steps // _SIZE, replicates=1, episodes=2)
        start = time.perf_counter()
        truth.fit(meta, subsets)
        speed = truth.steps_ / (time.perf_counter() - start)
        ours = cast(PPO, meta.learner)  # that of the recipes of these families
        environments = _SIZE * ours.copies
        same = ours.steps * environments // ours.minibatches
        for setting, batch in (("its own minibatch of 64", 64), (f"our minibatch of {same}", same)):
            theirs = stable_baselines3_speed(make, environments, ours, batch, timed)
            yield {
                "peer": "stable-baselines3 PPO in a loop",
                "setting": f"{family}, {count} subsets of {_SIZE} tasks, {steps:,} steps each, {setting}",
                "gradex": speed,
                "peer_value": theirs,
                "unit": "steps/s",
                "ratio": speed / theirs,
            }
