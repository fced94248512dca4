"""Tasks in groups, each with a policy, as everything later sees them: what the policies earn."""

import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import pandas as pd
from jaxtyping import Int

from gradex.affinity import AffinityGraph, Bootstrap, CorrelationGrouping, Partition
from gradex.affinity.partition import listed
from gradex.comparison import Comparison, compare
from gradex.display import card, folded, table
from gradex.meta_policy import MetaPolicy
from gradex.plan import Plan, make_plan
from gradex.reassignment import Reassignment, reassign
from gradex.rollout_scores import RolloutScore
from gradex.settings import Estimator
from gradex.surrogate import Interactions, Score, SurrogateEstimator
from gradex.tasks import TaskSuite

#: Stages of an estimate whose time grows with the transitions.
_STAGES = ("transitions", "gradients", "subset scores", "uncertainty")
#: Tasks of a table that is shown at once.
_SHOWN = 20
#: Groups are split where a conflict within is a matter of chance with no more than this probability, and
#: gradients are told from noise likewise.
CONFLICT_LEVEL = 0.05


class GroupPolicies(Estimator):
    """Groups of tasks with their policies, wherever they come from.

    Attributes
    ----------
    suite_ : TaskSuite
    meta_ : MetaPolicy
    partition_ : Partition
    policies_ : list of MetaPolicy
        One per group, trained on from the meta-policy; none with `group_steps=0`.
    comparison_ : Comparison or None
        Of the last `evaluate(compare=True)`.
    seconds_ : dict of str to float
        Wall-clock time by stage.
    """

    suite_: TaskSuite
    meta_: MetaPolicy
    partition_: Partition
    policies_: list[MetaPolicy]
    comparison_: Comparison | None
    seconds_: dict[str, float]

    group_steps: int | None
    seed: int

    @property
    def groups_(self) -> tuple[tuple[int, ...], ...]:
        """Task indices of each group."""
        return self._fitted().groups

    @property
    def labels_(self) -> Int[np.ndarray, " n"]:
        """Group of each task."""
        return self._fitted().labels

    def _fitted(self) -> Partition:
        return self.partition_

    @overload
    def evaluate(self, episodes: int = 32, compare: Literal[False] = False) -> pd.DataFrame: ...

    @overload
    def evaluate(
        self, episodes: int = 32, *, compare: Literal[True], folder: str | Path | None = None
    ) -> Comparison: ...

    def evaluate(
        self, episodes: int = 32, compare: bool = False, folder: str | Path | None = None
    ) -> pd.DataFrame | Comparison:
        """Run each group's policy, and the meta-policy, for whole episodes.

        The meta-policy has trained less. A fair comparison is one with `compare=True`: one policy per group,
        one for all, one per task and one per random group, all trained on from the policy that groups began
        with, for the same environment steps. That takes about three times as long as the groups' policies
        took, which serve where they are there.

        Parameters
        ----------
        episodes : int
            Per policy and task.
        compare : bool
            Train the other arms, and compare.
        folder : path, optional
            Of a comparison: where trainings that are cut off leave what they go on from.

        Returns
        -------
        pandas.DataFrame or Comparison
            Columns policy ("meta" or "group"), group, task, return_mean, return_stderr, success,
            episode_length; or the `Comparison`, which `comparison_` keeps.

        Raises
        ------
        ValueError
            If there is to be a comparison with `group_steps=0`.
        """
        if compare:
            return self._compare(episodes, folder)
        groups, labels = self.groups_, self.labels_
        tables = [self.meta_.evaluate(episodes).assign(policy="meta", group=labels)]
        for number, (group, policy) in enumerate(zip(groups, self.policies_, strict=False)):
            tables.append(policy.evaluate(episodes, subset=group).assign(policy="group", group=number))
        table = pd.concat(tables, ignore_index=True)
        return table[["policy", "group", *table.columns.drop(["policy", "group"])]]

    def _compare(self, episodes: int, folder: str | Path | None) -> Comparison:
        groups, own = self.groups_, self._plain()
        steps = own._steps_of_groups(self.suite_)
        if steps == 0:
            raise ValueError("group_steps=0 trains no policies to compare: give at least 1")
        with self._stage("comparison"):
            given = groups, steps, episodes, own.seed, self.policies_, folder
            self.comparison_ = compare(self._start, *given)
        return self.comparison_

    def repair(self, episodes: int = 32) -> Reassignment:
        """Verify the groups: run each group's policy in every task, and move tasks that earn more elsewhere.

        Moves are chosen on one set of episodes, and kept only if another set confirms them, see
        `gradex.reassignment.reassign`. Nothing is changed here: the groups stay those that were fitted, and
        the result has the new ones. Policies stay as they are, too; to train them on, call
        `policy.adapt(group, steps)` for each policy and its group.

        Parameters
        ----------
        episodes : int
            Per policy and task, in each of both sets.

        Returns
        -------
        Reassignment
            Its `groups[c]` are the tasks of `policies_[c]`.

        Raises
        ------
        ValueError
            If no policies were trained, with `group_steps=0`.
        """
        policies = self._trained()
        with self._stage("repair"):
            return reassign(policies, self.labels_.tolist(), episodes, self._plain().seed)

    def report(self) -> dict[str, Any]:
        """Sum up the run in plain JSON types.

        `stability` is the mean adjusted mutual information of the groups with those of the draws, and
        `verdict` says what that means; both are None with `bootstrap=0`. `comparison` is `Comparison.summary`
        of the last one, None without.
        """
        partition, suite = self._fitted(), self.suite_
        return {
            "suite": suite.family,
            "tasks": [task.name for task in suite.tasks],
            "labels": partition.labels.tolist(),
            "groups": [list(group) for group in partition.groups],
            "k": partition.k,
            "objective": partition.objective,
            "upper_bound": partition.upper_bound,
            "gap": partition.gap,
            "stability": partition.stability,
            "verdict": self.verdict_,
            "planted_nmi": None if suite.labels is None else partition.agreement(suite.labels).nmi,
            "comparison": None if self.comparison_ is None else self.comparison_.summary(),
            "seconds": dict(self.seconds_),
        }

    def _card(self) -> str:
        partition, suite = self._fitted(), self.suite_
        facts = {
            "suite": suite.family, "tasks": len(suite), "groups": partition.k, "verdict": self.verdict_,
            "seconds": sum(self.seconds_.values()),
        }  # fmt: skip
        rows = {"group": self.labels_, "task": [task.name for task in suite.tasks]}
        tasks = pd.DataFrame(rows).sort_values("group", kind="stable")
        parts = [folded("tasks by group", table(tasks), shown=len(suite) <= _SHOWN)]
        if self.comparison_ is not None:
            parts.append(folded("comparison", self.comparison_._repr_html_()))
        return card(type(self).__name__, facts, *parts)

    @property
    @abstractmethod
    def verdict_(self) -> str | None:
        """What may be relied on, in a sentence."""

    def _trained(self) -> list[MetaPolicy]:
        """Give the groups' policies, or say how to get any."""
        self._fitted()
        if not self.policies_:
            raise ValueError("group_steps=0 trains no policies to run: give at least 1")
        return self.policies_

    @property
    def _start(self) -> MetaPolicy:
        """The policy that groups train on from."""
        return self.meta_

    def _steps_of_groups(self, suite: TaskSuite) -> int:
        """Give the environment steps for the policies of all groups together."""
        return suite.recommended.group_steps if self.group_steps is None else self.group_steps

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        """Note how long something takes."""
        start = time.perf_counter()
        yield
        self.seconds_[name] = self.seconds_.get(name, 0.0) + time.perf_counter() - start


