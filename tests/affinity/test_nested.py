"""Groups within groups, as one partition."""

import numpy as np
import pytest

from gradex.affinity import CorrelationGrouping, Partition, nested


def partition(labels: list[int], resampled: list[list[int]] | None = None) -> Partition:
    drawn = None if resampled is None else np.array(resampled)
    return Partition(np.array(labels), 0.0, 0.0, 0.0, "by hand", resampled=drawn)


def test_the_groups_of_a_group_take_its_place() -> None:
    matrix = np.arange(25.0).reshape(5, 5)
    matrix = matrix + matrix.T - 20
    whole = partition([0, 1, 1, 0, 1])
    found = nested(matrix, whole, [None, partition([0, 1, 0])])
    assert found.groups == ((0, 3), (1, 4), (2,))
    assert found.objective == matrix[0, 3] + matrix[1, 4]
    assert found.upper_bound == CorrelationGrouping().partition(matrix, k=5).upper_bound
    assert found.resampled is None


def test_draws_are_put_together_one_by_one() -> None:
    whole = partition([0, 0, 0, 1], [[0, 0, 0, 1], [0, 0, 1, 1], [0, 0, 0, 0]])
    part = partition([0, 1, 1], [[0, 1, 1], [0, 1, 1], [0, 0, 0]])
    found = nested(np.zeros((4, 4)), whole, [part, None])
    assert found.labels.tolist() == [0, 1, 1, 2]
    assert found.resampled is not None
    assert found.resampled.tolist() == [[0, 1, 1, 2], [0, 1, 2, 3], [0, 0, 0, 0]]
    assert found.co_assignment is not None
    np.testing.assert_allclose(found.co_assignment[1], [1 / 3, 1, 2 / 3, 1 / 3])


@pytest.mark.parametrize("own", [None, [[0, 1, 1]] * 2])
def test_a_part_without_as_many_draws_stays_as_it_is(own: list[list[int]] | None) -> None:
    whole = partition([0, 0, 0, 1], [[0, 0, 0, 1]] * 3)
    found = nested(np.zeros((4, 4)), whole, [partition([0, 1, 1], own), None])
    assert found.resampled is not None
    assert found.resampled.tolist() == [[0, 1, 1, 2]] * 3


def test_nothing_given_is_changed() -> None:
    whole, part = partition([0, 0, 1], [[0, 0, 1]]), partition([0, 1], [[0, 1]])
    nested(np.zeros((3, 3)), whole, [part, None])
    assert whole.labels.tolist() == [0, 0, 1]
    assert whole.resampled is not None
    assert whole.resampled.tolist() == [[0, 0, 1]]
