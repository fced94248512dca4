"""Families of MuJoCo in which a step of one task tells what all others pay for it."""

import numpy as np
import pytest

from gradex import MetaPolicy
from gradex.tasks import TaskSuite

from .families import actions

pytest.importorskip("envpool")
pytestmark = pytest.mark.parametrize("family", ["ant-goal", "halfcheetah"])


def test_actions_are_clipped_and_cost_what_is_left(family: str) -> None:
    suite = TaskSuite.make(family, n=4)
    wild, tame = suite.simulator(1, seed=0), suite.simulator(1, seed=0)
    wild.reset()
    tame.reset()
    for chosen in 3 * actions(suite, 5, 4):
        for ours, theirs in zip(wild.step(chosen)[:2], tame.step(np.clip(chosen, -1, 1))[:2], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_step_of_one_task_tells_what_the_others_pay(family: str) -> None:
    suite = TaskSuite.make(family, n=4, horizon=3)
    simulator = suite.simulator(1, seed=[7, 7, 7, 7])
    simulator.reset()
    plan = np.repeat(actions(suite, 3, 1), 4, axis=1)
    for chosen in plan:
        _, paid, _, _, info = simulator.step(chosen)
        told = suite.rewards(info["objectives"])  # [tasks, environments]
        assert told.shape == (4, 4)
        np.testing.assert_allclose(told.diagonal(), paid)
        np.testing.assert_allclose(told[:, 0], paid)  # the same step in all environments
        assert len(np.unique(paid)) == 4


def test_one_set_of_steps_serves_all(family: str) -> None:
    suite = TaskSuite.make(family, n=4, horizon=20)
    meta = MetaPolicy(suite, layers=2, width=8).fit(1)
    shared, own = (meta.transitions(60, copies=4, sharing=sharing) for sharing in ("auto", "none"))
    assert shared.advantages.shape == (4, 60)
    assert own.advantages.shape == (240,)