class GroupedTasks(GroupPolicies):
    """Groups that were found by estimates of their interactions, and how far they can be relied on."""

    surrogates_: tuple[SurrogateEstimator, ...]
    graph_: AffinityGraph
    interactions_: AffinityGraph
    bootstrap_: Bootstrap | None
    conflicts_: list[float]

    k: int | str
    steps_per_task: int
    score: str | Score | RolloutScore

    @property
    def surrogate_(self) -> SurrogateEstimator:
        """The surrogate at the meta-policy itself."""
        return self.surrogates_[-1]

    @property
    def verdict_(self) -> str | None:
        """What may be relied on, in a sentence; None where it takes draws and `bootstrap` is 0.

        There are "no groups" where all tasks together hold no conflict that counts: none beyond doubt, at
        `CONFLICT_LEVEL`, or too slight a one, see `gradex.affinity.fewest_groups`. Nothing of weight then
        speaks against one policy for all. It is another matter where nothing is known of the tasks, or of
        some: where their gradients are no more than noise, as in a task of which all steps pay alike.
        """
        names = [task.name for task in self.suite_.tasks]
        conflict = self.conflicts_[0] <= CONFLICT_LEVEL
        if conflict and (found := self.partition_.verdict_naming(names)) is None:
            return None
        p_values = self.interactions_.noise_p_values(seed=self._plain().seed)
        unknown = [name for name, p_value in zip(names, p_values, strict=True) if p_value > CONFLICT_LEVEL]
        silent = f"nothing is known of {listed(unknown)}, as their gradients are no more than noise"
        if conflict:
            return f"{found}; {silent}" if unknown else found
        given = f"; do not rely on these {self.partition_.k}" if self.partition_.k > 1 else ""
        if unknown and self.interactions_.noise_p_value(seed=self._plain().seed) > CONFLICT_LEVEL:
            return (
                "no groups: nothing is known of these tasks, as their gradients are no more than noise; give "
                f"more steps_per_task, which also see later steps of an episode{given}"
            )
        if unknown:
            return f"no groups: no tasks are in conflict that counts, but {silent}{given}"
        return f"no groups: one policy for all, as no tasks are in conflict that counts{given}"

    def plan(self, power: float = 0.9) -> Plan:
        """Tell how many transitions it takes until groups can be trusted, with this run as the pilot.

        Parameters
        ----------
        power : float
            Wanted chance that another estimate finds the same groups, in conflict.

        Returns
        -------
        Plan
            Its `transitions` are what to give as `steps_per_task`.

        Raises
        ------
        ValueError
            If the power is not between 0 and 1, `bootstrap` is 0, or scores are by rollout: what these err by
            is their episodes, not the transitions.
        """
        partition, bootstrap, own = self._fitted(), self.bootstrap_, self._plain()
        if RolloutScore.named(own.score):
            raise ValueError(
                "score='rollout' errs by its episodes, not by transitions: plan with score='loss'"
            )
        if bootstrap is None:
            raise ValueError("bootstrap=0 leaves unknown how far affinities err: give at least 2 draws")
        interactions = Interactions.joined([surrogate.interactions() for surrogate in self.surrogates_])
        graph, method = self.graph_, None
        if own.k == "auto":
            graph, method = self.interactions_, CorrelationGrouping()
            bootstrap = graph.bootstrap(len(bootstrap), own.seed)
        seconds = sum(self.seconds_[stage] for stage in _STAGES)
        given = graph, partition, bootstrap, interactions, own.steps_per_task
        return make_plan(*given, power, CONFLICT_LEVEL, seconds, own.seed, method)
