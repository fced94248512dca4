"""HalfCheetah: what tasks pay, and EnvPool's port against Gymnasium's own."""

import sys
from typing import Any

import envpool
import gymnasium
import numpy as np
import pytest

from gradex import MetaPolicy
from gradex.learners import Collector
from gradex.tasks import TaskSuite

from .families import actions


def reward(velocity: float, target: float, action: np.ndarray) -> float:
    """Pay for a step, as the benchmark of MAML defines it."""
    return -abs(velocity - target) - 0.05 * sum(float(torque) ** 2 for torque in action)


def test_a_step_pays_by_velocity_and_action() -> None:
    """EnvPool itself, at the same starts and by the same actions, tells the velocities."""
    suite = TaskSuite.make("halfcheetah", n=3, horizon=6)
    simulator = suite.simulator(2, seed=4)
    start = simulator.reset()[0]
    pool = envpool.make(
        "HalfCheetah-v5", env_type="gymnasium", num_envs=6, env_seed=simulator._seeds.tolist(), num_threads=1
    )
    np.testing.assert_allclose(start, pool.reset()[0], rtol=1e-6)
    targets = np.repeat([-2.0, 0.0, 2.0], 2)
    for chosen in actions(suite, 6, 6):
        paid = simulator.step(chosen)[1]
        told = pool.step(chosen, np.arange(6, dtype=np.int32))[4]
        velocities = told["x_velocity"][np.argsort(told["env_id"])]
        expected = [reward(*each) for each in zip(velocities, targets, chosen, strict=True)]
        np.testing.assert_allclose(paid, expected, rtol=1e-6)
        assert np.ptp(velocities) > 0


def test_velocity_is_the_way_per_time() -> None:
    """The trunk's velocity at the end of a step is near the mean of the step."""
    suite = TaskSuite.make("halfcheetah", n=1)
    simulator = suite.simulator(8, seed=0)
    simulator.reset()
    pairs = []
    for chosen in actions(suite, 60, 8):
        observation, _, _, _, info = simulator.step(chosen)
        pairs.append((info["objectives"][:, 0], observation[:, 8]))
    mean, last = np.concatenate(pairs, axis=1)
    assert np.corrcoef(mean, last)[0, 1] > 0.8
    assert 0.5 < np.polyfit(last, mean, 1)[0] < 1.5


def test_targets() -> None:
    suite = TaskSuite.make("halfcheetah", n=5)
    assert [task.parameters["velocity"] for task in suite] == [-2, -1, 0, 1, 2]
    assert [task.name for task in suite][1:3] == ["1: -1.00 m/s", "2: 0.00 m/s"]
    assert suite.labels is None
    assert TaskSuite.make("halfcheetah").horizon == 200
    alone = TaskSuite.make("halfcheetah", n=1, velocity=(0.25, 3))
    assert alone.tasks[0].parameters == {"velocity": 1.625}
    twelve = [task.name for task in TaskSuite.make("halfcheetah")]
    assert twelve[0] == "0: -2.00 m/s" and twelve[3] == "3: -0.91 m/s" and twelve[-1] == "11: 2.00 m/s"


def test_unseen_targets_fill_the_range_evenly() -> None:
    drawn = TaskSuite.make("halfcheetah", velocity=(3, -1)).unseen(2000, seed=0)
    targets = np.array([task.parameters["velocity"] for task in drawn])
    assert targets.min() >= -1 and targets.max() <= 3
    counts = np.histogram(targets, bins=4, range=(-1, 3))[0]
    assert (np.abs(counts - 500) < 5 * np.sqrt(375)).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"velocity": (0, 50)}, "velocity is .*: give a number or a pair of numbers between -20 and 20"),
        ({"velocity": (0, 1, 2)}, "velocity is .*: give a number or a pair of numbers"),
        ({"horizon": 0}, "horizon=0 is too small: give at least 1"),
    ],
)
def test_bad_options_are_one_line(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        TaskSuite.make("halfcheetah", **options)
    assert "\n" not in str(caught.value)


def test_a_missing_engine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "envpool"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install 'gradex\[halfcheetah\]'"):
        TaskSuite.make("halfcheetah").simulator(1).reset()


def test_envpool_and_gymnasium_have_the_same_cheetah() -> None:
    """From the same state, which the observation tells but for the place, a step leads to the same."""
    pytest.importorskip("mujoco")
    suite = TaskSuite.make("halfcheetah", n=1, velocity=0.0)
    simulator = suite.simulator(3, seed=1)
    seen = simulator.reset()[0]
    original = gymnasium.make("HalfCheetah-v5", ctrl_cost_weight=0.05).unwrapped
    for chosen in actions(suite, 20, 3):
        after, paid, _, _, _ = simulator.step(chosen)
        for i, state in enumerate(seen.astype(np.float64)):
            original.reset()
            original.set_state(np.concatenate([[0.0], state[:8]]), state[8:])
            observation, _, _, _, info = original.step(chosen[i])
            np.testing.assert_allclose(observation, after[i], atol=2e-3)
            assert abs(reward(info["x_velocity"], 0.0, chosen[i]) - paid[i]) < 1e-4
        seen = after
    original.close()


def test_observations_are_of_order_one_while_a_policy_moves() -> None:
    suite = TaskSuite.make("halfcheetah", n=2)
    agent = MetaPolicy(suite).initial([0])
    seen = Collector(suite, [[0, 1]], 8, [0]).collect(agent, 100).observations.numpy()
    centre, spread = map(np.asarray, suite.typical_observation)
    scaled = ((seen - centre) / spread).reshape(-1, 17)
    assert (scaled.std(axis=0) > 0.2).all()
    assert (scaled.std(axis=0) < 3).all()
