import os

# Before anything imports tqdm: progress bars have no place in the output of tests.
os.environ["TQDM_DISABLE"] = "1"

from collections.abc import Iterator

import hypothesis
import jaxtyping
import pytest
import torch

# Batches here are small; with a second thread two workers only wait for each other.
torch.set_num_threads(1)

# How long an example takes says nothing on a machine that others use too.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture
def without_shape_checks() -> Iterator[None]:
    """Let whole trainings run at the speed that users see; tests of their parts check the shapes."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
