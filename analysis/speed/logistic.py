"""Logistic regressions on subsets of tasks against scikit-learn in a loop.

The peer is timed on one thread as well: its matrices are small, and its threads may wait for each other.
"""

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

from analysis.speed.comparison import Comparison
from gradex.surrogate import AUTO_REGULARIZATION, Samples, SubsetLogisticRegression

#: What is left out without a package: nothing, the core has all.
WITHOUT: dict[str, str] = {}

#: Of ours, and of the peer: its own, and one that reaches our residual.
_TOLERANCE, _TOLERANCES = 1e-6, (1e-4, 1e-6)


@dataclass(frozen=True)
class _Amount:
    """How much is fitted.

    Attributes
    ----------
    subsets, tasks, samples, dimension : int
    sizes : tuple of int
        Tasks of a subset.
    fits : int
        Fits of scikit-learn that are timed.
    """

    subsets: int = 1000
    tasks: int = 50
    samples: int = 20_000
    dimension: int = 400
    sizes: tuple[int, ...] = (3, 15)
    fits: int = 5


_AMOUNTS = {"smoke": _Amount(20, 20, 2_000, 60), "laptop": _Amount(), "paper": _Amount()}


def compare(scale: str) -> Iterator[Comparison]:
    """Fit all subsets together, and a few with scikit-learn, scaled up to all."""
    amount = _AMOUNTS[scale]
    rng = np.random.default_rng(0)
    features = rng.standard_normal((amount.samples, amount.dimension), dtype=np.float32)
    features *= np.geomspace(3, 0.3, amount.dimension, dtype=np.float32)
    tasks = np.arange(amount.samples) % amount.tasks
    advantages = features[:, :50] @ rng.standard_normal(50) / 10 + 2 * rng.standard_normal(amount.samples)
    labels, weights = np.where(advantages < 0, -1.0, 1.0), np.abs(advantages)
    eigenvalue = 0.25 * float(np.mean(weights * np.square(features).sum(axis=1))) / amount.dimension
    ridge = AUTO_REGULARIZATION * eigenvalue
    for size in amount.sizes:
        members = np.zeros((amount.subsets, amount.tasks), dtype=bool)
        members[:, :size] = True
        members = rng.permuted(members, axis=1)
        start = time.perf_counter()
        regression = SubsetLogisticRegression(features, Samples(advantages, tasks).blocks(), ridge)
        solution = regression.solve(members, np.ones((1, amount.samples), dtype=bool), _TOLERANCE)
        ours = time.perf_counter() - start
        samples = []
        for inside in members[: amount.fits]:
            own = np.flatnonzero(inside[tasks])
            samples.append((features[own], labels[own], weights[own]))
        # The peer on one thread and on those it takes by itself.
        for threads, tolerance in product(sorted({1, _default_threads()}), _TOLERANCES):
            with threadpool_limits(1 if threads == 1 else None):
                seconds, residual = _fit_peer(samples, ridge, tolerance)
            yield Comparison(
                f"subsets of {size}",
                f"scikit-learn in a loop, {threads} thread{'s' * (threads > 1)}",
                f"{amount.subsets} subsets out of {amount.tasks} tasks, N = {amount.samples:,}, "
                f"d = {amount.dimension}, lbfgs with tolerance {tolerance:.0e}; {amount.fits} fits of the "
                f"peer timed, times {amount.subsets / amount.fits:g}",
                ours,
                seconds * amount.subsets,
                "s",
                f"KKT residuals {solution.kkt_residual.max():.0e} against {residual:.0e}",
            )


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
