"""CartPole against Gymnasium's scalar environment."""

import gymnasium
import numpy as np
import pytest

from gradex.seeds import derive, uniforms
from gradex.tasks import Task, TaskSuite
from gradex.tasks.cartpole import CartPoleSimulator

from .families import actions, roll


def scalar(parameters: dict) -> gymnasium.Env:
    """Gymnasium's CartPole with these constants."""
    pole = gymnasium.make("CartPole-v1").unwrapped
    pole.length, pole.masspole = parameters["half_length"], parameters["mass"]
    pole.force_mag, pole.gravity = parameters["force"], parameters["gravity"]
    pole.total_mass = pole.masspole + pole.masscart
    pole.polemass_length = pole.masspole * pole.length
    return pole


def test_physics_are_gymnasiums() -> None:
    suite = TaskSuite.make(
        "cartpole", n=6, half_length=(0.1, 4.0), mass=(0.05, 1.0), force=(5.0, 20.0), gravity=(2.0, 20.0)
    )
    simulator = suite.simulator(2, seed=0)
    plan = actions(suite, 60, simulator.num_envs)
    run = roll(simulator, plan)
    checked = 0
    for i in range(simulator.num_envs):
        pole = scalar(suite.tasks[i // 2].parameters)
        pole.reset()
        pole.state = run.start[i].astype(np.float64)
        for t in range(len(plan)):
            observation, reward, terminated, _, _ = pole.step(int(plan[t, i]))
            np.testing.assert_allclose(run.observations[t, i], observation, rtol=1e-4, atol=1e-5)
            assert (run.rewards[t, i], run.terminated[t, i]) == (reward, terminated)
            checked += 1
            if terminated:
                break
    assert checked > 200


def test_every_episode_of_an_environment_begins_at_a_place_of_its_own() -> None:
    """Starts are drawn for many episodes at once, here one after the other; poles fall at different pace."""
    tasks = [Task("short", {"half_length": 0.05}), Task("long", {"half_length": 4.0})]
    seeds = np.array([3, 2**40])
    simulator = CartPoleSimulator(tasks, seeds, horizon=500)
    simulator.reset()
    episodes = [0, 0]
    while min(episodes) < 40:
        ended = simulator.prev_done.copy()
        observation = simulator.step(np.zeros(2, dtype=np.int64))[0]
        for place in np.flatnonzero(ended):
            episodes[place] += 1
            draws = uniforms(derive(seeds[place : place + 1], episodes[place]), 4)[0]
            np.testing.assert_allclose(observation[place], 0.1 * draws - 0.05, rtol=1e-5, atol=1e-9)
    assert max(episodes) > 50


def test_starts_have_gymnasiums_law() -> None:
    starts = TaskSuite.make("cartpole", n=1).simulator(4000, seed=0).reset()[0]
    assert np.abs(starts).max() <= 0.05
    np.testing.assert_allclose(starts.mean(axis=0), 0, atol=4 * 0.05 / np.sqrt(3 * 4000))
    np.testing.assert_allclose(starts.std(axis=0), 0.05 / np.sqrt(3), rtol=0.05)
    np.testing.assert_allclose(np.corrcoef(starts.T), np.eye(4), atol=4 / np.sqrt(4000))


def test_reversed_motors_swap_the_actions() -> None:
    suite = TaskSuite.make("cartpole", n=4, half_length=1.0, reversed="half")
    plain, turned = (int(np.flatnonzero(suite.labels == group)[0]) for group in (0, 1))
    assert sorted(suite.labels) == [0, 0, 1, 1]
    plan = actions(suite, 50, 3)
    ours = roll(suite[[plain]].simulator(3, seed=1), plan)
    theirs = roll(suite[[turned]].simulator(3, seed=1), 1 - plan)
    np.testing.assert_array_equal(ours.observations, theirs.observations)


def test_truncates_after_500_steps() -> None:
    # A short wide swing is easy: push where the pole falls.
    simulator = TaskSuite.make("cartpole", n=1, half_length=1.0).simulator(4, seed=0)
    observation, _ = simulator.reset()
    for t in range(500):
        lean = (
            observation[:, 2] + 0.5 * observation[:, 3] + 0.05 * observation[:, 0] + 0.1 * observation[:, 1]
        )
        observation, reward, terminated, truncated, _ = simulator.step((lean > 0).astype(int))
        assert not terminated.any()
        assert (reward == 1).all()
        assert truncated.all() == truncated.any() == (t == 499)


def test_unseen_tasks_stay_inside_the_ranges() -> None:
    suite = TaskSuite.make("cartpole", n=2, half_length=(0.2, 0.4), force=(5.0, 6.0))
    drawn = suite.unseen(200, seed=0).to_frame()
    assert drawn["half_length"].between(0.2, 0.4).all()
    assert drawn["force"].between(5, 6).all()
    assert drawn["mass"].unique() == pytest.approx([0.1])
    assert drawn["half_length"].nunique() == 200
