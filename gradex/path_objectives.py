"""What the snapshots of a training say of objectives, hence of every preference over them."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from gradex.affinity import AffinityFactors
from gradex.learners import Transitions
from gradex.meta_policy import MetaPolicy
from gradex.path_scores import score_along
from gradex.surrogate import Interactions, Samples, SurrogateEstimator
from gradex.tasks import TaskSuite

#: Of each snapshot, how advantages of preferences are sums of those of objectives.
Mixtures = Sequence[Float[np.ndarray, "n K"]]


@dataclass(frozen=True)
class PathObjectives:
    """Surrogates of K objectives at the snapshots of a training.

    The advantage of a step for a preference is the sum of those for the objectives, by its weights, and so is
    its policy gradient. What surrogates know of objectives is then known of all preferences.

    Attributes
    ----------
    surrogates : tuple of SurrogateEstimator
        One for each snapshot. Their samples serve all objectives.

    Examples
    --------
    >>> from gradex import MetaPolicy, SurrogateEstimator, TaskSuite
    >>> from gradex.path_objectives import objectives_along
    >>> suite = TaskSuite.make("mo-deep-sea-treasure", n=50, seed=0)
    >>> meta = MetaPolicy(suite, layers=2, width=8).fit(8_000, snapshots=2)
    >>> found = objectives_along(meta.path_, SurrogateEstimator(20), steps_per_task=512)
    >>> mixtures = found.mixtures(suite.weights)
    >>> found.factors(mixtures).rows.shape, found.transfers(mixtures).shape
    ((50, 4), (50, 50))
    """

    surrogates: tuple[SurrogateEstimator, ...]

    @cached_property
    def estimates(self) -> list[Interactions]:
        """Interactions of the objectives at each snapshot."""
        return [surrogate.interactions() for surrogate in self.surrogates]

    def mixtures(self, weights: Float[np.ndarray, "n K"]) -> list[Float[np.ndarray, "n K"]]:
        """Say how the advantages of preferences are sums of those of objectives, snapshot by snapshot.

        The surrogates have brought these to one size, objective by objective, which is undone here.
        Preferences then have advantages of one size, on average, at every snapshot.
        """
        found = []
        for samples in map(_samples_of, self.surrogates):
            mixtures = weights * samples.deviations
            found.append(mixtures / (mixtures @ samples.advantages).std(axis=1).mean())
        return found

    def factors(self, mixtures: Mixtures) -> AffinityFactors:
        """Give rows whose products are the interactions of preferences, the sum over the snapshots.

        Interactions of objectives are unbiased, so that a matrix of small ones may have eigenvalues below 0:
        these are 0 here.
        """
        rows = []
        for interactions, mixture in zip(self.estimates, mixtures, strict=True):
            values, vectors = np.linalg.eigh(interactions.matrix)
            rows.append(mixture @ (vectors * np.sqrt(values.clip(min=0))))
        return AffinityFactors(np.hstack(rows))

    def interactions(self, mixtures: Mixtures) -> Interactions:
        """Give the interactions of preferences with all that is known of their errors; for tens of them."""
        pairs = zip(self.estimates, mixtures, strict=True)
        return Interactions.joined([interactions.mixed(mixture) for interactions, mixture in pairs])

    def transfers(self, mixtures: Mixtures) -> Float[np.ndarray, "n n"]:
        """Fit each preference alone, with the ridge of the objectives, and score it in all; sum the gains."""
        total = np.zeros((len(mixtures[0]), len(mixtures[0])))
        for surrogate, mixture in zip(self.surrogates, mixtures, strict=True):
            samples = _samples_of(surrogate)
            own = Samples(mixture @ samples.advantages, episodes=samples.episodes, clusters=samples.clusters)
            ridge, folds, seed = surrogate.regularization_, surrogate.folds, surrogate.seed
            single = SurrogateEstimator(regularization=ridge, folds=folds, seed=seed)
            total += single.fit_features(surrogate.features, own).transfers()
        return total


def objectives_along(
    path: Sequence[MetaPolicy],
    estimator: SurrogateEstimator,
    steps_per_task: int,
    seed: int = 0,
    stage: Callable[[str], AbstractContextManager[Any]] = nullcontext,
) -> PathObjectives:
    """Fit a surrogate of the objectives at every snapshot; arguments are those of `score_along`."""
    objectives = single_objectives(path[0].suite)
    singles = [(objective,) for objective in range(len(objectives))]
    snapshots = [snapshot.on(objectives) for snapshot in path]
    found = score_along(snapshots, singles, estimator, steps_per_task, seed=seed, stage=stage)
    return PathObjectives(found.surrogates)


def single_objectives(suite: TaskSuite) -> TaskSuite:
    """Give the suite whose tasks are the objectives themselves."""
    return suite.with_weights(np.eye(len(suite.objectives)))


def group_means(
    rows: Float[np.ndarray, "n K"], labels: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "groups K"]:
    """Give the mean row of each group."""
    return np.stack([rows[labels == label].mean(axis=0) for label in range(labels.max() + 1)])


def nearest_to_means(rows: Float[np.ndarray, "n r"], labels: Int[np.ndarray, " n"]) -> list[int]:
    """Give of each group the row that is the nearest to its mean."""
    away = np.square(rows - group_means(rows, labels)[labels]).sum(axis=1)
    groups = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
    return [int(own[away[own].argmin()]) for own in groups]


def _samples_of(surrogate: SurrogateEstimator) -> Transitions:
    """Give the transitions that it was fitted to."""
    samples = surrogate.samples_
    if not isinstance(samples, Transitions) or samples.deviations is None:
        raise TypeError("these surrogates know no transitions of a policy: make them by objectives_along")
    return samples
