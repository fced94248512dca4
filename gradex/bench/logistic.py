"""Logistic regressions on subsets of tasks against scikit-learn in a loop."""

import time
import warnings
from collections.abc import Iterator

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from gradex.surrogate import AUTO_REGULARIZATION, SubsetLogisticRegression

_SUBSETS, _TASKS, _SAMPLES, _DIMENSION = 1000, 50, 20_000, 400
_TOLERANCE = 1e-6
#: Fits of scikit-learn that are timed.
_FITS = 5


def rows() -> Iterator[dict[str, object]]:
    """Fit all subsets together, and a few with scikit-learn, scaled up to all."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((_SAMPLES, _DIMENSION), dtype=np.float32)
    features *= np.geomspace(3, 0.3, _DIMENSION, dtype=np.float32)
    tasks = np.arange(_SAMPLES) % _TASKS
    advantages = features[:, :50] @ rng.standard_normal(50) / 10 + 2 * rng.standard_normal(_SAMPLES)
    labels, weights = np.where(advantages < 0, -1.0, 1.0), np.abs(advantages)
    eigenvalue = 0.25 * float(np.mean(weights * np.square(features).sum(axis=1))) / _DIMENSION
    ridge = AUTO_REGULARIZATION * eigenvalue
    for size in (3, 15):
        members = np.zeros((_SUBSETS, _TASKS), dtype=bool)
        members[:, :size] = True
        members = rng.permuted(members, axis=1)
        start = time.perf_counter()
        regression = SubsetLogisticRegression(features, labels, weights, tasks, ridge)
        solution = regression.solve(members, np.ones((1, _SAMPLES), dtype=bool), _TOLERANCE)
        ours = time.perf_counter() - start
        # First with scikit-learn's own tolerance, then with one that reaches our residual.
        for tolerance in (1e-4, 1e-6):
            seconds, residuals = [], []
            for inside in members[:_FITS]:
                own = np.flatnonzero(inside[tasks])
                x, y, w = features[own], labels[own], weights[own]
                model = LogisticRegression(
                    C=1 / (ridge * len(y)), fit_intercept=False, tol=tolerance, max_iter=1000
                )
                start = time.perf_counter()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    model.fit(x, y, sample_weight=w)
                seconds.append(time.perf_counter() - start)
                residuals.append(_kkt_residual(model.coef_[0], x * y[:, None], w, ridge))
            peer = float(np.median(seconds)) * _SUBSETS
            yield {
                "peer": "scikit-learn lbfgs in a loop",
                "setting": f"{_SUBSETS} subsets of {size} out of {_TASKS} tasks, N = {_SAMPLES:,}, "
                f"d = {_DIMENSION}, KKT residuals {solution.kkt_residual.max():.0e} against "
                f"{max(residuals):.0e}; {_FITS} fits of the peer timed, times {_SUBSETS // _FITS}",
                "gradex": ours,
                "peer_value": peer,
                "unit": "s",
                "ratio": peer / ours,
            }


def _kkt_residual(theta: np.ndarray, signed: np.ndarray, weights: np.ndarray, ridge: float) -> float:
    def gradient(at: np.ndarray) -> np.ndarray:
        return ridge * at - (weights / (1 + np.exp(signed @ at))) @ signed / len(signed)

    return float(np.linalg.norm(gradient(theta)) / np.linalg.norm(gradient(np.zeros_like(theta))))
