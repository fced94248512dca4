import pytest

from gradex import MetaPolicy, TaskSuite
from tests.environments import scripted, scripted_suite
from tests.meta_policy.small import ROLLOUT, small


@pytest.fixture(scope="package")
def meta() -> MetaPolicy:
    return small(TaskSuite.make("navigation", n=4, horizon=10)).fit(20 * ROLLOUT)


@pytest.fixture(scope="package")
def cartpole() -> MetaPolicy:
    return small(TaskSuite.make("cartpole", n=3)).fit(6 * ROLLOUT)


@pytest.fixture(scope="package")
def custom() -> MetaPolicy:
    return small(scripted_suite(a=scripted([1, 2]), b=scripted([3, 4, 5]))).fit(2 * ROLLOUT)
