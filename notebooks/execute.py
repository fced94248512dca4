"""Execute notebooks as they are committed: `python notebooks/execute.py 07_meta_rl`.

Progress bars, their widgets and times are left out of the outputs. The kernel imports
gradex and the studies from this clone.
"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(path: Path) -> None:
    """Run a notebook from top to bottom; it is written only if no cell fails."""
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(HERE)}}
    NotebookClient(
        notebook, timeout=3600, record_timing=False, resources=where
    ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [
                output
                for output in cell.outputs
                if WIDGET not in output.get("data", {})
            ]
    notebook.metadata.pop("widgets", None)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    os.environ |= {"PYTHONPATH": str(HERE.parent), "TQDM_DISABLE": "1"}
    for name in sys.argv[1:]:
        print(name, flush=True)
        execute(HERE / f"{Path(name).stem}.ipynb")
