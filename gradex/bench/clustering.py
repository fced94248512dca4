"""The clustering relaxation against SCS."""

import time
from collections.abc import Iterator

import numpy as np

from gradex.affinity import Partition, solve_relaxation


def rows() -> Iterator[dict[str, object]]:
    """Solve the clustering relaxation to a certified gap of 1e-6, SCS through CVXPY to residuals of 1e-6."""
    for n, k, noise, kind in (
        (100, 5, 0.3, "clear groups"),
        (100, 5, 4.0, "noisy groups"),
        (300, 10, 0.6, "clear groups"),
        (300, 10, 4.0, "noisy groups"),
    ):
        rng = np.random.default_rng(0)
        labels = np.arange(n) % k
        matrix = noise * rng.standard_normal((n, n))
        matrix = (labels[:, None] == labels) + (matrix + matrix.T) / np.sqrt(2)
        seconds, gaps = [], []
        for backend in ("splitting", "cvxpy"):
            start = time.perf_counter()
            relaxation = solve_relaxation(matrix, k, backend=backend, tolerance=1e-6)
            seconds.append(time.perf_counter() - start)
            chance = Partition.of(matrix, labels, upper_bound=relaxation.upper_bound, status="").chance
            gain = relaxation.upper_bound - chance
            gaps.append(abs(relaxation.upper_bound - relaxation.objective) / gain)
        yield {
            "peer": "SCS through CVXPY",
            "setting": f"{n} tasks, {kind}, relative gap {gaps[0]:.0e} against {gaps[1]:.0e}",
            "gradex": seconds[0],
            "peer_value": seconds[1],
            "unit": "s",
            "ratio": seconds[1] / seconds[0],
        }
