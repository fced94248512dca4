"""The clustering semidefinite program and its certificate (PolicyGradEx, Appendix A, Eq. (7)).

For a partition with indicator vectors v_c, X = sum_c v_c v_c^T / |c| is positive semidefinite, has no
negative entry, satisfies X e = e and has trace k. Dropping that X comes from a partition leaves a convex
problem whose value bounds every partition's (Peng and Wei 2007; Awasthi et al. 2015).
"""

import warnings
from typing import NamedTuple

import cvxpy as cp
import numpy as np
from jaxtyping import Float

# Clarabel's interior point is exact to 1e-8, but stores (n(n+1)/2)^2 numbers; above, SCS is first order.
_INTERIOR_POINT_TASKS = 60


class Relaxation(NamedTuple):
    """Solution of the relaxation."""

    X: Float[np.ndarray, "n n"]
    """The matrix that stands for the partition."""
    objective: float
    """<U, X>, less the trace penalty; as accurate as the solver."""
    upper_bound: float
    """Certified bound on the objective of every partition, whatever the accuracy of the solver."""
    status: str
    """Status of the solver, or "closed form"."""


def solve_relaxation(
    matrix: Float[np.ndarray, "n n"], k: int | None = None, trace_penalty: float | None = None
) -> Relaxation:
    """Maximise <U, X> - trace_penalty * tr X  subject to  X e = e,  X >= 0,  X positive semidefinite.

    With ``k``, the constraint tr X = k takes the place of the penalty, which is its multiplier.

    Parameters
    ----------
    matrix : array [n, n]
        Symmetric affinities U.
    k
        Number of groups, 1..n.
    trace_penalty
        Price of a group, lambda in the paper, in units of U.

    Returns
    -------
    Relaxation
        X, its objective, the certified bound and the solver's status.

    Raises
    ------
    ValueError
        Unless exactly one of ``k`` and ``trace_penalty`` is given, and ``k`` is in 1..n.
    RuntimeError
        If no solver returns a solution.
    """
    n = len(matrix)
    check_group_count(n, k, trace_penalty)
    if n == 1 or k in (1, n):
        X = np.eye(n) if k == n else np.full((n, n), 1.0 / n)  # the only feasible matrix
        return Relaxation(
            X, _value(matrix, X, trace_penalty), _value(matrix, X, trace_penalty), "closed form"
        )

    # Only `centred(matrix)` matters: the rest of U adds a constant, and its mean eigenvalue is worth the same
    # per group.
    shape = centred(matrix)
    price = None if trace_penalty is None else trace_penalty - _mean_eigenvalue(matrix)
    scale = max(float(np.linalg.norm(shape, 2)), abs(price or 0.0)) or 1.0
    X, Z, status = _solve(shape / scale, k, None if price is None else price / scale)
    return Relaxation(
        X=X,
        objective=_value(matrix, X, trace_penalty),
        upper_bound=certified_upper_bound(matrix, k, trace_penalty, multiplier=scale * Z),
        status=status,
    )


def certified_upper_bound(
    matrix: Float[np.ndarray, "n n"],
    k: int | None = None,
    trace_penalty: float | None = None,
    multiplier: Float[np.ndarray, "n n"] | None = None,
) -> float:
    """Bound the objective of every partition by one eigendecomposition, up to rounding.

    Let Z >= 0 be symmetric, W = U + Z and Q = I - e e^T / n. As X >= 0, and as X e = e lets us write X = e
    e^T / n + X' with X' e = 0,

        <U, X>  <=  <W, X>  =  e^T W e / n + <Q W Q, X'>.

    X has no negative entry and rows that sum to 1, so its eigenvalues are at most 1: on the complement of e
    those of X' lie in [0, 1], and they add up to k - 1. Hence <Q W Q, X'> is at most the sum of the k - 1
    largest eigenvalues w_i of Q W Q there. With a trace penalty p in place of k each may be taken or left:

        <U, X> - p tr X  <=  e^T W e / n - p + sum_i max(0, w_i - p).

    Every Z gives a bound: Z = 0 the spectral one, the solver's multiplier of X >= 0 the best up to its
    accuracy.

    Parameters
    ----------
    matrix : array [n, n]
        Symmetric affinities U.
    k, trace_penalty
        As for `solve_relaxation`.
    multiplier : array [n, n]
        Z; its symmetric part is taken and negative entries are set to 0.

    Returns
    -------
    float
        The bound.
    """
    n = len(matrix)
    check_group_count(n, k, trace_penalty)
    W = matrix if multiplier is None else matrix + np.maximum((multiplier + multiplier.T) / 2, 0.0)
    projected = _project(W)
    # Pushing e below the rest puts its eigenvalue first, and there it is dropped.
    eigenvalues = np.linalg.eigvalsh(projected - 2 * np.linalg.norm(projected) / n)[1:]
    if trace_penalty is not None:
        gain = np.maximum(eigenvalues - trace_penalty, 0.0).sum() - trace_penalty
    elif k is not None:
        gain = eigenvalues[n - k :].sum()
    return float(W.sum() / n + gain)


def centred(matrix: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Return what partitions into k groups depend on: QUQ less its mean eigenvalue on the complement of e."""
    n = len(matrix)
    return _project(matrix) - _mean_eigenvalue(matrix) * (np.eye(n) - 1.0 / n)


def check_group_count(n: int, k: int | None, trace_penalty: float | None) -> None:
    """Raise unless exactly one of ``k``, in 1..n, and a finite ``trace_penalty`` is given."""
    if (k is None) == (trace_penalty is None):
        raise ValueError(f"k={k} and trace_penalty={trace_penalty}: give exactly one of them")
    if k is not None and not 1 <= k <= n:
        raise ValueError(f"k={k} groups cannot be made of {n} tasks; choose k from 1 to {n}")
    if trace_penalty is not None and not np.isfinite(trace_penalty):
        raise ValueError(f"trace_penalty={trace_penalty} is no price; give a finite number")


def _solve(
    shape: Float[np.ndarray, "n n"], k: int | None, price: float | None
) -> tuple[Float[np.ndarray, "n n"], Float[np.ndarray, "n n"], str]:
    """Return X, the multiplier of X >= 0 and the status."""
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
                warnings.simplefilter(
                    "ignore"
                )  # an inaccurate solution is told by the status, and the bound holds
                problem.solve(solver=solver, **settings)
        except cp.SolverError:
            continue
        if X.value is not None and np.isfinite(X.value).all():
            Z = np.zeros((n, n))
            Z[upper] = (
                np.maximum(no_negative.dual_value, 0.0) / 2
            )  # an entry above the diagonal stands for two
            return (X.value + X.value.T) / 2, Z + Z.T, problem.status
    raise RuntimeError(
        f"no solver solved the relaxation for {n} tasks (last status: {problem.status}); check the matrix"
    )


def _value(
    matrix: Float[np.ndarray, "n n"], X: Float[np.ndarray, "n n"], trace_penalty: float | None
) -> float:
    return float(np.vdot(matrix, X) - (trace_penalty or 0.0) * np.trace(X))


def _project(matrix: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Return QUQ."""
    rows = matrix - matrix.mean(axis=1, keepdims=True)
    return rows - rows.mean(axis=0, keepdims=True)


def _mean_eigenvalue(matrix: Float[np.ndarray, "n n"]) -> float:
    """Return the mean eigenvalue of QUQ on the complement of e."""
    return float((np.trace(matrix) - matrix.sum() / len(matrix)) / max(len(matrix) - 1, 1))
