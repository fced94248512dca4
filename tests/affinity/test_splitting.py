"""The relaxation for more tasks than an interior point takes: same value, exactly feasible, certified."""

import numpy as np
import pytest

from gradex.affinity.certificate import centred, certified_upper_bound
from gradex.affinity.relaxation import solve_relaxation
from gradex.affinity.splitting import solve_by_splitting
from tests.oracles.clustering import best_partition, best_penalised_partition


def symmetric(n, seed):
    matrix = np.random.default_rng(seed).standard_normal((n, n))
    return matrix + matrix.T


def planted(n, k, noise, seed):
    labels = np.random.default_rng(seed).permutation(np.arange(n) % k)
    return (labels[:, None] == labels) + noise * symmetric(n, seed)


def points(n, seed):
    """Affinities of k-means, -|x - y|^2 / 2: many solutions are all but equal."""
    x = np.random.default_rng(seed).standard_normal((n, 3))
    return -((x[:, None] - x) ** 2).sum(axis=-1) / 2


def chance(matrix, k):
    n = len(matrix)
    mean = matrix.sum() / n
    return mean + (np.trace(matrix) - mean) * (k - 1) / (n - 1)


def assert_feasible(relaxation, trace=None):
    X = relaxation.X
    np.testing.assert_allclose(X, X.T, atol=1e-14)
    np.testing.assert_allclose(X.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    assert X.min() > -1e-14
    assert np.linalg.eigvalsh(X)[0] > -1e-12
    if trace is not None:
        assert np.trace(X) == pytest.approx(trace, abs=1e-10)


@pytest.mark.parametrize(
    ("matrix", "k"),
    [
        (symmetric(9, 0), 2),
        (symmetric(12, 1), 11),
        (symmetric(20, 2), 5),
        (1e-6 * symmetric(20, 3) + 1.0, 4),
        (1e6 * planted(24, 3, 0.7, 4), 3),
        (planted(30, 10, 0.5, 5), 10),
        (points(25, 6), 4),
    ],
)
def test_same_value_as_the_interior_point(matrix, k):
    ours = solve_relaxation(matrix, k, backend="splitting")
    theirs = solve_relaxation(matrix, k, backend="cvxpy")
    assert ours.status in ("optimal", "certified")
    assert_feasible(ours, trace=k)
    gain = theirs.upper_bound - chance(matrix, k)
    assert ours.upper_bound - ours.objective <= 1.0001e-4 * gain + 1e-12 * np.abs(matrix).max()
    assert ours.objective <= theirs.upper_bound + 1e-9 * gain
    assert theirs.upper_bound - ours.objective <= 1.1e-4 * gain
    assert ours.upper_bound - theirs.objective <= 1.1e-4 * gain


def test_same_value_as_scs():
    matrix = planted(64, 4, 1.0, seed=0)  # not tight
    ours = solve_relaxation(matrix, 4)
    theirs = solve_relaxation(matrix, 4, backend="cvxpy")
    assert theirs.status == "optimal"
    gain = theirs.objective - chance(matrix, 4)
    assert ours.objective == pytest.approx(theirs.objective, abs=2e-4 * gain)
    assert ours.upper_bound >= theirs.objective - 1e-4 * gain


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("penalty", [-3.0, 0.0, 1.0, 6.0, 40.0])
def test_same_value_as_the_interior_point_with_a_trace_penalty(seed, penalty):
    matrix = symmetric(14, seed)
    ours = solve_relaxation(matrix, trace_penalty=penalty, backend="splitting")
    theirs = solve_relaxation(matrix, trace_penalty=penalty, backend="cvxpy")
    assert ours.status in ("optimal", "certified")
    assert_feasible(ours)
    unit = max(theirs.objective - (matrix.sum() / 14 - penalty), np.linalg.norm(centred(matrix), 2))
    assert ours.objective == pytest.approx(theirs.objective, abs=2e-4 * unit)
    assert 0 <= ours.upper_bound - ours.objective + 1e-9 <= 1.01e-4 * unit + 1e-9


@pytest.mark.parametrize("seed", range(6))
def test_bound_holds_for_every_partition(seed):
    n = 5 + seed % 4
    matrix = symmetric(n, seed)
    for k in range(1, n + 1):
        relaxation = solve_relaxation(matrix, k, backend="splitting")
        assert relaxation.upper_bound >= best_partition(matrix, k)[0] - 1e-9
    relaxation = solve_relaxation(matrix, trace_penalty=0.7, backend="splitting")
    assert relaxation.upper_bound >= best_penalised_partition(matrix, 0.7)[0] - 1e-9


def test_tight_relaxation_is_certified_as_a_partition():
    relaxation = solve_relaxation(planted(150, 6, 0.2, seed=0), 6)
    assert relaxation.status == "certified"
    np.testing.assert_allclose(
        relaxation.X, (relaxation.labels[:, None] == relaxation.labels) / 25, atol=1e-15
    )


def test_stopping_early_says_so_and_keeps_bound_and_feasibility():
    matrix = symmetric(40, 0)
    exact = solve_relaxation(matrix, 4)
    early = solve_relaxation(matrix, 4, max_iterations=3)
    assert (exact.status, early.status) == ("optimal", "optimal_inaccurate")
    assert_feasible(early, trace=4)
    assert early.upper_bound >= exact.objective >= early.objective
    assert early.upper_bound > exact.upper_bound + 1e-3


def test_tolerance_is_met():
    matrix = symmetric(40, 1)
    gaps = []
    for tolerance in (1e-2, 1e-6):
        relaxation = solve_relaxation(matrix, 4, tolerance=tolerance)
        gaps.append(
            (relaxation.upper_bound - relaxation.objective) / (relaxation.upper_bound - chance(matrix, 4))
        )
        assert gaps[-1] <= 1.0001 * tolerance
    assert gaps[0] > gaps[1]


def test_cold_start_finds_what_a_warm_one_finds():
    shape = centred(symmetric(25, 3))
    shape /= np.linalg.norm(shape, 2)
    cold = solve_by_splitting(
        shape,
        4,
        None,
        multiplier=np.zeros((25, 25)),
        start=np.full((25, 25), 1 / 25) + 3 / 24 * (np.eye(25) - 1 / 25),  # all tasks alike
        known=-np.inf,
        least_gain=0.0,
        tolerance=1e-5,
        max_iterations=3000,
    )
    assert cold.converged
    assert cold.X is not None
    warm = solve_relaxation(shape, 4, backend="splitting", tolerance=1e-5)
    assert np.vdot(shape, cold.X) == pytest.approx(warm.objective, rel=5e-5)
    assert certified_upper_bound(shape, 4, multiplier=cold.Z) == pytest.approx(warm.upper_bound, rel=5e-5)


def test_deterministic():
    matrix = symmetric(30, 0)
    first = solve_relaxation(matrix, 4)
    np.random.seed(1)  # noqa: NPY002
    np.testing.assert_array_equal(solve_relaxation(matrix, 4).X, first.X)


def test_unknown_backend():
    with pytest.raises(ValueError, match="backend='admm' is unknown; choose one of auto, splitting, cvxpy"):
        solve_relaxation(symmetric(5, 0), 2, backend="admm")
