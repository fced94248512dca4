"""Suites as such: making, taking apart, describing."""

import dataclasses

import numpy as np
import pytest

from gradex.tasks import Task, TaskSuite
from gradex.tasks.simulator import environment_seeds


def test_names_are_known() -> None:
    assert {"cartpole", "highway", "lunarlander", "navigation"} <= set(TaskSuite.names())
    assert "custom" not in TaskSuite.names()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cartpol", {}, "unknown suite 'cartpol': did you mean 'cartpole'"),
        ("cartpole", {"wind": 3.0}, "suite 'cartpole' has no option 'wind': it takes n, seed"),
        ("cartpole", {"n": 0}, "n is 0: a suite needs at least one task"),
        (
            "cartpole",
            {"half_length": -1.0},
            "half_length is -1.0: give a number or a pair of numbers between 0 and 100",
        ),
        (
            "cartpole",
            {"mass": (0.1, float("nan"))},
            "mass is .*: give a number or a pair of numbers between 0 and 100",
        ),
        ("cartpole", {"reversed": "all"}, "reversed is 'all': choose 'none' or 'half'"),
        ("lunarlander", {"n": 0}, "n is 0"),
        (
            "lunarlander",
            {"gravity": 0.0},
            "gravity is 0.0: give a number or a pair of numbers between -12 and 0",
        ),
        ("lunarlander", {"gravity": (-12.0, -2.0)}, "gravity is .* between -12 and 0"),
        ("lunarlander", {"wind": 21.0}, "wind is 21.0: give a number or a pair of numbers between 0 and 20"),
        ("lunarlander", {"turbulence": (0.0, 1.0, 2.0)}, "turbulence is .* between 0 and 2"),
        ("highway", {"n": -1}, "n is -1"),
        ("highway", {"vary": "lanes"}, "vary is 'lanes': choose 'density' or 'objective'"),
        ("highway", {"engine": "python"}, "engine is 'python': choose 'envpool' or 'gymnasium'"),
        (
            "highway",
            {"scenario": "merge-v0"},
            "scenario is 'merge-v0': choose 'highway-fast-v0' or 'highway-v0'",
        ),
        ("highway", {"density": 0.0}, "density is 0.0: give a number or a pair of numbers between 0 and 10"),
        (
            "highway",
            {"vary": "objective", "density": (1.0, 2.0)},
            "density is .* with vary='objective': give one number",
        ),
        ("navigation", {"n": 0}, "n is 0"),
        (
            "navigation",
            {"goals": "square"},
            "goals is 'square': choose 'groups', 'uniform', 'partial' or 'biased'",
        ),
        ("navigation", {"n": 2, "groups": 3}, "groups is 3 for 2 tasks: choose 1 to 2"),
        ("navigation", {"radius": 0.0}, "radius 0.0, threshold 0.2 and horizon 30 must be positive"),
    ],
)
def test_bad_options_are_named(name: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        TaskSuite.make(name, **options)
    assert "\n" not in str(caught.value)


def test_bad_use_is_named() -> None:
    suite = TaskSuite.make("cartpole", n=3)
    with pytest.raises(ValueError, match="task 3 is not in a suite of 3: indices run from 0 to 2"):
        suite[[0, 3]]
    with pytest.raises(ValueError, match="a suite needs at least one task, got none"):
        suite[[]]
    with pytest.raises(ValueError, match="copies is 0: at least one environment"):
        suite.simulator(copies=0)
    with pytest.raises(ValueError, match="cannot draw 0 tasks"):
        suite.unseen(0, seed=0)
    with pytest.raises(ValueError, match="seed has 2 entries for 3 environments"):
        suite.simulator(copies=1).reset(seed=[1, 2])


def test_seeds_as_gymnasium_reads_them() -> None:
    np.testing.assert_array_equal(environment_seeds(4, 3), [4, 5, 6])
    np.testing.assert_array_equal(environment_seeds([9, 1, 9], 3), [9, 1, 9])


def test_a_task_does_not_change() -> None:
    parameters = {"mass": 1.0}
    task = Task("a", parameters)
    parameters["mass"] = 2.0
    assert task.parameters["mass"] == 1.0
    with pytest.raises(TypeError):
        task.parameters["mass"] = 3.0  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.name = "b"  # type: ignore[misc]
    assert Task(**task.config) == task


def test_labels_are_the_planted_groups() -> None:
    assert TaskSuite.make("cartpole", n=4).labels is None
    suite = TaskSuite.make("navigation", n=9, groups=3, seed=2)
    np.testing.assert_array_equal(np.bincount(suite.labels), [3, 3, 3])
    np.testing.assert_array_equal(suite[[2, 5]].labels, suite.labels[[2, 5]])
    assert suite.labels.dtype == np.int64


def test_looks() -> None:
    suite = TaskSuite.make("cartpole", n=4, reversed="half")
    table = suite.to_frame()
    assert list(table["task"]) == [task.name for task in suite.tasks]
    assert {"half_length", "motor", "group"} <= set(table.columns)
    assert repr(suite).startswith("cartpole: 4 tasks")
    assert "<table" in suite._repr_html_()


def test_the_seed_decides_what_is_shuffled() -> None:
    def labels(seed: int) -> list[int]:
        return TaskSuite.make("cartpole", n=12, reversed="half", seed=seed).labels.tolist()

    assert labels(0) == labels(0)
    assert any(labels(0) != labels(seed) for seed in range(1, 5))
