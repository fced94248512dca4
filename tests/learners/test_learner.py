"""Learners by name, as suites recommend them."""

from typing import Any

import pytest

from gradex import MetaPolicy
from gradex.learners import MAML, PPO, SAC, Learner
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


def test_own_environments_get_the_defaults() -> None:
    suite = TaskSuite.from_gymnasium(["CartPole-v1"])
    assert (suite.recommended.meta_steps, Learner.named("ppo", suite)) == (400_000, PPO())
