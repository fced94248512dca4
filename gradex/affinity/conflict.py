"""Are tasks in conflict at all? A test of the two parts that want most to be apart.

Clustering finds groups in anything, also in noise. They are worth a policy each only if a step for the one
group makes the other worse: if their interactions are below 0. The two parts were chosen by their
interactions, though, so that these are below 0 by chance, too; how far, interactions tell whose gradients
are turned around at random, episode by episode (a randomisation test, Fisher 1935).

Tried are the parts that spectral clustering of the interactions finds, and every task against all others: of
a task that conflicts with the rest by itself, another one with strong gradients would else take the place.

A conflict may be over soon, as a policy learns to tell one case from another by what it sees. `fewest_groups`
can ask for conflicts that last.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from gradex.affinity.affinity import InteractionsLike
from gradex.affinity.partition import Partition, canonical_labels

#: A conflict of less strength counts as none: with many episodes even the slightest stands out.
SLIGHT = 0.05


@dataclass(frozen=True, eq=False)
class ConflictTest:
    """Whether the two parts of the tasks that want most to be apart make each other worse.

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
    """Part of each task, 0 or 1."""
    between: float
    """Mean interaction between the parts."""
    scale: float
    """What it would be if all gradients had one direction: mean product of both tasks' gradient lengths."""
    null: Float[np.ndarray, " draws"]
    """The same where there is nothing but noise, parts chosen likewise."""

    @property
    def strength(self) -> float:
        """How far below 0 the mean interaction is, in units of `scale`.

        1 are opposite gradients, 0 or less is no conflict. Infinite where no gradient has a length, and yet
        the mean is below 0.
        """
        if self.scale > 0:
            return -self.between / self.scale
        return np.inf if self.between < 0 else 0.0

    @property
    def p_value(self) -> float:
        """Chance of parts that are so far apart, or farther, if no gradient had a direction."""
        return float((1 + np.sum(self.null <= self.between)) / (1 + len(self.null)))


def conflict_test(matrix: Float[np.ndarray, "n n"], null: Float[np.ndarray, "draws n n"]) -> ConflictTest:
    """Part the tasks by their interactions, and do likewise in matrices that are nothing but noise."""
    matrices = np.concatenate([matrix[None], null])
    parts = two_parts(matrices)
    between = mean_between(matrices, parts)
    best, lowest = parts[between[:, 0].argmin(), 0], between.min(axis=0)
    lengths = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    scale = lengths[~best].mean() * lengths[best].mean()
    labels = canonical_labels(best.astype(np.int64))
    return ConflictTest(labels, float(lowest[0]), float(scale), lowest[1:])


def two_parts(matrices: Float[np.ndarray, "many n n"]) -> Bool[np.ndarray, "ways many n"]:
    """Part the tasks of each matrix in two ways: by the spectrum, and the oddest task from all others."""
    n = matrices.shape[1]
    others = matrices * (1 - np.eye(n))  # how far a task gets alone is no conflict
    centred = others - others.mean(axis=1, keepdims=True)
    centred -= centred.mean(axis=2, keepdims=True)
    # Pushing the constant vector below the rest leaves the last to the parts.
    reach = np.abs(centred).sum(axis=2).max(axis=1)
    spectral = np.linalg.eigh(centred - (1 + 2 * reach[:, None, None]) / n)[1][..., -1] > 0
    odd = others.sum(axis=2).argmin(axis=1)
    return np.stack([spectral, np.arange(n) == odd[:, None]])


def mean_between(
    matrices: Float[np.ndarray, "many n n"], parts: Bool[np.ndarray, "ways many n"]
) -> Float[np.ndarray, "ways many"]:
    """Average over the pairs of a task of the part and one of the rest; 0 if there is none."""
    totals = np.einsum("wmi,mij,wmj->wm", parts, matrices, ~parts, optimize=True)
    pairs = parts.sum(axis=2) * (~parts).sum(axis=2)
    return np.divide(totals, pairs, out=np.zeros_like(totals), where=pairs > 0)


def fewest_groups(
    interactions: InteractionsLike,
    partition: Callable[[int], Partition],
    level: float = 0.05,
    draws: int = 400,
    seed: int = 0,
    most: int | None = None,
    least: float = SLIGHT,
    path: Float[np.ndarray, "snapshots n n"] | None = None,
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
    least
        A conflict of less `strength` counts as none.
    path
        Interactions at each of the snapshots of a training, in one unit of return. By these a conflict must
        last: so much of it must be left in the second half. A single snapshot says nothing.

    Returns
    -------
    Partition
    list of float
        For each number of groups from 1 on the smallest p-value of a conflict within one, so adjusted; 1
        where there is none of such a strength that lasts.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex import AffinityGraph
    >>> from gradex.affinity import fewest_groups
    >>> from gradex.surrogate import Interactions
    >>> rng = np.random.default_rng(0)
    >>> aims = [(2.0, 0.0), (2.0, 0.5), (-2.0, 0.0), (-2.0, 0.5)]
    >>> found = Interactions(tuple(rng.normal(aim, 1.0, size=(20, 2)) for aim in aims), common=False)
    >>> graph = AffinityGraph.from_interactions(found)
    >>> partition, p_values = fewest_groups(found, graph.partition)
    >>> partition.groups, [round(value, 2) for value in p_values]
    (((0, 1), (2, 3)), [0.0, 1.0])
    """
    null = interactions.noise(draws, seed)
    values: list[float] = []
    for k in range(1, (most or len(interactions.matrix)) + 1):
        found = partition(k)
        tested = [np.ix_(group, group) for group in found.groups if len(group) > 1]
        each = [conflict_test(interactions.matrix[own], null[:, own[0], own[1]]) for own in tested]
        strong = [
            len(tested) * test.p_value
            for test, (rows, columns) in zip(each, tested, strict=True)
            if test.strength >= least and (path is None or _left(path[:, rows, columns], test) >= least)
        ]
        values.append(min([1.0, *strong]))
        if values[-1] > level:
            break
    return found, values


def _left(path: Float[np.ndarray, "snapshots n n"], test: ConflictTest) -> float:
    """Tell how much of a conflict is left in the second half of a training."""
    return later_conflict(path, test.labels, len(path) // 2) if len(path) > 1 else np.inf


def later_conflict(
    path: Float[np.ndarray, "snapshots n n"], labels: Int[np.ndarray, " n"], first: int = 0
) -> float:
    """Tell how far two of the groups are in conflict from some snapshot on, the `first` or a later one.

    It is the sum of their mean interactions from there to the end, how far it is below 0, as a share of what
    tasks have with themselves along the whole path.
    """
    members = (np.unique(labels)[:, None] == labels).astype(np.float64)
    means = members / members.sum(axis=1, keepdims=True)
    whole = path.diagonal(axis1=1, axis2=2).clip(min=0).mean(axis=1).sum()
    lost = -np.cumsum(means @ path[first:][::-1] @ means.T, axis=0).min(axis=0)  # summed from the end
    return float(lost[~np.eye(len(lost), dtype=bool)].max() / whole) if whole > 0 else 0.0
