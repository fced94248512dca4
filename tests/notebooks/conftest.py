import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

from tests.notebooks.kernels import SMALL


@pytest.fixture(scope="session")
def kernel() -> Iterator[KernelManager]:
    """Start a kernel that runs notebook after notebook."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(Path(__file__).parents[2] / "notebooks"), env=os.environ | SMALL)
    yield manager
    manager.shutdown_kernel(now=True)
