"""Do tasks have anything in common? A test of two parts that pull together within, but not with each other.

Where a step for one group makes the other worse, they are in conflict, see `gradex.affinity.conflict`. Along
a training groups may also help each other at first, while all can learn the same, and harm each other later,
while each needs what the other cannot use. In sum they are as good as strangers. So are tasks of two kinds
that have nothing to do with each other.

What tasks have in common is the cosine of both parts' gradients, see `UnrelatedTest.common`. A step for both
parts then gains √((1 + share) / 2) of what a step for each of them would.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from gradex.affinity.affinity import InteractionsLike
from gradex.affinity.conflict import mean_between, two_parts
from gradex.affinity.partition import canonical_labels

#: What tasks have in common at least. On suites of one kind, whose tasks differ by degrees, two parts have a
#: share of 0.27 and more; of two kinds that neither help nor harm each other it is about 0.
COMMON_SHARE = 0.2
#: The same within a group, by the return at stake: of one kind 0.17 and more, but for aims of which some are
#: three times as high as others; of two 0.05 at most.
COMMON_SHARE_WITHIN = 0.1


@dataclass(frozen=True, eq=False)
class UnrelatedTest:
    """Whether two parts of the tasks have less in common than a given share.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex import AffinityGraph
    >>> from gradex.affinity import unrelated_test
    >>> from gradex.surrogate import Interactions
    >>> rng = np.random.default_rng(0)
    >>> aims = [(2.0, 0.0), (2.0, 0.0), (0.0, 2.0), (0.0, 2.0)]
    >>> found = Interactions(tuple(rng.normal(aim, 1.0, size=(40, 2)) for aim in aims), common=False)
    >>> test = unrelated_test(found)
    >>> test.labels.tolist(), round(abs(test.common), 1), round(test.p_value, 3)
    ([0, 0, 1, 1], 0.0, 0.002)
    >>> AffinityGraph.from_interactions(found).conflict().p_value > 0.05
    True
    """

    labels: Int[np.ndarray, " n"]
    """Part of each task, 0 or 1."""
    between: float
    """Mean interaction between the parts."""
    within: float
    """Geometric mean of both parts' mean interactions of different tasks; of a single task, with itself."""
    cohesion: float
    """What tasks of the less united part have in common, as a share of their own squared gradients."""
    share: float
    """That was asked for."""
    null: Float[np.ndarray, " draws"]
    """`excess` where there is nothing but noise, parts chosen likewise."""

    @property
    def common(self) -> float:
        """`between` by `within`: 1 are equal directions, 0 is nothing in common; nan where nothing pulls."""
        return self.between / self.within if self.within > 0 else np.nan

    @property
    def excess(self) -> float:
        """How far the parts have more in common than the share, in units of interactions."""
        return self.between - self.share * self.within

    @property
    def p_value(self) -> float:
        """Chance of parts that pull so strongly and have so little in common, if there were only noise.

        It is 1 where tasks within a part have no more in common than the share: these are no groups. And of
        four tasks or more a single one is no part: it may be the end of a scale that the others are on.
        """
        smallest = np.bincount(self.labels, minlength=2).min()
        if self.cohesion < self.share or smallest < _fewest(len(self.labels)):
            return 1.0
        return float((1 + np.sum(self.null <= self.excess)) / (1 + len(self.null)))


def unrelated_test(
    interactions: InteractionsLike, share: float = COMMON_SHARE, draws: int = 400, seed: int = 0
) -> UnrelatedTest:
    """Part the tasks by their interactions, and do likewise in interactions that are nothing but noise.

    Parameters
    ----------
    interactions
        First-order interactions of the tasks.
    share
        Of their steps that tasks of one group have in common at least: 0 is nothing, 1 is all.
    draws, seed
        Of the noise.

    Examples
    --------
    Two parts that pull partly one way, by a cosine of a half:

    >>> import numpy as np
    >>> from gradex.affinity import unrelated_test
    >>> from gradex.surrogate import Interactions
    >>> rng = np.random.default_rng(0)
    >>> aims = [(2.0, 0.0), (2.0, 0.0), (1.0, 1.7), (1.0, 1.7)]
    >>> found = Interactions(tuple(rng.normal(aim, 1.0, size=(40, 2)) for aim in aims), common=False)
    >>> unrelated_test(found).p_value > 0.05, unrelated_test(found, share=0.8).p_value < 0.05
    (True, True)
    """
    matrix = interactions.matrix
    matrices = np.concatenate([matrix[None], interactions.noise(draws, seed)])
    parts = two_parts(matrices)
    between = mean_between(matrices, parts, ~parts)
    each = [_within(matrices, own) for own in (parts, ~parts)]
    within = np.sqrt(each[0] * each[1])
    large = np.minimum(parts.sum(axis=2), (~parts).sum(axis=2)) >= _fewest(len(matrix))
    excess = np.where(large, between - share * within, np.inf)
    best = excess[:, 0].argmin()
    chosen, squares = parts[best, 0], np.diag(matrix).clip(min=0)
    cohesion = 1.0
    for pulls, part in zip(each, (chosen, ~chosen), strict=True):
        square = squares[part].mean()
        cohesion = min(cohesion, float(pulls[best, 0] / square) if square > 0 else 0.0)
    found = float(between[best, 0]), float(within[best, 0]), cohesion
    return UnrelatedTest(canonical_labels(chosen.astype(np.int64)), *found, share, excess.min(axis=0)[1:])


def _fewest(n: int) -> int:
    """Give how many of n tasks a part has at least."""
    return min(2, n // 2)


def _within(
    matrices: Float[np.ndarray, "many n n"], part: Bool[np.ndarray, "ways many n"]
) -> Float[np.ndarray, "ways many"]:
    """Average over the pairs of different tasks within a part, or take what a single task gets alone."""
    alone = (part * np.diagonal(matrices, axis1=1, axis2=2)).sum(axis=2)
    return np.where(part.sum(axis=2) > 1, mean_between(matrices, part, part), alone).clip(min=0)
