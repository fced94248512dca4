"""Groups of very many preferences over the same objectives, and one policy for each group."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gradex.affinity import AffinityGraph, KernelKMeans
from gradex.group_policies import count_tasks
from gradex.grouped_preferences import NOISE_LEVEL, GroupedPreferences
from gradex.learners import Learner
from gradex.meta_policy import MetaPolicy
from gradex.path_objectives import objectives_along
from gradex.progress import stages
from gradex.surrogate import SurrogateEstimator
from gradex.tasks import TaskSuite

#: How affinities of preferences are found.
_AFFINITIES = ("kernel", "transfer")
#: Draws of noise.
_DRAWS = 400
#: Where k is "auto": the share that groups shall cover, and how many there are at most.
_COVERED, _MOST_GROUPS = 0.8, 10


@dataclass(repr=False, eq=False)
class PreferenceGrouping(GroupedPreferences):
    """Group preferences over the same objectives, however many, and train one policy per group.

    It is Algorithm 2 of PolicyGradEx for tasks that are weighted sums of K objectives, which a policy does
    not see. Rewards are linear in the weights, and so are policy gradients: one set of transitions, and the
    interactions of K objectives, tell those of all pairs of preferences. Groups are k-means of preferences in
    their metric; `gradex.affinity.factors` says why these are groups of highest utility, up to second order.
    A group trains on its mean weights, on from the middle one of the snapshots, which is early: a policy that
    has settled on what is best for the mean preference explores too little to find what others want.

    Preferences lie close to each other, and a policy of its own is better for any of them, by a little. So k
    is not found but chosen: as many policies as one can afford. `covered` helps to choose it.

    Parameters
    ----------
    k : int or "auto"
        Number of groups. "auto": as few as cover 0.8 of what one policy for each preference gains, at most
        ten, see `covered`; one where gradients differ by no more than noise.
    affinity : {"kernel", "transfer"}
        "kernel" is first order, gᵢᵀ (H + λI)⁻¹ gⱼ of all pairs, by K x K numbers at each snapshot. "transfer"
        fits the surrogate for each preference alone, and scores it in all others: n fits, and n x n numbers.
    steps_per_task : int
        Transitions for each objective, of all snapshots together; see `gradex.path_scores.count_steps`.
    projection_dim, folds, snapshots, meta_steps, group_steps, bootstrap, seed
        As for `PolicyGradEx`.
    learner : "ppo" or Learner
        One that trains on mean weights.

    Attributes
    ----------
    meta_ : MetaPolicy
        Trained on the mean weights of all preferences.
    objectives_ : PathObjectives
        Surrogates of the objectives, one for each snapshot.
    factors_ : AffinityFactors
        First-order interactions of all preferences, by their factors.
    graph_ : AffinityGraph
        Of all preferences.
    p_value_ : float
        How likely gradients differ as much as they do from preference to preference if they are only noise.
    start_ : MetaPolicy
        The snapshot that groups train on from.
    partition_, groups_, labels_, policies_, comparison_, seconds_
        As for `PolicyGradEx`.

    Examples
    --------
    >>> from gradex import PreferenceGrouping, TaskSuite
    >>> suite = TaskSuite.make("mo-deep-sea-treasure", n=100, seed=0)
    >>> grouping = PreferenceGrouping(k=2, steps_per_task=256, meta_steps=4_000, group_steps=4_000)
    >>> len(grouping.fit(suite).groups_), grouping.values().shape
    (2, (2, 2))
    """

    k: int | str = "auto"
    affinity: str = "kernel"
    projection_dim: int = 400
    folds: int = 4
    steps_per_task: int = 8192
    snapshots: int = 8
    meta_steps: int | None = None
    group_steps: int | None = None
    bootstrap: int = 20
    seed: int = 0
    learner: str | Learner = "ppo"

    _fitting = "fit(suite)"
    _results = (
        "suite_", "meta_", "objectives_", "factors_", "graph_", "p_value_", "partition_", "start_",
        "policies_", "comparison_", "seconds_",
    )  # fmt: skip

    def check(self, suite: TaskSuite) -> None:
        """Refuse what cannot work on this suite, before any training.

        Raises
        ------
        TypeError, ValueError
            If tasks are no preferences over objectives, or one alone, a setting cannot be, or the suite has a
            task twice.
        """
        own, n = self._plain(), count_tasks(suite)
        if suite.options.get("conditioned"):
            raise ValueError(
                f"policies see the preferences of {suite.family!r}, so that steps of one do not serve all: "
                "leave out conditioned=True, or group them by PolicyGradEx"
            )
        if not suite.linear:
            raise ValueError(
                f"tasks of {suite.family!r} are no preferences over objectives: group them by PolicyGradEx"
            )
        if len(suite.objectives) < 2:
            raise ValueError(f"{suite.family!r} has one objective, so that all preferences are the same")
        if n == 1:
            raise ValueError("one preference makes no groups: give at least 2, or train a MetaPolicy on it")
        if own.k != "auto" and (not isinstance(own.k, int) or not 1 <= own.k <= n):
            raise ValueError(f"k is {own.k!r} for {n} preferences: choose 1 to {n}, or 'auto'")
        if own.affinity not in _AFFINITIES:
            raise ValueError(f"affinity is {own.affinity!r}: choose 'kernel' or 'transfer'")
        own._check_amounts()
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
        self.check(suite)
        self._forget()
        self.seconds_, own = {}, self._plain()
        with stages(own._stages(suite, meta, checkpoint)) as begin:
            begin("meta-policy")
            self._train_meta(suite, meta, checkpoint)
            begin("estimate")
            path = self.meta_.path_ if own.snapshots > 1 else (self.meta_,)
            self.start_ = path[len(path) // 2]
            estimator = SurrogateEstimator(own.projection_dim, folds=own.folds, seed=own.seed)
            given = estimator, own.steps_per_task, own.seed, self._stage
            self.objectives_ = objectives_along(path, *given)
            begin("groups")
            self._cluster()
            begin("group policies")
            self._train_groups(checkpoint, folder)
        return self

    def _cluster(self) -> None:
        """Find the groups, and how stable they are."""
        own, suite, found = self._plain(), self.suite_, self.objectives_
        names = [task.name for task in suite.tasks]
        with self._stage("affinities"):
            mixtures = found.mixtures(suite.weights)
            self.factors_, self.p_value_ = found.factors(mixtures), found.p_value(mixtures, _DRAWS, own.seed)
            if own.affinity == "kernel":
                self.graph_ = AffinityGraph.from_factors(self.factors_.rows, names)
            else:
                self.graph_ = AffinityGraph.from_transfers(found.transfers(mixtures), names)
        method = KernelKMeans(own.seed)
        with self._stage("clustering"):
            k = own.k if isinstance(own.k, int) else self._chosen()
            self.partition_ = self.graph_.partition(k=k, method=method)
        with self._stage("uncertainty"):
            if own.bootstrap:
                drawn = found.factor_draws(mixtures, own.bootstrap, own.seed)
                resampled = np.stack([method.partition(each, k).labels for each in drawn])
                self.partition_ = replace(self.partition_, resampled=resampled)

    def _chosen(self) -> int:
        """Choose how many groups there are."""
        if self.p_value_ > NOISE_LEVEL:
            return 1
        share = self._covered(_MOST_GROUPS)
        return int(np.argmax(share >= _COVERED)) + 1 if (share >= _COVERED).any() else len(share)

    def _untrained(self, suite: TaskSuite) -> MetaPolicy:
        return MetaPolicy(suite, "mlp", self.learner, self.seed)
