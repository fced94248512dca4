"""Learners by name, as suites recommend them."""

from typing import Any

import numpy as np
import pytest

from gradex import MetaPolicy
from gradex.learners import MAML, PPO, SAC, Adaptation, Learner
from gradex.tasks import TaskSuite

MILLION = 1_000_000


@pytest.mark.parametrize(
    ("name", "options", "steps", "settings"),
    [
        ("cartpole", {}, (600_000, 600_000), {}),
        ("cartpole", {"reversed": "half"}, (600_000, 600_000), {}),
        ("highway", {}, (600_000, 400_000), {}),
        ("highway", {"vary": "objective"}, (400_000, 400_000), {}),
        ("halfcheetah", {}, (768_000, 768_000), {"steps": 200, "minibatches": 20}),
        ("ant-goal", {}, (960_000, 960_000), {"steps": 100, "minibatches": 20}),
        ("lunarlander", {}, (4 * MILLION, 600_000), {"steps": 256, "learning_rate": 7e-4}),
        ("navigation", {}, (200_000, 400_000), {}),
        ("mt10", {}, (2 * MILLION, 2 * MILLION), {"steps": 200, "epochs": 8, "minibatches": 20}),
        ("mt50", {"engine": "gymnasium"}, (10 * MILLION, 10 * MILLION), {"steps": 200, "copies": 3}),
    ],
)
def test_what_is_recommended(name: str, options: Any, steps: tuple[int, int], settings: Any) -> None:
    suite = TaskSuite.make(name, **options)
    told = suite.recommended
    assert (told.meta_steps, told.group_steps) == steps
    learner = Learner.named("ppo", suite)
    assert learner == PPO(**told.ppo) == MetaPolicy(suite).learner == Learner.named("ppo", suite[:1])
    assert (learner == PPO()) == (not settings)
    assert {setting: getattr(learner, setting) for setting in settings} == settings
    assert (Learner.named("sac", suite), Learner.named("maml", suite)) == (SAC(), MAML())


OUT_OF_RANGE: list[tuple[str, float, str]] = [
    ("gae_lambda", 1.5, "gae_lambda is 1.5: choose a number from 0 to 1"),
    ("gae_lambda", -0.1, "gae_lambda is -0.1: choose a number from 0 to 1"),
    ("clip_range", 0.0, "clip_range is 0.0: it must be positive"),
    ("value_coef", -1.0, "value_coef is -1.0: choose at least 0"),
    ("entropy_coef", np.inf, "entropy_coef is inf: give a finite number"),
    ("learning_rate", np.inf, "learning_rate is inf: give a finite number"),
    ("learning_rate", 0.0, "learning_rate is 0.0: it must be positive"),
    ("target_entropy", -np.inf, "target_entropy is -inf: give a finite number"),
    ("inner_rate", 0.0, "inner_rate is 0.0: it must be positive"),
    ("rate", -1.0, "rate is -1.0: it must be positive"),
]


@pytest.mark.parametrize(
    ("kind", "name", "value", "message"),
    [
        (kind, *case)
        for kind in (PPO, SAC, MAML, Adaptation)
        for case in OUT_OF_RANGE
        if case[0] in vars(kind)
    ],
)
def test_settings_out_of_range_are_named(kind: Any, name: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        kind(**{name: value})


@pytest.mark.parametrize(
    "learner",
    [
        PPO(steps=16, copies=2, learning_rate=1e30),
        SAC(steps=8, copies=2, start=16, batch=8, learning_rate=1e30),
        MAML(trajectories=2, tasks=2, learning_rate=1e38),
    ],
    ids=lambda each: each.name,
)
def test_a_training_that_diverges_says_so(learner: Learner) -> None:
    suite = TaskSuite.make("navigation", n=2, horizon=8, goals="uniform")
    with pytest.raises(ValueError, match=r"diverged.*lower the learning rate$"):
        MetaPolicy(suite, learner=learner, layers=2, width=4).fit(500)


def test_own_environments_get_the_defaults() -> None:
    suite = TaskSuite.from_gymnasium(["CartPole-v1"])
    assert (suite.recommended.meta_steps, Learner.named("ppo", suite)) == (400_000, PPO())
