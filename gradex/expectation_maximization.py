"""EM clustering: a rival that groups tasks while it trains."""

import numpy as np
from jaxtyping import Int

from gradex.affinity.partition import canonical_labels
from gradex.cross_evaluation import cross_evaluate
from gradex.meta_policy import MetaPolicy
from gradex.seeds import child, generator_for
from gradex.settings import Estimator, as_kind, whole


class EMClustering(Estimator):
    """Train k policies, each on the tasks in which it earns the most (Ackermann et al., ECML 2021).

    Rounds alternate. E-step: every policy is run in every task, and each task goes to the policy under which
    it earns the most. M-step: every policy trains on its tasks. As in the authors' code the first groups are
    random, and a policy without tasks trains on all of them.

    Departures: (1) policies go on from one meta-policy, not from fresh weights, so that EM can be compared
    with groups whose policies do the same; (2) in an M-step every task of every policy takes the same steps,
    as everywhere in this package, where the authors' policies take the same steps each; (3) M-steps divide
    what is left of a budget in which the episodes of the E-steps are counted.

    Parameters
    ----------
    k : int
        Number of policies.
    rounds : int
        M-steps at most; there is an E-step between two.
    episodes : int
        Per policy and task of an E-step, 2 or more.
    seed : int

    Attributes
    ----------
    labels_ : int array [n]
        Group of each task, numbered in the order of first occurrence.
    groups_ : tuple of tuples of int
        Task indices of each group, k at most: a policy that is the best in no task has none.
    policies_ : list of MetaPolicy
        One per group.
    assignments_ : int array [rounds, n]
        Policy of each task in every M-step; the first row is random.
    training_steps_, evaluation_steps_ : int
        Environment steps that M-steps and E-steps took.

    Examples
    --------
    >>> from gradex import MetaPolicy, TaskSuite
    >>> from gradex.expectation_maximization import EMClustering
    >>> suite = TaskSuite.make("navigation", n=4, groups=2, seed=0)
    >>> meta = MetaPolicy(suite, layers=2, width=8).fit(8_000)
    >>> found = EMClustering(k=2, rounds=2, episodes=4).fit(meta, steps=20_000)
    >>> found.assignments_.shape, sorted(task for group in found.groups_ for task in group)
    ((2, 4), [0, 1, 2, 3])
    >>> found.evaluation_steps_  # 2 policies in 4 tasks, 4 episodes of 30 steps
    960
    """

    labels_: Int[np.ndarray, " n"]
    groups_: tuple[tuple[int, ...], ...]
    policies_: list[MetaPolicy]
    assignments_: Int[np.ndarray, "rounds n"]
    training_steps_: int
    evaluation_steps_: int

    _fitting = "fit(meta, steps)"
    _results = (
        "labels_", "groups_", "policies_", "assignments_", "training_steps_", "evaluation_steps_",
    )  # fmt: skip

    def __init__(self, k: int = 3, rounds: int = 4, episodes: int = 4, seed: int = 0) -> None:
        self.k = k
        self.rounds = rounds
        self.episodes = episodes
        self.seed = seed

    def _check(self) -> None:
        whole("k", self.k, 1)
        whole("rounds", self.rounds, 1)
        whole("episodes", self.episodes, 2)

    def fit(self, meta: MetaPolicy, steps: int) -> "EMClustering":
        """Train on from a meta-policy.

        Parameters
        ----------
        meta : MetaPolicy
            Fitted.
        steps : int
            Environment steps in total, of M-steps and E-steps. The last M-step is rounded up to whole rounds
            of the learner, as all training is, and the ones before it down. Rounds for which too little is
            left are not run.

        Raises
        ------
        TypeError, ValueError
            If a setting cannot be, there are fewer tasks than policies, or no steps.
        """
        own, suite = self._plain(), as_kind("meta", meta, MetaPolicy).suite
        n, left = len(suite), whole("steps", steps, 1)
        whole("k", own.k, 1, n)
        labels = generator_for(own.seed, "EM clustering").permutation(np.arange(n) % own.k)
        policies, assignments, evaluated = [meta] * own.k, [], 0
        cost = 0  # of the last E-step: an estimate of the next one's
        for to_come in range(own.rounds, 0, -1):
            subsets = [np.flatnonzero(labels == policy).tolist() or [*range(n)] for policy in range(own.k)]
            each = meta.round_steps(subsets)
            last = to_come == 1 or left < 2 * each + cost  # no room for another E-step and a round after it
            share = left if last else max(each, (left - (to_come - 1) * cost) // to_come)
            rounds = -(-share // each) if last else share // each
            # Each goes on from parameters of its own, so these do not make a stack.
            policies = [
                policy.adapt(subset, rounds * meta.round_steps([subset]))
                for policy, subset in zip(policies, subsets, strict=True)
            ]
            assignments.append(labels)
            left -= rounds * each
            if last:
                break
            seen = cross_evaluate(policies, own.episodes, child(own.seed, "EM clustering", to_come))
            cost, labels = seen.steps, seen.best
            evaluated, left = evaluated + cost, left - cost
            if left < 1:
                # The episodes took what was left: nobody trains by what they say, but it is known.
                break
        self.labels_ = canonical_labels(labels)
        _, first = np.unique(self.labels_, return_index=True)
        self.groups_ = tuple(tuple(np.flatnonzero(labels == labels[task]).tolist()) for task in first)
        self.policies_ = [policies[labels[task]] for task in first]
        self.assignments_ = np.array(assignments)
        self.training_steps_ = sum(policy.steps - meta.steps for policy in policies)
        self.evaluation_steps_ = evaluated
        return self
