"""Vectors of rewards in EnvPool: they give back its scalar reward, and are those of MO-Gymnasium."""

from typing import Any

import envpool
import numpy as np
import pytest

from gradex import TaskSuite
from gradex.tasks import vector_rewards
from gradex.tasks.pooled_rewards import PORTS

from .families import actions

pytest.importorskip("mo_gymnasium")
COPIES = 4


def make(environment: str, **options: Any) -> TaskSuite:
    count = len(vector_rewards.OBJECTIVES[vector_rewards.bare(environment)])
    return TaskSuite.make(environment, **{"scale": np.ones(count), "n": 1, **options})


def scalar(environment: str, vector: np.ndarray, terminated: np.ndarray) -> np.ndarray:
    """Give the reward of Gymnasium's environment, from the vector."""
    if environment == "mo-lunar-lander-v3":  # the last reward takes the place of all others
        return np.where(terminated, vector[:, 0], vector @ [0, 1, 0.3, 0.03])
    if environment == "mo-mountaincar-v0":  # which counts the last step too
        return vector[:, 0] - terminated
    if environment == "mo-mountaincarcontinuous-v0":
        return 0.1 * vector[:, 1] + 100 * terminated
    if environment == "mo-halfcheetah-v5":
        return vector @ [1, 0.1]
    return vector @ [1, 0, 1e-3] - 1e-3 * ~terminated  # each component has the reward for being healthy


def plan(environment: str, suite: TaskSuite, steps: int, seen: np.ndarray) -> np.ndarray:
    """Take random actions, but drive mountain cars up, so that episodes end at the goal too."""
    chosen = actions(suite, steps, COPIES)[-1]
    if environment == "mo-mountaincar-v0":
        return np.where(np.arange(COPIES) % 2 == 0, 2 * (seen[:, 1] > 0), chosen)
    if environment == "mo-mountaincarcontinuous-v0":
        return np.where(np.arange(COPIES)[:, None] % 2 == 0, np.sign(seen[:, 1:]), 3 * chosen)
    return chosen


@pytest.mark.filterwarnings("ignore:.*precision lowered by casting")
@pytest.mark.parametrize("environment", PORTS)
def test_the_vector_gives_back_the_scalar_on_every_step(environment: str) -> None:
    suite = make(environment)
    assert suite.options["engine"] == "envpool"
    simulator = suite.simulator(COPIES, seed=3)
    seen = simulator.reset()[0]
    pool = envpool.make(
        PORTS[environment].environment, env_type="gymnasium", num_envs=COPIES,
        env_seed=simulator._seeds.tolist(), num_threads=1,
    )  # fmt: skip
    pool.reset()
    ends, begins = 0, np.zeros(COPIES, dtype=bool)
    for step in range(1, 401):
        chosen = plan(environment, suite, step, seen)
        seen, _, terminated, truncated, info = simulator.step(chosen)
        inside = np.clip(chosen, -1, 1) if chosen.dtype.kind == "f" else chosen
        pool.send(inside, np.arange(COPIES, dtype=np.int32))
        told = pool.recv()
        reward = told[1][np.argsort(told[4]["env_id"])]
        expected = scalar(environment, info["objectives"], terminated)
        np.testing.assert_allclose(expected[~begins], reward[~begins], atol=2e-4)
        assert (info["objectives"][begins] == 0).all()
        if environment == "mo-lunar-lander-v3":
            assert (np.abs(info["objectives"][terminated, 0]) == 100).all()
            assert (info["objectives"][terminated, 1] != 0).all()  # unlike the scalar
        ends += terminated.sum()
        begins = terminated | truncated
    assert (ends > 0) == (environment != "mo-halfcheetah-v5")


@pytest.mark.parametrize("environment", [each for each in PORTS if "lunar" not in each])
def test_the_vector_is_that_of_mo_gymnasium(environment: str) -> None:
    """From the same state, which the observation tells but for the place, a step pays the same."""
    suite = make(environment)
    simulator = suite.simulator(COPIES, seed=1)
    seen = simulator.reset()[0]
    original: Any = vector_rewards.make(environment, 1000)
    begins = np.zeros(COPIES, dtype=bool)
    for step in range(1, 131):
        chosen = plan(environment, suite, step, seen)
        after, _, terminated, truncated, info = simulator.step(chosen)
        for i, state in enumerate(seen.astype(np.float64)):
            if begins[i] or np.abs(state).max() > 9.9:  # the hopper's speeds are cut off at 10
                continue
            original.reset()
            if "mountaincar" in environment:
                original.unwrapped.state = state
            else:
                size = original.unwrapped.model.nq - 1
                original.unwrapped.set_state(np.concatenate([[0.0], state[:size]]), state[size:])
            vector = original.step(chosen[i])[1]
            np.testing.assert_allclose(
                info["objectives"][i], vector, atol=2e-2 if "hopper" in environment else 1e-3
            )
        seen, begins = after, terminated | truncated
    original.close()


def test_all_preferences_are_paid_by_their_weights() -> None:
    suite = TaskSuite.make("mo-lunar-lander", n=3, scale=[1, 2, 3, 4])
    simulator = suite.simulator(1, seed=[5, 5, 5])
    simulator.reset()
    for chosen in np.repeat(actions(suite, 200, 1), 3, axis=1):
        _, paid, _, _, info = simulator.step(chosen)
        np.testing.assert_array_equal(suite.rewards(info["objectives"]).diagonal(), paid)
        np.testing.assert_array_equal(info["objectives"], info["objectives"][[0, 0, 0]])


def test_the_engine_is_named_where_it_has_no_such_environment() -> None:
    with pytest.raises(ValueError, match="engine='envpool' has no 'mo-reacher': give 'gymnasium'"):
        TaskSuite.make("mo-reacher", engine="envpool")
