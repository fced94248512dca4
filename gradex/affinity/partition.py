"""Partitions of tasks: how good they are, how far they can be relied on, and how far two of them agree."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

from gradex.display import card, table
from gradex.tensors import from_torch

#: Groups that come out the same in this share of the draws are called stable.
STABLE = 0.9
#: Groups whose mean adjusted mutual information with those of the draws is below this are called unstable.
#: Pure noise does not give 0, as all draws share the estimate, and the fewer tasks the more it gives.
UNSTABLE = 0.6
#: A task that is in another group in more than this share of the draws changes groups. Groups are unstable
#: also where more than half of the tasks do.
CHANGING = 0.1
_NAMED = 5
#: Tasks of a group that a notebook lists.
_LISTED = 40


class Agreement(NamedTuple):
    """How far two partitions of the same tasks agree; 1 when they are equal up to the names of the groups.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex import AffinityGraph
    >>> graph = AffinityGraph([[0, 2, -1, 0], [2, 0, 0, -1], [-1, 0, 0, 1], [0, -1, 1, 0]])
    >>> planted = np.array([7, 7, 3, 3])  # names of groups do not matter
    >>> agreement = graph.partition(k=2).agreement(planted)
    >>> round(agreement.nmi, 6), round(agreement.ami, 6)
    (1.0, 1.0)
    """

    nmi: float
    """Normalised mutual information (arithmetic mean); unrelated partitions of few tasks are well above 0."""
    ami: float
    """Adjusted mutual information, 0 on average for unrelated partitions."""


@dataclass(frozen=True, eq=False, repr=False)
class Partition:
    """Groups of tasks, with their objective and what is proved about it (PolicyGradEx, Appendix A).

    Build one from a matrix and any labelling with `Partition.of`.

    Examples
    --------
    >>> from gradex import AffinityGraph
    >>> graph = AffinityGraph([[0, 2, -1, 0], [2, 0, 0, -1], [-1, 0, 0, 1], [0, -1, 1, 0]])
    >>> partition = graph.partition(k=2)
    >>> partition.groups, partition.labels.tolist()
    (((0, 1), (2, 3)), [0, 0, 1, 1])
    >>> round(partition.objective, 3), round(partition.gap, 3)
    (3.0, 0.0)
    """

    labels: Int[np.ndarray, " n"]
    """Group of each task, numbered in the order of first occurrence: task 0 is in group 0."""
    objective: float
    """Sum over groups c of v_c^T U v_c / |c|, v_c their indicators, less the trace penalty for each group.

    `CorrelationGrouping` has one of its own.
    """
    upper_bound: float
    """No partition has a higher objective, with k groups or, where a trace penalty was given, any number.

    Certified up to rounding, see `certified_upper_bound`.
    """
    chance: float
    """Mean objective over all ways to deal the tasks out to groups of these sizes; it depends on k alone.

    It is linear in k; where a trace penalty was given, the lower of its ends, one group and every task alone.
    """
    status: str
    """How it was found: the status of the solver, or the name of the method."""
    trace_penalty: float | None = None
    """Penalty per group, lambda in the paper; None where k was given."""
    resampled: Int[np.ndarray, "draws n"] | None = None
    """Group of each task when the affinities are drawn again, for the same k; None where they were not."""
    groups: tuple[tuple[int, ...], ...] = field(init=False)
    """Task indices of each group."""

    def __post_init__(self) -> None:
        for name in ("labels", "resampled"):
            if (given := getattr(self, name)) is not None:
                own = given.copy()  # whoever made it may go on writing
                own.setflags(write=False)
                object.__setattr__(self, name, own)
        groups = tuple(tuple(np.flatnonzero(self.labels == c).tolist()) for c in range(self.k))
        object.__setattr__(self, "groups", groups)

    @classmethod
    def of(
        cls,
        matrix: Float[np.ndarray, "n n"],
        labels: Int[np.ndarray, " n"],
        *,
        upper_bound: float,
        status: str,
        trace_penalty: float | None = None,
    ) -> "Partition":
        """Evaluate a labelling of the tasks by their affinities; groups may be numbered in any way."""
        labels = canonical_labels(labels)
        n, k = len(labels), int(labels.max()) + 1
        if trace_penalty is None:
            chance = chance_objective(matrix, k)
        else:
            chance = min(chance_objective(matrix, count) - trace_penalty * count for count in (1, n))
        return cls(
            labels=labels,
            objective=group_objective(matrix, labels) - (trace_penalty or 0.0) * k,
            upper_bound=upper_bound,
            chance=chance,
            status=status,
            trace_penalty=trace_penalty,
        )

    @property
    def k(self) -> int:
        """Number of groups."""
        return int(self.labels.max()) + 1

    @property
    def gap(self) -> float:
        """Share of the provable gain over chance that the partition may miss; 0 if it is proved the best.

        (upper_bound - objective) / (upper_bound - chance). Scaling the matrix leaves it unchanged, and so
        does adding c e e^T or a e^T + e a^T or, for given k, c I.
        """
        if self.trace_penalty is None and self.k in (1, len(self.labels)):
            return 0.0  # there is no other partition
        gain = self.upper_bound - self.chance
        resolution = 1e-12 * (abs(self.upper_bound) + abs(self.chance))
        return max(0.0, (self.upper_bound - self.objective) / gain) if gain > resolution else 0.0

    @cached_property
    def co_assignment(self) -> Float[np.ndarray, "n n"] | None:
        """Share of the draws in which two tasks are in the same group; None without draws."""
        if self.resampled is None:
            return None
        share = (self.resampled[:, :, None] == self.resampled[:, None]).mean(axis=0)
        share.setflags(write=False)
        return share

    @cached_property
    def stability(self) -> float | None:
        """Mean adjusted mutual information with the groups of the draws; None without draws."""
        if self.resampled is None:
            return None
        drawn, times = np.unique(self.resampled, axis=0, return_counts=True)  # many are alike
        return float(
            np.average([adjusted_mutual_info_score(self.labels, own) for own in drawn], weights=times)
        )

    @property
    def verdict(self) -> str | None:
        """How far the groups can be relied on, in a sentence; None without draws."""
        return self.verdict_naming([f"task {task}" for task in range(len(self.labels))])

    def verdict_naming(self, names: Sequence[str]) -> str | None:
        """Give the verdict with names for the tasks, one per task."""
        if self.resampled is None or self.stability is None:
            return None
        draws, n = len(self.resampled), len(self.labels)
        if self.k in (1, n):
            made = "one group" if self.k == 1 else f"{n} groups"
            return f"nothing to be sure of: there is one way to make {made} of {n} tasks"
        same, share = self._movement
        if same >= STABLE:
            return f"stable: the same groups in {same:.0%} of {draws} resamplings"
        if self.unstable:
            return (
                "unstable: resampled episodes and subsets give other groups (adjusted mutual information"
                f" {self.stability:.2f}, 1 = same groups); do not rely on this grouping"
            )
        changing = [int(task) for task in np.argsort(-share, kind="stable") if share[task] > CHANGING]
        who = "no task changes groups often"
        if changing:
            who = listed([names[task] for task in changing])
            who += " changes groups" if len(changing) == 1 else " change groups"
        return f"partly stable: the same groups in {same:.0%} of {draws} resamplings; {who}"

    @property
    def unstable(self) -> bool:
        """Whether draws give other groups, so that these are not to be relied on; False without draws."""
        n = len(self.labels)
        if self.resampled is None or self.stability is None or self.k in (1, n):
            return False
        same, share = self._movement
        return same < STABLE and (self.stability < UNSTABLE or 2 * int(np.sum(share > CHANGING)) > n)

    @cached_property
    def _movement(self) -> tuple[float, Float[np.ndarray, " n"]]:
        """Give the share of draws with these groups, and of each task those in which it changes groups."""
        assert self.resampled is not None  # for the type checker
        moved = np.array([_moved(self.labels, drawn) for drawn in self.resampled])
        return float(np.mean(~moved.any(axis=1))), moved.mean(axis=0)

    def agreement(self, labels: "Int[np.ndarray, ' n'] | Partition") -> Agreement:
        """Compare with another labelling of the tasks, such as the planted one.

        Parameters
        ----------
        labels : array [n] of int, or Partition
            Group of each task, numbered in any way.

        Raises
        ------
        ValueError
            If there is not one label per task.
        """
        labels = np.asarray(from_torch(labels.labels if isinstance(labels, Partition) else labels))
        if labels.shape != self.labels.shape:
            raise ValueError(
                f"labels of shape {labels.shape} do not fit {len(self.labels)} tasks; give one label per task"
            )
        real = labels.dtype.kind == "f"
        wrong = ~np.isfinite(labels) | (labels != np.floor(labels)) if real else pd.isna(labels)
        if wrong.any():
            task = int(np.argmax(wrong))
            raise ValueError(f"the label of task {task} is {labels[task]}; give one whole number per task")
        return Agreement(
            nmi=float(normalized_mutual_info_score(labels, self.labels)),
            ami=float(adjusted_mutual_info_score(labels, self.labels)),
        )

    def __repr__(self) -> str:
        groups = " ".join("{" + ", ".join(map(str, group)) + "}" for group in self.groups)
        return (
            f"Partition({len(self.labels)} tasks, k={self.k}: {groups}; objective {self.objective:.6g}"
            f" <= {self.upper_bound:.6g}, gap {self.gap:.2%}, {self.status}"
            + ("" if self.resampled is None else f"; {self.verdict}")
            + ")"
        )

    def _repr_html_(self) -> str:
        facts = {
            "verdict": self.verdict, "objective": self.objective, "at most": self.upper_bound,
            "found by": self.status,
        }  # fmt: skip
        groups = pd.DataFrame({"group": range(self.k), "tasks": [_listed(group) for group in self.groups]})
        return card(f"Partition: {len(self.labels)} tasks in {self.k} groups", facts, table(groups))


def _listed(group: Sequence[int]) -> str:
    """Name the tasks of a group, or how many there are."""
    return ", ".join(map(str, group)) if len(group) <= _LISTED else f"{len(group)} tasks"


def listed(names: Sequence[str]) -> str:
    """Name the first few, and say how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def canonical_labels(labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Renumber the groups in the order of their first occurrence."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def group_objective(matrix: Float[np.ndarray, "n n"], labels: Int[np.ndarray, " n"]) -> float:
    """Sum over groups of the affinities within a group, diagonal included, divided by its size."""
    members = np.eye(int(labels.max()) + 1)[labels]
    return float(
        (np.einsum("ic,ij,jc->c", members, matrix, members, optimize=True) / members.sum(axis=0)).sum()
    )


def partition_matrix(labels: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n n"]:
    """Return X = sum over groups of v_c v_c^T / |c|, the point of the relaxation that is the partition."""
    members = np.eye(int(labels.max()) + 1)[labels]
    return members / members.sum(axis=0) @ members.T


def chance_objective(matrix: Float[np.ndarray, "n n"], k: int) -> float:
    """Mean objective when the tasks are dealt out at random to k groups of any fixed sizes.

    X then averages to ee^T/n + (k-1)/(n-1) Q with Q = I - ee^T/n, whatever the sizes.
    """
    n = len(matrix)
    mean = matrix.sum() / n
    return float(mean + (np.trace(matrix) - mean) * (k - 1) / max(n - 1, 1))


def _moved(labels: Int[np.ndarray, " n"], drawn: Int[np.ndarray, " n"]) -> np.ndarray:
    """Return which tasks are in another group, groups matched so that they are as few as can be."""
    k = int(max(labels.max(), drawn.max())) + 1
    overlap = np.zeros((k, k), dtype=np.int64)
    np.add.at(overlap, (drawn, labels), 1)
    match = linear_sum_assignment(overlap, maximize=True)[1]
    return match[drawn] != labels
