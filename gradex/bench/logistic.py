"""Logistic regressions on subsets of tasks against scikit-learn in a loop.

The peer is timed on one thread as well: its matrices are small, and its threads may wait for each other.
"""

import time
import warnings
from collections.abc import Iterator
from itertools import product

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits  # type: ignore[import-untyped]

from gradex.surrogate import AUTO_REGULARIZATION, Samples, SubsetLogisticRegression

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
        regression = SubsetLogisticRegression(features, Samples(advantages, tasks).blocks(), ridge)
        solution = regression.solve(members, np.ones((1, _SAMPLES), dtype=bool), _TOLERANCE)
        ours = time.perf_counter() - start
        samples = []
        for inside in members[:_FITS]:
            own = np.flatnonzero(inside[tasks])
            samples.append((features[own], labels[own], weights[own]))
        # The peer on one thread and on those it takes by itself; with its own tolerance, and with one that
        # reaches our residual.
        for threads, tolerance in product(sorted({1, _default_threads()}), (1e-4, 1e-6)):
            with threadpool_limits(1 if threads == 1 else None):
                seconds, residual = _fit_peer(samples, ridge, tolerance)
            peer = seconds * _SUBSETS
            yield {
                "peer": f"scikit-learn lbfgs in a loop, {threads} thread{'s' * (threads > 1)}",
                "setting": f"{_SUBSETS} subsets of {size} out of {_TASKS} tasks, N = {_SAMPLES:,}, "
                f"d = {_DIMENSION}, KKT residuals {solution.kkt_residual.max():.0e} against "
                f"{residual:.0e}; {_FITS} fits of the peer timed, times {_SUBSETS // _FITS}",
                "gradex": ours,
                "peer_value": peer,
                "unit": "s",
                "ratio": peer / ours,
            }


def _default_threads() -> int:
    return max((pool["num_threads"] for pool in threadpool_info()), default=1)


def _fit_peer(
    samples: list[tuple[np.ndarray, np.ndarray, np.ndarray]], ridge: float, tolerance: float
) -> tuple[float, float]:
    """Give the median of the seconds for a fit, and the largest residual."""
    seconds, residuals = [], []
    for x, y, w in samples:
        model = LogisticRegression(C=1 / (ridge * len(y)), fit_intercept=False, tol=tolerance, max_iter=1000)
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, y, sample_weight=w)
        seconds.append(time.perf_counter() - start)
        residuals.append(_kkt_residual(model.coef_[0], x * y[:, None], w, ridge))
    return float(np.median(seconds)), max(residuals)


def _kkt_residual(theta: np.ndarray, signed: np.ndarray, weights: np.ndarray, ridge: float) -> float:
    def gradient(at: np.ndarray) -> np.ndarray:
        return ridge * at - (weights / (1 + np.exp(signed @ at))) @ signed / len(signed)

    return float(np.linalg.norm(gradient(theta)) / np.linalg.norm(gradient(np.zeros_like(theta))))
