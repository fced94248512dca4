"""Scores of subsets along the path of a meta-training, not at its end alone."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.base import clone

from gradex.learners import can_share
from gradex.learners.transitions import SHARING_TASKS
from gradex.progress import bar
from gradex.rollout_scores import RolloutScore
from gradex.seeds import child
from gradex.surrogate import Interactions, Samples, SubsetScores, SurrogateEstimator
from gradex.trained_policy import TrainedPolicy

#: Draws of a snapshot's own scores at least: they are combined with those of others.
_FEWEST_DRAWS = 3


class NothingToLearnError(ValueError):
    """Whatever a policy did was paid alike, all along its training."""


@dataclass(frozen=True)
class PathScores:
    """What the snapshots of a training say of subsets of tasks, taken together.

    Scores are the mean over the snapshots, `interactions` the sum of those of each.

    Examples
    --------
    >>> from gradex import MetaPolicy, SurrogateEstimator, TaskSuite
    >>> from gradex.path_scores import score_along
    >>> meta = MetaPolicy(TaskSuite.make("navigation", n=3), layers=2, width=8).fit(steps=6_000, snapshots=2)
    >>> found = score_along(meta.path_, [(0, 1), (0, 2), (1, 2)], SurrogateEstimator(20), steps_per_task=256)
    >>> len(found.surrogates), found.scores.score.shape, found.interactions.matrix.shape
    (2, (3,), (3, 3))
    """

    surrogates: tuple[SurrogateEstimator, ...]
    scores: SubsetScores
    interactions: Interactions
    each: tuple[Interactions, ...]

    @property
    def by_return(self) -> Interactions:
        """Sum of the interactions in which snapshots count by how much return is at stake, see `stakes`."""
        return Interactions.joined(self.each, stakes(self.surrogates))

    @property
    def path_by_return(self) -> Float[np.ndarray, "snapshots n n"]:
        """What these are the sum of."""
        weights = np.sqrt(stakes(self.surrogates))
        return np.array([own.matrix for own in self.each]) * weights[:, :, None] * weights[:, None]


def count_steps(snapshot: TrainedPolicy, steps_per_task: int) -> int:
    """Count the transitions to collect, those of one task or those that serve all.

    Of the latter there are as many as n tasks would have of their own, or eight if n is more.
    """
    shared = can_share(snapshot.agent_, snapshot.suite)
    return steps_per_task * min(len(snapshot.suite), SHARING_TASKS) if shared else steps_per_task


def stakes(surrogates: Sequence[SurrogateEstimator]) -> list[Float[np.ndarray, " n"]]:
    """Tell how much return is at stake for each task at each snapshot, relative to the mean over snapshots.

    A step of a given Kullback-Leibler divergence gains return in proportion to the standard deviation of a
    task's advantages, before these were brought to one size, and to how many steps an episode has. Of samples
    that are no transitions neither is known, so that all snapshots count alike.

    Examples
    --------
    >>> from gradex import MetaPolicy, SurrogateEstimator, TaskSuite
    >>> from gradex.path_scores import stakes
    >>> meta = MetaPolicy(TaskSuite.make("navigation", n=3), layers=2, width=8).fit(steps=6_000, snapshots=2)
    >>> fitted = [SurrogateEstimator(20).fit(each, each.transitions(256)) for each in meta.path_]
    >>> [len(each) for each in stakes(fitted)]
    [3, 3]
    >>> bool(abs(sum(stakes(fitted)) / 2 - 1).max() < 1e-9)
    True
    """
    sizes = np.array([_return_at_stake(surrogate.samples_) for surrogate in surrogates])
    mean = sizes.mean(axis=0)
    return list(np.divide(sizes, mean, out=np.ones_like(sizes), where=mean > 0))


def _return_at_stake(samples: Samples) -> Float[np.ndarray, " n"]:
    known = [getattr(samples, name, None) for name in ("deviations", "lengths")]
    return np.prod([np.ones(samples.n) if own is None else own for own in known], axis=0)


def score_along(
    path: Sequence[TrainedPolicy],
    subsets: Sequence[Sequence[int]],
    estimator: SurrogateEstimator,
    steps_per_task: int,
    draws: int = 0,
    seed: int = 0,
    stage: Callable[[str], AbstractContextManager[Any]] = nullcontext,
    replicate: int = 0,
    rollouts: RolloutScore | None = None,
) -> PathScores:
    """Score subsets at every snapshot of a training, by surrogates with the estimator's settings.

    One moment of a training may be too early or too late: a policy that has sided with some tasks cannot tell
    what the others want, and the gradients of tasks that are solved are noise. A snapshot at which no action
    is better than another in any task, as happens where nothing is random any more, is left out.

    If all are left out, a NothingToLearnError says so.

    `steps_per_task` are the transitions of all snapshots together, see `count_steps`; another `replicate`
    gives others, and other episodes. The scores can give so many `draws`, with the episodes drawn again, see
    `SubsetScores.mean`; those by the surrogate are made when they are read. With `rollouts` subsets are
    scored by evaluation, in place of the estimator's score. `stage` gives a context for each stage by its
    name, for whoever takes the time.
    """
    surrogates: list[SurrogateEstimator] = []
    scores, interactions = [], []
    own_draws = max(_FEWEST_DRAWS, -(-draws // len(path))) if draws and len(path) > 1 else draws
    for number, snapshot in enumerate(bar(path, "snapshots")):
        with stage("transitions"):
            count = count_steps(snapshot, steps_per_task // len(path))
            own = child(snapshot.seed, "collection", replicate)
            transitions = snapshot.transitions(count, seed=own)
        if not transitions.advantages.any():
            continue  # whatever the policy does here is worth the same: nothing to learn from
        with stage("gradients"):
            surrogates.append(clone(estimator).fit(snapshot, transitions))
        with stage("subset scores"):
            interactions.append(surrogates[-1].interactions())
        if rollouts is not None:
            with stage("rollouts"):
                chance = child(own, "rollouts", number)
                scores.append(rollouts.scores(surrogates[-1], snapshot, subsets, own_draws, chance))
            continue
        with stage("subset scores"):
            own_scores = surrogates[-1].scores(subsets)
        drawn = partial(surrogates[-1].score_draws, subsets, own_draws, seed) if draws else None
        scores.append(replace(own_scores, drawn=drawn))
    if not surrogates:
        raise NothingToLearnError(
            f"whatever the policy did was paid alike, in every task and at all {len(path)} moments of its "
            "training that were looked at: give more meta_steps, or let rewards tell of progress on the way"
        )
    mean = SubsetScores.mean(scores, draws, seed) if len(scores) > 1 else scores[0]
    return PathScores(tuple(surrogates), mean, Interactions.joined(interactions), tuple(interactions))
