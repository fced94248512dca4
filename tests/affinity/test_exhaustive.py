import numpy as np
import pytest

from gradex.affinity import ExhaustiveGrouping, SemidefiniteGrouping
from tests.oracles.clustering import best_partition


def symmetric(n, seed):
    matrix = np.random.default_rng(seed).standard_normal((n, n))
    return matrix + matrix.T


@pytest.mark.parametrize("seed", range(6))
def test_equals_looking_at_every_partition(seed):
    n = 3 + seed
    matrix = symmetric(n, seed) * 10.0 ** (seed - 3) + 5.0
    for k in range(1, n + 1):
        partition = ExhaustiveGrouping().partition(matrix, k)
        assert partition.k == k
        assert partition.objective == pytest.approx(best_partition(matrix, k)[0])
        assert partition.gap == 0.0


def test_rounding_is_near_the_true_optimum():
    """Share of the gain over chance that a method misses, 12 tasks without structure."""
    missed = []
    for seed in range(5):
        matrix = symmetric(12, seed)
        for k in (2, 3, 4):
            best = ExhaustiveGrouping().partition(matrix, k)
            found = SemidefiniteGrouping().partition(matrix, k)
            assert found.objective <= best.objective + 1e-9 <= found.upper_bound + 2e-9
            missed.append((best.objective - found.objective) / (best.objective - best.chance))
    assert np.mean(np.array(missed) < 1e-9) >= 0.95
    assert max(missed) < 0.02


def test_too_many_tasks():
    with pytest.raises(
        ValueError, match="15 tasks have too many partitions to try all; use SemidefiniteGrouping"
    ):
        ExhaustiveGrouping().partition(symmetric(15, 0), 3)
