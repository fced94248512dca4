"""Navigation by hand."""

import numpy as np
import pytest

from gradex.tasks import TaskSuite


def goal(suite: TaskSuite, task: int) -> np.ndarray:
    angle = suite.tasks[task].parameters["angle"]
    return suite.options["radius"] * np.array([np.cos(angle), np.sin(angle)])


def test_an_episode_by_hand() -> None:
    suite = TaskSuite.make("navigation", n=3, horizon=3, threshold=0.2, bonus=5.0, radius=0.5)
    target = goal(suite, 0)
    simulator = suite[[0]].simulator(1)
    place, _ = simulator.reset()
    np.testing.assert_array_equal(place, [[0, 0, 1]])
    expected = np.zeros(2)
    for t, action in enumerate([[1.0, 0.0], [-0.5, 0.25], [3.0, -7.0]]):
        place, reward, terminated, truncated, info = simulator.step(np.array([action], dtype=np.float32))
        expected = expected + 0.1 * np.clip(action, -1, 1)
        distance = np.hypot(*(expected - target))
        np.testing.assert_allclose(place[0], [*expected, 1 - (t + 1) / 3], rtol=1e-6, atol=1e-7)
        assert terminated[0] == (t == 2)
        assert not truncated[0]
        assert info["success"][0] == (t == 2 and distance < 0.2)
        assert reward[0] == pytest.approx(-distance + 5.0 * info["success"][0])
    place, reward, terminated, _, info = simulator.step(np.ones((1, 2), np.float32))
    np.testing.assert_array_equal(place, [[0, 0, 1]])
    assert (reward[0], terminated[0], info["success"][0]) == (0, False, False)


def test_walking_straight_to_the_goal_succeeds() -> None:
    suite = TaskSuite.make("navigation", n=6, groups=3)
    simulator = suite.simulator(1)
    place, _ = simulator.reset()
    goals = np.stack([goal(suite, i) for i in range(6)])
    for _ in range(suite.horizon):
        way = 10 * (goals - place[:, :2])
        move = way / np.maximum(np.abs(way).max(axis=1, keepdims=True), 1)
        place, reward, terminated, _, info = simulator.step(move)
    assert terminated.all()
    assert info["success"].all()
    np.testing.assert_allclose(reward, 5, atol=1e-3)


@pytest.mark.parametrize(("name", "most"), [("navigation", 3), ("ant-goal", 4)])
def test_by_default_there_are_no_more_groups_than_tasks(name: str, most: int) -> None:
    for n in (1, 2, most, most + 2):
        suite = TaskSuite.make(name, n=n)
        assert suite.options["groups"] == len(set(suite.labels.tolist())) == min(n, most)


@pytest.mark.parametrize("n", [6, 7, 12])
def test_groups_are_directions(n: int) -> None:
    suite = TaskSuite.make("navigation", n=n, groups=3, seed=1)
    angles = np.array([task.parameters["angle"] for task in suite.tasks])
    away = (angles - suite.options["rotation"] - suite.labels * 2 * np.pi / 3 + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(away).max() <= np.radians(20)
    assert np.ptp(np.bincount(suite.labels)) <= 1


@pytest.mark.parametrize("groups", [2, 5, 10])
def test_gaps_are_wider_than_groups(groups: int) -> None:
    suite = TaskSuite.make("navigation", n=300, groups=groups, seed=1)
    angles = np.array([task.parameters["angle"] for task in suite.tasks])
    order = np.argsort(angles)
    ordered, labels = angles[order], suite.labels[order]
    steps = np.diff(ordered, append=ordered[0] + 2 * np.pi)
    gaps = steps[labels != np.roll(labels, -1)]
    assert len(gaps) == groups
    assert gaps.min() >= 2 / 3 * 2 * np.pi / groups - 1e-9
    assert 2 * np.pi - gaps.sum() <= 2 * np.pi / 3 + 1e-9


def test_sources_of_goals() -> None:
    def angles(goals: str, n: int) -> np.ndarray:
        suite = TaskSuite.make("navigation", n=n, goals=goals, seed=3)
        assert suite.labels is None
        turned = np.array([task.parameters["angle"] for task in suite.tasks]) - suite.options["rotation"]
        return (turned + np.pi) % (2 * np.pi) - np.pi

    np.testing.assert_allclose(
        np.sort(angles("uniform", 8) % (2 * np.pi)), np.arange(8) * np.pi / 4, atol=1e-12
    )
    assert np.abs(angles("partial", 50)).max() <= np.pi / 4
    outside = (np.abs(angles("biased", 100)) > np.pi / 4).sum()
    assert 1 <= outside <= 10


def test_targets_of_a_narrow_source_cover_the_circle() -> None:
    drawn = TaskSuite.make("navigation", n=4, goals="partial").unseen(400, seed=0)
    angles = np.array([task.parameters["angle"] for task in drawn.tasks])
    assert np.histogram(angles, bins=8, range=(0, 2 * np.pi))[0].min() > 20
    grouped = TaskSuite.make("navigation", n=6, groups=3).unseen(30, seed=0)
    np.testing.assert_array_equal(np.bincount(grouped.labels), [10, 10, 10])


def test_tasks_differ_in_reward_only() -> None:
    suite = TaskSuite.make("navigation", n=4, groups=2)
    assert suite.shared_dynamics
    simulator = suite.simulator(1)
    simulator.reset()
    place, reward, *_ = simulator.step(np.full((4, 2), 0.7, np.float32))
    assert len(np.unique(place, axis=0)) == 1
    assert len(np.unique(reward)) == 4
