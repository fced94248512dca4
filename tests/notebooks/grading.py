"""What nbgrader's commands do with an assignment and a submission, in process and without its gradebook.

Its preprocessors do the work, in the order of `nbgrader generate_assignment` and `nbgrader autograde`.
"""

from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbgrader.api import MissingEntry
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearMarkScheme,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    DeduplicateIds,
    LockCells,
    NbGraderPreprocessor,
    OverwriteCells,
)
from nbgrader.utils import determine_grade, is_grade

from tests.notebooks.kernels import AFRESH

#: Many answers end with an error, which IPython takes long to lay out, as a reset does to look for cycles.
_BEFORE = f"import gc\ngc.freeze()\n{AFRESH}\n%xmode Minimal"


def by_id(notebook: NotebookNode) -> dict[str, NotebookNode]:
    """Give the cells that nbgrader knows by the names that it knows them by."""
    return {cell.metadata.nbgrader.grade_id: cell for cell in notebook.cells if "nbgrader" in cell.metadata}


def _processed(notebook: NotebookNode, steps: list[NbGraderPreprocessor]) -> NotebookNode:
    notebook, resources = deepcopy(notebook), {}
    for step in steps:
        notebook, resources = step.preprocess(notebook, resources)
    return notebook


class _Kept:
    """The part of a gradebook that says what the cells of an assignment were."""

    def __init__(self, assignment: NotebookNode) -> None:
        self._cells = by_id(assignment)

    def find_source_cell(self, grade_id: str, *_: str) -> SimpleNamespace:
        if grade_id not in self._cells:
            raise MissingEntry(grade_id)
        cell = self._cells[grade_id]
        own = cell.metadata.nbgrader
        return SimpleNamespace(
            cell_type=cell.cell_type, locked=own.locked, checksum=own.checksum, source=cell.source
        )

    def find_graded_cell(self, grade_id: str, *_: str) -> SimpleNamespace:
        return SimpleNamespace(max_score=self._cells[grade_id].metadata.nbgrader.points)


class _OverwriteFromSource(OverwriteCells):
    """Puts the tests of the source, the hidden ones too, in place of what a submission has there."""

    def __init__(self, assignment: NotebookNode) -> None:
        super().__init__()
        self.gradebook = _Kept(assignment)
        self.notebook_id = self.assignment_id = ""

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        return NbGraderPreprocessor.preprocess(self, nb, resources)


class Assignment:
    """An assignment made from its source.

    Attributes
    ----------
    source : NotebookNode
    student : NotebookNode
        What students are given.
    """

    def __init__(self, source: NotebookNode) -> None:
        self.source = source
        first = [LockCells(), ClearSolutions(), ClearOutput(), CheckCellMetadata(), ComputeChecksums()]
        self._kept = _processed(source, first)
        last = [ClearHiddenTests(), ClearMarkScheme(), ComputeChecksums(), CheckCellMetadata()]
        self.student = _processed(self._kept, last)

    def answered(self, **answers: str) -> NotebookNode:
        """Give a submission with the answers of the source, but for some cells."""
        submission = deepcopy(self.student)
        theirs, ours = by_id(submission), by_id(self.source)
        for grade_id, cell in theirs.items():
            if cell.metadata.nbgrader.solution:
                cell.source = answers.get(grade_id, ours[grade_id].source)
        return submission

    def grade(self, submission: NotebookNode, kernel: KernelManager) -> dict[str, float | None]:
        """Give the marks of each graded cell, None where it takes a person."""
        steps = [ClearOutput(), DeduplicateIds(), _OverwriteFromSource(self._kept), CheckCellMetadata()]
        notebook = _processed(submission, steps)
        notebook.cells.insert(0, nbformat.v4.new_code_cell(_BEFORE))
        notebook.cells.append(nbformat.v4.new_code_cell("%xmode Context"))
        client = NotebookClient(notebook, timeout=120, km=kernel, allow_errors=True)
        try:
            client.execute()
        finally:
            client.kc.stop_channels()
        graded = {name: cell for name, cell in by_id(notebook).items() if is_grade(cell)}
        return {name: determine_grade(cell)[0] for name, cell in graded.items()}
