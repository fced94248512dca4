"""Are there kinds of tasks that have little in common? Groups that pull together within, but not with others.

Where a step for one group makes the other worse, they are in conflict, see `gradex.affinity.conflict`. Along
a training groups may also help each other at first, while all can learn the same, and harm each other later,
while each needs what the other cannot use. In sum they are as good as strangers. So are tasks of kinds that
have nothing to do with each other.

What tasks have in common is the cosine of their gradients, U_ij / √(U_ii U_jj). In a kind every task has much
in common with its own group, and little with any other. Tasks that differ by degrees have no such groups: at
the border of two they have about as much in common with the one as with the other.

Kinds that are never in conflict, not even late in a training, can be learned by one policy, however little
they have in common.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Int

from gradex.affinity.affinity import InteractionsLike, checked_matrix
from gradex.affinity.certificate import check_group_count
from gradex.affinity.conflict import later_conflict
from gradex.affinity.correlation import correlated
from gradex.affinity.groupings import Grouping
from gradex.affinity.partition import Partition, canonical_labels
from gradex.affinity.rounding import fill_empty_groups, linkage_labels

#: What tasks have in common with another group, at most, as a share of what they have with their own. Of
#: kinds that neither help nor harm each other it was 0.47 or less, of one kind mostly 0.59 or more.
COMMON_SHARE = 0.5
#: What two kinds lose by each other late in a training, at least, as a share of all that pulls along it. Of
#: short and long cart-poles, which one policy can balance, it is 0.001; of kinds mostly 0.04 or more.
_LATER = 0.03
#: Tasks of a kind on average, at least: four that differ by degrees may look like two pairs.
_TASKS = 2.5


@final
class CosineLinkage(Grouping):
    """Average linkage of the cosines U_ij / √(U_ii U_jj), which do not tell strong tasks from weak ones.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity import CosineLinkage
    >>> matrix = np.array([[9.0, 3.0, 2.0], [3.0, 1.0, 0.5], [2.0, 0.5, 4.0]])
    >>> CosineLinkage().partition(matrix, k=2).groups
    ((0, 1), (2,))
    """

    def partition(self, matrix: Float[np.ndarray, "n n"], k: int) -> Partition:
        """Partition the tasks into ``k`` groups, evaluated as `CorrelationGrouping` does."""
        matrix = checked_matrix(matrix)
        check_group_count(len(matrix), k, None)
        if k == 1:
            return correlated(matrix, np.zeros(len(matrix), dtype=np.int64))
        # Tasks that are equally alike are joined together, and may leave too few groups.
        labels = fill_empty_groups(linkage_labels(_cosines(matrix), k), k)
        return correlated(matrix, canonical_labels(labels))


@dataclass(frozen=True, eq=False)
class UnrelatedTest:
    """Whether tasks fall into kinds that have less in common than a given share.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex import AffinityGraph
    >>> from gradex.affinity import unrelated_test
    >>> from gradex.surrogate import Interactions
    >>> rng = np.random.default_rng(0)
    >>> aims = [(2.0, 0.0), (2.0, 0.0), (2.0, 0.0), (0.0, 2.0), (0.0, 2.0)]
    >>> found = Interactions(tuple(rng.normal(aim, 1.0, size=(40, 2)) for aim in aims), common=False)
    >>> test = unrelated_test(found)
    >>> test.labels.tolist(), round(abs(test.common), 1), round(test.p_value, 2)
    ([0, 0, 0, 1, 1], 0.1, 0.01)
    >>> AffinityGraph.from_interactions(found).conflict().p_value > 0.05
    True
    """

    labels: Int[np.ndarray, " n"]
    """Kind of each task."""
    common: float
    """What a task has in common with another kind, as a share of what it has with its own, at most.

    Infinite where a task has nothing in common with its own.
    """
    cohesion: float
    """What a task has in common with its own kind at least: the mean cosine with the others of it."""
    share: float
    """That was asked for."""
    later: float
    """How far two of the kinds are in conflict from some moment of the training on, see `later_conflict`.

    Infinite where no path is known.
    """
    drawn: Float[np.ndarray, " draws"]
    """What two kinds have in common, at most, from episodes drawn again: the cosine of both kinds' gradients.

    A single task varies too much from draw to draw.
    """

    @property
    def p_value(self) -> float:
        """Chance that these kinds have more in common than the share, as draws of the episodes tell.

        It is 1 where it is so in the estimate, where tasks of a kind have no more than the share of their own
        steps in common, or where no two kinds are in conflict later on.
        """
        if not self.common <= self.share or self.cohesion < self.share or self.later < _LATER:
            return 1.0
        return float((1 + np.sum(~(self.drawn <= self.share))) / (1 + len(self.drawn)))


def unrelated_test(
    interactions: InteractionsLike,
    share: float = COMMON_SHARE,
    draws: int = 100,
    seed: int = 0,
    path: Float[np.ndarray, "snapshots n n"] | None = None,
) -> UnrelatedTest:
    """Look for kinds of tasks that have as little in common as can be.

    A kind has at least two tasks, and two and a half on average, so that fewer than five tasks have none: a
    single task may be the end of a scale that the others are on, and so may two of four. It takes a conflict
    for these to be apart.

    Parameters
    ----------
    interactions
        First-order interactions of the tasks.
    share
        What a task has in common with another kind, as a share of what it has with its own, at most.
    draws, seed
        Of the episodes.
    path
        Interactions at each of the snapshots of a training, in one unit of return. By these two kinds must be
        in conflict from some moment on, though not in sum. A single snapshot says nothing.

    Examples
    --------
    Two kinds that pull partly one way, by a cosine of a half:

    >>> import numpy as np
    >>> from gradex.affinity import unrelated_test
    >>> from gradex.surrogate import Interactions
    >>> rng = np.random.default_rng(0)
    >>> aims = [(2.0, 0.0), (2.0, 0.0), (2.0, 0.0), (1.0, 1.7), (1.0, 1.7)]
    >>> found = Interactions(tuple(rng.normal(aim, 1.0, size=(40, 2)) for aim in aims), common=False)
    >>> unrelated_test(found).p_value > 0.05, unrelated_test(found, share=0.8).p_value < 0.05
    (True, True)
    """
    cosines = _cosines(interactions.matrix)
    tried = [linkage_labels(cosines, k) for k in range(2, int(len(cosines) / _TASKS) + 1)]
    tried = [labels for labels in tried if labels.any()]  # where all are equally far apart there is one
    found = [_in_common(cosines, labels) for labels in tried]
    if not found:
        whole = np.zeros(len(cosines), dtype=np.int64)
        return UnrelatedTest(whole, np.inf, 0.0, share, np.inf, np.empty(0))
    # Two kinds that are taken for one have little in common with each other.
    best = min(range(len(found)), key=lambda place: (found[place][1] < share, found[place][0]))
    drawn = [_between_kinds(matrix, tried[best]) for matrix in interactions.draws(draws, seed)]
    later = np.inf if path is None or len(path) < 2 else later_conflict(path, tried[best])
    return UnrelatedTest(canonical_labels(tried[best]), *found[best], share, later, np.array(drawn))


def _cosines(matrix: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Divide by both tasks' gradient lengths; 0 where one has none, as far as is known."""
    lengths = np.sqrt(np.diag(matrix).clip(min=0))
    products = np.outer(lengths, lengths)
    cosines = np.divide(matrix, products, out=np.zeros_like(products), where=products > 0)
    np.fill_diagonal(cosines, 0.0)  # what a task has in common with itself is no matter here
    return cosines.clip(-1, 1)


def _in_common(cosines: Float[np.ndarray, "n n"], labels: Int[np.ndarray, " n"]) -> tuple[float, float]:
    """Tell what a task has in common with another group, as a share of its own, and with its own."""
    members = labels[:, None] == np.unique(labels)
    sizes = members.sum(axis=0)
    if sizes.min() < 2:
        return np.inf, 0.0
    mean = cosines @ members / (sizes - members)
    own, others = mean[members], np.where(members, -np.inf, mean).max(axis=1)
    if own.min() <= 0:
        return np.inf, float(own.min())
    return float((others / own).max()), float(own.min())


def _between_kinds(matrix: Float[np.ndarray, "n n"], labels: Int[np.ndarray, " n"]) -> float:
    """Give the largest cosine of two groups' gradients, of pairs of different tasks."""
    members = np.unique(labels)[:, None] == labels
    sizes = members.sum(axis=1)
    pairs = np.outer(sizes, sizes) - np.diag(sizes)
    totals = members @ (matrix * (1 - np.eye(len(matrix)))) @ members.T
    if sizes.min() < 2 or np.diag(totals).min() <= 0:
        return np.inf
    means = totals / pairs
    return float(_cosines(means)[~np.eye(len(sizes), dtype=bool)].max())
