"""Spreading and drawing task parameters."""

import itertools

import numpy as np
import pytest

from gradex.tasks import TaskSuite
from gradex.tasks.ranges import draw_ranges, latin_grid, read_range, read_reversed


def test_grid_is_geometric_where_positive_and_even_elsewhere() -> None:
    columns = latin_grid({"a": (1.0, 8.0), "b": (-2.0, 1.0), "c": (5.0, 5.0)}, 4, np.random.default_rng(0))
    np.testing.assert_allclose(columns["a"], [1, 2, 4, 8])
    np.testing.assert_allclose(np.sort(columns["b"]), [-2, -1, 0, 1])
    np.testing.assert_allclose(columns["c"], 5)


def test_only_further_parameters_are_shuffled() -> None:
    ranges = {"a": (3.0, 3.0), "b": (0.0, 1.0), "c": (0.0, 1.0)}
    columns = latin_grid(ranges, 30, np.random.default_rng(0))
    np.testing.assert_allclose(columns["b"], np.linspace(0, 1, 30))
    np.testing.assert_allclose(np.sort(columns["c"]), columns["b"])
    assert abs(np.corrcoef(columns["b"], columns["c"])[0, 1]) < 0.5


def test_a_single_task_sits_in_the_middle() -> None:
    columns = latin_grid({"a": (1.0, 4.0), "b": (-4.0, -2.0)}, 1, np.random.default_rng(0))
    np.testing.assert_allclose([columns["a"][0], columns["b"][0]], [2, -3])


def test_draws_are_log_uniform_where_positive() -> None:
    columns = draw_ranges({"a": (0.01, 1.0), "b": (-12.0, -2.0)}, 4000, np.random.default_rng(0))
    assert columns["a"].min() >= 0.01
    assert columns["a"].max() <= 1
    assert np.median(columns["a"]) == pytest.approx(0.1, rel=0.15)
    assert columns["b"].mean() == pytest.approx(-7, abs=0.2)


def test_a_number_is_a_range_of_its_own() -> None:
    assert read_range("a", 2.0, 0.0, 3.0) == (2.0, 2.0)
    assert read_range("a", [2.0, 1.0], 0.0, 3.0) == (2.0, 1.0)
    assert read_range("a", (0.0, 3.0), 0.0, 3.0, closed=True) == (0.0, 3.0)


@pytest.mark.parametrize("value", [0.0, 3.0, float("nan"), float("inf"), [1.0], [1.0, 2.0, 3.0], [1.0, -1.0]])
def test_what_is_no_range_is_named(value: object) -> None:
    with pytest.raises(ValueError, match=r"a is .*: give a number or a pair of numbers between 0 and 3"):
        read_range("a", value, 0.0, 3.0)


# ---------------------------------------------------------------------- reversed tasks
@pytest.mark.parametrize("family", ["cartpole", "lunarlander"])
@pytest.mark.parametrize("n", [1, 5, 10])
@pytest.mark.parametrize("seed", [0, 3])
def test_half_reverses_every_second_task_of_a_shuffled_order(family: str, n: int, seed: int) -> None:
    """As it has from the start, so that suites of one seed stay what they are."""
    labels = TaskSuite.make(family, n=n, seed=seed, reversed="half").labels
    assert labels is not None
    expected = np.random.default_rng(seed).permutation(np.arange(n) % 2 == 1)
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("family", ["cartpole", "lunarlander"])
@pytest.mark.parametrize(
    ("share", "count"), [(0.1, 1), (0.2, 2), (0.3, 3), (0.77, 8), (0.05, 0), (0.06, 1), (1, 10), (0.96, 10)]
)
def test_a_share_of_the_tasks_is_reversed(family: str, share: float, count: int) -> None:
    suite = TaskSuite.make(family, n=10, reversed=share)
    actuator = {"cartpole": "motor", "lunarlander": "side_engines"}[family]
    turned = np.array([task.parameters[actuator] < 0 for task in suite])
    assert turned.sum() == count
    np.testing.assert_array_equal(suite.labels, turned)
    assert [task.name.endswith(" reversed") for task in suite] == turned.tolist()
    drawn = suite.unseen(20, seed=1)
    assert sum(task.parameters[actuator] < 0 for task in drawn) == -(-(40 * share - 1) // 2)
    assert TaskSuite.from_config(suite.config).config == suite.config


def test_a_larger_share_reverses_more_tasks_and_the_same_ones() -> None:
    shares = [
        TaskSuite.make("cartpole", n=10, seed=4, reversed=tenths / 10).labels for tenths in range(1, 11)
    ]
    assert [int(labels.sum()) for labels in shares] == list(range(1, 11))
    assert all((less <= more).all() for less, more in itertools.pairwise(shares))


def test_shares_with_a_name_are_that_name() -> None:
    for share, name in ((0, "none"), (0.0, "none"), (np.float32(0.5), "half")):
        assert read_reversed("reversed", share) == name
    options = {"n": 5, "seed": 2}
    half = TaskSuite.make("cartpole", reversed="half", **options)
    assert TaskSuite.make("cartpole", reversed=0.5, **options).config == half.config


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan"), "third", True, None, [0.1], 10**400])
def test_what_is_no_share_is_named(share: object) -> None:
    with pytest.raises(ValueError, match=r"^reversed is .*: choose 'none', 'half' or a share .* 0 to 1$"):
        TaskSuite.make("cartpole", reversed=share)


@pytest.mark.parametrize("family", ["cartpole", "lunarlander"])
def test_tasks_in_conflict_are_trained_on_as_others_are(family: str) -> None:
    told = [TaskSuite.make(family, reversed=share).recommended for share in ("none", "half", 0.1, 0.9, 1)]
    assert told == told[:1] * len(told)
