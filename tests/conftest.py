import os

# Before anything imports tqdm: progress bars have no place in the output of tests.
os.environ["TQDM_DISABLE"] = "1"
# Before anything loads OpenMP, and for the processes that tests start: idle threads spin, and on as many
# cores as there are workers they take the time of the others.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator
from typing import Any

import hypothesis
import jaxtyping
import pytest
import torch

from tests import shape_checks

# Batches here are small; with a second thread two workers only wait for each other.
torch.set_num_threads(1)

# How long an example takes says nothing on a machine that others use too.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


#: Modules whose tests take long and have nothing in common.
TEST_BY_TEST = ("notebooks/test_notebooks.py", "analysis/test_study.py", "test_doctests.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give workers whole modules, whose fixtures are made once then, the largest first."""
    from xdist.scheduler import LoadScopeScheduling

    class ByModule(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            return nodeid if module.endswith(TEST_BY_TEST) else module

    return ByModule(config, log) if config.getoption("dist") == "load" else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Check types and shapes anew in every test, but for those that give wrong ones on purpose."""
    shape_checks.start_again()
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", item.get_closest_marker("wrong_types") is not None)
    try:
        return (yield)
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)
