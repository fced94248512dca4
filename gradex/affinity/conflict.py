"""Are tasks in conflict at all? A test of the two halves that want most to be apart.

Clustering finds groups in anything, also in noise. They are worth a policy each only if a step for the one
group makes the other worse: if their interactions are below 0. The two halves were chosen by their
interactions, though, so that these are below 0 by chance, too; how far, interactions tell whose gradients
are turned around at random, episode by episode (a randomisation test, Fisher 1935).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from gradex.affinity.affinity import InteractionsLike
from gradex.affinity.partition import Partition
from gradex.affinity.rounding import propose_groups


@dataclass(frozen=True, eq=False)
class ConflictTest:
    """Whether the two halves of the tasks that want most to be apart make each other worse.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex import AffinityGraph
    >>> from gradex.surrogate import Interactions
    >>> rng = np.random.default_rng(0)
    >>> aims = [(2.0, 0.0), (2.0, 0.5), (-2.0, 0.0), (-2.0, 0.5)]
    >>> clusters = tuple(rng.normal(aim, 1.0, size=(20, 2)) for aim in aims)
    >>> test = AffinityGraph.from_interactions(Interactions(clusters, common=False)).conflict()
    >>> test.labels.tolist(), round(test.between), round(test.p_value, 3)
    ([0, 0, 1, 1], -4, 0.005)
    """

    labels: Int[np.ndarray, " n"]
    """Half of each task, 0 or 1."""
    between: float
    """Mean interaction between the halves."""
    null: Float[np.ndarray, " draws"]
    """The same where there is nothing but noise, halves chosen likewise."""

    @property
    def p_value(self) -> float:
        """Chance of halves that are so far apart, or farther, if no gradient had a direction."""
        return float((1 + np.sum(self.null <= self.between)) / (1 + len(self.null)))


def conflict_test(matrix: Float[np.ndarray, "n n"], null: Float[np.ndarray, "draws n n"]) -> ConflictTest:
    """Halve the tasks by their interactions, and do likewise in matrices that are nothing but noise."""
    labels = propose_groups(matrix, 2)
    chance = np.array([_between(noise, propose_groups(noise, 2)) for noise in null])
    return ConflictTest(labels, _between(matrix, labels), chance)


def fewest_groups(
    interactions: InteractionsLike,
    partition: Callable[[int], Partition],
    level: float = 0.05,
    draws: int = 400,
    seed: int = 0,
    most: int | None = None,
) -> tuple[Partition, list[float]]:
    """Find the smallest number of groups of which none holds a conflict.

    Parameters
    ----------
    interactions
        First-order interactions of the tasks.
    partition
        Gives groups for a number of them.
    level
        Chance to split where there is no conflict, for each number of groups: a group's p-value is multiplied
        by how many groups are tested (Bonferroni).
    draws, seed
        Of the noise, see `ConflictTest`.
    most
        Try no more groups than this.

    Returns
    -------
    Partition
    list of float
        For each number of groups from 1 on the smallest p-value of a conflict within one, so adjusted.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex import AffinityGraph
    >>> from gradex.affinity import fewest_groups
    >>> from gradex.surrogate import Interactions
    >>> rng = np.random.default_rng(0)
    >>> aims = [(2.0, 0.0), (2.0, 0.5), (-2.0, 0.0), (-2.0, 0.5)]
    >>> found = Interactions(tuple(rng.normal(aim, 1.0, size=(20, 2)) for aim in aims), common=False)
    >>> partition, p_values = fewest_groups(found, AffinityGraph.from_interactions(found).partition)
    >>> partition.groups, [round(value, 2) for value in p_values]
    (((0, 1), (2, 3)), [0.0, 1.0])
    """
    null = interactions.noise(draws, seed)
    values: list[float] = []
    for k in range(1, (most or len(interactions.matrix)) + 1):
        found = partition(k)
        tested = [np.ix_(group, group) for group in found.groups if len(group) > 1]
        each = [conflict_test(interactions.matrix[own], null[:, own[0], own[1]]).p_value for own in tested]
        values.append(min([1.0, *(len(tested) * p for p in each)]))
        if values[-1] > level:
            break
    return found, values


def _between(matrix: Float[np.ndarray, "n n"], labels: Int[np.ndarray, " n"]) -> float:
    return float(matrix[labels[:, None] != labels].mean())
