"""Neighbouring steps tell nearly the same: only whole episodes can be held out, or drawn again."""

from heapq import heapify, heapreplace

import numpy as np
from jaxtyping import Float, Int


def deal_episodes(
    tasks: Int[np.ndarray, " N"], episodes: Int[np.ndarray, " N"], folds: int
) -> Int[np.ndarray, " N"]:
    """Give each sample the fold of its episode.

    Within each task the episodes, longest first, go to the fold with the fewest samples so far.

    Parameters
    ----------
    tasks, episodes : int array [N]
        An episode belongs to one task.
    folds : int

    Raises
    ------
    ValueError
        If an episode appears in two tasks, or a task has fewer episodes than folds.
    """
    names, first, which, lengths = np.unique(
        episodes, return_index=True, return_inverse=True, return_counts=True
    )
    owner = tasks[first]
    strays = np.flatnonzero(tasks != owner[which])
    if len(strays):
        raise ValueError(
            f"episode {episodes[strays[0]]} appears in two tasks: give each task episode numbers of its own"
        )
    fold = np.empty(len(names), dtype=np.int64)
    for task in np.unique(owner):
        own = np.flatnonzero(owner == task)
        if len(own) < folds:
            raise ValueError(
                f"task {task} has {len(own)} episodes for {folds} folds: collect more, or choose fewer folds"
            )
        loads = [(0, number) for number in range(folds)]
        heapify(loads)
        for episode in own[np.argsort(-lengths[own], kind="stable")]:
            load, number = loads[0]
            fold[episode] = number
            heapreplace(loads, (load + int(lengths[episode]), number))
    return fold[which]


def draw_episodes(
    tasks: Int[np.ndarray, " N"], episodes: Int[np.ndarray, " N"], rng: np.random.Generator
) -> Float[np.ndarray, " N"]:
    """Draw as many episodes of each task as it has, with replacement; say how often each sample came.

    Parameters
    ----------
    tasks, episodes : int array [N]
        An episode belongs to one task.
    rng : numpy.random.Generator
    """
    _, first, which = np.unique(episodes, return_index=True, return_inverse=True)
    owner = tasks[first]
    times = np.zeros(len(first))
    for task in np.unique(owner):
        own = np.flatnonzero(owner == task)
        times[own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)))
    return times[which]
