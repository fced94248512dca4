"""Verify groups by their policies: run each in every task, and move tasks that do better elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Int

from gradex.comparison import Interval, scaled_difference
from gradex.cross_evaluation import CrossEvaluation, cross_evaluate
from gradex.seeds import child
from gradex.settings import as_seed
from gradex.trained_policy import TrainedPolicy

#: How many tasks a sentence names.
_NAMED = 5


@dataclass(frozen=True, eq=False, repr=False)
class Reassignment:
    """Which tasks should move to another group's policy, and whether held-out episodes agree.

    Group c is the group of policy c, before and after. Policies stay as they are: none has been trained on
    the tasks that came to it. Train them on with `adapt`.

    Attributes
    ----------
    tasks : tuple of str
    before : int array [n]
        Policy of each task, as given.
    proposed : int array [n]
        Policy of each task as the first set of episodes has it.
    held_out : CrossEvaluation or None
        The second set of episodes; None where no task is proposed to move.
    steps : int
        Environment steps of all episodes.

    Examples
    --------
    >>> from gradex import MetaPolicy, TaskSuite
    >>> from gradex.reassignment import reassign
    >>> meta = MetaPolicy(TaskSuite.make("navigation", n=4, groups=2), layers=2, width=32).fit(10_000)
    >>> meta.suite.labels.tolist()
    [1, 0, 0, 1]
    >>> policies = meta.adapt_each([(0, 3), (1, 2)], steps=20_000)
    >>> found = reassign(policies, labels=[0, 0, 1, 0])  # task 1 in the wrong group
    >>> found.kept, found.moved, found.labels.tolist()
    (True, (1,), [0, 1, 1, 0])
    """

    tasks: tuple[str, ...]
    before: Int[np.ndarray, " n"]
    proposed: Int[np.ndarray, " n"]
    held_out: CrossEvaluation | None
    steps: int

    @cached_property
    def difference(self) -> Interval | None:
        """By how much held-out episodes earn more after the moves; None where there are none.

        The mean over all tasks of paired differences, each in standard deviations of the task's returns under
        all policies, with a 95 % interval over episodes.
        """
        if self.held_out is None:
            return None
        seen = self.held_out
        return scaled_difference(seen.under(self.proposed), seen.under(self.before), seen.scale)

    @property
    def kept(self) -> bool:
        """Whether tasks move: held-out episodes earn more, beyond doubt."""
        return self.difference is not None and self.difference.low > 0

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        """Policy of each task afterwards."""
        return (self.proposed if self.kept else self.before).copy()

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Task indices of each policy afterwards; no group is empty."""
        count = int(self.before.max()) + 1
        return tuple(tuple(np.flatnonzero(self.labels == policy).tolist()) for policy in range(count))

    @property
    def moved(self) -> tuple[int, ...]:
        """Tasks that move; none unless the moves are kept."""
        return tuple(np.flatnonzero(self.labels != self.before).tolist())

    @property
    def moves(self) -> pd.DataFrame:
        """Proposed moves, kept or not: task, before, after, difference, low, high.

        What the task earns more on held-out episodes, in its own unit, with a 95 % interval.
        """
        rows = []
        if self.held_out is not None:
            gains = self.held_out.under(self.proposed) - self.held_out.under(self.before)
            for task in np.flatnonzero(self.proposed != self.before):
                labels = int(self.before[task]), int(self.proposed[task])
                rows.append((self.tasks[task], *labels, *Interval.of(gains[task])))
        return pd.DataFrame(rows, columns=["task", "before", "after", "difference", "low", "high"])

    @property
    def verdict(self) -> str:
        """What follows, in one sentence."""
        if self.difference is None:
            return "no task moves: none earns more beyond doubt under another group's policy"
        names = [f"{row.task} to group {row.after}" for row in self.moves.itertuples()]
        who = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        said = f"on held-out episodes that {self.difference.gain}"
        return f"moved: {who}; {said}" if self.kept else f"no task moves: proposed was {who}, but {said}"

    def __repr__(self) -> str:
        table = "" if self.moves.empty else f"{self.moves.to_string(index=False)}\n"
        return f"{table}{self.verdict}"


