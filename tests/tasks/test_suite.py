"""Suites as such: making, taking apart, describing."""

import copy
import dataclasses
import inspect
import json
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradex.tasks import Task, TaskSuite
from gradex.tasks.cartpole import CartPole
from gradex.tasks.simulator import environment_seeds
from gradex.tasks.suite import FAMILIES


def test_names_are_known() -> None:
    assert {"cartpole", "highway", "lunarlander", "navigation"} <= set(TaskSuite.names())
    assert "custom" not in TaskSuite.names()


@pytest.mark.wrong_types
@pytest.mark.filterwarnings("ignore:EnvPool's .* not quite Meta-World's")
@pytest.mark.parametrize("name", TaskSuite.names())
def test_what_is_declared_of_options(name: str) -> None:
    options = FAMILIES[name].options
    given = {option: known.default for option, known in options.items()}
    assert TaskSuite.make(name, **given).config == TaskSuite.make(name).config
    assert inspect.signature(TaskSuite.make(name)._family.create).parameters.keys() >= {"n", "seed"}
    for option, known in options.items():
        with pytest.raises(ValueError, match=rf"^{option} is (<object object at .*>|an object): "):
            known.read(option, object())
        assert f"{option}={known.default!r}" in TaskSuite.summary(name)


@pytest.mark.wrong_types
def test_a_suite_is_made_of_tasks_and_a_family() -> None:
    tasks, family = CartPole.create(n=2, seed=0, reversed="none", half_length=(0.5, 1.0))
    suite = TaskSuite(tasks, family)
    assert (suite.tasks, suite.family, suite.horizon) == (tuple(tasks), "cartpole", 500)
    told = {"ranges": {"half_length": [0.5, 1.0]}, "reversed": "none", "horizon": 500}
    assert suite.options == told
    with pytest.raises(TypeError, match=r"family is 'cartpole': give a Family, or use TaskSuite\.make"):
        TaskSuite(tasks, "cartpole")  # type: ignore[arg-type]


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cartpol", {}, "unknown suite 'cartpol': did you mean 'cartpole'"),
        ("cartpole", {"wind": 3.0}, "suite 'cartpole' has no option 'wind': it takes n, seed"),
        ("cartpole", {"n": 0}, "n=0 is too small: give at least 1"),
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
        (
            "cartpole",
            {"reversed": "all"},
            "reversed is 'all': choose 'none', 'half' or a share of the tasks, a number from 0 to 1",
        ),
        ("lunarlander", {"n": 0}, "n=0 is too small"),
        (
            "lunarlander",
            {"gravity": 0.0},
            "gravity is 0.0: give a number or a pair of numbers between -12 and 0",
        ),
        ("lunarlander", {"gravity": (-12.0, -2.0)}, "gravity is .* between -12 and 0"),
        ("lunarlander", {"wind": 21.0}, "wind is 21.0: give a number or a pair of numbers between 0 and 20"),
        ("lunarlander", {"turbulence": (0.0, 1.0, 2.0)}, "turbulence is .* between 0 and 2"),
        ("highway", {"n": -1}, "n=-1 is too small"),
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
        ("navigation", {"n": 0}, "n=0 is too small"),
        (
            "navigation",
            {"goals": "square"},
            "goals is 'square': choose 'groups', 'uniform', 'partial' or 'biased'",
        ),
        ("navigation", {"n": 2, "groups": 3}, "groups is 3 for 2 tasks: give 1 to 2"),
        (5, {}, "name is 5: choose ant-goal, cartpole, halfcheetah"),
        ("cartpole", {"n": "ten"}, "n is 'ten': give a whole number"),
        ("cartpole", {"n": True}, "n is True: give a whole number"),
        ("cartpole", {"n": 10.5}, "n is 10.5: give a whole number"),
        ("cartpole", {"seed": 1.5}, "seed is 1.5: give a whole number"),
        ("cartpole", {"seed": True}, "seed is True: give a whole number"),
        ("cartpole", {"seed": -1}, "seed=-1 is too small: give at least 0"),
        ("cartpole", {"seed": np.int64(-1)}, "seed=-1 is too small: give at least 0"),
        ("mt10", {"seed": 10**23}, "seed=1000.* is too large: give at most 4611686018427387904"),
        ("cartpole", {"mass": True}, "mass is True: give a number or a pair"),
        ("cartpole", {"mass": 10**400}, "mass is 1000.*: give a number or a pair"),
        ("navigation", {"radius": float("nan")}, "radius is nan: give a finite number"),
        ("navigation", {"bonus": 10**400}, "bonus is 1000.*: give a finite number"),
        ("navigation", {"radius": True}, "radius is True: give a number"),
        *[
            (name, {"n": 10**7}, "n(=| is )10000000.*: give ")
            for name in ("cartpole", "lunarlander", "highway", "navigation", "mt10", "mt50")
        ],
        ("navigation", {"radius": 0.0}, "radius=0 is too small: give more than 0"),
    ],
)
def test_bad_options_are_named(name: Any, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        TaskSuite.make(name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda suite: suite[[0, 3]], ValueError, "task 3 is not in a suite of 3: indices run from 0 to 2"),
        (lambda suite: suite[[]], ValueError, "a suite has no tasks: give at least one"),
        (lambda suite: suite[3:], ValueError, "a suite has no tasks: give at least one"),
        (lambda suite: suite[3], IndexError, "task 3 is not in a suite of 3: indices run from 0 to 2"),
        (lambda suite: suite[np.int64(-4)], IndexError, "task -4 is not in a suite of 3"),
        (
            lambda suite: suite["1: 0.6 m"],
            KeyError,
            "task '1: 0.6 m' is not in this suite: did you mean '1: 0.63 m'",
        ),
        (
            lambda suite: suite[["cart"]],
            ValueError,
            "task 'cart' is not in this suite: the first is '0: 0.10 m'",
        ),
        (lambda suite: suite[True], TypeError, "True chooses no tasks: give an index, a name, a slice"),
        (lambda suite: suite[1.0], TypeError, "1.0 chooses no tasks"),
        (lambda suite: suite[None], TypeError, "None chooses no tasks"),
        (lambda suite: suite[[0.0, 1.0]], TypeError, "chooses no tasks"),
        (lambda suite: suite[np.eye(3, dtype=int)], TypeError, "chooses no tasks"),
        (lambda suite: suite[{0, 1}], TypeError, "chooses no tasks"),
        (
            lambda suite: suite[[True, False]],
            ValueError,
            "a mask of 2 does not fit a suite of 3: give one truth",
        ),
        (lambda suite: suite.simulator(copies=0), ValueError, "copies=0 is too small: give at least 1"),
        (lambda suite: suite.simulator(copies=2.5), ValueError, "copies is 2.5: give a whole number"),
        (
            lambda suite: suite.simulator(copies=10**9),
            ValueError,
            "copies=1000000000 is too large: give at most 333333",
        ),
        (
            lambda suite: suite.simulator(first=10**9),
            ValueError,
            "first=1000000000 is too large",
        ),
        (lambda suite: suite.simulator(seed=[1, 2]), ValueError, "seed has 2 entries for 3 tasks"),
        (lambda suite: suite.simulator(seed=1.5), ValueError, "seed is 1.5: give a whole number"),
        (lambda suite: suite.simulator(seed=[0, -1, 2]), ValueError, "seed=-1 is too small: give at least 0"),
        (lambda suite: suite.simulator(seed=10**23), ValueError, "seed=1000.* is too large: give at most"),
        (lambda suite: suite.unseen(0, seed=0), ValueError, "n=0 is too small: give at least 1"),
        (lambda suite: suite.unseen("two", seed=0), ValueError, "n is 'two': give a whole number"),
        (
            lambda suite: suite.unseen(10**7, seed=0),
            ValueError,
            "n=10000000 is too large: give at most 100000",
        ),
        (lambda suite: suite.unseen(2, seed=-1), ValueError, "seed=-1 is too small: give at least 0"),
        (
            lambda suite: suite.simulator(copies=1).reset(seed=[1, 2]),
            ValueError,
            "seed has 2 entries for 3 env",
        ),
    ],
)
def test_bad_use_is_named(use: Callable[[TaskSuite], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        use(TaskSuite.make("cartpole", n=3))
    assert "\n" not in str(caught.value)


def test_a_suite_is_a_sequence_of_its_tasks() -> None:
    suite = TaskSuite.make("cartpole", n=4)
    first, second, third, last = suite.tasks
    assert list(suite) == [first, second, third, last]
    assert suite[0] is suite[np.int64(0)] is suite[-4] is suite[first.name] is first
    assert first in suite and first.name in suite
    assert "cart" not in suite and 0 not in suite and first not in suite[1:]
    assert list(reversed(suite)) == [last, third, second, first]


@pytest.mark.parametrize(
    "chosen",
    [
        [3, 1],
        (3, -3),
        np.array([3, 1]),
        slice(3, 0, -2),
        range(3, 0, -2),
        ["3: 4.00 m", "1: 0.34 m"],
        pytest.param(iter([3, "1: 0.34 m"]), id="iterator"),
    ],
    ids=str,
)
def test_sub_suites(chosen: Any) -> None:
    suite = TaskSuite.make("cartpole", n=4)
    part = suite[chosen]
    assert part.tasks == (suite.tasks[3], suite.tasks[1])
    assert part.options == suite.options


@pytest.mark.parametrize("mask", [[False, True, False, True], np.array([0, 1, 0, 1]) > 0])
def test_a_mask_keeps_tasks(mask: Any) -> None:
    suite = TaskSuite.make("cartpole", n=4)
    assert suite[mask].tasks == (suite.tasks[1], suite.tasks[3])


@pytest.mark.wrong_types
def test_numbers_of_numpy_are_as_good_as_pythons() -> None:
    plain = TaskSuite.make("navigation", n=4, seed=3, groups=2, radius=2.0, horizon=9)
    suite = TaskSuite.make(
        "navigation",
        n=np.int32(4),
        seed=np.uint8(3),
        groups=np.array(2),
        radius=np.float32(2.0),
        horizon=np.int64(9),
    )
    assert json.dumps(suite.config) == json.dumps(plain.config)
    assert suite.unseen(np.int64(2), np.int64(1)).config == plain.unseen(2, 1).config
    assert suite.simulator(np.int64(2), np.array([0, 1, 2, 3]), np.int64(1)).num_envs == 8
    pair = TaskSuite.make(
        "cartpole", n=2, half_length=np.array([0.5, 1.0]), mass=(np.float32(0.5), np.int64(1))
    )
    expected = TaskSuite.make("cartpole", n=2, half_length=(0.5, 1.0), mass=(0.5, 1))
    assert json.dumps(pair.config) == json.dumps(expected.config)
    task = Task("a", {"mass": np.float32(0.5)}, np.int64(1))
    assert json.dumps(task.config) == '{"name": "a", "parameters": {"mass": 0.5}, "group": 1}'


@pytest.mark.parametrize("again", [copy.deepcopy, lambda suite: pickle.loads(pickle.dumps(suite))])
def test_suites_and_tasks_can_be_copied_and_sent(again: Callable[[Any], Any]) -> None:
    suite = TaskSuite.make("cartpole", n=3, reversed="half")
    assert again(suite).config == suite.config
    task = again(suite[0])
    assert task == suite[0] and type(task) is Task
    with pytest.raises(TypeError):
        task.parameters["mass"] = 3.0


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
