"""What the surrogate needs of data: which tasks a sample serves, its advantage in each, and its episode.

Neighbouring steps tell nearly the same: only whole episodes can be held out, or drawn again.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, fields
from heapq import heapreplace
from typing import Any, ClassVar, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped
from scipy.special import expit
from torch import Tensor

from gradex.display import card, folded, table
from gradex.tensors import from_torch


@dataclass(frozen=True, eq=False)
class Block:
    """Samples that serve the same tasks.

    Attributes
    ----------
    tasks : int array [n_b]
    rows : int array [N_b]
        Places of the samples among all of them.
    advantages : float array [n_b, N_b]
    offsets : float array [N_b]

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.surrogate import Samples
    >>> first, second = Samples(np.array([0.5, -0.5, 1.0]), tasks=np.array([1, 0, 1])).blocks()
    >>> second.rows
    array([0, 2])
    """

    tasks: Int[np.ndarray, " n_b"]
    rows: Int[np.ndarray, " N_b"]
    advantages: Float[np.ndarray, "n_b N_b"]
    offsets: Float[np.ndarray, " N_b"]

    def pulls(self, chosen: slice = slice(None)) -> Float[np.ndarray, "chosen N_b"]:
        """Give Â⁺ - |Â| σ(z₀), by which samples pull at θ = 0; of all tasks, or of some places among them."""
        advantages = self.advantages[chosen]
        return advantages.clip(min=0) - np.abs(advantages) * expit(self.offsets)


#: The class of some samples.
Own = TypeVar("Own", bound="Samples")

#: Types that may stand in an array, all if there are none, and what to give instead of others.
_KINDS = (
    ("advantages", "fiub", "numbers"), ("offsets", "fiub", "numbers"), ("tasks", "iub", "whole numbers"),
    ("episodes", "", ""), ("clusters", "", ""),
)  # fmt: skip


#: The largest advantage is at least this, and at most its inverse: beyond, single precision ends.
_SMALLEST = 1e-15


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples with their advantages: each of one task, or all of them of every task.

    Lists and tensors become arrays.

    Attributes
    ----------
    advantages : float array [N] or [n, N]
        [N]: sample t belongs to task `tasks[t]`. [n, N]: every sample serves all of n tasks, whose dynamics
        are the same and whose rewards differ; such samples need a policy that does not see the task.
    tasks : int array [N], optional
        Only where advantages are [N]; without, there is one task. In the loss of a subset a task counts by
        how many samples it has.
    episodes : int array [N], optional
        Which episode a sample belongs to: what is held out or drawn again together, unless there are
        `clusters` of them. By default each sample is an episode of its own.
    offsets : float array [N], optional
        z₀: the margin of a sample at θ*, 0 by default. The loss is |Â| log(1 + exp(-sign(Â) (z₀ + g·Δθ))), so
        that a Bradley-Terry or DPO loss is one of Â = 1 with the log-odds of the model as offsets.
    clusters : int array [N], optional
        What may depend on each other, also between tasks: episodes that began alike have the same number.
        Either all tasks have the same clusters or none shares any. They are held out, and drawn again,
        together. By default every episode is one.

    Examples
    --------
    Two samples of each of two tasks, and three that serve both:

    >>> import numpy as np
    >>> from gradex.surrogate import Samples
    >>> len(Samples(np.array([0.5, -0.5, 1.0, -1.0]), tasks=np.array([0, 0, 1, 1])))
    4
    >>> Samples(np.array([[0.5, -0.5, 0.0], [1.0, 0.0, -1.0]])).n
    2
    """

    advantages: Float[np.ndarray, " N"] | Float[np.ndarray, "n N"]
    tasks: Int[np.ndarray, " N"] | None = None
    episodes: Int[np.ndarray, " N"] | None = None
    offsets: Float[np.ndarray, " N"] | None = None
    clusters: Int[np.ndarray, " N"] | None = None

    #: What has no entry for each sample.
    _BY_TASK: ClassVar[tuple[str, ...]] = ("advantages",)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None:
                object.__setattr__(self, name, _as_array(value))

    def __len__(self) -> int:
        return int(self.advantages.shape[-1])

    @property
    def n(self) -> int:
        """Number of tasks."""
        if self.advantages.ndim == 2:
            return len(self.advantages)
        return 1 if self.tasks is None or len(self) == 0 else int(self.tasks.max()) + 1

    def apart(self: Own) -> Own:
        """Give the same samples with own copies of what every sample has, which nobody else can change."""
        other = copy(self)
        for each in fields(Samples):
            value = getattr(self, each.name)
            object.__setattr__(other, each.name, None if value is None else np.array(value))
        return other

    def _repr_html_(self) -> str:
        advantages, every = np.asarray(self.advantages), range(self.n)
        if self.tasks is None:
            own = list(np.atleast_2d(advantages))
        else:
            own = [advantages[self.tasks == task] for task in every]
        told = {"task": every, "samples": map(len, own), "mean |advantage|": [np.abs(a).mean() for a in own]}
        facts = {"tasks": self.n, "each serves all tasks": self.tasks is None}
        if self.episodes is not None:
            facts["episodes"] = len(np.unique(self.episodes))
        by_task = folded("by task", table(pd.DataFrame(told)))
        return card(f"{type(self).__name__}: {len(self):,} samples", facts, by_task)

    def blocks(self) -> list[Block]:
        """Arrange the samples by the tasks that they serve.

        Raises
        ------
        ValueError
            If arrays do not fit together or hold other things than numbers, an advantage or an offset is not
            finite, all advantages are tiny or some are huge, or a task has no sample.
        """
        self._check()
        advantages = for_torch(np.atleast_2d(np.asarray(self.advantages, dtype=np.float64)))
        offsets = np.zeros(len(self)) if self.offsets is None else np.asarray(self.offsets, dtype=np.float64)
        offsets = for_torch(offsets)
        if self.tasks is None:
            return [Block(np.arange(self.n), np.arange(len(self)), advantages, offsets)]
        owned = [np.flatnonzero(self.tasks == task) for task in range(self.n)]
        return [
            Block(np.array([task]), rows, advantages[:, rows], offsets[rows])
            for task, rows in enumerate(owned)
        ]

    def _check(self) -> None:
        if self.advantages.ndim not in (1, 2) or len(self) == 0:
            raise ValueError(
                f"advantages have the shape {self.advantages.shape}: give [N], or [n, N] for samples that "
                "serve all n tasks, with N at least 1"
            )
        if self.advantages.ndim == 2 and self.tasks is not None:
            raise ValueError("advantages [n, N] serve all tasks: give no tasks, or advantages [N]")
        for name, kinds, wanted in _KINDS:
            array = getattr(self, name)
            if array is not None and kinds and array.dtype.kind not in kinds:
                raise ValueError(f"{name} are of type {array.dtype}: give {wanted}")
            if array is not None and name != "advantages" and array.ndim != 1:
                raise ValueError(f"{name} have the shape {array.shape}: give one for each sample, [N]")
        for name, array in vars(self).items():
            if name not in self._BY_TASK and array is not None and len(array) != len(self):
                raise ValueError(f"{len(self)} samples have {len(array)} {name}: give one entry per sample")
        self._check_numbers()
        if self.tasks is None:
            return
        if self.tasks.min() < 0:
            raise ValueError(f"task {self.tasks.min()} is negative: number tasks from 0")
        if (last := int(self.tasks.max())) >= len(self):
            raise ValueError(f"tasks reach {last} with {len(self)} samples: number them from 0, without gaps")
        missing = np.flatnonzero(np.bincount(self.tasks, minlength=self.n) == 0)
        if len(missing):
            raise ValueError(f"task {missing[0]} has no samples: collect some in every task of the suite")

    def _check_numbers(self) -> None:
        wrong = np.count_nonzero(~np.isfinite(self.advantages))
        if wrong:
            raise ValueError(f"{wrong} advantages are not finite: check the rewards and the critic")
        largest = float(np.abs(self.advantages).max())
        if largest != 0 and not _SMALLEST <= largest <= 1 / _SMALLEST:
            raise ValueError(f"advantages reach {largest:.3g}: give them in a unit in which they are near 1")
        if self.offsets is not None and not np.isfinite(self.offsets).all():
            raise ValueError(f"{np.count_nonzero(~np.isfinite(self.offsets))} offsets are not finite")


