"""The clustering semidefinite program and its certificate (PolicyGradEx, Appendix A, Eq. (7)).

For a partition with indicator vectors v_c, X = sum_c v_c v_c^T / |c| is positive semidefinite, has no
negative entry, satisfies X e = e and has trace k. Dropping that X comes from a partition leaves a convex
problem whose value bounds every partition's (Peng and Wei 2007; Awasthi et al. 2015).
"""

import warnings
from typing import NamedTuple

import cvxpy as cp
import numpy as np
from jaxtyping import Float, Int

from gradex.affinity.affinity import checked_matrix
from gradex.affinity.certificate import (
    block_margins,
    centred,
    certified_upper_bound,
    check_group_count,
    mean_eigenvalue,
    partition_multiplier,
)
from gradex.affinity.partition import group_objective, partition_matrix
from gradex.affinity.rounding import propose_groups
from gradex.affinity.splitting import relaxed_objective, solve_by_splitting
from gradex.threads import blas_threads_for

_BACKENDS = ("auto", "splitting", "cvxpy")
# Clarabel's interior point is exact to 1e-8. Up to 20 tasks it takes milliseconds; as it stores
# (n(n+1)/2)^2 numbers, SCS, first order, takes its place above 60.
_TASKS_BY_CVXPY = 20
_TASKS_INTERIOR_POINT = 60
# Where between the lowest and the highest price to look for a certificate.
_PRICES = (0.5, 0.2, 0.8)


class Relaxation(NamedTuple):
    """Solution of the relaxation.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity import solve_relaxation
    >>> matrix = np.array([[0, 2, -1, 0], [2, 0, 0, -1], [-1, 0, 0, 1], [0, -1, 1, 0.0]])
    >>> relaxation = solve_relaxation(matrix, k=2)
    >>> relaxation.status, relaxation.objective <= relaxation.upper_bound + 1e-6
    ('optimal', True)
    """

    X: Float[np.ndarray, "n n"]
    """The matrix that stands for the partition."""
    objective: float
    """<U, X>, less the trace penalty."""
    upper_bound: float
    """Certified bound on the objective of every partition, whatever the accuracy of the solver."""
    status: str
    """"closed form"; "certified" where X is a partition, proved the best; "optimal"; "optimal_inaccurate"."""
    labels: Int[np.ndarray, " n"] | None = None
    """Group of each task in the best partition met on the way, if any; X itself where it is certified."""


