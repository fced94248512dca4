"""Tasks in groups that were found by estimates of their interactions, and how far to rely on them."""

from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from sklearn.base import clone

from gradex.affinity import (
    AffinityGraph,
    Bootstrap,
    CorrelationGrouping,
    CosineLinkage,
    Grouping,
    Partition,
    nested,
)
from gradex.affinity.found_groups import CONFLICT_LEVEL, verdict
from gradex.affinity.partition import listed
from gradex.comparison.arms import begins_anew
from gradex.group_policies import GroupPolicies
from gradex.meta_policy import MetaPolicy
from gradex.path_scores import NothingToLearnError, stakes
from gradex.plan import Plan, make_plan
from gradex.progress import bar
from gradex.rollout_scores import RolloutScore
from gradex.seeds import child
from gradex.surrogate import Interactions, Score, SubsetScores, SurrogateEstimator
from gradex.tasks import TaskSuite

#: How snapshots count to interactions.
WEIGHTINGS = EQUAL, BY_RETURN = "equal", "return"
#: A stage of `fit`.
WITHIN = "groups within groups"
#: Tasks that a file's name tells; more of them are told by a number.
_NAMED = 10
#: Share of a training that is its beginning, and its end.
_TENTH = 0.1
#: Stages of an estimate whose time grows with the transitions.
_STAGES = ("transitions", "gradients", "subset scores", "uncertainty")


