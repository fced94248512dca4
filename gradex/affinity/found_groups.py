"""Groups from scores of subsets and interactions of pairs, and how far these groups can be relied on."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from gradex.affinity.affinity import Affinity, InteractionsLike, SubsetScoresLike
from gradex.affinity.bootstrap import Bootstrap
from gradex.affinity.conflict import SLIGHT, fewest_groups
from gradex.affinity.correlation import CorrelationGrouping
from gradex.affinity.graph import AffinityGraph
from gradex.affinity.groupings import Grouping
from gradex.affinity.partition import Partition, listed
from gradex.affinity.unrelated import CosineLinkage, unrelated_test

#: Groups are split where a conflict within is a matter of chance with no more than this probability, and
#: gradients are told from noise likewise.
CONFLICT_LEVEL = 0.05
#: Draws of the interactions, to see whether groups without a conflict are the same in most of them.
_DRAWS = 100
#: Draws of the affinities for each draw of the episodes, as other subsets are drawn with them: these are
#: cheap, so that episodes are all that limits how well the spread is known.
_DRAWS_OF_SUBSETS = 5


@dataclass(frozen=True, eq=False)
class FoundGroups:
    """Groups with the estimates that they were found by.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.affinity import find_groups
    >>> from gradex.surrogate import Interactions, SubsetScores
    >>> rng = np.random.default_rng(0)
    >>> directions = [(2, 0), (2, 0), (-2, 0), (-2, 0)]
    >>> interactions = Interactions(tuple(rng.normal(each, 1, (30, 2)) for each in directions), common=False)
    >>> pairs, apart = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)], np.nan
    >>> gains = np.array([4.0, 0.0, 0.0, 0.0, 0.0, 4.0])
    >>> scores = SubsetScores(tuple(pairs), np.full((6, 4), apart), gains)
    >>> found = find_groups(scores, interactions, "abcd", k="auto", affinity="mean")
    >>> found.partition.groups
    ((0, 1), (2, 3))
    """

    partition: Partition
    """The groups."""
    graph: AffinityGraph
    """Affinities by scores of subsets."""
    interactions: AffinityGraph
    """Interactions of pairs."""
    conflicts: list[float]
    """For 1 group, 2 and so on, how likely a conflict within is a matter of chance; see `fewest_groups`."""
    unrelated: float | None
    """How likely it is a matter of chance that kinds have so little in common, see `unrelated_test`.

    None where that was not asked, as there is a conflict or the number of groups was given.
    """
    bootstrap: Bootstrap | None
    """Draws of what was clustered, the affinities or the interactions, if there were to be any."""


def find_groups(
    scores: SubsetScoresLike,
    interactions: InteractionsLike,
    names: Sequence[str],
    k: int | str = "auto",
    affinity: str | Affinity = "pairwise",
    draws: int = 0,
    seed: int = 0,
    stage: Callable[[str], AbstractContextManager[Any]] = nullcontext,
    common_share: float = 0.0,
    path: Float[np.ndarray, "snapshots n n"] | None = None,
    lasting: Float[np.ndarray, "snapshots n n"] | None = None,
) -> FoundGroups:
    """Cluster tasks (PolicyGradEx, Algorithm 2), and tell how stable the groups are.

    Parameters
    ----------
    scores, interactions, names : SubsetScoresLike, InteractionsLike, sequence of str
        Of subsets of the tasks, of their pairs, and of the tasks themselves.
    k : int or "auto"
        Number of groups, of the affinities by scores. "auto": the fewest without a conflict that counts,
        maybe one, by correlation clustering of the interactions; see also `common_share`.
    affinity : str or Affinity
        How scores become affinities of pairs.
    draws, seed : int
        Draws of the episodes that `scores` has.
    stage : callable
        Gives a context for each stage by its name, for whoever takes the time.
    common_share : float
        With k="auto" tasks without a conflict make groups, too, if these have less than this share in
        common, see `unrelated_test`, and are not unstable.
    path : array [snapshots, n, n], optional
        Interactions at each of the snapshots of a training, for that test.
    lasting : array [snapshots, n, n], optional
        The same, if by these conflicts must last, see `fewest_groups`.

    Examples
    --------
    Two tasks that pull one way, as far as interactions tell, are no two groups:

    >>> import numpy as np
    >>> from gradex.affinity import find_groups
    >>> from gradex.surrogate import Interactions, SubsetScores
    >>> pulls = np.random.default_rng(0).normal((2, 0), 1, (2, 30, 2))
    >>> scores = SubsetScores(((0, 1),), np.ones((1, 2)), np.ones(1))
    >>> find_groups(scores, Interactions(tuple(pulls), common=False), "ab", affinity="mean").partition.k
    1
    """
    method: Grouping = CorrelationGrouping()
    settled, unrelated = k != "auto", None
    with stage("clustering"):
        pairs = AffinityGraph.from_interactions(interactions, names)
        graph = AffinityGraph.from_scores(scores, affinity, names)
        group = partial(pairs.partition, method=method)
        most = 1 if settled else None
        if pairs.alike:  # no part of the tasks can be told from another
            partition, conflicts, common_share = group(1), [1.0], 0.0
        else:
            partition, conflicts = fewest_groups(
                interactions, group, CONFLICT_LEVEL, seed=seed, most=most, path=lasting
            )
        if not settled and partition.k == 1 and common_share > 0:
            test = unrelated_test(interactions, common_share, _DRAWS, seed, path)
            unrelated = test.p_value
            if unrelated <= CONFLICT_LEVEL:
                kinds, drawn = CosineLinkage(), pairs.bootstrap(_DRAWS, seed)
                found = pairs.partition(int(test.labels.max()) + 1, method=kinds, bootstrap=drawn)
                if not found.unstable:  # else which tasks are strangers is noise
                    partition, method = found, kinds
        partition = graph.partition(k=k) if settled else partition
    with stage("uncertainty"):
        bootstrap, count = None, _DRAWS_OF_SUBSETS * draws
        if count:
            bootstrap = (graph if settled else pairs).bootstrap(count, seed)
            resampled = bootstrap.groups(partition.k, None if settled else method)
            partition = replace(partition, resampled=resampled)
    return FoundGroups(partition, graph, pairs, conflicts, unrelated, bootstrap)


def verdict(
    partition: Partition,
    interactions: AffinityGraph,
    conflicts: Sequence[float],
    seed: int = 0,
    unrelated: float | None = None,
    *,
    things: str = "tasks",
    one_for_all: str = "one policy for all",
    remedy: str,
) -> str | None:
    """Say what may be relied on, in a sentence; None where it takes draws and there are none.

    There are "no groups" where all tasks together hold no conflict that counts: none beyond doubt, at
    `CONFLICT_LEVEL`, or too slight a one, see `fewest_groups`; nor kinds that have little in common. Nothing
    of weight then speaks against one policy for all; a conflict that is beyond doubt, but slight, is told. It
    is another matter where nothing is known of the tasks, or of some: where their gradients are no more than
    noise, as in a task of which all steps pay alike.

    `things` is what is grouped, `one_for_all` what there is without groups, and `remedy` what to do where
    groups are unstable or nothing is known; the rest is explained at `FoundGroups`.
    """
    names = interactions.names
    little = unrelated is not None and unrelated <= CONFLICT_LEVEL and partition.k > 1
    apart = conflicts[0] <= CONFLICT_LEVEL or little
    found = partition.verdict_naming(names)
    if apart and found is None:
        return None
    p_values = interactions.noise_p_values(seed=seed)
    unknown = [name for name, p_value in zip(names, p_values, strict=True) if p_value > CONFLICT_LEVEL]
    silent = f"nothing is known of {listed(unknown)}, as their gradients are no more than noise"
    if conflicts[0] <= CONFLICT_LEVEL and partition.k == len(names):
        found = f"a group for each of {len(names)} {things}: there is a conflict beyond doubt"
    if apart and found is not None:
        strangers = "these groups are not in conflict, but have little in common"
        doubtful = bool(unknown) or partition.unstable
        return "; ".join([found, *[strangers] * little, *[silent] * bool(unknown), *[remedy] * doubtful])
    given = f"; do not rely on these {partition.k}" if partition.k > 1 else ""
    if unknown and interactions.noise_p_value(seed=seed) > CONFLICT_LEVEL:
        return (
            f"no groups: nothing is known of these {things}, as their gradients are no more than noise; "
            f"{remedy}{given}"
        )
    if unknown:
        return f"no groups: no {things} are in conflict that counts, but {silent}{given}"
    told = f"no groups: {one_for_all}, as no {things} are in conflict that counts"
    return told + _slight_conflict(interactions, seed) + given


def _slight_conflict(interactions: AffinityGraph, seed: int) -> str:
    """Tell of the strongest conflict where it is beyond doubt, though too slight to count."""
    if interactions.alike or len(interactions) == 1:
        return ""
    test = interactions.conflict(seed=seed)
    if not 0 < test.strength < SLIGHT or test.p_value > CONFLICT_LEVEL:
        return ""
    fewer = test.labels == (2 * test.labels.sum() < len(test.labels))
    some = listed([name for name, own in zip(interactions.names, fewer, strict=True) if own])
    slight = f"is slight: {test.strength:.3f}, where {SLIGHT} counts"
    return f" (the strongest, of {some} against the others, {slight})"
