"""The clustering relaxation against SCS."""

import time
from collections.abc import Iterator

import numpy as np

from analysis.speed.comparison import Comparison
from gradex.affinity import Partition, solve_relaxation

#: What is left out without a package: nothing, the core has all.
WITHOUT: dict[str, str] = {}

_CLEAR, _NOISY = "clear groups", "noisy groups"
_LAPTOP = ((100, 5, 0.3, _CLEAR), (100, 5, 4.0, _NOISY), (300, 10, 0.6, _CLEAR), (300, 10, 4.0, _NOISY))
#: Tasks, groups, noise of the affinities, and what that makes of the groups.
_MATRICES = {"smoke": ((20, 2, 0.3, _CLEAR), (20, 2, 4.0, _NOISY)), "laptop": _LAPTOP, "paper": _LAPTOP}


def compare(scale: str) -> Iterator[Comparison]:
    """Solve the clustering relaxation to a certified gap of 1e-6, SCS through CVXPY to residuals of 1e-6."""
    for n, k, noise, kind in _MATRICES[scale]:
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
        yield Comparison(
            kind,
            "SCS through CVXPY",
            f"{n} tasks in {k} groups",
            seconds[0],
            seconds[1],
            "s",
            f"relative gap {gaps[0]:.0e} against {gaps[1]:.0e}",
        )
