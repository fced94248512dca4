"""Training on many subsets of tasks for real, against stable-baselines3 on one subset after the other."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import gymnasium

from analysis.speed.comparison import Comparison
from analysis.speed.peers import installed, stable_baselines3_speed
from gradex.ground_truth import GroundTruth
from gradex.learners import PPO
from gradex.meta_policy import MetaPolicy
from gradex.tasks import TaskSuite

#: What is left out without a package.
WITHOUT = {
    "stable_baselines3": "ground_truth",
    "envpool": "ground_truth of highway",
    "highway_env": "ground_truth of highway",
}

#: Tasks of the suite and of each subset.
_TASKS, _SIZE = 10, 3


def _highway() -> gymnasium.Env:
    import highway_env  # noqa: F401 - registers the environment

    return gymnasium.make("highway-fast-v0")


#: The environment of the peer, and what a suite needs that is not in the core.
_FAMILIES: dict[str, tuple[Callable[[], gymnasium.Env], tuple[str, ...]]] = {
    "cartpole": (lambda: gymnasium.make("CartPole-v1"), ()),
    "lunarlander": (lambda: gymnasium.make("LunarLander-v3"), ()),
    "highway": (_highway, ("envpool", "highway_env")),
}


@dataclass(frozen=True)
class _Amount:
    """How much is trained.

    Attributes
    ----------
    subsets : dict
        How many, by suite.
    timed : dict
        Steps on which the peer is timed, by suite; rounded up to whole rollouts.
    meta_steps, steps : int
        Environment steps of the meta-policy, and of each subset.
    """

    subsets: dict[str, int]
    timed: dict[str, int]
    meta_steps: int
    steps: int


_LAPTOP = _Amount(
    subsets={"cartpole": 200, "lunarlander": 32, "highway": 32},
    timed={"cartpole": 50_000, "lunarlander": 50_000, "highway": 1},
    meta_steps=20_000,
    steps=50_000,
)
_SMOKE = _Amount({"cartpole": 2}, {"cartpole": 1}, meta_steps=10_000, steps=1_000)
_AMOUNTS = {"smoke": _SMOKE, "laptop": _LAPTOP, "paper": _LAPTOP}


def compare(scale: str) -> Iterator[Comparison]:
    """Fine-tune on subsets of three tasks, 8 environments each; rollouts, epochs and networks are equal."""
    if not installed("stable_baselines3"):
        return
    amount = _AMOUNTS[scale]
    for family, count in amount.subsets.items():
        make, needed = _FAMILIES[family]
        if not installed(*needed):
            continue
        meta = MetaPolicy(TaskSuite.make(family, n=_TASKS)).fit(amount.meta_steps)
        subsets = [tuple((first + shift) % _TASKS for shift in (0, 1, 3)) for first in range(count)]
        truth = GroundTruth(amount.steps // _SIZE, replicates=1, episodes=2)
        start = time.perf_counter()
        truth.fit(meta, subsets)
        speed = truth.steps_ / (time.perf_counter() - start)
        ours = cast(PPO, meta.learner)  # that of the recipes of these families
        environments = _SIZE * ours.copies
        same = ours.steps * environments // ours.minibatches
        for name, batch in (("its own minibatch of 64", 64), (f"our minibatch of {same}", same)):
            theirs = stable_baselines3_speed(make, environments, ours, batch, amount.timed[family])
            setting = f"{count} subsets of {_SIZE} tasks, {amount.steps:,} steps each, {name}"
            yield Comparison(family, "stable-baselines3 PPO in a loop", setting, speed, theirs, "steps/s")