def _as_array(values: Any) -> np.ndarray:
    """Give values as an array; one stays the object that it is."""
    if isinstance(values, Tensor) and values.is_floating_point():
        values = values.double()
    return np.asarray(from_torch(values))


def for_torch(array: np.ndarray) -> np.ndarray:
    """Give an array that a tensor can share: one that is read-only or runs backwards is copied."""
    shared = array.flags.writeable and min(array.strides, default=0) >= 0
    return array if shared else np.array(array)


def owners(blocks: Sequence[Block]) -> Int[np.ndarray, " N"]:
    """Give a task of each sample: its own, or the first of those that it serves."""
    owner = np.empty(sum(len(block.rows) for block in blocks), dtype=np.int64)
    for block in blocks:
        owner[block.rows] = block.tasks[0]
    return owner


def independent(
    tasks: Int[np.ndarray, " N"], episodes: Int[np.ndarray, " N"], clusters: Shaped[np.ndarray, " N"] | None
) -> Int[np.ndarray, " N"]:
    """Give the cluster of each sample, or its episode, as a number: what is independent of all else.

    Raises
    ------
    ValueError
        If an episode is in two tasks or clusters, or some tasks share clusters and others do not.
    """
    _, which = np.unique(episodes, return_inverse=True)
    _refuse_parted(episodes, which, tasks, "appears in two tasks: give each task episode numbers of its own")
    if clusters is None:
        return which
    _refuse_parted(episodes, which, clusters, "is in two clusters: put whole episodes into one")
    _, which = np.unique(clusters, return_inverse=True)
    are_common([np.unique(which[tasks == task]) for task in np.unique(tasks)])
    return which