def reassign(
    policies: Sequence[TrainedPolicy],
    labels: Sequence[int] | Int[np.ndarray, " n"],
    episodes: int = 32,
    seed: int = 0,
) -> Reassignment:
    """Move tasks to the policy under which they earn the most, if held-out episodes confirm it.

    One E-step of EM clustering (Ackermann et al., ECML 2021), with two departures. A task is proposed to move
    only if it earns more beyond doubt (the paired 95 % interval lies above 0), where EM takes the highest
    mean. And all moves together are kept only if other episodes, of other random numbers, confirm them. Where
    all tasks of a group would leave, the one that gains the least stays.

    Parameters
    ----------
    policies : sequence of TrainedPolicy
        One per group.
    labels : int array or sequence [n]
        Policy of each task; each policy has one at least.
    episodes : int
        Per policy and task, in each of both sets.
    seed : int

    Raises
    ------
    TypeError, ValueError
        If labels do not fit the tasks and policies; and see `cross_evaluate`.

    Examples
    --------
    >>> from gradex import MetaPolicy, TaskSuite
    >>> from gradex.reassignment import reassign
    >>> meta = MetaPolicy(TaskSuite.make("navigation", n=3), layers=2, width=8).fit(3_000)
    >>> reassign([meta], labels=[0, 0, 0])
    no task moves: none earns more beyond doubt under another group's policy
    """
    seed, before = as_seed(seed), np.array(labels)
    chosen_on = cross_evaluate(policies, episodes, child(seed, "reassignment"))
    _check_labels(before, len(policies), chosen_on.returns.shape[1])
    proposed, held_out, steps = propose_moves(chosen_on, before), None, chosen_on.steps
    if (proposed != before).any():
        held_out = cross_evaluate(policies, episodes, child(seed, "held-out reassignment"))
        steps += held_out.steps
    tasks = tuple(task.name for task in policies[0].suite.tasks)
    return Reassignment(tasks, before, proposed, held_out, steps)


def propose_moves(seen: CrossEvaluation, labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Give each task the policy under which it earns the most, if that is more beyond doubt.

    Parameters
    ----------
    seen : CrossEvaluation
    labels : int array [n]
        Policy of each task; each policy has one at least, and keeps one.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.cross_evaluation import CrossEvaluation
    >>> from gradex.reassignment import propose_moves
    >>> earned = np.array([[1.0, 5.0, 0.0], [0.0, 9.0, 4.0]])  # of two policies in three tasks
    >>> seen = CrossEvaluation(earned[:, :, None] + np.zeros(8), np.ones((2, 3, 8)))
    >>> propose_moves(seen, np.array([0, 0, 1])).tolist()
    [0, 1, 1]
    """
    best = seen.best
    gains = seen.under(best) - seen.under(labels)
    sure = np.array([Interval.of(gain).low > 0 for gain in gains])
    proposed = np.where(sure, best, labels)
    relative = gains.mean(axis=1) / np.where(seen.scale > 0, seen.scale, 1.0)
    # A task that stays can leave the group empty that it would have come to: look again.
    while len(empty := np.setdiff1d(labels, proposed)):
        own = np.flatnonzero(labels == empty[0])
        proposed[own[relative[own].argmin()]] = empty[0]
    return proposed


def _check_labels(labels: np.ndarray, policies: int, n: int) -> None:
    """Refuse what does not name a policy for each task, or leaves a policy without one."""
    if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels {labels.tolist()} do not fit {n} tasks: give one whole number for each")
    if set(labels.tolist()) != set(range(policies)):
        raise ValueError(
            f"labels {labels.tolist()} do not fit {policies} policies: use all numbers 0 to {policies - 1}"
        )
