"""Preferences over objectives: weights that are not negative and sum to 1, and laws to draw them from.

The linear utilities of multi-objective reinforcement learning (Hayes et al. 2022, JAAMAS 36:26).
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from gradex.settings import shown, without_numpy

#: Names of laws.
LAWS = ("dirichlet", "lattice")
#: A planted group is drawn from Dirichlet(concentration · centre): at least this, and at least so many
#: standard deviations lie between a centre and the nearest other one.
_CONCENTRATION, _DEVIATIONS = 100.0, 6.0
#: Weights so close to what they are when normalised are left alone.
_ROUNDING = 1e-12
#: Step of a difference, relative to the return, where rounding and curvature disturb it equally, and digits
#: of the slopes that are left then.
_STEP, _DIGITS = 6e-6, 8
#: Draws among which centres are chosen.
_CANDIDATES = 1000


def read_law(name: str, value: Any) -> str | list[list[float]]:
    """Read the name of a law, or rows of weights."""
    return value if isinstance(value, str) and value in LAWS else read_weights(name, value)


def read_weights(name: str, value: Any) -> list[list[float]]:
    """Read rows of weights and normalise them to sum 1."""
    remedy = "give 'dirichlet', 'lattice' or an array [n, K]"
    if isinstance(value, str) or value is None:
        raise ValueError(f"{name} is {value!r}: {remedy}")
    try:
        rows = np.asarray(without_numpy(value), dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {shown(value)}: {remedy}") from None
    if rows.ndim != 2 or rows.size == 0:
        raise ValueError(f"{name} has shape {rows.shape}: {remedy}")
    bad = ~(np.isfinite(rows).all(axis=1) & (rows >= 0).all(axis=1) & (rows > 0).any(axis=1))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"row {row} of {name} is {rows[row].tolist()}: give finite weights of at least 0, not all 0"
        )
    scaled = rows / rows.max(axis=1, keepdims=True)  # the sum of large ones would overflow
    scaled /= scaled.sum(axis=1, keepdims=True)
    # Weights that sum to 1 already stay as they are, to the last digit.
    normalised: list[list[float]] = np.where(np.abs(rows - scaled) < _ROUNDING, rows, scaled).tolist()
    return normalised


def dirichlet(n: int, objectives: int, rng: np.random.Generator) -> Float[np.ndarray, "n k"]:
    """Draw n preferences uniformly from the simplex: Dirichlet(1, …, 1)."""
    return rng.dirichlet(np.ones(objectives), n)


def lattice(n: int, objectives: int) -> Float[np.ndarray, "n k"]:
    """Give n points of the simplex lattice (Das and Dennis 1998, SIAM J. Optim. 8:631).

    The coarsest lattice with at least n points, in lexicographic order, of which n are taken at even steps,
    first and last included. One point alone is the middle of the simplex.

    Examples
    --------
    >>> from gradex.tasks.preferences import lattice
    >>> lattice(3, objectives=2).tolist()
    [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]
    """
    if n == 1 or objectives == 1:
        return np.full((n, objectives), 1 / objectives)
    parts = 1
    while comb(parts + objectives - 1, objectives - 1) < n:
        parts += 1
    # Stars and bars: where the bars stand says how many stars lie between them.
    places = parts + objectives - 1
    bars = np.array(list(combinations(range(places), objectives - 1)))
    edges = np.column_stack([np.full(len(bars), -1), bars, np.full(len(bars), places)])
    points = (np.diff(edges, axis=1) - 1) / parts
    return points[np.round(np.linspace(0, len(points) - 1, n)).astype(int)]


def centres(groups: int, objectives: int, rng: np.random.Generator) -> Float[np.ndarray, "groups k"]:
    """Choose centres of groups that lie far from each other.

    Of 1,000 uniform draws the first is a centre, and each further one is the draw that is farthest from all
    centres before it (Gonzalez 1985, Theor. Comput. Sci. 38:293).
    """
    drawn = dirichlet(_CANDIDATES, objectives, rng)
    chosen = drawn[:1]
    for _ in range(groups - 1):
        distance = np.linalg.norm(drawn[:, None] - chosen, axis=-1).min(axis=1)
        chosen = np.concatenate([chosen, drawn[[distance.argmax()]]])
    return chosen


def concentration(around: Float[np.ndarray, "groups k"]) -> float:
    """Say how closely groups lie around their centres.

    100: the standard deviation of a weight is at most 0.05. Where centres are near, so much more that the
    distance of two is at least six standard deviations, so that groups hardly overlap.
    """
    if len(around) == 1:
        return _CONCENTRATION
    distance = np.linalg.norm(around[:, None] - around, axis=-1)
    nearest = distance[np.triu_indices(len(around), 1)].min()
    return max(_CONCENTRATION, float((_DEVIATIONS / nearest) ** 2))


def planted(
    n: int, around: Float[np.ndarray, "groups k"], rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n k"], Int[np.ndarray, " n"]]:
    """Draw n preferences from groups of equal size, from Dirichlet(concentration · centre); and their groups.

    The centres are `around`.
    """
    labels = rng.permutation(np.arange(n) % len(around))
    # Dirichlet needs positive numbers; a weight of a hundred-thousandth is none.
    alpha = np.maximum(concentration(around) * around, 1e-3)
    return np.array([rng.dirichlet(alpha[label]) for label in labels]), labels


def weigh(
    weights: Float[np.ndarray, "tasks k"], objectives: Float[np.ndarray, "*steps k"]
) -> Float[np.ndarray, "tasks *steps"]:
    """Give what each preference pays for each step: the weighted sum of its objectives.

    Summed component by component, so that the sum does not depend on how many steps or tasks there are.
    """
    paid = np.zeros((len(weights), *objectives.shape[:-1]))
    for k in range(weights.shape[1]):
        paid += np.multiply.outer(weights[:, k], objectives[..., k].astype(np.float64))
    return paid


def marginal_weights(
    utilities: Sequence[Callable[[Float[np.ndarray, " k"]], float]], returns: ArrayLike
) -> Float[np.ndarray, "n k"]:
    """Weigh objectives by what a little more of each adds to utilities that are not linear.

    A policy that improves a utility u of its expected returns V follows the gradient of Σ_k (∂u/∂V_k) V_k, so
    that near V it is the preference with weights ∂u/∂V. Hayes et al. (2022, JAAMAS 36:26) call this criterion
    the scalarised expected return. Central differences are taken.

    Parameters
    ----------
    utilities : sequence of callables
        Each takes an array [k] of returns and gives a number, the more the better; where one of the returns
        grows, none may fall.
    returns : array [k]
        Of the policy whose surroundings count, one for each objective, on the scale of the suite.

    Returns
    -------
    array [n, k]
        Rows sum to 1; see `TaskSuite.with_weights`.

    Raises
    ------
    ValueError
        If a utility falls where a return grows, does not change with any, or is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.tasks import marginal_weights
    >>> cautious, keen = min, max  # content with the worse, or with the better of two
    >>> marginal_weights([cautious, keen, np.prod], [1.0, 3.0]).round(6).tolist()
    [[1.0, 0.0], [0.0, 1.0], [0.75, 0.25]]
    """
    at = np.asarray(returns, dtype=np.float64)
    if at.ndim != 1 or not np.isfinite(at).all():
        raise ValueError(f"returns is {shown(returns)}: give a finite number for each objective")
    largest = np.abs(at).max(initial=0.0)
    steps = np.diag(_STEP * np.maximum(np.abs(at), min(largest, 1.0) or 1.0))
    rises = np.array([[float(u(at + step)) - float(u(at - step)) for step in steps] for u in utilities])
    if not np.isfinite(rises).all():
        number = int(np.argmin(np.isfinite(rises).all(axis=1)))
        raise ValueError(f"utility {number} is not finite near {at.tolist()}: give one that is")
    slopes = rises / (2 * np.diag(steps))
    steepest = np.abs(slopes).max(axis=1, keepdims=True)
    slopes = (slopes / np.where(steepest > 0, steepest, 1.0)).round(_DIGITS)
    for number, row in enumerate(slopes):
        if (row < 0).any() or not row.any():
            raise ValueError(
                f"utility {number} has slopes in the ratio of {row.tolist()} at {at.tolist()}: give one that "
                "grows with some return and falls with none"
            )
    return np.array(read_weights("slopes", slopes))
