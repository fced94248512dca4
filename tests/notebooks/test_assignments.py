"""The assignments: right answers get all marks, none get none, and a test that was edited gains nothing."""

from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbgrader.nbgraderformat import MetadataValidator

from tests.notebooks.grading import Assignment, by_id
from tests.notebooks.wrong_answers import WRONG, Wrong

SOURCES = {
    path.stem: path
    for path in sorted((Path(__file__).parents[2] / "notebooks" / "assignments" / "source").glob("*/*.ipynb"))
}
ASSIGNMENTS = {name: Assignment(nbformat.read(path, as_version=4)) for name, path in SOURCES.items()}
each = pytest.mark.parametrize("assignment", ASSIGNMENTS.values(), ids=ASSIGNMENTS)


def automatic(marks: dict[str, float | None]) -> float:
    return sum(own for own in marks.values() if own is not None)


def test_there_are_assignments() -> None:
    assert len(SOURCES) >= 7
    assert all(path.parent.name == name for name, path in SOURCES.items())  # as nbgrader wants it


@each
def test_source_has_ten_marks_and_no_outputs(assignment: Assignment) -> None:
    nbformat.validate(assignment.source)
    MetadataValidator().validate_nb(assignment.source)
    points = {"code": 0, "markdown": 0}
    for cell in by_id(assignment.source).values():
        points[cell.cell_type] += cell.metadata.nbgrader.get("points", 0)
    assert points == {"code": 7, "markdown": 3}
    for cell in assignment.source.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
            assert max(map(len, cell.source.splitlines())) <= 88


@each
def test_students_see_neither_solutions_nor_hidden_tests(assignment: Assignment) -> None:
    given = "\n".join(cell.source for cell in assignment.student.cells)
    assert "BEGIN" not in given and "Marks.**" not in given
    ours, theirs = by_id(assignment.source), by_id(assignment.student)
    for name, cell in ours.items():
        if cell.metadata.nbgrader.solution:
            assert "YOUR CODE HERE" in theirs[name].source or theirs[name].source == "YOUR ANSWER HERE"
        elif cell.metadata.nbgrader.grade:
            assert "assert" in theirs[name].source  # some tests are shown
            assert len(theirs[name].source) < len(cell.source)  # and some are not


@each
def test_the_solution_gets_full_marks(assignment: Assignment, kernel: KernelManager) -> None:
    marks = assignment.grade(assignment.answered(), kernel)
    assert automatic(marks) == 7
    assert [name for name, own in marks.items() if own is None] == ["words"]


@each
def test_nothing_gets_no_marks_whatever_the_tests_became(
    assignment: Assignment, kernel: KernelManager
) -> None:
    assert set(assignment.grade(assignment.student, kernel).values()) == {0}
    edited = deepcopy(assignment.student)
    for cell in by_id(edited).values():
        own = cell.metadata.nbgrader
        if own.grade and not own.solution:
            cell.source, own.points = "pass", 100
            own.locked = cell.metadata.editable = False
    assert set(assignment.grade(edited, kernel).values()) == {0}


@pytest.mark.parametrize("case", WRONG, ids=lambda case: f"{case.assignment}-{case.cell}")
def test_a_wrong_answer_gets_part_of_the_marks(case: Wrong, kernel: KernelManager) -> None:
    assignment = ASSIGNMENTS[case.assignment]
    solution = by_id(assignment.source)[case.cell].source
    assert case.right in solution
    answer = solution.replace(case.right, case.wrong)
    marks = assignment.grade(assignment.answered(**{case.cell: answer}), kernel)
    assert automatic(marks) == case.marks, marks


def test_there_are_three_wrong_answers_to_each() -> None:
    counts = {name: sum(case.assignment == name for case in WRONG) for name in ASSIGNMENTS}
    assert min(counts.values()) >= 3
