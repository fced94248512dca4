"""The arms of a comparison: which tasks share a policy in each, and how these policies are trained."""

from collections.abc import Collection, Mapping, Sequence
from operator import index
from pathlib import Path

import numpy as np

from gradex.meta_policy import MetaPolicy
from gradex.seeds import generator_for
from gradex.settings import check_subsets, whole

GROUPS, TOGETHER, ALONE, RANDOM = "groups", "all together", "one per task", "random groups"
#: All arms, in the order of tables.
ARMS = (GROUPS, TOGETHER, ALONE, RANDOM)

#: Task indices of each policy of an arm; every task is in one.
Subsets = tuple[tuple[int, ...], ...]


def deal_arms(groups: Sequence[Sequence[int]], n: int, seed: int) -> dict[str, Subsets]:
    """Give the subsets of tasks that share a policy, for each arm of `ARMS`.

    Parameters
    ----------
    groups, n : sequence of sequences of int, int
        Tasks of each group, and the number of tasks.
    seed : int
        Of the random groups, which have the sizes of the groups, and are others where there are any.

    Raises
    ------
    ValueError
        If a task is in no group or in more than one, or a group is empty.

    Examples
    --------
    >>> from gradex.comparison import deal_arms
    >>> for arm, subsets in deal_arms([(0, 2), (1,)], n=3, seed=0).items():
    ...     print(arm, subsets)
    groups ((0, 2), (1,))
    all together ((0, 1, 2),)
    one per task ((0,), (1,), (2,))
    random groups ((1, 2), (0,))
    """
    check_subsets(groups, n)
    own = tuple(tuple(sorted(map(index, group))) for group in groups)
    if sorted(task for group in own for task in group) != list(range(n)):
        raise ValueError(f"groups {[list(group) for group in own]} do not hold each of {n} tasks once")
    rng, ends = generator_for(seed, "random groups"), np.cumsum([len(group) for group in own])
    while True:
        dealt = tuple(tuple(sorted(each.tolist())) for each in np.split(rng.permutation(n), ends[:-1]))
        if set(dealt) != set(own) or len(own) in (1, n):
            break
    singles = tuple((task,) for task in range(n))
    return {GROUPS: own, TOGETHER: (tuple(range(n)),), ALONE: singles, RANDOM: dealt}


def train_arms(
    meta: MetaPolicy,
    arms: Mapping[str, Subsets],
    steps: int,
    known: Sequence[MetaPolicy] = (),
    folder: str | Path | None = None,
    anew: Collection[int] = (),
) -> dict[str, list[MetaPolicy]]:
    """Train on from a meta-policy for the same environment steps in every arm, with common random numbers.

    Each arm gets a policy for each of its subsets. A policy trains to the same parameters in any company, up
    to rounding. So subsets that several arms have in common are trained once, and arms that take equally many
    rounds are trained in common stacks.

    Parameters
    ----------
    meta : MetaPolicy
        Fitted.
    arms : mapping of str to tuple of tuples of int
        See `deal_arms`.
    steps : int
        Environment steps of each arm in total; rounded up to whole rounds of the learner. Every task gets the
        same share where rounds are as long as there are tasks, as they are for PPO and SAC.
    known : sequence of MetaPolicy
        Policies that were trained before. They serve where they are what would come out: the same start,
        tasks, steps and seed.
    folder : path, optional
        As for `MetaPolicy.fit`.
    anew : collection of int
        Tasks that the meta-policy has left behind, see `train_policies`.

    Examples
    --------
    >>> from gradex import MetaPolicy, TaskSuite
    >>> from gradex.comparison import deal_arms, train_arms
    >>> meta = MetaPolicy(TaskSuite.make("navigation", n=3), layers=2, width=8).fit(3_000)
    >>> trained = train_arms(meta, deal_arms([(0, 2), (1,)], n=3, seed=0), steps=3_000)
    >>> trained["groups"][1] is trained["one per task"][1]
    True
    """
    steps = whole("steps", steps, 1)
    rounds = {arm: meta.rounds(subsets, steps) for arm, subsets in arms.items()}
    trained: dict[tuple[int, tuple[int, ...]], MetaPolicy] = {}
    start = meta.agent_.fingerprint
    for policy in known:
        subset = policy.lineage.subset
        parent = None if begins_anew(subset, anew) else start
        taken, rest = divmod(steps_beyond(policy, meta), meta.round_steps([subset]))
        if rest == 0 and policy.lineage.parent == parent and policy.seed == meta.seed:
            trained[taken, subset] = policy
    for count in sorted(set(rounds.values())):
        wanted = [subset for arm in arms if rounds[arm] == count for subset in arms[arm]]
        missing = [subset for subset in dict.fromkeys(wanted) if (count, subset) not in trained]
        if missing:
            place = None if folder is None else Path(folder) / f"{count}-rounds"
            total = count * meta.round_steps(missing)
            policies = train_policies(meta, missing, total, place, anew)
            trained |= {(count, subset): policy for subset, policy in zip(missing, policies, strict=True)}
    return {arm: [trained[rounds[arm], subset] for subset in subsets] for arm, subsets in arms.items()}


def train_policies(
    meta: MetaPolicy,
    subsets: Sequence[Sequence[int]],
    steps: int,
    folder: str | Path | None = None,
    anew: Collection[int] = (),
) -> list[MetaPolicy]:
    """Train a policy for each subset of the tasks, on from a meta-policy if that has anything to tell.

    Parameters
    ----------
    meta, subsets, steps, folder
        As for `MetaPolicy.adapt_each`.
    anew : collection of int
        Tasks that the meta-policy has left behind: it does what is paid in other tasks, and meets no reward
        in these any more. A subset of such tasks alone begins with fresh weights, as nothing would be learned
        from there. It trains for as many rounds as the others.

    Examples
    --------
    >>> from gradex import MetaPolicy, TaskSuite
    >>> from gradex.comparison import train_policies
    >>> meta = MetaPolicy(TaskSuite.make("navigation", n=3), layers=2, width=8).fit(3_000)
    >>> [on, fresh] = train_policies(meta, [(0, 2), (1,)], steps=3_000, anew=[1])
    >>> on.lineage.parent == meta.agent_.fingerprint, fresh.lineage.parent
    (True, None)
    """
    wanted = [tuple(map(index, subset)) for subset in subsets]
    fresh = [subset for subset in wanted if begins_anew(subset, anew)]
    others = [subset for subset in wanted if subset not in fresh]
    rounds = meta.rounds(subsets, steps)
    trained: dict[tuple[int, ...], MetaPolicy] = {}
    if others:
        policies = meta.adapt_each(others, rounds * meta.round_steps(others), folder=folder)
        trained |= dict(zip(others, policies, strict=True))
    if fresh:
        place = None if folder is None else Path(folder) / "anew"
        ends = meta.fit_each(fresh, rounds * meta.round_steps(fresh), folder=place)
        trained |= {subset: policy for subset, (policy,) in zip(fresh, ends, strict=True)}
    return [trained[subset] for subset in wanted]


def begins_anew(subset: Sequence[int], anew: Collection[int]) -> bool:
    """Tell whether a policy for these tasks begins with fresh weights, see `train_policies`."""
    return set(subset) <= set(anew)


def steps_beyond(policy: MetaPolicy, meta: MetaPolicy) -> int:
    """Count the environment steps of a policy's own training, which began at the meta-policy, or anew."""
    return policy.steps - (0 if policy.lineage.parent is None else meta.steps)
