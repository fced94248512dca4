"""Every notebook runs from top to bottom at smoke scale, without errors or warnings."""

from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.notebooks.kernels import AFRESH

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
WIDGET = "application/vnd.jupyter.widget-view+json"


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def on_stderr(notebook: NotebookNode) -> list[str]:
    return [output.text for output in outputs(notebook) if output.get("name") == "stderr"]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_at_smoke_scale(path: Path, kernel: KernelManager) -> None:
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(AFRESH))
    client = NotebookClient(notebook, timeout=300, km=kernel)
    try:
        client.execute()  # an error in a cell raises CellExecutionError, which shows the cell
    finally:
        client.kc.stop_channels()
    assert on_stderr(notebook) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_as_it_ran(path: Path) -> None:
    """All cells were executed in order, without errors, warnings, progress bars or times in the metadata."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert on_stderr(notebook) == []
    assert not [cell.metadata for cell in notebook.cells if "execution" in cell.metadata]
    assert "widgets" not in notebook.metadata
    assert not [output for output in outputs(notebook) if WIDGET in output.get("data", {})]
