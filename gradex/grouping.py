"""PolicyGradEx from a suite of tasks to one policy per group: Algorithm 2 in one object."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int
from sklearn.exceptions import NotFittedError

from gradex.affinity import (
    Affinity,
    AffinityGraph,
    Bootstrap,
    InteractionAffinity,
    PairwiseAffinity,
    Partition,
    named_affinity,
    pair_coverage,
    sample_subsets,
)
from gradex.files import UNFINISHED
from gradex.learners import Learner
from gradex.learners.recipes import recipe
from gradex.meta_policy import MetaPolicy
from gradex.surrogate import Score, SubsetScores, SurrogateEstimator
from gradex.tasks import TaskSuite

#: Draws of the affinities for each draw of the episodes, as other subsets are drawn with them: these are
#: cheap, so that episodes are all that limits how well the spread is known.
_DRAWS_OF_SUBSETS = 5


class PolicyGradEx:
    """Group the tasks of a suite and train one policy per group (PolicyGradEx, Algorithm 2).

    Parameters
    ----------
    k : int or "auto"
        Number of groups; the paper uses 3 everywhere. "auto" takes the most stable number, see
        `AffinityGraph.path`.
    subsets, subset_size : int
        m random subsets of α tasks; all of them where there are no more than m. `subsets=None` takes as many
        as `sample_subsets` thinks right. Of two or three tasks pairs are scored in place of all together, and
        each task alone where the affinity could not tell otherwise how hard it is.
    affinity : {"pairwise", "interaction", "mean", "transfer", "normalised"} or Affinity
        How scores of subsets become affinities of pairs; "mean" is the paper's Eq. (5), "transfer" the one
        for a hundred tasks and more, with a `subset_size` of 20 or so, "normalised" the one for tasks that
        react to their company some much and some little.
    score : {"loss", "improvement"} or Score
        How a subset is scored, see `gradex.surrogate`.
    projection_dim, projection : int, str
        d of the random projection and its kind, see `SurrogateEstimator`.
    folds : int
        Scores are held out by episode over this many folds; 1 scores in-sample, as the paper does.
    steps_per_task : int
        Transitions per task for the surrogate.
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
        `SurrogateEstimator.literal`. With affinity="mean" the affinities, too, are the paper's.

    Attributes
    ----------
    meta_ : MetaPolicy
    surrogate_ : SurrogateEstimator
    scores_ : SubsetScores
    graph_ : AffinityGraph
    bootstrap_ : Bootstrap or None
        Draws of the affinities, with standard errors.
    partition_ : Partition
        With co-assignment and verdict, unless `bootstrap` is 0.
    groups_ : tuple of tuples of int
        Task indices of each group.
    labels_ : int array [n]
    policies_ : list of MetaPolicy
        One per group, trained on from the meta-policy.
    seconds_ : dict of str to float
        Wall-clock time by stage.
    """

    meta_: MetaPolicy
    surrogate_: SurrogateEstimator
    scores_: SubsetScores
    graph_: AffinityGraph
    bootstrap_: Bootstrap | None
    partition_: Partition
    policies_: list[MetaPolicy]

    def __init__(
        self,
        k: int | str = 3,
        subsets: int | None = 200,
        subset_size: int = 3,
        affinity: str | Affinity = "pairwise",
        score: str | Score = "loss",
        projection_dim: int = 400,
        folds: int = 4,
        steps_per_task: int = 2048,
        meta_steps: int | None = None,
        group_steps: int | None = None,
        bootstrap: int = 20,
        seed: int = 0,
        projection: str = "gaussian",
        network: str = "mlp",
        learner: str | Learner = "ppo",
        literal: bool = False,
    ) -> None:
        self.k = k
        self.subsets = subsets
        self.subset_size = subset_size
        self.affinity = affinity
        self.score = score
        self.projection_dim = projection_dim
        self.folds = folds
        self.steps_per_task = steps_per_task
        self.meta_steps = meta_steps
        self.group_steps = group_steps
        self.bootstrap = bootstrap
        self.seed = seed
        self.projection = projection
        self.network = network
        self.learner = learner
        self.literal = literal
        self.seconds_: dict[str, float] = {}

    @property
    def config(self) -> dict[str, Any]:
        """The settings, in plain JSON types."""
        settings = {name: value for name, value in vars(self).items() if not name.endswith("_")}
        return {
            name: value if isinstance(value, str | int | None) else repr(value)
            for name, value in settings.items()
        }

    def check(self, suite: TaskSuite) -> list[tuple[int, ...]]:
        """Refuse what cannot work on this suite, before any training; give the subsets that will be scored.

        Raises
        ------
        ValueError
            If a setting cannot be, the suite's actions are not for the learner, k exceeds the number of
            tasks, subsets of this size and number cannot tell every pair from the others, or a single draw is
            to tell the uncertainty.
        """
        n = len(suite)
        if self.k != "auto" and not (isinstance(self.k, int) and 1 <= self.k <= n):
            raise ValueError(f"k is {self.k!r} for {n} tasks: choose 1 to {n}, or 'auto'")
        if self.steps_per_task < 2:
            raise ValueError(f"steps_per_task is {self.steps_per_task}: choose at least 2")
        for name, steps, least in (("meta_steps", self.meta_steps, 1), ("group_steps", self.group_steps, 0)):
            if steps is not None and steps < least:
                raise ValueError(f"{name} is {steps}: choose at least {least}")
        if self.bootstrap < 0 or self.bootstrap == 1:
            raise ValueError(f"bootstrap is {self.bootstrap}: choose at least 2 draws, or 0 for none")
        self._estimator()
        self._untrained(suite).initial([self.seed])
        affinity = named_affinity(self.affinity)
        few = n <= 3 and self.subset_size in (n, 3)
        chosen = sample_subsets(n, self.subsets, 2 if few else self.subset_size, self.seed)
        if n <= 3 and isinstance(affinity, PairwiseAffinity | InteractionAffinity):
            return [*((task,) for task in range(n)), *chosen]
        if n > 3 and self.subset_size == n:
            raise ValueError(f"subset_size is all {n} tasks, which tells no pair from another: choose fewer")
        # n numbers, how hard each task is, explain n scores perfectly; what is left to interactions is 0.
        if n > 3 and len(chosen) <= n and isinstance(affinity, PairwiseAffinity | InteractionAffinity):
            raise ValueError(
                f"{len(chosen)} subsets of size {self.subset_size} cannot tell how {n} tasks interact "
                f"from how hard each is: choose more subsets, another subset_size, or affinity='mean'"
            )
        return chosen

    def fit(
        self, suite: TaskSuite, meta: MetaPolicy | None = None, checkpoint: str | Path | None = None
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

        Raises
        ------
        ValueError
            See `check`.
        """
        self.suite_ = suite
        self.seconds_ = {}
        with self._stage("subsets"):
            chosen = self.check(suite)
        self.coverage_ = pair_coverage(chosen, len(suite))
        with self._stage("meta-policy"):
            self.meta_ = self._meta_policy(suite, checkpoint) if meta is None else meta
        with self._stage("transitions"):
            transitions = self.meta_.transitions(self.steps_per_task)
        with self._stage("gradients"):
            self.surrogate_ = self._estimator().fit(self.meta_, transitions)
        with self._stage("subset scores"):
            self.scores_ = self.surrogate_.scores(chosen)
        with self._stage("uncertainty"):
            draws = self.surrogate_.score_draws(chosen, self.bootstrap, self.seed)
            self.scores_ = replace(self.scores_, draws=draws)
        with self._stage("clustering"):
            names = [task.name for task in suite.tasks]
            self.graph_ = AffinityGraph.from_scores(self.scores_, self.affinity, names)
            self.partition_ = self.graph_.partition(k=self.k)
        with self._stage("uncertainty"):
            self._resample()
        with self._stage("group policies"):
            steps = recipe(suite.kind).group_steps if self.group_steps is None else self.group_steps
            with _kept_meanwhile(checkpoint, "groups") as folder:
                own = self.meta_.adapt_each(self.groups_, steps, folder=folder) if steps else []
            self.policies_ = own
        return self

    def _estimator(self) -> SurrogateEstimator:
        if self.literal:
            return SurrogateEstimator.literal(self.projection_dim, self.seed)
        return SurrogateEstimator(
            self.projection_dim, self.projection, folds=self.folds, score=self.score, seed=self.seed
        )

    def _resample(self) -> None:
        """Draw the affinities again and group them."""
        self.bootstrap_ = None
        if self.bootstrap:
            self.bootstrap_ = self.graph_.bootstrap(_DRAWS_OF_SUBSETS * self.bootstrap, self.seed)
            resampled = self.bootstrap_.groups(self.partition_.k)
            self.partition_ = replace(self.partition_, resampled=resampled)

    def _meta_policy(self, suite: TaskSuite, checkpoint: str | Path | None) -> MetaPolicy:
        if checkpoint is not None and Path(checkpoint).exists():
            return MetaPolicy.load(checkpoint, suite)
        with _kept_meanwhile(checkpoint, "meta") as folder:
            meta = self._untrained(suite).fit(self.meta_steps, folder)
            if checkpoint is not None:
                meta.save(checkpoint)
        return meta

    def _untrained(self, suite: TaskSuite) -> MetaPolicy:
        return MetaPolicy(suite, self.network, self.learner, self.seed)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds_[name] = self.seconds_.get(name, 0.0) + time.perf_counter() - start

    # ------------------------------------------------------------------ results
    @property
    def groups_(self) -> tuple[tuple[int, ...], ...]:
        """Task indices of each group."""
        return self._fitted().groups

    @property
    def labels_(self) -> Int[np.ndarray, " n"]:
        """Group of each task."""
        return self._fitted().labels

    def _fitted(self) -> Partition:
        if not hasattr(self, "partition_"):
            raise NotFittedError("this PolicyGradEx is not fitted: call fit(suite) first")
        return self.partition_

    def evaluate(self, episodes: int = 32) -> pd.DataFrame:
        """Run each group's policy, and the meta-policy for comparison, for whole episodes in every task.

        Returns
        -------
        pandas.DataFrame
            Columns policy ("meta" or "group"), group, task, return_mean, return_stderr, success,
            episode_length.
        """
        groups, labels = self.groups_, self.labels_
        tables = [self.meta_.evaluate(episodes).assign(policy="meta", group=labels)]
        for number, (group, policy) in enumerate(zip(groups, self.policies_, strict=False)):
            tables.append(policy.evaluate(episodes, subset=group).assign(policy="group", group=number))
        table = pd.concat(tables, ignore_index=True)
        return table[["policy", "group", *table.columns.drop(["policy", "group"])]]

    def report(self) -> dict[str, Any]:
        """Sum up the run in plain JSON types.

        `first_order_error` is the mean residual at 1 % distance, along random directions and the surrogate's
        own, relative to the output as in the paper; `first_order_error_of_change` is the same residual
        relative to the change, which is stricter. `stability` is the mean adjusted mutual information of the
        groups with those of the draws, and `verdict` says what that means; both are None with `bootstrap=0`.
        """
        partition, suite = self._fitted(), self.suite_
        names = [task.name for task in suite.tasks]
        error = self.surrogate_.first_order_error(distances=(0.01,))
        pairs = self.coverage_[np.triu_indices(len(suite), 1)]
        planted = suite.labels
        return {
            "suite": suite.family,
            "tasks": names,
            "labels": partition.labels.tolist(),
            "groups": [list(group) for group in partition.groups],
            "k": partition.k,
            "objective": partition.objective,
            "upper_bound": partition.upper_bound,
            "gap": partition.gap,
            "stability": partition.stability,
            "verdict": partition.verdict_naming(names),
            "coverage": {
                "subsets": len(self.scores_.subsets),
                "fewest": int(pairs.min()),
                "most": int(pairs.max()),
            },
            "first_order_error": float(error.relative_to_output.mean()),
            "first_order_error_of_change": float(error.relative_to_change.mean()),
            "planted_nmi": None if planted is None else partition.agreement(planted).nmi,
            "seconds": dict(self.seconds_),
        }


@contextmanager
def _kept_meanwhile(checkpoint: str | Path | None, what: str) -> Iterator[Path | None]:
    """Give a folder beside the checkpoint for a training, which is gone when the training has ended well."""
    folder = None if checkpoint is None else Path(checkpoint).parent / f"{UNFINISHED}{what}"
    yield folder
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
