"""Parameters of tasks as a matrix."""

import numpy as np
import pytest

from gradex import Task, TaskSuite
from gradex.tasks import parameter_matrix
from tests.environments import scripted, scripted_suite


def test_a_row_for_each_task_and_a_column_for_each_parameter() -> None:
    suite = TaskSuite.make("cartpole", n=4, reversed="half", seed=3)
    matrix = parameter_matrix(suite.tasks)
    assert matrix.dtype == np.float64
    for row, task in zip(matrix, suite.tasks, strict=True):
        assert row.tolist() == list(task.parameters.values())
    assert sorted(matrix[:, -1]) == [-1, -1, 1, 1]
    assert parameter_matrix([]).shape == (0, 0)


def test_columns_do_not_depend_on_the_order_in_which_a_task_names_them() -> None:
    tasks = [Task("a", {"mass": 1, "length": 2}), Task("b", {"length": 4, "mass": 3})]
    assert parameter_matrix(tasks).tolist() == [[1, 2], [3, 4]]


def test_tasks_without_parameters_or_with_others_are_refused() -> None:
    with pytest.raises(ValueError, match="task 'a' has no parameters: give each task some, or"):
        parameter_matrix(scripted_suite(a=scripted([1.0]), b=scripted([2.0])).tasks)
    tasks = [Task("a", {"mass": 1}), Task("b", {"length": 4})]
    with pytest.raises(ValueError, match="task 'b' has parameters length, task 'a' has mass: give all tasks"):
        parameter_matrix(tasks)


@pytest.mark.parametrize("name", ["task", "group"])
def test_parameters_are_not_named_as_other_columns(name: str) -> None:
    line = f"^task 'a' has a parameter or objective '{name}', which names .* tables: give it another name$"
    with pytest.raises(ValueError, match=line):
        Task("a", {"mass": 1.0, name: 2.0})


def test_tasks_are_equal_by_value_and_can_be_looked_up() -> None:
    one, other = Task("a", {"length": 1.0}), Task("a", {"length": 2.0})
    assert one == Task("a", {"length": 1.0}) != other
    assert {one: 1, other: 2}[Task("a", {"length": 2.0})] == 2
