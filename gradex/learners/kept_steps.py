"""Which of the steps that are simulated are kept: importance sampling by the size of advantages."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

#: Beside the size of an advantage, whose standard deviation is 1: no step weighs too much.
_LEAST = 0.1
#: Deviations smaller than this share of the largest reward are rounding.
_ROUNDING = 1e-10


@dataclass(frozen=True, eq=False)
class KeptSteps:
    """Steps that are kept of those that were simulated, of every environment the same share.

    A step is kept with a chance that grows with the size of its advantage, and its advantage is divided by
    that chance: sums over kept steps are those over all on average, and vary less than those over steps that
    are kept with equal chances (importance sampling). Chances are relative: 1 where all are equally likely.

    Places are in the order of the simulated steps, and deviations those of the advantages of all of them,
    before they were normalised.
    """

    places: Int[np.ndarray, " count"]
    advantages: Float[np.ndarray, "n count"]
    deviations: Float[np.ndarray, " n"]
    chances: Float[np.ndarray, " count"]

    @classmethod
    def of(
        cls,
        advantages: Float[np.ndarray, "k simulated"],
        largest: Float[np.ndarray, " k"],
        weights: Float[np.ndarray, "n k"],
        environments: Int[np.ndarray, " simulated"],
        count: int,
        chance: float,
    ) -> "KeptSteps":
        """Keep `count` of the steps, at most as many as there are.

        Advantages are in units of k rewards, of which each of n tasks pays a weighted sum; `largest` are the
        sizes of the largest rewards. `chance`, from 0 to 1, is what is random in the choice.
        """
        centred = advantages - advantages.mean(axis=1, keepdims=True)
        variances = ((weights @ (centred @ centred.T)) * weights).sum(axis=1) / centred.shape[1]
        deviations = np.sqrt(np.maximum(variances, 0.0))
        varies = deviations > _ROUNDING * (weights @ largest)
        scaled = np.divide(weights, deviations[:, None], out=np.zeros_like(weights), where=varies[:, None])
        squares = ((scaled.T @ scaled @ centred) * centred).sum(axis=0) / len(weights)
        sizes = np.sqrt(np.maximum(squares, 0.0)) + _LEAST
        places, chances = [], []
        numbers, steps = np.unique(environments, return_counts=True)
        for environment, own_count in zip(numbers, shares_of(steps, count), strict=True):
            own = np.flatnonzero(environments == environment)
            found = chances_of(sizes[own], int(own_count))
            # Equally spaced on the line of chances, so that every stretch of time has its share.
            at = np.searchsorted(np.cumsum(found), chance + np.arange(own_count), side="right")
            places.append(own[np.minimum(at, len(own) - 1)])
            chances.append(found[np.minimum(at, len(own) - 1)])
        order = np.argsort(np.concatenate(places), kind="stable")
        kept, relative = np.concatenate(places)[order], np.concatenate(chances)[order] * len(sizes) / count
        return cls(kept, scaled @ centred[:, kept] / relative, deviations, relative)


def shares_of(steps: Int[np.ndarray, " environments"], count: int) -> Int[np.ndarray, " environments"]:
    """Share out how many steps are kept in proportion to those there are, the largest remainders first.

    Each environment has one at least, if there are enough: else tasks would have other environments.
    """
    exact = count * steps / steps.sum()
    shares = np.floor(exact).astype(np.int64)
    left = count - int(shares.sum())
    shares[np.argsort(shares - exact, kind="stable")[:left]] += 1
    if count >= len(steps):
        for place in np.flatnonzero(shares == 0):
            shares[shares.argmax()] -= 1
            shares[place] = 1
    return shares


def chances_of(sizes: Float[np.ndarray, " simulated"], count: int) -> Float[np.ndarray, " simulated"]:
    """Give chances in proportion to sizes, at most 1, whose sum is `count`."""
    chances = np.ones(len(sizes))
    below = np.ones(len(sizes), dtype=bool)  # of those the chance is less than 1
    while below.any():
        factor = (count - np.count_nonzero(~below)) / sizes[below].sum()
        chances[below] = factor * sizes[below]
        if chances.max() <= 1:
            break
        below &= chances < 1
        chances[~below] = 1.0
    return chances
