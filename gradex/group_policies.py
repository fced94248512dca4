"""Tasks in groups, each with a policy, as everything later sees them: what the policies earn."""

from abc import abstractmethod
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import pandas as pd
from jaxtyping import Int

from gradex.affinity import Partition
from gradex.comparison import Comparison, compare, train_policies
from gradex.display import card, folded, table
from gradex.learners.transitions import DEEPER, SHARING_TASKS
from gradex.lineage import check_same_tasks
from gradex.meta_policy import MetaPolicy
from gradex.progress import timed
from gradex.reassignment import Reassignment, reassign
from gradex.settings import Estimator, as_kind, check_draws, whole
from gradex.store import scratch
from gradex.tasks import TaskSuite

#: Tasks of a table that is shown at once.
_SHOWN = 20


def count_tasks(suite: TaskSuite) -> int:
    """Count the tasks of a suite, and refuse one that holds a task twice: groups name their tasks."""
    names = [task.name for task in as_kind("suite", suite, TaskSuite)]
    if len(set(names)) < len(names):
        twice = next(name for name, times in Counter(names).items() if times > 1)
        raise ValueError(f"the suite has task {twice!r} twice: leave it out, or give it another name")
    return len(names)


class GroupPolicies(Estimator):
    """Groups of tasks with their policies, wherever they come from."""

    suite_: TaskSuite
    meta_: MetaPolicy
    partition_: Partition
    policies_: list[MetaPolicy]
    comparison_: Comparison | None
    seconds_: dict[str, float]

    meta_steps: int | None
    group_steps: int | None
    steps_per_task: int
    snapshots: int
    bootstrap: int
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
        with, for the same environment steps; policies for nothing but tasks that it left behind begin anew.
        That takes about three times as long as the groups' policies took, which serve where they are there.

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
            given = groups, steps, episodes, own.seed, self.policies_, folder, self._anew
            self.comparison_ = compare(self._start, *given)
        return self.comparison_

    def repair(self, episodes: int = 32) -> Reassignment:
        """Verify the groups: run each group's policy in every task, and move tasks that earn more elsewhere.

        Moves are chosen on one set of episodes, and kept only if another set confirms them, see
        `gradex.reassignment.reassign`. The result has the new groups; nothing is changed here. To train the
        policies on, call `policy.adapt(group, steps)` for each and its new group.

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

    @property
    def _anew(self) -> list[int]:
        """Tasks for which there is nothing to go on from."""
        return []

    def _steps_of_groups(self, suite: TaskSuite) -> int:
        """Give the environment steps for the policies of all groups together."""
        return suite.recommended.group_steps if self.group_steps is None else self.group_steps

    def _check_amounts(self) -> None:
        """Refuse numbers of snapshots, steps and draws that will not do."""
        whole("snapshots", self.snapshots, 1)
        if self.steps_per_task < 2 * self.snapshots:
            raise ValueError(
                f"steps_per_task={self.steps_per_task} is too small for {self.snapshots} snapshots: "
                f"give at least {2 * self.snapshots}"
            )
        for name, steps, least in (("meta_steps", self.meta_steps, 1), ("group_steps", self.group_steps, 0)):
            if steps is not None:
                whole(name, steps, least)
        check_draws(self.bootstrap)

    @abstractmethod
    def _untrained(self, suite: TaskSuite) -> MetaPolicy:
        """Give the meta-policy that is to be trained."""

    def _train_meta(self, suite: TaskSuite, meta: MetaPolicy | None, checkpoint: str | Path | None) -> None:
        """Take the meta-policy that is given, the one that is kept, or train one."""
        if meta is not None:
            check_same_tasks(as_kind("meta", meta, MetaPolicy).suite, suite)
        self.suite_, own = suite, self._plain()
        with self._stage("meta-policy"):
            untrained = own._untrained(suite)
            self.meta_ = meta or untrained.fit_or_load(own.meta_steps, checkpoint, own.snapshots)

    def _train_groups(self, checkpoint: str | Path | None, folder: str | Path | None) -> None:
        """Train a policy for each group."""
        steps = self._plain()._steps_of_groups(self.suite_)
        self.policies_, self.comparison_ = [], None
        with self._stage("group policies"):
            with scratch(checkpoint, "groups") if folder is None else nullcontext(folder) as place:
                if steps:
                    self.policies_ = train_policies(self._start, self.groups_, steps, place, self._anew)

    def _stages(
        self, suite: TaskSuite, meta: MetaPolicy | None, checkpoint: str | Path | None
    ) -> dict[str, float]:
        """Give the environment steps of each stage of `fit`: none of a meta-policy that is there already."""
        there = meta is not None or (checkpoint is not None and Path(checkpoint).exists())
        steps = suite.recommended.meta_steps if self.meta_steps is None else self.meta_steps
        sets = min(len(suite), SHARING_TASKS) if suite.shared_dynamics else len(suite)
        return {
            "meta-policy": 0 if there else steps,
            "estimate": DEEPER * self.steps_per_task * sets,
            "groups": 0,
            "group policies": self._steps_of_groups(suite),
        }

    def _stage(self, name: str) -> AbstractContextManager[None]:
        """Note how long something takes."""
        return timed(self.seconds_, name)