def solve_relaxation(
    matrix: Float[np.ndarray, "n n"],
    k: int | None = None,
    trace_penalty: float | None = None,
    *,
    backend: str = "auto",
    tolerance: float = 1e-4,
    max_iterations: int = 3000,
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
    backend
        ``"splitting"``: propose groups and try to certify them in closed form, else Douglas-Rachford
        splitting; X is feasible up to rounding. ``"cvxpy"``: Clarabel, or SCS above 60 tasks, feasible up to
        1e-6 or so. ``"auto"``: CVXPY up to 20 tasks, splitting above.
    tolerance
        Splitting stops when the certified bound less the objective is below this share of the gain over
        chance; with a trace penalty, of the gain over a single group or, if it is more, of the spectral norm
        of the centred affinities.
    max_iterations
        Splitting stops then anyway, with status ``"optimal_inaccurate"``; an iteration takes one
        eigendecomposition.

    Raises
    ------
    ValueError
        Unless exactly one of ``k`` and ``trace_penalty`` is given, and ``k`` is in 1..n; if there is no such
        backend.
    RuntimeError
        If no solver of CVXPY returns a solution.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity import solve_relaxation
    >>> matrix = np.array([[0, 2, -1, 0], [2, 0, 0, -1], [-1, 0, 0, 1], [0, -1, 1, 0.0]])
    >>> solve_relaxation(matrix, k=2).X.round(3) + 0.0  # two groups of two: entries 1/2
    array([[0.5, 0.5, 0. , 0. ],
           [0.5, 0.5, 0. , 0. ],
           [0. , 0. , 0.5, 0.5],
           [0. , 0. , 0.5, 0.5]])
    """
    matrix, n = checked_matrix(matrix), len(matrix)
    check_group_count(n, k, trace_penalty)
    if backend not in _BACKENDS:
        raise ValueError(f"backend={backend!r} is unknown; choose one of {', '.join(_BACKENDS)}")
    if n == 1 or k in (1, n):
        # There is one feasible matrix.
        return _closed_form(matrix, np.eye(n) if k == n else np.full((n, n), 1.0 / n), trace_penalty)

    # Only `centred(matrix)` matters: the rest of U adds a constant, and its mean eigenvalue is worth the same
    # per group.
    shape = centred(matrix)
    price = None if trace_penalty is None else trace_penalty - mean_eigenvalue(matrix)
    norm = float(np.linalg.norm(shape, 2))
    if norm == 0 and k is not None:
        # All are as good as the one in which all tasks are alike.
        share = (k - 1) / (n - 1)
        return _closed_form(matrix, np.full((n, n), (1 - share) / n) + share * np.eye(n), None)
    scale = max(norm, abs(price or 0.0)) or 1.0
    price = None if price is None else price / scale
    labels = None
    if backend == "cvxpy" or (backend == "auto" and n <= _TASKS_BY_CVXPY):
        X, Z, status = _solve_by_cvxpy(shape / scale, k, price)
    else:
        least_gain = 0.0 if price is None else norm / scale
        with blas_threads_for(n):
            X, Z, status, labels = _propose_and_prove(
                shape / scale, k, price, least_gain, tolerance, max_iterations
            )
    return Relaxation(
        X=X,
        objective=relaxed_objective(matrix, X, trace_penalty),
        upper_bound=certified_upper_bound(matrix, k, trace_penalty, multiplier=scale * Z),
        status=status,
        labels=labels,
    )


def _closed_form(
    matrix: Float[np.ndarray, "n n"], X: Float[np.ndarray, "n n"], trace_penalty: float | None
) -> Relaxation:
    value = relaxed_objective(matrix, X, trace_penalty)
    return Relaxation(X, value, value, "closed form")


def _propose_and_prove(
    shape: Float[np.ndarray, "n n"],
    k: int | None,
    price: float | None,
    least_gain: float,
    tolerance: float,
    max_iterations: int,
) -> tuple[Float[np.ndarray, "n n"], Float[np.ndarray, "n n"], str, Int[np.ndarray, " n"]]:
    """Return X, the multiplier, the status and the best groups, of affinities centred and of norm 1."""
    n = len(shape)
    labels = propose_groups(shape, k, price)
    X = partition_matrix(labels)
    value = group_objective(shape, labels) - (price or 0.0) * (labels.max() + 1)
    worthless = 0.0 if price is None else -price
    margins = block_margins(shape, labels)
    if price is None:
        span = margins.highest_price - margins.lowest_price
        prices = [margins.lowest_price + share * span for share in _PRICES]
        prices = prices if span > 0 else [max(margins.highest_price, 0.0)]
    else:
        prices = [price]
    best_Z, bound = np.zeros((n, n)), certified_upper_bound(shape, k, price)
    for trial in prices if np.isfinite(prices).all() else []:
        Z = partition_multiplier(shape, labels, margins, trial)
        if (trial_bound := certified_upper_bound(shape, k, price, Z)) < bound:
            best_Z, bound = Z, trial_bound
        if bound - value <= tolerance * max(least_gain, bound - worthless):
            return X, best_Z, "certified", labels
    solution = solve_by_splitting(
        shape,
        k,
        price,
        multiplier=best_Z,
        start=X,
        known=value,
        least_gain=least_gain,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    status = "optimal" if solution.converged else "optimal_inaccurate"
    if solution.X is not None:
        return solution.X, solution.Z, status, labels
    return X, solution.Z, "certified" if solution.converged else status, labels


def _solve_by_cvxpy(
    shape: Float[np.ndarray, "n n"], k: int | None, price: float | None
) -> tuple[Float[np.ndarray, "n n"], Float[np.ndarray, "n n"], str]:
    """Return X, the multiplier of X >= 0 and the solver's status, of affinities centred and of norm 1."""
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
    for solver, settings in (interior, first_order) if n <= _TASKS_INTERIOR_POINT else (first_order,):
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
