"""The clustering relaxation by a general solver, through CVXPY: exact for few tasks, a peer for more."""

import warnings

import cvxpy as cp
import numpy as np
from jaxtyping import Float

# Clarabel's interior point is exact to 1e-8, but stores (n(n+1)/2)^2 numbers; above, SCS is first order.
_INTERIOR_POINT_TASKS = 60


def solve_by_cvxpy(
    shape: Float[np.ndarray, "n n"], k: int | None, price: float | None
) -> tuple[Float[np.ndarray, "n n"], Float[np.ndarray, "n n"], str]:
    """Return X, the multiplier of X >= 0 and the solver's status.

    Parameters
    ----------
    shape : array [n, n]
        Centred affinities of spectral norm at most 1.
    k, price
        Number of groups, or price per group in units of ``shape``.

    Raises
    ------
    RuntimeError
        If no solver returns a solution.
    """
    n = len(shape)
    X = cp.Variable((n, n), PSD=True)
    upper = np.triu_indices(n, 1)  # the diagonal cannot be negative
    no_negative = X[upper] >= 0
    constraints = [X @ np.ones(n) == 1, no_negative]
    objective = cp.sum(cp.multiply(shape, X))
    if k is None:
        objective -= price * cp.trace(X)
    else:
        constraints.append(cp.trace(X) == k)
    problem = cp.Problem(cp.Maximize(objective), constraints)

    interior = ("CLARABEL", {"tol_gap_abs": 1e-7, "tol_gap_rel": 1e-7, "tol_feas": 1e-7})
    first_order = ("SCS", {"eps_abs": 1e-6, "eps_rel": 1e-6, "max_iters": 20_000})
    for solver, settings in (interior, first_order) if n <= _INTERIOR_POINT_TASKS else (first_order,):
        try:
            with warnings.catch_warnings():
                # An inaccurate solution is told by the status, and the bound holds.
                warnings.simplefilter("ignore")
                problem.solve(solver=solver, **settings)
        except cp.SolverError:
            continue
        if X.value is not None and np.isfinite(X.value).all():
            Z = np.zeros((n, n))
            # An entry above the diagonal stands for two.
            Z[upper] = np.maximum(no_negative.dual_value, 0.0) / 2
            return (X.value + X.value.T) / 2, Z + Z.T, problem.status
    raise RuntimeError(
        f"no solver solved the relaxation for {n} tasks (last status: {problem.status}); check the matrix"
    )
