"""A certified bound on every partition, from one eigendecomposition (PolicyGradEx, Appendix A, Eq. (7))."""

import numpy as np
from jaxtyping import Float


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
        As for `gradex.affinity.relaxation.solve_relaxation`.
    multiplier : array [n, n]
        Z; its symmetric part is taken and negative entries are set to 0.

    Returns
    -------
    float
        The bound.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity import ExhaustiveGrouping, certified_upper_bound
    >>> matrix = np.array([[0, 2, -1, 0], [2, 0, 0, -1], [-1, 0, 0, 1], [0, -1, 1, 0.0]])
    >>> best = ExhaustiveGrouping().partition(matrix, k=2).objective
    >>> bool(best <= certified_upper_bound(matrix, k=2) + 1e-9)
    True
    """
    n = len(matrix)
    check_group_count(n, k, trace_penalty)
    W = matrix if multiplier is None else matrix + np.maximum((multiplier + multiplier.T) / 2, 0.0)
    projected = project(W)
    # Pushing e below the rest puts its eigenvalue first, and there it is dropped.
    eigenvalues = np.linalg.eigvalsh(projected - 2 * np.linalg.norm(projected) / n)[1:]
    if trace_penalty is not None:
        gain = np.maximum(eigenvalues - trace_penalty, 0.0).sum() - trace_penalty
    elif k is not None:
        gain = eigenvalues[n - k :].sum()
    return float(W.sum() / n + gain)


def centred(matrix: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Return what partitions into k groups depend on: QUQ less its mean eigenvalue on the complement of e.

    Exactly 0 where only rounding is left: a search would climb on it forever.
    """
    n = len(matrix)
    shape = project(matrix) - mean_eigenvalue(matrix) * (np.eye(n) - 1.0 / n)
    return shape if np.abs(shape).max() > 1e-12 * np.abs(matrix).max() else np.zeros((n, n))


def project(matrix: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Return QUQ."""
    rows = matrix - matrix.mean(axis=1, keepdims=True)
    return rows - rows.mean(axis=0, keepdims=True)


def mean_eigenvalue(matrix: Float[np.ndarray, "n n"]) -> float:
    """Return the mean eigenvalue of QUQ on the complement of e."""
    return float((np.trace(matrix) - matrix.sum() / len(matrix)) / max(len(matrix) - 1, 1))


def check_group_count(n: int, k: int | None, trace_penalty: float | None) -> None:
    """Raise unless exactly one of ``k``, in 1..n, and a finite ``trace_penalty`` is given."""
    if (k is None) == (trace_penalty is None):
        raise ValueError(f"k={k} and trace_penalty={trace_penalty}: give exactly one of them")
    if k is not None and not 1 <= k <= n:
        raise ValueError(f"k={k} groups cannot be made of {n} tasks; choose k from 1 to {n}")
    if trace_penalty is not None and not np.isfinite(trace_penalty):
        raise ValueError(f"trace_penalty={trace_penalty} is no price; give a finite number")