class GroupedTasks(GroupPolicies):
    """Groups that were found by estimates of their interactions, and how far they can be relied on."""

    surrogates_: tuple[SurrogateEstimator, ...]
    scores_: SubsetScores
    graph_: AffinityGraph
    interactions_: AffinityGraph
    bootstrap_: Bootstrap | None
    conflicts_: list[float]
    unrelated_: float | None

    first_partition_: Partition
    parts_: "tuple[GroupedTasks | None, ...]"

    k: int | str
    score: str | Score | RolloutScore
    recursive: bool
    weighting: str
    common_share: float

    @property
    def surrogate_(self) -> SurrogateEstimator:
        """The surrogate at the meta-policy itself."""
        return self.surrogates_[-1]

    @property
    def verdict_(self) -> str | None:
        """What may be relied on, in a sentence; None where it takes draws and `bootstrap` is 0.

        There are "no groups" where all tasks together hold no conflict that counts: none beyond doubt, at
        `CONFLICT_LEVEL`, or too slight a one, see `gradex.affinity.fewest_groups`; nor kinds that have little
        in common, see `common_share`. Nothing of weight then speaks against one policy for all; a conflict
        that is beyond doubt, but slight, is told. It is another matter where nothing is known of the tasks,
        or of some: where their gradients are no more than noise, as in a task of which all steps pay alike.
        Tasks that training has left behind are named, whatever the groups are; see `left_behind_`.
        """
        told = verdict(
            self._fitted(), self.interactions_, self.conflicts_, self._plain().seed, self.unrelated_,
            remedy="give more steps_per_task (plan() and `gradex plan` tell how many), "
            "which also see later steps of an episode",
        )  # fmt: skip
        behind = self.left_behind_
        if not told or not behind:
            return told
        names = {task: self.suite_[task].name for task in behind}
        mixed = [
            name for task, name in names.items() if not begins_anew(self.groups_[self.labels_[task]], behind)
        ]
        advice = "policies for such tasks alone begin anew"
        if mixed:
            advice = f"try {'these' if len(mixed) == len(names) else listed(mixed)} by themselves"
        return (
            f"{told}; the policy for all learned nothing in {listed(list(names.values()))}, and nothing that "
            f"it does there pays more than anything else by now: {advice}"
        )

    @property
    def left_behind_(self) -> list[int]:
        """Tasks in which the meta-policy earns no more than at first, and now is paid alike whatever it does.

        It may have sided with the other tasks before it met enough reward in these. What it says of them
        comes from early snapshots alone, if from any. None, if that is so of all tasks. Groups of such tasks
        alone have nothing to go on from: their policies begin with fresh weights, and train for as many steps
        as the others; so do those that `evaluate(compare=True)` compares with.
        """
        deviations = getattr(self.surrogate_.samples_, "deviations", None)
        silent = [] if deviations is None else np.flatnonzero(np.asarray(deviations) == 0).tolist()
        if not silent or len(silent) == len(self.suite_):
            return []
        history = self.meta_.history_
        share = history.steps / history.steps.max()
        first = history[share <= _TENTH].groupby("task").return_mean.mean()
        last = history[share > 1 - _TENTH].groupby("task").return_mean.mean()
        return [task for task in silent if last.get(task, np.nan) <= first.get(task, np.nan)]

    @property
    def _anew(self) -> list[int]:
        return self.left_behind_

    def plan(self, power: float = 0.9) -> Plan:
        """Tell how many transitions it takes until groups can be trusted, with this run as the pilot.

        These are the groups of all tasks together; those within a group have a plan of their own,
        `parts_[group].plan()`.

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
            If the power is not between 0 and 1, `bootstrap` is 0, `k` is 1, or scores are by rollout: what
            these err by is their episodes, not the transitions.
        """
        self._fitted()
        partition, bootstrap, own = self.first_partition_, self.bootstrap_, self._plain()
        if own.k == 1:
            raise ValueError("k=1 leaves no groups to find: plan with k='auto'")
        if RolloutScore.named(own.score):
            raise ValueError(
                "score='rollout' errs by its episodes, not by transitions: plan with score='loss'"
            )
        if bootstrap is None:
            raise ValueError("bootstrap=0 leaves unknown how far affinities err: give at least 2 draws")
        each = [surrogate.interactions() for surrogate in self.surrogates_]
        weights = None if own.weighting == EQUAL else stakes(self.surrogates_)
        interactions = Interactions.joined(each, weights)
        graph, share = self.graph_, 0.0
        method: Grouping | None = None
        if own.k == "auto":
            share = self._common_share() if self.unrelated_ is not None and partition.k > 1 else 0.0
            graph, method = self.interactions_, CosineLinkage() if share else CorrelationGrouping()
        seconds = sum(self.seconds_[stage] for stage in _STAGES)
        given = graph, partition, bootstrap, interactions, own.steps_per_task
        return make_plan(*given, power, CONFLICT_LEVEL, seconds, own.seed, method, share)

    def report(self) -> dict[str, Any]:
        """Sum up what `GroupPolicies` does, and how groups were found.

        `first_groups` are those that all tasks together show, before any is looked at by itself. `conflict`
        and `unrelated` are how likely it is by chance that tasks conflict, or have so little in common,
        see `conflicts_` and `unrelated_`.
        """
        return {
            **super().report(),
            "first_groups": [list(group) for group in self.first_partition_.groups],
            "conflict": self.conflicts_[0],
            "unrelated": self.unrelated_,
        }

    def _common_share(self) -> float:
        """Give what tasks are to have in common: nothing where the policy can tell them apart."""
        return 0.0 if self.meta_.agent_.policy.network.sees_task else self._plain().common_share

    # ------------------------------------------------------------------ groups within groups
    @property
    def _looks_within(self) -> bool:
        return self.recursive and self.k == "auto"

    def _look_within(self, checkpoint: str | Path | None) -> "tuple[GroupedTasks | None, ...]":
        """Run the same on every group, with a meta-policy that has met no other task."""
        own, meta, groups = self._plain(), self.meta_, self.first_partition_.groups
        if not own._looks_within or len(groups) == 1:
            return ()
        parts: list[GroupedTasks | None] = []
        with self._stage(WITHIN):
            for group in bar(groups, "groups"):
                if len(group) == 1:
                    parts.append(None)
                    continue
                seed = child(own.seed, WITHIN, group[0])
                # Neither subsets nor their scores take part in how groups are found.
                part = clone(self).set_params(group_steps=0, seed=seed, subset_size=3, score="loss")
                # Tasks of one kind differ by degrees, too: late in a training they conflict.
                part.set_params(weighting=BY_RETURN)
                fresh = MetaPolicy(
                    self.suite_[group], meta.network, meta.learner, seed, meta.layers, meta.width
                )
                place = None if checkpoint is None else _beside(Path(checkpoint), group)
                steps = max(1, meta.steps * len(group) // len(self.suite_))
                trained = fresh.fit_or_load(steps, place, own.snapshots)
                try:
                    parts.append(part.fit(fresh.suite, trained, place))
                except NothingToLearnError:  # by itself it never comes to where these tasks pay
                    parts.append(None)
        return tuple(parts)

    def _nested(self) -> Partition:
        found = [None if part is None or part.partition_.k == 1 else part.partition_ for part in self.parts_]
        if all(part is None for part in found):
            return self.first_partition_
        return nested(self.interactions_.matrix, self.first_partition_, found)

    def _stages(
        self, suite: TaskSuite, meta: MetaPolicy | None, checkpoint: str | Path | None
    ) -> dict[str, float]:
        steps = super()._stages(suite, meta, checkpoint)
        if not self._looks_within:
            return steps
        again = suite.recommended.meta_steps if self.meta_steps is None else self.meta_steps
        last = steps.pop("group policies")
        return {**steps, WITHIN: again + steps["estimate"], "group policies": last}


def _beside(checkpoint: Path, group: tuple[int, ...]) -> Path:
    """Give the file of a group's own meta-policy."""
    name = "-".join(map(str, group)) if len(group) <= _NAMED else f"{crc32(repr(group).encode()):08x}"
    return checkpoint.with_name(f"{checkpoint.stem}-of-{name}{checkpoint.suffix}")
