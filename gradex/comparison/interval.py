"""A mean difference with an interval, and what may be said of it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

_LEVEL = 0.95


class Interval(NamedTuple):
    """A mean with Student's 95 % interval.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.comparison import Interval
    >>> difference = Interval.of(np.array([1.0, 2.0, 3.0]))
    >>> print(difference)
    +2.00 [-0.48, 4.48]
    >>> difference.gain
    'gains nothing beyond doubt: +2.00 [-0.48, 4.48]'
    """

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Float[np.ndarray, " count"]) -> "Interval":
        """Give that of the mean of independent values, two or more."""
        mean, stderr = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
        half = stats.t.ppf(0.5 + _LEVEL / 2, len(values) - 1) * stderr
        return cls(float(mean), float(mean - half), float(mean + half))

    @property
    def gain(self) -> str:
        """Say whether this difference is a gain or a loss, or neither beyond doubt."""
        if self.low > 0:
            return f"gains {self}"
        return f"loses: {self}" if self.high < 0 else f"gains nothing beyond doubt: {self}"

    def __str__(self) -> str:
        return f"{self.mean:+.2f} [{self.low:.2f}, {self.high:.2f}]"


def scaled_difference(
    own: Float[np.ndarray, "n episodes"],
    other: Float[np.ndarray, "n episodes"],
    scale: Float[np.ndarray, " n"],
) -> Interval:
    """Give by how much some returns are higher than others: mean over tasks, in units of their scale.

    Parameters
    ----------
    own, other : float arrays [n, episodes]
        Returns of paired episodes.
    scale : float array [n]
        Unit of each task. Where it is 0, all episodes paid the same and the difference is 0.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.comparison import scaled_difference
    >>> own, other = np.array([[3.0, 5.0], [70.0, 90.0]]), np.array([[1.0, 2.0], [30.0, 30.0]])
    >>> print(scaled_difference(own, other, scale=np.array([1.0, 20.0])))
    +2.50 [-3.85, 8.85]
    """
    known = np.where(scale > 0, scale, 1.0)[:, None]
    # Episodes of different tasks may err together, so tasks are averaged before episodes are compared.
    return Interval.of(((own - other) / known).mean(axis=0))
