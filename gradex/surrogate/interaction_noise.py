"""The noise of interactions at other numbers of clusters, by the Hoeffding decomposition.

The product h of two clusters is the interaction, what each cluster adds by itself, and what is left
(Hoeffding 1948): h_cd = U + a_c + b_d + r_cd. The mean over E clusters of each task then errs by

    first / √E + second / E,

where the first part comes from a and b, the second from r. Both are known from a pilot, for any E: random
weights of its clusters give errors with the same variances, and with the same dependence between pairs.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gradex.seeds import generator_for
from gradex.surrogate.interactions import Interactions


@dataclass(frozen=True, eq=False)
class InteractionNoise:
    """Draws of the errors of interactions, for any number of clusters.

    Attributes
    ----------
    first, second : array [draws, n, n]
        The error at E clusters is first / √E + second / E. Variances of both are right on average over
        pairs: what the rest adds to the spread of a and b in the pilot is taken out, by one factor for all
        pairs, as that of a single one is hardly known from ten clusters.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.surrogate import Interactions
    >>> from gradex.surrogate.interaction_noise import InteractionNoise
    >>> rng = np.random.default_rng(0)
    >>> pilot = Interactions(tuple(rng.normal(1.0, 1.0, size=(12, 3)) for task in range(4)), common=False)
    >>> noise = InteractionNoise.of(pilot, draws=2000)
    >>> [round(float(noise.at(count).std()), 2) for count in (12, 48, 192)]
    [0.73, 0.34, 0.17]
    """

    first: Float[np.ndarray, "draws n n"]
    second: Float[np.ndarray, "draws n n"]

    @classmethod
    def of(cls, pilot: Interactions, draws: int, seed: int = 0) -> "InteractionNoise":
        """Draw the errors of interactions whose clusters are like those of a pilot."""
        rng, n = generator_for(seed, "errors of interactions"), len(pilot)
        sizes = [len(own) for own in pilot.vectors]
        weights = [rng.standard_normal((draws, size)) for size in sizes[: 1 if pilot.common else None]]
        weights = weights * n if pilot.common else weights
        first, second = np.zeros((2, draws, n, n))
        spread = excess = 0.0
        for i in range(n):
            for j in range(i, n):
                h = (pilot.vectors[i] @ pilot.vectors[j].T).astype(np.float64)
                parts = _within(h) if i == j or pilot.common else _between(h)
                single = weights[i] @ parts.rows + weights[j] @ parts.columns
                first[:, i, j] = first[:, j, i] = single
                second[:, i, j] = second[:, j, i] = ((weights[i] @ parts.rest) * weights[j]).sum(axis=1)
                spread += parts.spread
                excess += parts.excess
        share = max(0.0, 1 - excess / spread) if spread > 0 else 0.0
        return cls(first * np.sqrt(share), second)

    def at(self, clusters: float) -> Float[np.ndarray, "draws n n"]:
        """Give the errors at so many clusters of each task."""
        return self.first / np.sqrt(clusters) + self.second / clusters


@dataclass(frozen=True)
class _Parts:
    """What a cluster of the one task and of the other adds, and what is left, by weight in the error."""

    rows: Float[np.ndarray, " c"]
    columns: Float[np.ndarray, " d"]
    rest: Float[np.ndarray, "c d"]
    spread: float
    """Variance that rows and columns give."""
    excess: float
    """How much of it comes from the rest."""


def _between(h: Float[np.ndarray, "c d"]) -> _Parts:
    """Decompose products of clusters of two tasks that are independent."""
    size, other = len(h) - 1, len(h.T) - 1
    rows, columns = h.mean(axis=1) - h.mean(), h.mean(axis=0) - h.mean()
    rest = h - h.mean() - rows[:, None] - columns
    variance = float(np.vdot(rest, rest)) / (size * other)
    spread = float(rows @ rows / size + columns @ columns / other)
    excess = variance * (1 / len(h.T) + 1 / len(h))
    return _Parts(
        rows / np.sqrt(size), columns / np.sqrt(other), rest / np.sqrt(size * other), spread, excess
    )


def _within(h: Float[np.ndarray, "c c"]) -> _Parts:
    """Decompose products of different clusters that are those of one task, or shared by two."""
    h, size = (h + h.T) / 2, len(h)
    apart = ~np.eye(size, dtype=bool)
    mean = h[apart].mean()
    rows = (np.where(apart, h - mean, 0.0)).sum(axis=1) / (size - 2)
    rest = np.where(apart, h - mean - rows[:, None] - rows, 0.0)
    variance = float(np.vdot(rest, rest)) / (size * (size - 3))
    spread = 4 * float(rows @ rows) / (size - 1)
    weighted = rows / np.sqrt(size - 1)
    return _Parts(weighted, weighted, rest / np.sqrt(size * (size - 3)), spread, 4 * variance / (size - 2))
