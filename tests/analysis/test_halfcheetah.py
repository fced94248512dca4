"""The best intervals against trying all of them."""

from itertools import combinations

import numpy as np
import pytest

from analysis.halfcheetah import best_intervals


def worth(singles: np.ndarray, parts: tuple[tuple[int, ...], ...]) -> float:
    """Add up what the best policy for each part earns there, one policy and one task at a time."""
    return sum(max(sum(policy[task] for task in part) for policy in singles) for part in parts)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (5, 1), (5, 2), (7, 3), (6, 6)])
def test_no_other_intervals_are_worth_more(n: int, k: int) -> None:
    rng = np.random.default_rng(n + k)
    for _ in range(20):
        singles = rng.normal(size=(n, n)) + 3 * np.eye(n)
        found = best_intervals(singles, k)
        assert len(found) == k
        assert [task for part in found for task in part] == list(range(n))
        every = (
            tuple(tuple(range(*ends)) for ends in zip((0, *cuts), (*cuts, n), strict=True))
            for cuts in combinations(range(1, n), k - 1)
        )
        assert worth(singles, found) == pytest.approx(max(worth(singles, parts) for parts in every))


def test_tasks_that_one_policy_serves_stay_together() -> None:
    singles = -np.abs(np.subtract.outer([0, 1, 5, 6, 7], [0, 1, 5, 6, 7]))
    assert best_intervals(singles, k=2) == ((0, 1), (2, 3, 4))
