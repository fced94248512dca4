"""LunarLander: gravity and wind arrive, landings count as success."""

import gymnasium
import numpy as np
import pytest

from gradex.tasks import TaskSuite
from gradex.tasks.simulator import EpisodeSeeds

from .families import actions, roll


def test_gravities_are_even() -> None:
    suite = TaskSuite.make("lunarlander", n=10)
    gravities = [task.parameters["gravity"] for task in suite.tasks]
    np.testing.assert_allclose(gravities, np.linspace(-2, -11.9, 10))
    assert (suite.discount, suite.horizon) == (0.999, 1000)


def test_a_falling_lander_feels_its_gravity() -> None:
    suite = TaskSuite.make("lunarlander", n=4)
    run = roll(suite.simulator(2, seed=0), np.zeros((12, 8), dtype=int))
    # The observation holds the speed in units of 7.5 a second; a step lasts 1/50 second. The first step is
    # eased by the legs.
    gained = np.diff(run.observations[2:, :, 3], axis=0).mean(axis=0) * 7.5 * 50
    expected = np.repeat([task.parameters["gravity"] for task in suite.tasks], 2)
    np.testing.assert_allclose(gained, expected, rtol=2e-3)


def test_an_episode_is_gymnasiums() -> None:
    suite = TaskSuite.make("lunarlander", n=2, wind=10.0, turbulence=1.0)
    simulator = suite.simulator(1, seed=0)
    plan = actions(suite, 50, 2)
    simulator.reset(seed=[7, 8])
    rows = [simulator.step(chosen)[:2] for chosen in plan]
    for i, seed in enumerate((7, 8)):
        lander = gymnasium.make(
            "LunarLander-v3",
            gravity=suite.tasks[i].parameters["gravity"],
            enable_wind=True,
            wind_power=10.0,
            turbulence_power=1.0,
        )
        lander.reset(seed=seed)
        for chosen, (observation, reward) in zip(plan, rows, strict=True):
            expected, gain, terminated, _, _ = lander.step(chosen[i])
            np.testing.assert_array_equal(observation[i], expected)
            assert reward[i] == gain
            assert not terminated


def test_wind_blows_only_where_asked_for() -> None:
    def run(**options: object) -> np.ndarray:
        simulator = TaskSuite.make("lunarlander", n=1, gravity=-5.0, **options).simulator(1, seed=0)
        simulator.reset()
        return np.stack([simulator.step(np.array([0]))[0] for _ in range(30)])

    np.testing.assert_array_equal(run(), run(wind=0.0, turbulence=0.0))
    assert not np.allclose(run(), run(wind=15.0))
    assert not np.allclose(run(), run(turbulence=1.5))
    assert not np.allclose(run(wind=15.0), run(wind=5.0))


def test_reversed_engines_swap_left_and_right() -> None:
    suite = TaskSuite.make("lunarlander", n=4, gravity=-5.0, reversed="half")
    plain, turned = (int(np.flatnonzero(suite.labels == group)[0]) for group in (0, 1))
    assert sorted(suite.labels) == [0, 0, 1, 1]
    plan = actions(suite, 40, 3)
    ours = roll(suite[[plain]].simulator(3, seed=1), plan)
    theirs = roll(suite[[turned]].simulator(3, seed=1), np.array([0, 3, 2, 1])[plan])
    np.testing.assert_array_equal(ours.observations, theirs.observations)
    assert not np.array_equal(
        ours.observations, roll(suite[[turned]].simulator(3, seed=1), plan).observations
    )


def test_landing_is_success_and_crashing_is_not() -> None:
    simulator = TaskSuite.make("lunarlander", n=2, gravity=(-8.0, -10.0)).simulator(3, seed=0)
    # Only now: Box2D crashes if it is imported first where warnings are errors; the suite knows how to import
    # it.
    from gymnasium.envs.box2d.lunar_lander import heuristic

    observation, _ = simulator.reset()
    landed, over = np.zeros(6, dtype=bool), np.zeros(6, dtype=bool)
    returns = np.zeros(6)
    while not over.all():
        landers = zip(simulator.envs, observation, strict=True)
        chosen = np.array([heuristic(lander.unwrapped, seen) for lander, seen in landers])
        observation, reward, terminated, truncated, info = simulator.step(chosen)
        assert not (info["success"] & ~terminated).any()
        returns += np.where(over, 0, reward)
        landed |= info["success"] & ~over
        over |= terminated | truncated
    assert 1 <= landed.sum() <= 5  # Gymnasium's own pilot lands most of the time
    assert returns[landed].min() > 200
    assert returns[~landed].max() < 0


def test_truncates_after_1000_steps() -> None:
    simulator = TaskSuite.make("lunarlander", n=1, gravity=-1.0).simulator(2, seed=0)
    simulator.reset()
    first = np.zeros(2, dtype=int)
    for t in range(1000):
        _, _, terminated, truncated, _ = simulator.step(np.zeros(2, dtype=int))
        first = np.where((first == 0) & (terminated | truncated), t + 1, first)
    assert truncated.any()
    assert (first[truncated] == 1000).all()
    assert not terminated[truncated].any()


def test_unseen_gravities_stay_inside_the_range() -> None:
    suite = TaskSuite.make("lunarlander", n=2, gravity=(-3.0, -8.0), wind=(0.0, 5.0))
    drawn = suite.unseen(100, seed=0).to_frame()
    assert drawn["gravity"].between(-8, -3).all()
    assert drawn["wind"].between(0, 5).all()
    assert drawn["gravity"].mean() == pytest.approx(-5.5, abs=0.5)


def test_episode_seeds_follow_the_scalar_environment() -> None:
    plain = gymnasium.make("CartPole-v1")
    seeded = EpisodeSeeds(gymnasium.make("CartPole-v1"))
    np.testing.assert_array_equal(plain.reset(seed=5)[0], seeded.reset(seed=5)[0])
    second, third = seeded.reset()[0], seeded.reset()[0]
    assert not np.array_equal(second, third)
    seeded.reset(seed=5)
    seeded.step(0)
    np.testing.assert_array_equal(seeded.reset()[0], second)
