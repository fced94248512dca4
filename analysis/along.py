"""Estimates along the path of a meta-training, as the studies vary them.

`PolicyGradEx` does the same in one go. Here the surrogates can differ in their settings, score other subsets,
and see other episodes. Real training can begin at the same snapshots.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.base import clone

from gradex import AffinityGraph, GroundTruth, SurrogateEstimator
from gradex.path_scores import count_steps
from gradex.surrogate import Interactions, SubsetScores
from gradex.trained_policy import TrainedPolicy


def fit_along(
    estimator: SurrogateEstimator, path: Sequence[TrainedPolicy], steps_per_task: int, seed: int | None = None
) -> list[SurrogateEstimator]:
    """Fit a surrogate at each snapshot.

    Parameters
    ----------
    estimator : SurrogateEstimator
        Its settings are those of all.
    path : sequence of TrainedPolicy
        See `MetaPolicy.path_`.
    steps_per_task : int
        Transitions per task, of all snapshots together.
    seed : int, optional
        Of the episodes; by default those that `PolicyGradEx` sees.
    """
    own = [(each, count_steps(each, steps_per_task // len(path))) for each in path]
    return [clone(estimator).fit(each, each.transitions(steps, seed=seed)) for each, steps in own]


def refit(
    surrogates: Sequence[SurrogateEstimator], regularization: Sequence[float | str]
) -> list[SurrogateEstimator]:
    """Fit the features of surrogates again, each with a ridge of its own."""
    return [
        clone(each).set_params(regularization=strength).fit_features(each.features, each.samples_)
        for each, strength in zip(surrogates, regularization, strict=True)
    ]


def scores_along(surrogates: Sequence[SurrogateEstimator], subsets: Sequence[Sequence[int]]) -> SubsetScores:
    """Score subsets: the mean over the snapshots."""
    return SubsetScores.mean([each.scores(subsets) for each in surrogates])


def interactions_along(surrogates: Sequence[SurrogateEstimator]) -> Interactions:
    """Give first-order interactions: the sum over the snapshots."""
    return Interactions.joined([each.interactions() for each in surrogates])


@dataclass(frozen=True)
class TruthAlong:
    """Real training that begins at each snapshot, scored as estimates are: by the mean over the snapshots."""

    parts: tuple[GroundTruth, ...]

    @property
    def subsets_(self) -> tuple[tuple[int, ...], ...]:
        """The subsets that were trained."""
        return self.parts[0].subsets_

    @property
    def steps_(self) -> int:
        """Environment steps of all trainings together."""
        return sum(part.steps_ for part in self.parts)

    def scores(self) -> SubsetScores:
        """Give what every task earns, the mean over the snapshots."""
        return SubsetScores.mean([part.scores() for part in self.parts])

    def halves(self) -> tuple[SubsetScores, SubsetScores]:
        """Give the same of every second snapshot, and of the others."""
        one, other = self.parts[::2], self.parts[1::2]
        return TruthAlong(one).scores(), TruthAlong(other).scores()


def similarity_along(surrogates: Sequence[SurrogateEstimator]) -> AffinityGraph:
    """Give the cosine similarity of the tasks' gradients at all snapshots, one after the other in a vector.

    So inner products add up over the snapshots, as the scores do: the rival sees what the estimate sees.
    """
    return AffinityGraph.from_gradients(
        np.concatenate([each.task_gradients() for each in surrogates], axis=1)
    )
