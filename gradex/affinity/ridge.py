"""Ridge regression on a design that may be large and sparse, its strength by generalised cross-validation.

Golub, Heath and Wahba (1979), "Generalized cross-validation as a method for choosing a good ridge parameter";
for designs too large to decompose, the trace that it needs is estimated with one random vector (Girard 1989,
Hutchinson 1990).
"""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator, lsmr


@runtime_checkable
class Ridge(Protocol):
    """Minimises  |y - A x|^2 + strength |x|^2  for one A and y and many strengths."""

    def coefficients(self, strength: float) -> Float[np.ndarray, " unknowns"]:
        """Return the minimising x."""

    def misfit(self, strength: float) -> tuple[float, float]:
        """Return |y - A x|^2 and its degrees of freedom, the trace of I - A (A^T A + strength)^-1 A^T."""


def best_strength(ridge: Ridge, strengths: Float[np.ndarray, " candidates"]) -> float:
    """Return the candidate of least generalised cross-validation error."""
    misfit, freedom = np.array([ridge.misfit(float(strength)) for strength in strengths]).T
    return float(strengths[np.argmin(misfit / freedom**2)])


class DenseRidge:
    """Ridge through one eigendecomposition of the smaller of A A^T and A^T A.

    ``freedom`` is the dimension of the space that holds y and the columns of A; less than m when something
    was projected out of both.
    """

    def __init__(
        self, design: Float[np.ndarray, "m unknowns"], target: Float[np.ndarray, " m"], freedom: int
    ):
        wide = design.shape[0] <= design.shape[1]
        squares, vectors = np.linalg.eigh(design @ design.T if wide else design.T @ design)
        kept = squares > 1e-13 * squares[-1]
        self._singular = np.sqrt(squares[kept])
        vectors = vectors[:, kept]
        self._right = design.T @ vectors / self._singular if wide else vectors
        self._along = self._right.T @ (design.T @ target) / self._singular
        self._beyond = max(float(target @ target - self._along @ self._along), 0.0)
        self._free = freedom - int(kept.sum())

    def coefficients(self, strength: float) -> Float[np.ndarray, " unknowns"]:
        return self._right @ (self._singular / (self._singular**2 + strength) * self._along)

    def misfit(self, strength: float) -> tuple[float, float]:
        missed = strength / (self._singular**2 + strength)
        return float(np.sum((missed * self._along) ** 2)) + self._beyond, float(missed.sum()) + self._free


class IterativeRidge:
    """Ridge through LSMR (Fong and Saunders 2011), which needs only products with A and its transpose.

    The ``probe`` [m], random signs less what was projected out of A and y, estimates the trace.
    """

    def __init__(
        self, design: LinearOperator, target: Float[np.ndarray, " m"], probe: Float[np.ndarray, " m"]
    ):
        self._design = design
        self._target = target
        self._probe = probe

    def coefficients(self, strength: float) -> Float[np.ndarray, " unknowns"]:
        return self._solve(self._target, strength, tolerance=1e-10)

    def misfit(self, strength: float) -> tuple[float, float]:
        residual = self._target - self._design @ self._solve(self._target, strength, tolerance=1e-6)
        missed = self._probe - self._design @ self._solve(self._probe, strength, tolerance=1e-6)
        return float(residual @ residual), float(self._probe @ missed)

    def _solve(
        self, target: Float[np.ndarray, " m"], strength: float, tolerance: float
    ) -> Float[np.ndarray, " unknowns"]:
        return lsmr(
            self._design, target, damp=np.sqrt(strength), atol=tolerance, btol=tolerance, maxiter=5000
        )[0]
