"""Policies in every task: paired, and as each alone."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from gradex import MetaPolicy, TaskSuite
from gradex.cross_evaluation import cross_evaluate

N = 6


@pytest.fixture(scope="module")
def meta() -> MetaPolicy:
    return MetaPolicy(TaskSuite.make("navigation", n=N, groups=2), layers=2, width=32).fit(4_000)


@pytest.fixture(scope="module")
def policies(meta: MetaPolicy) -> list[MetaPolicy]:
    return meta.adapt_each([(0, 2, 5), (1, 3, 4)], 6_000)


def test_every_policy_is_run_in_every_task_as_if_alone(policies: list[MetaPolicy]) -> None:
    seen = cross_evaluate(policies, episodes=8, seed=3)
    assert seen.returns.shape == (2, N, 8)
    assert seen.steps == 2 * N * 8 * 30
    for row, policy in enumerate(policies):
        table = policy.evaluate(8, seed=3)
        np.testing.assert_allclose(seen.mean[row], table.return_mean, rtol=1e-4)
        np.testing.assert_allclose(seen.stderr[row], table.return_stderr, rtol=1e-3)


def test_one_policy_twice_earns_the_same_twice(policies: list[MetaPolicy]) -> None:
    seen = cross_evaluate([policies[0], policies[0]], episodes=4, seed=0)
    np.testing.assert_array_equal(seen.returns[0], seen.returns[1])
    assert (seen.best == 0).all()
    other = cross_evaluate(policies[:1], episodes=4, seed=1)
    assert (other.returns[0] != seen.returns[0]).any()


def test_policies_that_cannot_be_compared_are_refused(meta: MetaPolicy, policies: list[MetaPolicy]) -> None:
    def fitted(suite: TaskSuite, width: int) -> MetaPolicy:
        return MetaPolicy(suite, layers=2, width=width).fit(1_000)

    with pytest.raises(ValueError, match="no policies to run: give at least one"):
        cross_evaluate([], 4, 0)
    with pytest.raises(ValueError, match="episodes=1 is too small: give at least 2"):
        cross_evaluate(policies, 1, 0)
    with pytest.raises(ValueError, match=r"policy 1 has network .* 8\), policy 0 has .* 32\)"):
        cross_evaluate([meta, fitted(meta.suite, 8)], 4, 0)
    with pytest.raises(ValueError, match=r"policy 1 has other tasks than policy 0, .* of one suite"):
        cross_evaluate([meta, fitted(TaskSuite.make("navigation", n=N, groups=2, seed=1), 32)], 4, 0)
    with pytest.raises(NotFittedError):
        cross_evaluate([MetaPolicy(meta.suite)], 4, 0)
