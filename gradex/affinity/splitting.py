"""Douglas-Rachford splitting for the clustering relaxation, hundreds to a thousand tasks.

The constraints fall into two simple sets: the spectral one, X = e e^T / n + X' with X' e = 0, eigenvalues of
X' in [0, 1] and, where k is given, trace k - 1, whose projection is one eigendecomposition; and X >= 0.
Splitting alternates between them (Lions and Mercier 1979; the ADMM of Wen, Goldfarb and Yin 2010 for
semidefinite programs) and yields the multiplier Z >= 0 of X >= 0 as it goes. We add:

1. The bound of Z is certified, see `gradex.affinity.certificate`, and stops the iteration.
2. The iterate is repaired to a feasible X: a few over-relaxed projections onto both sets, then as much of the
   centre of the feasible set as lifts the last negative entry. Both take the place of a hundred iterations.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gradex.affinity.certificate import certified_upper_bound, project

_RELAXATION = 1.8  # steps of Douglas-Rachford converge below 2
_PRIMAL_WEIGHT = 3.0  # the bound is accurate long before X is feasible, so feasibility comes first
_STEP_UPDATES = 300  # with a step size that no longer changes, the iteration converges for certain
_CHECK_EVERY = 10
_REPAIR_PROJECTIONS = 6


class SplitSolution(NamedTuple):
    """A feasible matrix and a multiplier, each the best met."""

    X: Float[np.ndarray, "n n"] | None
    """Feasible up to rounding; None where nothing beat the value that was known."""
    Z: Float[np.ndarray, "n n"]
    """Multiplier of X >= 0."""
    converged: bool


def solve_by_splitting(
    shape: Float[np.ndarray, "n n"],
    k: int | None,
    price: float | None,
    *,
    multiplier: Float[np.ndarray, "n n"],
    start: Float[np.ndarray, "n n"],
    known: float,
    least_gain: float,
    tolerance: float,
    max_iterations: int,
) -> SplitSolution:
    """Maximise <S, X> - price tr X over the feasible X of the relaxation, S centred, of norm at most 1.

    It starts from Z = ``multiplier`` and X = ``start``, and X is of use only where it beats ``known``, the
    value of a partition. It stops where the gap between value and bound is below the share ``tolerance`` of
    ``least_gain`` or, if it is more, of the gain over the centre of the feasible set; with a price, over a
    single group.
    """
    n, X, Z = len(shape), start, multiplier
    worthless = 0.0 if price is None else -price
    step = 10.0 / np.sqrt(n)
    best_X, value = None, known
    best_Z, bound = Z, certified_upper_bound(shape, k, price, Z)
    next_repair = 0.0
    for iteration in range(1, max_iterations + 1):
        Y = _nearest_spectral(X + (shape + Z) / step, k, 0.0 if price is None else price / step)
        moved = X + _RELAXATION * (Y - X) - Z / step
        if iteration % _CHECK_EVERY == 0:
            # The multiplier of the step without over-relaxation is closer.
            candidate = np.maximum(Z - step * Y, 0.0)
            if (candidate_bound := certified_upper_bound(shape, k, price, candidate)) < bound:
                best_Z, bound = candidate, candidate_bound
            unit = tolerance * max(least_gain, bound - worthless)
            if abs(bound - relaxed_objective(shape, Y, price)) <= unit / 2 and iteration >= next_repair:
                repaired = _repaired(Y, tolerance)
                if (repaired_value := relaxed_objective(shape, repaired, price)) > value:
                    best_X, value = repaired, repaired_value
                next_repair = 1.25 * iteration
            if bound - value <= unit:
                return SplitSolution(best_X, best_Z, converged=True)
        previous, X = X, np.maximum(moved, 0.0)
        Z = step * (X - moved)
        if iteration % _CHECK_EVERY == 0 and iteration <= _STEP_UPDATES:
            step = _balanced(step, X, Y, Z, X - previous)
    return SplitSolution(best_X, best_Z, converged=False)


def _nearest_spectral(
    matrix: Float[np.ndarray, "n n"], trace: float | None, threshold: float = 0.0
) -> Float[np.ndarray, "n n"]:
    """Project onto e e^T / n + X', 0 <= X' <= I, X' e = 0, of this trace or less the threshold before."""
    n = len(matrix)
    projected = project(matrix)
    # Pushing e below the rest puts its eigenvalue first, and there it is dropped.
    eigenvalues, vectors = np.linalg.eigh(projected - 2 * (1.0 + np.linalg.norm(projected)) / n)
    eigenvalues, vectors = eigenvalues[1:], vectors[:, 1:]
    if trace is not None:
        threshold = _threshold(eigenvalues, trace - 1.0)
    kept = eigenvalues > threshold
    half = vectors[:, kept] * np.sqrt(np.minimum(eigenvalues[kept] - threshold, 1.0))
    return half @ half.T + 1.0 / n


def _threshold(values: Float[np.ndarray, " r"], total: float) -> float:
    """Return the t at which the values less t, cut to [0, 1], add up to the total."""
    corners = np.sort(np.concatenate([values, values - 1.0]))
    low, high = 0, len(corners) - 1  # the sum falls with t: r at the first corner, 0 at the last
    while high - low > 1:
        middle = (low + high) // 2
        if np.clip(values - corners[middle], 0.0, 1.0).sum() >= total:
            low = middle
        else:
            high = middle
    at_low, at_high = (float(np.clip(values - corners[i], 0.0, 1.0).sum()) for i in (low, high))
    share = (at_low - total) / (at_low - at_high) if at_low > at_high else 0.0
    return float(corners[low] + share * (corners[high] - corners[low]))


def _repaired(Y: Float[np.ndarray, "n n"], tolerance: float) -> Float[np.ndarray, "n n"]:
    """Return a feasible matrix near one that is spectral, of the same trace."""
    n, trace = len(Y), float(np.trace(Y))
    # The feasible matrix in which all tasks are alike.
    centre = np.full((n, n), 1.0 / n) + (trace - 1.0) / (n - 1) * (np.eye(n) - 1.0 / n)
    depth = centre[0, 1]
    for _ in range(_REPAIR_PROJECTIONS):
        # A little inside, so that the last projection ends there.
        lifted = np.maximum(Y, 0.1 * tolerance * depth)
        Y = _nearest_spectral(Y + _RELAXATION * (lifted - Y), trace)
    lacking = max(-float(Y.min()), 0.0)
    share = lacking / (lacking + depth) if lacking > 0 else 0.0
    return (1.0 - share) * Y + share * centre


def _balanced(
    step: float,
    X: Float[np.ndarray, "n n"],
    Y: Float[np.ndarray, "n n"],
    Z: Float[np.ndarray, "n n"],
    change: Float[np.ndarray, "n n"],
) -> float:
    """Adjust the step so that infeasibility and change shrink together (Boyd et al. 2011, Sec. 3.4.1)."""
    infeasible = float(np.linalg.norm(Y - X) / np.linalg.norm(Y))
    changing = step * float(np.linalg.norm(change)) / (1e-3 + float(np.linalg.norm(Z)))
    ratio = _PRIMAL_WEIGHT * infeasible / max(changing, 1e-30)
    if 1 / 1.5 <= ratio <= 1.5:
        return step
    return float(np.clip(step * np.clip(ratio, 0.5, 2.0) ** 0.7, 1e-4, 1e4))


def relaxed_objective(
    matrix: Float[np.ndarray, "n n"], X: Float[np.ndarray, "n n"], price: float | None
) -> float:
    """Return <U, X> less the price of its trace."""
    return float(np.vdot(matrix, X) - (price or 0.0) * np.trace(X))
