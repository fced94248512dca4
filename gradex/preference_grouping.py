"""Groups of very many preferences over the same objectives, and one policy for each group."""

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from gradex.affinity import (
    AffinityFactors,
    AffinityGraph,
    CorrelationGrouping,
    Grouping,
    KernelKMeans,
    Partition,
    fewest_groups,
)
from gradex.comparison import Comparison
from gradex.cross_evaluation import cross_evaluate
from gradex.grouped_tasks import CONFLICT_LEVEL, GroupedTasks
from gradex.learners import Learner
from gradex.lineage import check_same_tasks
from gradex.meta_policy import MetaPolicy
from gradex.path_objectives import group_means, nearest_to_means, objectives_along, single_objectives
from gradex.plan import Plan, make_plan
from gradex.seeds import child
from gradex.settings import as_kind
from gradex.store import scratch
from gradex.surrogate import Interactions, SurrogateEstimator
from gradex.tasks import TaskSuite

#: How affinities of preferences are found.
_AFFINITIES = ("kernel", "transfer")
#: Preferences that stand for all others where conflict is tested, and episodes are drawn again.
_REPRESENTATIVES = 24
#: Arms of a comparison have a policy for each task.
_MOST_COMPARED = 100


class PreferenceGrouping(GroupedTasks):
    """Group preferences over the same objectives, however many, and train one policy per group.

    It is Algorithm 2 of PolicyGradEx for tasks that are weighted sums of K objectives, which a policy does
    not see. Rewards are linear in the weights, and so are policy gradients: one set of transitions, and the
    interactions of K objectives, tell those of all pairs of preferences. Groups are k-means of preferences in
    their metric; `gradex.affinity.factors` says why these are groups of highest utility, up to second order.
    A group trains on its mean weights.

    Parameters
    ----------
    k : int or "auto"
        Number of groups. "auto" takes the smallest number without a conflict that counts, maybe one, as
        `PolicyGradEx` does: of 24 preferences that stand for all, each for those near to it.
    affinity : {"kernel", "transfer"}
        "kernel" is first order, gᵢᵀ (H + λI)⁻¹ gⱼ of all pairs, by K x K numbers at each snapshot. "transfer"
        fits the surrogate for each preference alone, and scores it in all others: n fits, and n x n numbers.
    projection_dim, folds : int
        As for `PolicyGradEx`.
    steps_per_task : int
        Transitions for each objective, of all snapshots together; see `gradex.path_scores.count_steps`.
    snapshots : int
        As for `PolicyGradEx`.
    meta_steps, group_steps : int, optional
        Environment steps in total for the meta-policy, and for all groups' policies together; by default what
        is recommended. With `group_steps=0` no group policies are trained.
    bootstrap : int
        Draws of the episodes, by which the verdict says how stable groups are; 0 for none.
    seed : int
    learner : "ppo" or Learner
        One that trains on mean weights.

    Attributes
    ----------
    meta_ : MetaPolicy
        Trained on the mean weights of all preferences.
    surrogates_ : tuple of SurrogateEstimator
        One for each snapshot; their tasks are the objectives.
    graph_ : AffinityGraph
        Of all preferences.
    representatives_ : int array [n]
        Which of the representatives stands for each preference.
    interactions_ : AffinityGraph
        Of the representatives, with exact standard errors.
    conflicts_ : list of float
        As for `PolicyGradEx`, of the representatives.
    partition_ : Partition
        With a verdict, unless `bootstrap` is 0.
    groups_ : tuple of tuples of int
    labels_ : int array [n]
    policies_ : list of MetaPolicy
        One per group.
    seconds_ : dict of str to float
        Wall-clock time by stage.

    Examples
    --------
    >>> from gradex import PreferenceGrouping, TaskSuite
    >>> suite = TaskSuite.make("mo-deep-sea-treasure", n=100, seed=0)
    >>> grouping = PreferenceGrouping(k=2, steps_per_task=1024, meta_steps=20_000, group_steps=20_000)
    >>> grouping = grouping.fit(suite)
    >>> len(grouping.groups_), grouping.values().shape
    (2, (2, 2))
    """

    representatives_: Int[np.ndarray, " n"]
    _found: Interactions
    _coarse: Partition

    _fitting = "fit(suite)"
    _results = (
        "suite_", "meta_", "surrogates_", "graph_", "representatives_", "interactions_", "conflicts_",
        "partition_", "policies_", "comparison_", "seconds_", "_found", "_coarse",
    )  # fmt: skip

    def __init__(
        self,
        k: int | str = "auto",
        affinity: str = "kernel",
        projection_dim: int = 400,
        folds: int = 4,
        steps_per_task: int = 8192,
        snapshots: int = 8,
        meta_steps: int | None = None,
        group_steps: int | None = None,
        bootstrap: int = 20,
        seed: int = 0,
        learner: str | Learner = "ppo",
    ) -> None:
        self.k = k
        self.affinity = affinity
        self.projection_dim = projection_dim
        self.folds = folds
        self.steps_per_task = steps_per_task
        self.snapshots = snapshots
        self.meta_steps = meta_steps
        self.group_steps = group_steps
        self.bootstrap = bootstrap
        self.seed = seed
        self.learner = learner

    def check(self, suite: TaskSuite) -> None:
        """Refuse what cannot work on this suite, before any training.

        Raises
        ------
        TypeError, ValueError
            If tasks are no weighted sums of objectives, or a setting cannot be.
        """
        own, n = self._plain(), len(as_kind("suite", suite, TaskSuite))
        if not suite.linear:
            raise ValueError(
                f"tasks of {suite.family!r} are no preferences over objectives: group them by PolicyGradEx"
            )
        if own.k != "auto" and not (isinstance(own.k, int) and 1 <= own.k <= n):
            raise ValueError(f"k is {own.k!r} for {n} preferences: choose 1 to {n}, or 'auto'")
        if own.affinity not in _AFFINITIES:
            raise ValueError(f"affinity is {own.affinity!r}: choose 'kernel' or 'transfer'")
        if own.snapshots < 1:
            raise ValueError(f"snapshots={own.snapshots} is too few: give at least 1")
        if own.bootstrap < 0 or own.bootstrap == 1:
            raise ValueError(f"bootstrap={own.bootstrap} is too small: give at least 2 draws, or 0 for none")
        if not own._untrained(suite).by_objective:
            raise ValueError(f"learner {own.learner!r} does not train on mean weights: choose 'ppo'")

    def fit(
        self,
        suite: TaskSuite,
        meta: MetaPolicy | None = None,
        checkpoint: str | Path | None = None,
        folder: str | Path | None = None,
    ) -> "PreferenceGrouping":
        """Train a meta-policy, group the preferences, and train a policy for each group.

        Parameters
        ----------
        suite : TaskSuite
            Whose tasks are weighted sums of objectives, such as "mo-lunar-lander".
        meta, checkpoint, folder
            As for `PolicyGradEx.fit`.

        Raises
        ------
        TypeError, ValueError
            See `check`; or if the meta-policy, given or kept, is one for other tasks.
        """
        self.seconds_ = {}
        self.check(suite)
        own = self._plain()
        if meta is not None:
            check_same_tasks(as_kind("meta", meta, MetaPolicy).suite, suite)
        self.suite_ = suite
        with self._stage("meta-policy"):
            self.meta_ = meta or own._untrained(suite).fit_or_load(own.meta_steps, checkpoint, own.snapshots)
        path = self.meta_.path_ if own.snapshots > 1 else (self.meta_,)
        estimator = SurrogateEstimator(own.projection_dim, folds=own.folds, seed=own.seed)
        found = objectives_along(path, estimator, own.steps_per_task, own.seed, self._stage)
        self.surrogates_, names = found.surrogates, [task.name for task in suite.tasks]
        with self._stage("affinities"):
            mixtures = found.mixtures(suite.weights)
            factors = found.factors(mixtures)
            if own.affinity == "kernel":
                self.graph_ = AffinityGraph.from_factors(factors.rows, names)
            else:
                self.graph_ = AffinityGraph.from_transfers(found.transfers(mixtures), names)
        with self._stage("clustering"):
            count = min(len(suite), _REPRESENTATIVES)
            self.representatives_ = KernelKMeans(own.seed).partition(factors, count).labels
            self._found = found.interactions([group_means(each, self.representatives_) for each in mixtures])
            nearest = [names[task] for task in nearest_to_means(factors.rows, self.representatives_)]
            self.interactions_ = AffinityGraph.from_interactions(self._found, nearest)
            self.partition_ = self._grouped(factors)
        with self._stage("group policies"):
            steps = own._steps_of_groups(suite)
            with scratch(checkpoint, "groups") if folder is None else nullcontext(folder) as place:
                policies = self.meta_.adapt_each(self.groups_, steps, folder=place) if steps else []
            self.policies_, self.comparison_ = policies, None
        return self

    def _grouped(self, factors: AffinityFactors) -> Partition:
        """Group the representatives, and all preferences."""
        own, method = self._plain(), self._method
        group = partial(self.interactions_.partition, method=method)
        most = None if own.k == "auto" else 1
        self._coarse, self.conflicts_ = fewest_groups(
            self._found, group, CONFLICT_LEVEL, seed=own.seed, most=most
        )
        if own.k == "auto":
            found = factors.evaluate(self._coarse.labels[self.representatives_], self._coarse.status)
        else:
            found = self.graph_.partition(k=own.k, method=method)
            self._coarse = group(min(own.k, len(self.interactions_)))
        if not own.bootstrap or found.k > len(self.interactions_):
            return found
        drawn = self.interactions_.bootstrap(own.bootstrap, own.seed).groups(found.k, method)
        return replace(found, resampled=drawn[:, self.representatives_])

    @property
    def _method(self) -> Grouping:
        own = self._plain()
        return CorrelationGrouping() if own.k == "auto" else KernelKMeans(own.seed)

    def _untrained(self, suite: TaskSuite) -> MetaPolicy:
        return MetaPolicy(suite, "mlp", self.learner, self.seed)

    # ------------------------------------------------------------------ results
    def plan(self, power: float = 0.9) -> Plan:
        """Tell how many transitions it takes until groups of the representatives can be trusted.

        See `PolicyGradEx.plan`.
        """
        self._fitted()
        own = self._plain()
        bootstrap = self.interactions_.bootstrap(max(2, own.bootstrap), own.seed)
        estimated = self.interactions_, self._coarse, bootstrap, self._found, own.steps_per_task
        seconds = sum(self.seconds_[stage] for stage in ("transitions", "gradients", "affinities"))
        return make_plan(*estimated, power, CONFLICT_LEVEL, seconds, own.seed, self._method)

    def values(self, episodes: int = 64) -> Float[np.ndarray, "k K"]:
        """Run every group's policy, and give its mean return in each objective.

        What a policy earns for any preference is the sum by its weights.

        Parameters
        ----------
        episodes : int
            Per policy.

        Raises
        ------
        ValueError
            If no policies were trained, with `group_steps=0`.
        """
        self._fitted()
        if not self.policies_:
            raise ValueError("group_steps=0 trains no policies to run: give at least 1")
        policies = [policy.on(single_objectives(self.suite_)) for policy in self.policies_]
        return cross_evaluate(policies, episodes, child(self._plain().seed, "values of objectives")).mean

    def reassigned(self, episodes: int = 64) -> Int[np.ndarray, " n"]:
        """Give each preference the group whose policy earns the most for it: a step of Lloyd's algorithm.

        It costs no training, and a few episodes of each policy, whatever the number of preferences. Unlike
        `repair` it needs no confirmation by other episodes, and offers none.
        """
        return (self.suite_.weights @ self.values(episodes).T).argmax(axis=1)

    def _compare(self, episodes: int, folder: str | Path | None) -> Comparison:
        if (n := len(self.suite_)) > _MOST_COMPARED:
            raise ValueError(
                f"compare=True trains a policy for each of {n} preferences: compare on a suite of at most "
                f"{_MOST_COMPARED}"
            )
        return super()._compare(episodes, folder)
