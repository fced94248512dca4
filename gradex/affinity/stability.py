"""How far groups come out the same when their affinities are drawn again, in numbers and in words."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_mutual_info_score

#: Groups that come out the same in this share of the draws are called stable.
STABLE = 0.9
#: Groups whose mean adjusted mutual information with those of the draws is below this are called unstable.
#: Pure noise does not give 0, as all draws share the estimate, and the fewer tasks the more it gives.
UNSTABLE = 0.6
#: A task that is in another group in more than this share of the draws changes groups. Groups are unstable
#: also where more than half of the tasks do.
CHANGING = 0.1
_NAMED = 5


def co_assignment(resampled: Int[np.ndarray, "draws n"]) -> Float[np.ndarray, "n n"]:
    """Return in which share of the draws two tasks are in the same group."""
    together = np.zeros((resampled.shape[1], resampled.shape[1]))
    for labels in resampled:
        together += labels[:, None] == labels
    return together / len(resampled)


def stability(labels: Int[np.ndarray, " n"], resampled: Int[np.ndarray, "draws n"]) -> float:
    """Return the mean adjusted mutual information of groups with those of the draws."""
    return float(np.mean([adjusted_mutual_info_score(labels, drawn) for drawn in resampled]))


def verdict(
    labels: Int[np.ndarray, " n"], resampled: Int[np.ndarray, "draws n"], names: Sequence[str]
) -> str:
    """Say in a sentence how far groups can be relied on.

    Parameters
    ----------
    labels : array [n] of int
        Group of each task, 0..k-1.
    resampled : array [draws, n] of int
        The same in each draw.
    names
        What to call the tasks.
    """
    draws, k = len(resampled), int(labels.max()) + 1
    if k in (1, len(labels)):
        return f"nothing to be sure of: there is one way to make {k} groups of {len(labels)} tasks"
    moved = np.array([_moved(labels, drawn) for drawn in resampled])
    same = float(np.mean(~moved.any(axis=1)))
    if same >= STABLE:
        return f"stable: the same groups in {same:.0%} of {draws} resamplings"
    agreement, share = stability(labels, resampled), moved.mean(axis=0)
    changing = [int(task) for task in np.argsort(-share, kind="stable") if share[task] > CHANGING]
    if agreement < UNSTABLE or 2 * len(changing) > len(labels):
        return (
            "unstable: resampled episodes and subsets give other groups (adjusted mutual information"
            f" {agreement:.2f}, 1 = same groups); do not rely on this grouping"
        )
    who = "no task changes groups often"
    if changing:
        more = f" and {len(changing) - _NAMED} more" if len(changing) > _NAMED else ""
        who = ", ".join(names[task] for task in changing[:_NAMED]) + more
        who += " changes groups" if len(changing) == 1 else " change groups"
    return f"partly stable: the same groups in {same:.0%} of {draws} resamplings; {who}"


def _moved(labels: Int[np.ndarray, " n"], drawn: Int[np.ndarray, " n"]) -> np.ndarray:
    """Return which tasks are in another group, groups matched so that they are as few as can be."""
    k = int(max(labels.max(), drawn.max())) + 1
    overlap = np.zeros((k, k), dtype=np.int64)
    np.add.at(overlap, (drawn, labels), 1)
    match = linear_sum_assignment(overlap, maximize=True)[1]
    return match[drawn] != labels
