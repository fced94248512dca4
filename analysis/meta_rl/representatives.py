"""Which source tasks stand for the others: one of each group, or any."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from analysis.along import similarity_along
from gradex import PolicyGradEx
from gradex.seeds import generator_for

Subset = tuple[int, ...]
Groups = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Chosen:
    """Sets of source tasks on which a method may meta-train.

    Attributes
    ----------
    method : str
    rule : {"auto", "three", "none"}
        Where the number of representatives comes from.
    sets : tuple of tuples of int
        Equally likely ones, more than one where a method draws.
    """

    method: str
    rule: str
    sets: tuple[Subset, ...]


def representatives(
    run: PolicyGradEx, three: bool, draws: int, draws_of_groups: int, seed: int
) -> list[Chosen]:
    """Choose representatives by every rule.

    Parameters
    ----------
    run : PolicyGradEx
        Fitted with k="auto": as many representatives as it has groups.
    three : bool
        Whether to choose three too, which the paper does everywhere.
    draws, draws_of_groups : int
        Of sets of any tasks, and of one random member of each group; half as many for three.
    seed : int
    """
    everything, similar = tuple(range(len(run.suite_))), similarity_along(run.surrogates_)
    found = [Chosen("MAML, all tasks", "none", (everything,))]
    rules = {"auto": run.groups_}
    if three and len(run.groups_) != 3:
        rules["three"] = run.graph_.partition(k=3).groups
    for rule, groups in rules.items():
        k, any_draws, own_draws = len(groups), draws, draws_of_groups
        if rule == "three":
            any_draws, own_draws = -(-draws // 2), -(-draws_of_groups // 2)
        rng = generator_for(seed, f"representatives, {rule}")
        anyone = [tuple(sorted(rng.choice(everything, k, replace=False).tolist())) for _ in range(any_draws)]
        alike = similar.partition(k=k).groups
        found += [
            Chosen("MAML, random", rule, tuple(anyone)),
            Chosen("MAML, gradient similarity", rule, members(alike, own_draws, rng)),
            Chosen("MAML, PolicyGradEx", rule, members(groups, own_draws, rng)),
        ]
        if rule == "auto":
            transfers = np.mean([each.transfers() for each in run.surrogates_], axis=0)
            found += [
                Chosen("MAML, PolicyGradEx, medoid", rule, (medoids(run.graph_.matrix, groups),)),
                Chosen("MAML, PolicyGradEx, transfer", rule, (most_helpful(transfers, groups),)),
            ]
    return found


def members(groups: Groups, draws: int, rng: np.random.Generator) -> tuple[Subset, ...]:
    """Draw a random member of each group, so often."""
    return tuple(tuple(sorted(int(rng.choice(group)) for group in groups)) for _ in range(draws))


def medoids(affinity: Float[np.ndarray, "n n"], groups: Groups) -> Subset:
    """Give the member of each group with the highest sum of affinities to the others."""
    others = affinity * ~np.eye(len(affinity), dtype=bool)
    return _best(others, groups)


def most_helpful(transfers: Float[np.ndarray, "n n"], groups: Groups) -> Subset:
    """Give the member of each group by whose fit the group gains most; row i, column j: i gains by j."""
    return _best(transfers, groups)


def _best(gains: Float[np.ndarray, "n n"], groups: Groups) -> Subset:
    """Give the member of each group with the highest sum down its column, over the group's rows."""
    found = (group[int(gains[np.ix_(group, group)].sum(axis=0).argmax())] for group in map(list, groups))
    return tuple(sorted(map(int, found)))
