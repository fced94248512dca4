import os

# Before anything imports tqdm: progress bars have no place in the output of tests.
os.environ["TQDM_DISABLE"] = "1"
# Before anything loads OpenMP, and for the processes that tests start: idle threads spin, and on as many
# cores as there are workers they take the time of the others.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import hypothesis
import jaxtyping
import pytest
import torch

# Batches here are small; with a second thread two workers only wait for each other.
torch.set_num_threads(1)

# How long an example takes says nothing on a machine that others use too.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give workers whole modules, whose fixtures are made once then, and idle ones what is left of others."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.getoption("dist") == "load" else None


@contextmanager
def shapes_unchecked() -> Iterator[None]:
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session")
def unchecked() -> Callable[[], AbstractContextManager[None]]:
    """Give what `without_shape_checks` does, for fixtures that are made once for many tests."""
    return shapes_unchecked


@pytest.fixture
def without_shape_checks() -> Iterator[None]:
    """Let whole trainings run at the speed that users see; tests of their parts check the shapes."""
    with shapes_unchecked():
        yield
