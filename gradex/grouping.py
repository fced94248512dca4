"""PolicyGradEx from a suite of tasks to one policy per group: Algorithm 2 in one object."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradex.affinity import (
    Affinity,
    PairwiseAffinity,
    find_groups,
    named_affinity,
    pair_coverage,
    sample_subsets,
)
from gradex.affinity.unrelated import COMMON_SHARE
from gradex.group_policies import count_tasks
from gradex.grouped_tasks import EQUAL, WEIGHTINGS, WITHIN, GroupedTasks
from gradex.learners import Learner, can_share
from gradex.meta_policy import MetaPolicy
from gradex.path_scores import score_along
from gradex.progress import stages, timed
from gradex.rollout_scores import ROLLOUT, RolloutScore
from gradex.settings import as_kind, finite_or_none
from gradex.surrogate import Score, SurrogateEstimator
from gradex.tasks import TaskSuite


@dataclass(repr=False, eq=False)
class PolicyGradEx(GroupedTasks):
    """Group the tasks of a suite and train one policy per group (PolicyGradEx, Algorithm 2).

    Parameters
    ----------
    k : int or "auto"
        Number of groups; the paper uses 3 everywhere, and clusters the affinities. "auto" clusters the
        interactions, of which the sign tells help from harm (`gradex.affinity.CorrelationGrouping`), into the
        smallest number of groups without a conflict that counts (`gradex.affinity.fewest_groups`), maybe one.
        `subsets`, `affinity` and `score` then make `graph_`, but not the groups.
    common_share : float
        With k="auto" and no conflict, tasks make groups, too, if what a task has in common with another group
        is at most this share of what it has in common with its own, see `gradex.affinity.unrelated_test`, if
        draws agree on them, and if they are in conflict late in the training, though not in sum: a policy
        that is to learn two things which have nothing to do with each other may learn neither well. A single
        task, and one of four or fewer, takes a conflict to be apart. With 0 only conflicts make groups, and
        so it is where the policy sees which task it is in.
    recursive : bool
        With k="auto" look for groups within each group that was found, by a meta-policy of its own. Two sets
        of tasks can have similar gradients while a third set is trained with them, and still conflict when
        the third set is gone. It takes as long again as the meta-policy of all tasks, and nothing where there
        is one group. There `weighting` is "return".
    weighting : {"equal", "return"}
        How snapshots count to the interactions: alike, or by how much return is at stake there, see
        `gradex.path_scores.stakes`. Next to tasks that want something else a conflict lasts for as long as
        training does. Among tasks of one kind, which differ by degrees, it begins when nearly all is learned,
        and "return" counts it for little. Or it is over soon: with "return" it must last to the second half.
    subsets, subset_size : int
        m random subsets of α tasks; all of them where there are no more than m. `subsets=None` takes as many
        as `sample_subsets` thinks right. Of two or three tasks pairs are scored in place of all together, and
        for "pairwise" every task is scored alone, too.
    affinity : {"pairwise", "mean"} or Affinity
        How scores of subsets become affinities of pairs: by regression of each task's score on the others,
        or by the paper's Eq. (5). Of a hundred tasks and more take a `subset_size` of 20 or so.
    score : {"loss", "improvement", "rollout"}, Score or RolloutScore
        How a subset is scored: by the surrogate, see `gradex.surrogate`, or by running the policy that a step
        along the surrogate's solution leads to. The latter takes whole episodes, see
        `gradex.rollout_scores.RolloutScore`: of ten CartPole tasks up to 24 million steps. Draws then tell
        how far evaluation errs, not how far the steps do.
    projection_dim, projection : int, str
        d of the random projection and its kind, see `SurrogateEstimator`.
    folds : int
        Scores are held out by episode over this many folds; 1 scores in-sample, as the paper does.
    steps_per_task : int
        Transitions per task for the surrogate, of all snapshots together; see `gradex.path_scores`.
    snapshots : int
        Moments of meta-training at which subsets are scored; their mean is what counts. A policy that has
        trained for long may have sided with some tasks, and be unable to tell what others want. With 1, or
        `literal`, only the meta-policy itself counts.
    meta_steps, group_steps : int, optional
        Environment steps in total for the meta-policy and for all groups' policies together; by default what
        is recommended for the suite's family. With `group_steps=0` no group policies are trained.
    bootstrap : int
        Draws of the episodes, from which affinities and groups get their uncertainty; 0 for none.
    seed : int
    network, learner : str, str or Learner
        Of the meta-policy, unless `fit` is given one; see `MetaPolicy`.
    literal : bool
        Score subsets by Algorithm 1 to the letter, whatever `score`, `folds` and `projection` say; see
        `SurrogateEstimator.literal`. With affinity="mean" the affinities, too, are the paper's. Which
        steps are kept is not, see `MetaPolicy.transitions`.

    Attributes
    ----------
    meta_ : MetaPolicy
    surrogates_ : tuple of SurrogateEstimator
        One for each snapshot of the meta-policy.
    scores_ : SubsetScores
        Mean over the snapshots.
    interactions_ : AffinityGraph
        First-order interactions, the sum over the snapshots, with exact standard errors.
    conflicts_ : list of float
        For each number of groups that "auto" tries, from 1 on, how likely it is by chance that one of them
        holds a conflict, see `gradex.affinity.fewest_groups`; for a given k of one group alone.
    unrelated_ : float or None
        How likely it is by chance that kinds have so little in common; None where that is not asked, as
        there is a conflict, k is given, or `common_share` is 0.
    graph_ : AffinityGraph
    bootstrap_ : Bootstrap or None
        Draws of what was clustered, with standard errors: the affinities, or the interactions if k="auto".
    partition_ : Partition
        With co-assignment and verdict, unless `bootstrap` is 0.
    first_partition_ : Partition
        The groups that all tasks together show, before any is looked at by itself.
    parts_ : tuple of PolicyGradEx or None
        For each of these groups what it shows by itself; None for those of one task, and where a policy of
        its own is never paid. None at all without `recursive`, or where there is one group.
    groups_ : tuple of tuples of int
        Task indices of each group.
    labels_ : int array [n]
    policies_ : list of MetaPolicy
        One per group, trained on from the meta-policy.
    comparison_ : Comparison or None
        Of the last `evaluate(compare=True)`.
    seconds_ : dict of str to float
        Wall-clock time by stage.

    Examples
    --------
    >>> from gradex import PolicyGradEx, TaskSuite
    >>> suite = TaskSuite.make("navigation", n=6, groups=2, seed=0)
    >>> grouping = PolicyGradEx(k=2, steps_per_task=512, meta_steps=20_000, group_steps=0, bootstrap=5)
    >>> grouping.fit(suite).groups_
    ((0, 2, 5), (1, 3, 4))
    >>> suite.labels.tolist()
    [1, 0, 1, 0, 0, 1]
    >>> grouping.verdict_
    'stable: the same groups in 100% of 5 resamplings'
    """

    k: int | str = "auto"
    subsets: int | None = 200
    subset_size: int = 3
    affinity: str | Affinity = "pairwise"
    score: str | Score | RolloutScore = "loss"
    projection_dim: int = 400
    folds: int = 4
    steps_per_task: int = 8192
    meta_steps: int | None = None
    group_steps: int | None = None
    bootstrap: int = 20
    seed: int = 0
    projection: str = "gaussian"
    network: str = "mlp"
    learner: str | Learner = "ppo"
    literal: bool = False
    snapshots: int = 8
    recursive: bool = True
    weighting: str = EQUAL
    common_share: float = COMMON_SHARE

    _fitting = "fit(suite)"
    _results = (
        "suite_", "coverage_", "meta_", "surrogates_", "scores_", "interactions_", "conflicts_",
        "unrelated_", "graph_", "bootstrap_", "first_partition_", "parts_", "partition_", "policies_",
        "comparison_", "seconds_",
    )  # fmt: skip

    def check(self, suite: TaskSuite, meta: MetaPolicy | None = None) -> list[tuple[int, ...]]:
        """Refuse what cannot work on this suite, before any training; give the subsets that will be scored.

        `meta` is a fitted meta-policy, where none is to be trained.

        Raises
        ------
        TypeError, ValueError
            If a setting cannot be, actions are not for the learner, k exceeds the number of tasks, subsets of
            this size and number cannot tell all pairs apart, a single draw is to tell the uncertainty,
            transitions are too few for the folds, or the suite has a task twice.
        """
        own, n = self._plain(), count_tasks(suite)
        if own.k != "auto" and not (isinstance(own.k, int) and 1 <= own.k <= n):
            raise ValueError(f"k is {own.k!r} for {n} tasks: choose 1 to {n}, or 'auto'")
        if own.weighting not in WEIGHTINGS:
            raise ValueError(f"unknown weighting {own.weighting!r}: choose one of {list(WEIGHTINGS)}")
        if not 0 <= own.common_share < 1:
            raise ValueError(f"common_share={own.common_share} is no share: give at least 0, and less than 1")
        own._check_amounts()
        if RolloutScore.named(own.score) and own.literal:
            raise ValueError("literal=True scores by the loss: choose score='loss', or literal=False")
        own._estimator()
        own._check_folds(suite, meta)
        affinity = named_affinity(own.affinity)
        few = n <= 3 and own.subset_size in (n, 3)
        if suite.linear and n > 200:
            raise ValueError(
                f"{n} preferences have too many pairs for subsets: take PreferenceGrouping(k=...)"
            )
        chosen = sample_subsets(n, own.subsets, 2 if few else own.subset_size, own.seed)
        if isinstance(affinity, PairwiseAffinity):
            chosen = [*((task,) for task in range(n)), *chosen]  # what its diagonal is measured on
        if n > 3 and own.subset_size == n:
            raise ValueError(f"subset_size is all {n} tasks, which tells no pair from another: choose fewer")
        return chosen

    def fit(
        self,
        suite: TaskSuite,
        meta: MetaPolicy | None = None,
        checkpoint: str | Path | None = None,
        folder: str | Path | None = None,
    ) -> "PolicyGradEx":
        """Run Algorithm 2.

        Parameters
        ----------
        suite : TaskSuite
        meta : MetaPolicy, optional
            An already fitted meta-policy on this suite, instead of training one.
        checkpoint : path, optional
            Where to keep the meta-policy, by far the longest stage: read if the file exists, else written
            after training. Beside it trainings keep what they go on from if they are cut off.
        folder : path, optional
            Where the trainings of the groups' policies keep that, and it stays; beside the checkpoint it is
            gone once they have ended.

        Raises
        ------
        TypeError, ValueError
            See `check`; or if the meta-policy, given or kept, is one for other tasks, or the kept one was
            trained with other settings; or if all that the policy ever did was paid alike.
        """
        seconds: dict[str, float] = {}
        with timed(seconds, "subsets"):
            chosen = self.check(suite, meta)
        self._forget()
        self.seconds_ = seconds
        self.coverage_ = pair_coverage(chosen, len(suite))
        own = self._plain()
        with stages(own._stages(suite, meta, checkpoint)) as begin:
            begin("meta-policy")
            self._train_meta(suite, meta, checkpoint)
            begin("estimate")
            path = self.meta_.path_ if own.snapshots > 1 and not own.literal else (self.meta_,)
            estimate = (own._estimator(), own.steps_per_task, own.bootstrap, own.seed)
            found = score_along(path, chosen, *estimate, self._stage, rollouts=RolloutScore.named(own.score))
            self.surrogates_, self.scores_ = found.surrogates, found.scores
            if own.k != "auto":  # else groups come from interactions, and nobody may ask for these draws
                with self._stage("uncertainty"):
                    _ = self.scores_.draws
            begin("groups")
            names = [task.name for task in suite.tasks]
            given = names, own.k, own.affinity, own.bootstrap, own.seed, self._stage, self._common_share()
            interactions, lasting, by_return = found.interactions, None, found.path_by_return
            if own.weighting != EQUAL:
                interactions, lasting = found.by_return, by_return
            groups = find_groups(found.scores, interactions, *given, by_return, lasting)
            self.graph_, self.interactions_ = groups.graph, groups.interactions
            self.bootstrap_, self.conflicts_ = groups.bootstrap, groups.conflicts
            self.unrelated_ = groups.unrelated
            self.first_partition_ = groups.partition
            if own._looks_within:
                begin(WITHIN)
            self.parts_ = self._look_within(checkpoint)
            self.partition_ = self._nested()
            begin("group policies")
            self._train_groups(checkpoint, folder)
        return self

    def _check_folds(self, suite: TaskSuite, meta: MetaPolicy | None) -> None:
        """Refuse transitions that do not give every fold an episode at each snapshot."""
        untrained = self._untrained(suite)
        shared = can_share(untrained.initial([self.seed]), suite)
        if self.literal or shared:
            return
        snapshots = self.snapshots
        if meta is not None and snapshots > 1:
            snapshots = len(as_kind("meta", meta, MetaPolicy).path_)
        elif self.meta_steps is not None:  # no more than there are rounds
            snapshots = min(snapshots, untrained.rounds([range(len(suite))], self.meta_steps))
        if self.steps_per_task < (least := self.folds * snapshots):
            raise ValueError(
                f"steps_per_task={self.steps_per_task} is too small for {self.folds} folds at each of "
                f"{snapshots} snapshots: give at least {least}"
            )

    def _estimator(self) -> SurrogateEstimator:
        if self.literal:
            return SurrogateEstimator.literal(self.projection_dim, self.seed)
        score = "loss" if isinstance(self.score, RolloutScore) or self.score == ROLLOUT else self.score
        return SurrogateEstimator(
            self.projection_dim, self.projection, folds=self.folds, score=score, seed=self.seed
        )

    def _untrained(self, suite: TaskSuite) -> MetaPolicy:
        return MetaPolicy(suite, self.network, self.learner, self.seed)

    # ------------------------------------------------------------------ results
    def report(self) -> dict[str, Any]:
        """Sum up the run in plain JSON types, with what all groupings report.

        `first_order_error` is the mean residual at 1 % distance, along random directions and the surrogate's
        own, relative to the output; `first_order_error_of_change` is the same residual
        relative to the change, which is stricter. `explained_variance` is that of the meta-policy's critic by
        task, None where it is not known.
        """
        explained, names = self.meta_.explained_variance or {}, [task.name for task in self.suite_.tasks]
        error = self.surrogate_.first_order_error(distances=(0.01,))
        pairs = self.coverage_[np.triu_indices(len(self.suite_), 1)]
        fewest, most = int(pairs.min()), int(pairs.max())
        return {
            **super().report(),
            "coverage": {"subsets": len(self.scores_.together().subsets), "fewest": fewest, "most": most},
            "first_order_error": float(error.relative_to_output.mean()),
            "first_order_error_of_change": float(error.relative_to_change.mean()),
            "explained_variance": {
                name: finite_or_none(float(explained.get(name, np.nan))) for name in names
            },
        }
