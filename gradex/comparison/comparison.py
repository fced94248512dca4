"""What tasks earn by each way to share policies, and which way to take."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes

from gradex.comparison.arms import (
    ALONE,
    ARMS,
    GROUPS,
    RANDOM,
    TOGETHER,
    Subsets,
    deal_arms,
    steps_beyond,
    train_arms,
)
from gradex.comparison.drawing import draw_differences
from gradex.comparison.interval import Interval, scaled_difference
from gradex.display import card, table
from gradex.learners import ActorCritic, run_episodes
from gradex.meta_policy import MetaPolicy
from gradex.seeds import child
from gradex.settings import as_kind, as_seed, finite_or_none, whole


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """What every task earns with one policy per group, one for all, one per task, and one per random group.

    Differences are paired: episode e of a task starts from the same random numbers, and draws the same noise,
    in every arm.

    The 95 % intervals are Student's over episodes. They say what other episodes in these tasks would show,
    and allow for tasks whose episodes err together. They do not cover another training of the policies, nor
    other tasks: every arm was trained once, and the tasks are taken as they are.

    Examples
    --------
    >>> from gradex import MetaPolicy, TaskSuite
    >>> from gradex.comparison import compare
    >>> meta = MetaPolicy(TaskSuite.make("navigation", n=4, groups=2), layers=2, width=8).fit(4_000)
    >>> comparison = compare(meta, groups=[(0, 2), (1, 3)], steps=4_000, episodes=4)
    >>> list(comparison.table.columns)
    ['arm', 'group', 'task', 'return_mean', 'return_stderr', 'success']
    >>> comparison.overall.arm.tolist()
    ['groups', 'all together', 'one per task', 'random groups']
    """

    tasks: tuple[str, ...]
    """Their names."""
    subsets: Mapping[str, Subsets]
    """Tasks of each policy, for each arm of `ARMS`; those of one arm hold every task once."""
    returns: Float[np.ndarray, "arms n episodes"]
    """Return of each episode."""
    success: Float[np.ndarray, "arms n episodes"]
    """Success of each episode; nan where the suite reports none."""
    steps: Mapping[str, int]
    """Environment steps that each arm was trained on for, over all its policies."""
    policies: Mapping[str, list[MetaPolicy]] = field(default_factory=dict)
    """Policies of each arm, one for each of its subsets."""

    # ------------------------------------------------------------------ figures
    # Tables are made at each call, as people change theirs in place.
    @property
    def table(self) -> pd.DataFrame:
        """One row per arm and task: arm, group, task, return_mean, return_stderr, success."""
        rows = [
            (arm, group, self.tasks[task], number, task)
            for number, arm in enumerate(ARMS)
            for group, subset in enumerate(self.subsets[arm])
            for task in subset
        ]
        table = pd.DataFrame(rows, columns=["arm", "group", "task", "number", "index"])
        paid, succeeded = (each[table.number, table["index"]] for each in (self.returns, self.success))
        stderr = paid.std(axis=1, ddof=1) / np.sqrt(paid.shape[1])
        figures = {"return_mean": paid.mean(axis=1), "return_stderr": stderr}
        return table[["arm", "group", "task"]].assign(**figures, success=succeeded.mean(axis=1))

    @cached_property
    def scale(self) -> Float[np.ndarray, " n"]:
        """Standard deviation of each task's returns over the episodes of all arms.

        Overall differences are in these units, as tasks may be paid in different ones.
        """
        scale = self.returns.std(axis=(0, 2))
        scale.setflags(write=False)
        return scale

    @property
    def differences(self) -> pd.DataFrame:
        """Paired differences to one policy for all, task by task: arm, task, difference, low, high, scale.

        In the task's own unit; low and high end the 95 % interval.
        """
        base = self.returns[ARMS.index(TOGETHER)]
        rows = [
            (arm, task, *Interval.of(own - other), scale)
            for arm, paid in zip(ARMS, self.returns, strict=True)
            for task, own, other, scale in zip(self.tasks, paid, base, self.scale, strict=True)
            if arm != TOGETHER
        ]
        return pd.DataFrame(rows, columns=["arm", "task", "difference", "low", "high", "scale"])

    @property
    def overall(self) -> pd.DataFrame:
        """One row per arm, means over tasks: arm, policies, return_mean, success, difference, low, high.

        Returns are as they were paid. The difference to one policy for all is in units of `scale`.
        """
        rows = [
            (arm, len(self.subsets[arm]), paid.mean(), succeeded.mean(), *self.difference(arm))
            for arm, paid, succeeded in zip(ARMS, self.returns, self.success, strict=True)
        ]
        names = ["arm", "policies", "return_mean", "success", "difference", "low", "high"]
        return pd.DataFrame(rows, columns=names)

    def difference(self, arm: str, base: str = TOGETHER) -> Interval:
        """Give by how much an arm earns more than another: mean over tasks, in units of `scale`.

        A task with a scale of 0 paid the same in every episode of every arm: its difference is 0.
        """
        own, other = (self.returns[ARMS.index(each)] for each in (arm, base))
        return scaled_difference(own, other, self.scale)

    @property
    def best(self) -> str:
        """Which earns more: one policy per group, or one per task."""
        return max((GROUPS, ALONE), key=lambda arm: self.difference(arm).mean)

    @property
    def headroom(self) -> Interval:
        """By how much the `best` arm earns more than one policy for all: what there is to gain.

        The better of two is chosen by the same episodes, so it is a little optimistic where both are close.
        """
        return self.difference(self.best)

    @property
    def share(self) -> float:
        """Share of the headroom that the groups get, below 0 if they lose.

        It is nan where the headroom's interval includes 0 or lies below: there is nothing to have a share of.
        """
        headroom = self.headroom
        return self.difference(GROUPS).mean / headroom.mean if headroom.low > 0 else nan

    @property
    def coinciding(self) -> dict[str, str]:
        """Arms that are another one under a second name: of one group, or of as many groups as tasks."""
        found: dict[frozenset[tuple[int, ...]], str] = {}
        # Whatever needs no groups keeps its name.
        order = (TOGETHER, ALONE, GROUPS, RANDOM)
        firsts = {arm: found.setdefault(frozenset(self.subsets[arm]), arm) for arm in order}
        return {arm: first for arm, first in firsts.items() if first != arm}

    @property
    def recommendation(self) -> str:
        """Which arm to take, in one sentence."""
        groups, alone = self.difference(GROUPS), self.difference(ALONE)
        same = self.coinciding.get(GROUPS)
        if alone.low > 0 and (same == ALONE or groups.low <= 0 or self.difference(ALONE, GROUPS).low > 0):
            what = "" if same is not None else f", where one per group {groups.gain}"
            return f"one policy per task: {alone} over one policy for all{what}"
        if same == TOGETHER:
            return f"one policy for all: it is the only group, and one per task {alone.gain}"
        if groups.low <= 0:
            return f"one policy for all: one per {'task' if same == ALONE else 'group'} {groups.gain}"
        doubt = ""
        if self.difference(GROUPS, RANDOM).low <= 0:
            doubt = f", but no more than random groups beyond doubt ({self.difference(RANDOM)})"
        return f"one policy per group: {groups} over one policy for all{doubt}"

    def summary(self) -> dict[str, Any]:
        """Sum up in plain JSON types; None is what is not known."""
        arms = {
            str(row.pop("arm")): {name: finite_or_none(value) for name, value in row.items()}
            for row in self.overall.to_dict(orient="records")
        }
        return {
            "episodes": self.returns.shape[2],
            "steps": dict(self.steps),
            "subsets": {arm: [list(subset) for subset in each] for arm, each in self.subsets.items()},
            "arms": arms,
            "coinciding": self.coinciding,
            "scale": dict(zip(self.tasks, self.scale.tolist(), strict=True)),
            "headroom": {"arm": self.best, **self.headroom._asdict()},
            "share": finite_or_none(self.share),
            "recommendation": self.recommendation,
        }

    # ------------------------------------------------------------------ looks
    def plot(self, ax: Axes | None = None, by: str = "arm") -> Axes:
        """Draw how much more than one policy for all the other arms earn, with 95 % intervals.

        Parameters
        ----------
        ax : Axes, optional
        by : {"arm", "task"}
            Rows of the picture: arms, by their means over tasks, or tasks. In units of `scale` either way.
        """
        if by not in ("arm", "task"):
            raise ValueError(f"unknown rows by={by!r}: choose 'arm' or 'task'")
        table = self.overall[self.overall.arm != TOGETHER] if by == "arm" else self.differences
        if by == "task":
            spans = ["difference", "low", "high"]
            table[spans] = table[spans].div(table.scale.where(table.scale > 0, 1.0), axis=0)
        label = "return over one policy for all\n(standard deviations of a task's returns)"
        return draw_differences(table, by, label, ax)

    def _shown(self) -> pd.DataFrame:
        """Give the overall figures as people read them."""
        table = self.overall
        shown = table[["arm", "policies"]].assign(**{"return": table.return_mean.map("{:.4g}".format)})
        if table.success.notna().all():
            shown["success"] = table.success.map("{:.2f}".format)
        over = ["" if arm == TOGETHER else str(self.difference(arm)) for arm in table.arm]
        return shown.assign(**{f"over {TOGETHER}": over})

    def _lines(self) -> list[str]:
        """Say what the figures mean, and what follows from them."""
        headroom = f"headroom: {self.headroom} by {self.best}, "
        if isnan(self.share):
            headroom += "not above 0 beyond doubt, so that the groups have no share of it"
        else:
            headroom += f"of which the groups get {self.share:.0%}"
        return [
            *(f"{arm}: the same as {other} here" for arm, other in self.coinciding.items()),
            "differences in standard deviations of a task's returns, with 95 % intervals over episodes, not "
            "over trainings",
            headroom,
            f"recommended: {self.recommendation}",
        ]

    def _title(self) -> str:
        least, most = min(self.steps.values()), max(self.steps.values())
        taken = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        episodes, n = self.returns.shape[2], len(self.tasks)
        return f"all arms trained on for {taken} steps; {episodes} episodes in each of {n} tasks"

    def __repr__(self) -> str:
        return "\n".join([self._title(), self._shown().to_string(index=False), *self._lines()])

    def _repr_html_(self) -> str:
        lines = "".join(f"<p>{escape(line)}</p>" for line in self._lines())
        return card("Comparison", {"made of": self._title()}, table(self._shown()), lines)


def compare(
    meta: MetaPolicy,
    groups: Sequence[Sequence[int]],
    steps: int,
    episodes: int = 32,
    seed: int = 0,
    policies: Sequence[MetaPolicy] = (),
    folder: str | Path | None = None,
    anew: Collection[int] = (),
) -> Comparison:
    """Train on from a meta-policy in four ways to share policies, and compare what they earn.

    Parameters
    ----------
    meta : MetaPolicy
        Fitted.
    groups : sequence of sequences of int
        Every task is in one of them.
    steps : int
        Environment steps of each arm, over all its policies; see `train_arms`.
    episodes : int
        Per arm and task. The figures of a task are those of `policy.evaluate(episodes, subset=[task])`.
    seed : int
        Of the random groups.
    policies : sequence of MetaPolicy
        That are there already, see `train_arms`.
    folder : path, optional
        As for `MetaPolicy.fit`: trainings that were cut off go on from there.
    anew : collection of int
        Tasks that the meta-policy has left behind. In every arm a policy for such tasks alone begins with
        fresh weights, and trains for as many steps as the others.

    Raises
    ------
    TypeError, ValueError
        If there are no steps, or fewer than 2 episodes, or the groups do not hold every task once.
    """
    suite = as_kind("meta", meta, MetaPolicy).suite
    episodes, n = whole("episodes", episodes, 2), len(suite)
    arms = deal_arms(groups, n, as_seed(seed))
    trained = train_arms(meta, arms, steps, policies, folder, anew)
    # In a stack of its own row each task meets the same starts and the same noise in every arm.
    rows, seeds = [(task,) for task in range(n)], [child(meta.seed, "evaluation")] * n
    runs = []
    for arm, subsets in arms.items():
        owner = {task: own for subset, own in zip(subsets, trained[arm], strict=True) for task in subset}
        stack = ActorCritic.joined([owner[task].agent_ for task in range(n)])
        runs.append(run_episodes(stack, suite, rows, episodes, seeds))
    return Comparison(
        tasks=tuple(task.name for task in suite.tasks),
        subsets=arms,
        returns=np.stack([run.returns for run in runs]),
        success=np.stack([run.success for run in runs]),
        steps={arm: sum(steps_beyond(policy, meta) for policy in own) for arm, own in trained.items()},
        policies=trained,
    )
