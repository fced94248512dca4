"""Training on many subsets of tasks, in stacks, with looks at the policies along the way."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from gradex.learners.actor_critic import ActorCritic
from gradex.learners.learner import Learner
from gradex.store import read_tensors, write_tensors
from gradex.tasks import TaskSuite

#: File of the policies after so many steps.
_SNAPSHOT = "after-{}.safetensors"


def even_rounds(rounds: int, snapshots: int) -> list[int]:
    """Choose rounds after which to keep a policy, equally far apart; the last is the end.

    Raises
    ------
    ValueError
        If there are fewer rounds than snapshots.

    Examples
    --------
    >>> from gradex.learners import even_rounds
    >>> even_rounds(60, snapshots=4)
    [15, 30, 45, 60]
    """
    if not 1 <= snapshots <= max(rounds, 1):
        raise ValueError(
            f"cannot keep {snapshots} snapshots of {rounds} rounds: take 1 to {rounds}, or more steps"
        )
    return [rounds * (number + 1) // snapshots for number in range(snapshots)]


def early_rounds(rounds: int, snapshots: int) -> list[int]:
    """Choose rounds after which to keep a policy, dense at the beginning; the last is the end.

    They are a geometric sequence, as far as rounds are whole. Early on, tasks have most to learn, and their
    gradients tell most of each other: those of a task that is solved are noise.

    Examples
    --------
    >>> from gradex.learners import early_rounds
    >>> early_rounds(60, snapshots=8)
    [1, 2, 3, 6, 10, 19, 33, 60]
    >>> early_rounds(3, snapshots=8)
    [1, 2, 3]
    """
    snapshots = min(snapshots, rounds)
    if snapshots < 2:
        return [rounds]
    chosen = {round(rounds ** (number / (snapshots - 1))) for number in range(snapshots)}
    missing = (number for number in range(1, rounds + 1) if number not in chosen)
    while len(chosen) < snapshots:
        chosen.add(next(missing))
    return sorted(chosen)


def train_each(
    learner: Learner,
    start: Callable[[list[int]], ActorCritic],
    suite: TaskSuite,
    subsets: Sequence[Sequence[int]],
    steps: int,
    seeds: Sequence[int],
    snapshots: int | Sequence[int] = 1,
    folder: str | Path | None = None,
) -> list[list[tuple[ActorCritic, pd.DataFrame]]]:
    """Train one policy per subset, and keep what there is at several points along the way.

    There is one stack per size of subset: in a common one the small subsets would be padded to the largest.
    Where environments take much memory there are several. A policy trains to the same parameters in any
    company, so nothing else changes.

    Parameters
    ----------
    learner : Learner
    start : callable
        Gives the stack that policies with these seeds start from.
    suite : TaskSuite
    subsets : sequence of sequences of int
    steps : int
        Environment steps in total, over all subsets; every task of every subset gets the same share, in which
        a step on which an environment is only reset counts, too.
    seeds : sequence of int
        One per subset.
    snapshots : int or sequence of int
        Points at which to keep the policies: a number of them, see `even_rounds`, or the rounds after which,
        the last of which is the end.
    folder : path, optional
        Where to keep what is trained meanwhile, a folder for each stack; see `Learner.train`. Snapshots stay
        there too.

    Returns
    -------
    list of lists of (ActorCritic, DataFrame)
        For each subset and snapshot the policy, a stack of one, and its learning curves so far, whose column
        `steps` counts the policy's own environment steps.

    Raises
    ------
    ValueError
        If there are fewer rounds than snapshots, or the folder holds a training without these snapshots.

    Examples
    --------
    >>> from gradex import PPO, TaskSuite
    >>> from gradex.learners import ActorCritic, train_each
    >>> suite = TaskSuite.make("navigation", n=3)
    >>> def start(seeds):
    ...     return ActorCritic.initial(suite, seeds)
    >>> trained = train_each(PPO(), start, suite, [(0, 1), (2,)], steps=6_000, seeds=[0, 0], snapshots=2)
    >>> [len(snapshots) for snapshots in trained]
    [2, 2]
    >>> agent, curve = trained[0][-1]
    >>> len(agent), int(curve.steps.max())
    (1, 4096)
    """
    rounds = learner.rounds(suite, subsets, steps)
    moments = even_rounds(rounds, snapshots) if isinstance(snapshots, int) else list(snapshots)
    trained: dict[int, list[tuple[ActorCritic, pd.DataFrame]]] = {}
    for size in sorted({len(subset) for subset in subsets}):
        same = [index for index, subset in enumerate(subsets) if len(subset) == size]
        together = suite.fitting(learner.environments(size)) or len(same)
        for first in range(0, len(same), together):
            chosen = same[first : first + together]
            own, members = [seeds[index] for index in chosen], [subsets[index] for index in chosen]
            place = None if folder is None else Path(folder) / f"{size}-tasks-from-{first}"
            stack = _train_stack(learner, start(own), suite, members, moments, own, place)
            trained |= dict(zip(chosen, stack, strict=True))
    return [trained[index] for index in range(len(subsets))]


def _train_stack(
    learner: Learner,
    agents: ActorCritic,
    suite: TaskSuite,
    subsets: Sequence[Sequence[int]],
    moments: Sequence[int],
    seeds: Sequence[int],
    folder: Path | None,
) -> list[list[tuple[ActorCritic, pd.DataFrame]]]:
    """Train on subsets of one size, and keep the policies after as many rounds as `moments` say."""
    per_round = learner.round_steps(suite, subsets)
    *between, end = (moment * per_round for moment in moments)
    kept: dict[int, ActorCritic] = {}

    def find(last: int) -> None:
        """Read the snapshots until then that an earlier sitting has left."""
        for steps in between:
            if steps <= last and steps not in kept:
                kept[steps] = _found(folder, steps, agents)

    def keep(steps: int, now: ActorCritic) -> None:
        # Before anything else: where one is missing, nobody should train on for hours.
        find(steps - 1)
        if steps in between:
            kept[steps] = now
            if folder is not None:
                write_tensors(folder / _SNAPSHOT.format(steps), "snapshot", now.tensors(), {})

    title = _title(len(subsets), len(subsets[0]))
    last, history = learner.train(agents, suite, subsets, end, seeds, title, keep, folder)
    find(end)  # all of them, where no round was left to train
    snapshots = [(steps, kept[steps]) for steps in between]
    trained = []
    for row in range(len(subsets)):
        curve = history[history.policy == row].assign(policy=0)
        own = []
        for steps, agent in [*snapshots, (end, last)]:
            part = curve[curve.steps <= steps]
            part = part.assign(steps=part.steps // len(subsets)).reset_index(drop=True)
            own.append((agent[row], part))
        trained.append(own)
    return trained


def _found(folder: Path | None, steps: int, shape: ActorCritic) -> ActorCritic:
    """Read a snapshot of an earlier sitting."""
    path = None if folder is None else folder / _SNAPSHOT.format(steps)
    if path is None or not path.exists():
        raise ValueError(
            f"{str(folder)!r} holds a training without a snapshot after {steps} steps: "
            "choose another folder, or as many snapshots as before"
        )
    return shape.restored(read_tensors(path, "snapshot", "choose another folder")[0])


def _title(policies: int, tasks: int) -> str:
    """Say what a progress bar is about."""
    each = f"{tasks} tasks" if tasks > 1 else "one task"
    return f"training on {each}" if policies == 1 else f"training {policies} policies on {each} each"
