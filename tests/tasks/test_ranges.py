"""Spreading and drawing task parameters."""

import numpy as np
import pytest

from gradex.tasks.ranges import draw_ranges, latin_grid, read_range


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
