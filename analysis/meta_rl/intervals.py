"""Interquartile means, bootstrap intervals and probabilities of improvement (Agarwal et al. 2021, NeurIPS).

One thing is different: all targets of a seed share a meta-training, so that a seed is drawn whole. Every
resample has all targets (the strata) equally often.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from gradex.seeds import generator_for

_RESAMPLES = 2000


def interquartile_mean(scores: Float[np.ndarray, "*shape"]) -> float:
    """Give the mean of the middle half of all scores.

    Examples
    --------
    >>> import numpy as np
    >>> from analysis.meta_rl.intervals import interquartile_mean
    >>> interquartile_mean(np.array([0.0, 1.0, 3.0, 100.0]))
    2.0
    """
    return float(stats.trim_mean(np.asarray(scores), 0.25, axis=None))


def improvement(
    ours: Float[np.ndarray, "seeds targets draws"], theirs: Float[np.ndarray, "seeds targets others"]
) -> float:
    """Give the probability that ours is better in a target: over all pairs of scores, then over targets.

    Equal scores count as half. Scores of different seeds are compared, too.

    Examples
    --------
    >>> import numpy as np
    >>> from analysis.meta_rl.intervals import improvement
    >>> improvement(np.array([[[1.0]], [[3.0]]]), np.array([[[2.0]], [[3.0]]]))  # pairs: 0, 0, 1, 1/2
    0.375
    """
    mine, other = (np.moveaxis(each, 1, 0).reshape(each.shape[1], -1) for each in (ours, theirs))
    better = (mine[:, :, None] > other[:, None]) + 0.5 * (mine[:, :, None] == other[:, None])
    return float(better.mean())


def interval(
    statistic: Callable[..., float], *scores: Float[np.ndarray, "seeds ..."], level: float = 0.95
) -> tuple[float, float]:
    """Give the percentile interval of a statistic over seeds, drawn whole and alike for all scores.

    Parameters
    ----------
    statistic : callable
        Takes the scores, in whose value the order of seeds plays no part.
    *scores : arrays [seeds, ...]
        Of seeds in one order.

    Examples
    --------
    >>> import numpy as np
    >>> from analysis.meta_rl.intervals import interquartile_mean, interval
    >>> interval(interquartile_mean, np.array([[1.0, 2.0]]))  # one seed tells nothing of others
    (1.5, 1.5)
    """
    count = len(scores[0])
    rng = generator_for(0, "bootstrap of seeds")
    drawn = rng.integers(count, size=(_RESAMPLES if count > 1 else 1, count))
    # Few seeds are drawn in few ways.
    ways, which = np.unique(np.sort(drawn, axis=1), axis=0, return_inverse=True)
    found = np.array([statistic(*(each[chosen] for each in scores)) for chosen in ways])[which.ravel()]
    tail = (1 - level) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return float(low), float(high)


def with_interval(
    name: str, statistic: Callable[..., float], scores: Sequence[Float[np.ndarray, "seeds ..."]]
) -> dict[str, float]:
    """Give columns NAME, NAME_low and NAME_high."""
    low, high = interval(statistic, *scores)
    return {name: statistic(*scores), f"{name}_low": low, f"{name}_high": high}
