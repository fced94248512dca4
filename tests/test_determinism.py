"""A seed gives the same run twice, whatever happens to the global generators, which are left alone."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from gradex import PolicyGradEx, TaskSuite
from tests.environments import scripted, scripted_suite

# Whole runs; the shapes of their parts are checked where they are tested.

SUITES: dict[str, Callable[[], TaskSuite]] = {
    "navigation": lambda: TaskSuite.make("navigation", n=5),
    "cartpole": lambda: TaskSuite.make("cartpole", n=4, reversed="half"),
    "highway": lambda: TaskSuite.make("highway", n=4),
    "custom": lambda: scripted_suite(**{name: scripted([float(ord(name)), 1, 0]) for name in "abcd"}),
}


def disturb(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the generator that nothing may draw from
    torch.manual_seed(seed)


def states() -> list[Any]:
    """Give the states of NumPy's and torch's generators; Python's is used by beartype while it checks us."""
    numpy: Any = np.random.get_state()  # noqa: NPY002
    return [numpy[1].tolist(), numpy[2:], torch.get_rng_state().tolist()]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(suite: TaskSuite, seed: int = 3) -> dict[str, Any]:
    grouping = PolicyGradEx(
        k=2,
        subset_size=2,
        projection_dim=50,
        steps_per_task=200,
        meta_steps=3_000,
        group_steps=2_000,
        bootstrap=2,
        seed=seed,
    ).fit(suite)
    transitions = grouping.meta_.transitions(200)
    evaluated = grouping.evaluate(episodes=2)
    return {
        **{
            name: getattr(transitions, name)
            for name in ("observations", "actions", "advantages", "tasks", "episodes")
        },
        "meta": grouping.meta_.parameters,
        "features": grouping.surrogate_.features,
        "scores": grouping.scores_.score,
        "affinity": grouping.graph_.matrix,
        "labels": grouping.labels_,
        "policies": np.stack([policy.parameters for policy in grouping.policies_]),
        "returns": evaluated.return_mean.to_numpy(),
        "error": np.array(grouping.report()["first_order_error"]),
    }


@pytest.mark.parametrize("family", SUITES)
def test_a_seed_gives_the_same_run_twice(family: str) -> None:
    disturb(0)
    before = states()
    first = run(SUITES[family]())
    assert states() == before
    disturb(12345)
    second = run(SUITES[family]())
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def test_another_seed_gives_another_run() -> None:
    first, second = (run(SUITES["cartpole"](), seed) for seed in (3, 4))
    for name in ("observations", "meta", "features", "scores", "affinity", "policies"):
        assert not np.array_equal(first[name], second[name]), name