def are_common(by_task: Sequence[Shaped[np.ndarray, " _"]]) -> bool:
    """Tell whether all of several tasks have the same clusters; a ValueError if only some of them have."""
    common = len(by_task) > 1 and all(np.array_equal(own, by_task[0]) for own in by_task)
    if not common and len(np.unique(np.concatenate(by_task))) < sum(map(len, by_task)):
        raise ValueError(
            "some tasks share clusters of episodes and others do not: let all share them, or none"
        )
    return common


def _refuse_parted(
    episodes: Int[np.ndarray, " N"], which: Int[np.ndarray, " N"], places: Shaped[np.ndarray, " N"], why: str
) -> None:
    _, first = np.unique(which, return_index=True)
    parted = np.flatnonzero(places != places[first][which])
    if len(parted):
        raise ValueError(f"episode {episodes[parted[0]]} {why}")


def deal(tasks: Int[np.ndarray, " N"], units: Int[np.ndarray, " N"], folds: int) -> Int[np.ndarray, " N"]:
    """Give each sample the fold of its unit, an episode or a cluster of them.

    Within each task the units, those with most samples first, go to the fold with the fewest samples so far.
    Units that all tasks share are dealt once.
    """
    names, which, lengths = np.unique(units, return_inverse=True, return_counts=True)
    fold = np.empty(len(names), dtype=np.int64)
    for task, own in _by_task(tasks, which):
        if len(own) < folds:
            raise ValueError(
                f"task {task} has {len(own)} independent episodes for {folds} folds: collect more, or choose "
                "fewer folds"
            )
        loads = [(0, number) for number in range(folds)]  # sorted, hence a heap
        for unit in own[np.argsort(-lengths[own], kind="stable")]:
            load, number = loads[0]
            fold[unit] = number
            heapreplace(loads, (load + int(lengths[unit]), number))
    return fold[which]


def draw(
    tasks: Int[np.ndarray, " N"], units: Int[np.ndarray, " N"], rng: np.random.Generator
) -> Float[np.ndarray, " N"]:
    """Draw as many units of each task as it has, with replacement; say how often each sample came.

    Units that all tasks share are drawn once.
    """
    names, which = np.unique(units, return_inverse=True)
    times = np.zeros(len(names))
    for _, own in _by_task(tasks, which):
        times[own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)))
    return times[which]


def _by_task(
    tasks: Int[np.ndarray, " N"], which: Int[np.ndarray, " N"]
) -> Iterator[tuple[int, Int[np.ndarray, " _"]]]:
    """Give the units of each task, or once those that all share."""
    met: set[bytes] = set()
    for task in np.unique(tasks):
        own = np.unique(which[tasks == task])
        if own.tobytes() not in met:
            yield int(task), own
        met.add(own.tobytes())
