"""Which affinities differ from 0 beyond doubt, and which pairs of tasks are in conflict."""

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats


def significant_pairs(
    matrix: Float[np.ndarray, "n n"], stderr: Float[np.ndarray, "n n"], freedom: float, fdr: float
) -> Bool[np.ndarray, "n n"]:
    """Find the pairs whose affinity differs from 0, with a controlled false discovery rate.

    By t tests and the procedure of Benjamini and Hochberg (1995): of the pairs that are named, no more than
    the share `fdr` is expected to be named wrongly. The diagonal plays no part.
    """
    check_share("fdr", fdr)
    p = 2 * stats.t.sf(np.abs(_ratio(matrix, stderr)), freedom)
    return _as_pairs(stats.false_discovery_control(p) <= fdr, len(matrix))


def conflicting_pairs(
    matrix: Float[np.ndarray, "n n"], stderr: Float[np.ndarray, "n n"], freedom: float, level: float
) -> Bool[np.ndarray, "n n"]:
    """Find the pairs whose affinity is below 0; the chance to name any pair wrongly is at most `level`.

    By one-sided t tests and the step-down procedure of Holm (1979).
    """
    check_share("level", level)
    p = stats.t.cdf(_ratio(matrix, stderr), freedom)
    order = np.argsort(p, kind="stable")
    doubtful = p[order] * np.arange(len(p), 0, -1) > level
    rejected = np.zeros(len(p), dtype=bool)
    rejected[order[: int(doubtful.argmax()) if doubtful.any() else len(p)]] = True
    return _as_pairs(rejected, len(matrix))


def check_share(name: str, value: float) -> None:
    """Refuse by a ValueError what is not strictly between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name}={value} is invalid; give a number between 0 and 1")


def _ratio(matrix: Float[np.ndarray, "n n"], stderr: Float[np.ndarray, "n n"]) -> Float[np.ndarray, " pairs"]:
    """Return affinities in units of their errors; what has no error and is 0 differs from 0 in no way."""
    pairs = np.triu_indices(len(matrix), 1)
    affinity, error = matrix[pairs], stderr[pairs]
    certain = np.where(affinity == 0, 0.0, np.copysign(np.inf, affinity))
    return np.divide(affinity, error, out=certain, where=error > 0)


def _as_pairs(chosen: Bool[np.ndarray, " pairs"], n: int) -> Bool[np.ndarray, "n n"]:
    found = np.zeros((n, n), dtype=bool)
    found[np.triu_indices(n, 1)] = chosen
    return found | found.T
