import cvxpy as cp
import numpy as np
import pytest

from gradex.affinity.certificate import certified_upper_bound
from gradex.affinity.relaxation import solve_relaxation
from tests.oracles.clustering import best_partition, best_penalised_partition


def symmetric(n, seed):
    matrix = np.random.default_rng(seed).standard_normal((n, n))
    return matrix + matrix.T


def planted(n, k, noise, seed):
    labels = np.random.default_rng(seed).permutation(np.arange(n) % k)
    return (labels[:, None] == labels) + noise * symmetric(n, seed), labels


def assert_feasible(X, tolerance):
    np.testing.assert_allclose(X, X.T)
    np.testing.assert_allclose(X.sum(axis=1), 1, atol=tolerance)
    assert X.min() > -tolerance
    assert np.linalg.eigvalsh(X).min() > -tolerance


@pytest.mark.parametrize("seed", range(12))
def test_bound_holds_for_every_partition_of_random_matrices(seed):
    n = 3 + seed % 6
    matrix = symmetric(n, seed) * 10.0 ** (seed - 6) + (100.0 if seed % 2 else 0.0)
    rounding = 1e-10 * np.abs(matrix).max()
    for k in range(1, n + 1):
        best, _ = best_partition(matrix, k)
        relaxation = solve_relaxation(matrix, k)
        assert best - rounding <= relaxation.upper_bound
        assert relaxation.upper_bound <= certified_upper_bound(matrix, k) + rounding  # the multiplier helps
        assert_feasible(relaxation.X, 1e-5)
        assert np.trace(relaxation.X) == pytest.approx(k, abs=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_penalised_bound_holds_for_every_partition_of_random_matrices(seed):
    n = 3 + seed % 6
    matrix = symmetric(n, seed)
    for trace_penalty in (-2.0, 0.0, 0.7, 2.0, 100.0):
        best, _ = best_penalised_partition(matrix, trace_penalty)
        relaxation = solve_relaxation(matrix, trace_penalty=trace_penalty)
        assert best - 1e-9 <= relaxation.upper_bound
        assert_feasible(relaxation.X, 1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_any_multiplier_gives_a_bound(seed):
    rng = np.random.default_rng(seed)
    matrix = symmetric(6, seed)
    multiplier = rng.standard_normal((6, 6)) * 10.0 ** rng.integers(-3, 3)
    for k in range(1, 7):
        best, _ = best_partition(matrix, k)
        assert certified_upper_bound(matrix, k, multiplier=multiplier) >= best - 1e-10
    best, _ = best_penalised_partition(matrix, 0.5)
    assert certified_upper_bound(matrix, trace_penalty=0.5, multiplier=multiplier) >= best - 1e-10


@pytest.mark.parametrize(("n", "k"), [(7, 2), (8, 3), (12, 4), (70, 3)])  # the last by the first-order solver
def test_tight_on_planted_groups(n, k):
    matrix, labels = planted(n, k, noise=0.1, seed=n)
    members = np.eye(k)[labels]
    X = members / members.sum(axis=0) @ members.T
    optimum = np.vdot(matrix, X)
    relaxation = solve_relaxation(matrix, k)
    np.testing.assert_allclose(relaxation.X, X, atol=1e-3)
    assert relaxation.objective == pytest.approx(optimum, rel=1e-5)
    assert optimum - 1e-9 <= relaxation.upper_bound <= optimum * (1 + 1e-5)
    # A group is worth its size, n / k, and the noise far less: half of that is a price that keeps the groups.
    penalised = solve_relaxation(matrix, trace_penalty=n / k / 2)
    np.testing.assert_allclose(penalised.X, X, atol=1e-3)
    assert optimum - n / 2 - 1e-9 <= penalised.upper_bound <= optimum - n / 2 + 1e-4 * optimum


def test_bound_is_certified_where_the_solver_stops_early(monkeypatch):
    matrix, _ = planted(8, 3, noise=0.4, seed=0)
    best, _ = best_partition(matrix, 3)
    exact = solve_relaxation(matrix, 3)
    solve = cp.Problem.solve
    monkeypatch.setattr(cp.Problem, "solve", lambda self, **_: solve(self, solver="SCS", max_iters=5))
    early = solve_relaxation(matrix, 3)
    assert early.status == "optimal_inaccurate"
    assert early.upper_bound > exact.upper_bound + 1e-6
    assert early.upper_bound >= best


def test_without_interaction_every_partition_has_the_bound():
    a = np.arange(5.0)
    relaxation = solve_relaxation(a[:, None] + a, 2)
    assert relaxation.upper_bound == pytest.approx(2 * a.sum())


def test_bad_input():
    matrix = symmetric(4, 0)
    for arguments in ({}, {"k": 2, "trace_penalty": 0.1}):
        with pytest.raises(ValueError, match="give exactly one"):
            solve_relaxation(matrix, **arguments)
    for k in (0, 5):
        with pytest.raises(ValueError, match=f"k={k} groups .* from 1 to 4"):
            solve_relaxation(matrix, k)
    with pytest.raises(ValueError, match="trace_penalty=nan"):
        solve_relaxation(matrix, trace_penalty=np.nan)
