"""What the snapshots of a training say of objectives, hence of every preference over them."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from gradex.affinity import AffinityFactors
from gradex.affinity.factors import all_alike
from gradex.learners import Transitions
from gradex.meta_policy import MetaPolicy
from gradex.path_scores import score_along
from gradex.surrogate import Interactions, Samples, SurrogateEstimator
from gradex.tasks import TaskSuite

#: Of each snapshot, how advantages of preferences are sums of those of objectives.
Mixtures = Sequence[Float[np.ndarray, "n K"]]


@dataclass(frozen=True)
class PathObjectives:
    """Surrogates of K objectives, and estimates of their interactions, at each snapshot of a training.

    The advantage of a step for a preference is the sum of those for the objectives, by its weights, and so is
    its policy gradient. What surrogates know of objectives is then known of all preferences.

    Examples
    --------
    >>> from gradex import MetaPolicy, SurrogateEstimator, TaskSuite
    >>> from gradex.path_objectives import objectives_along
    >>> suite = TaskSuite.make("mo-deep-sea-treasure", n=50, seed=0)
    >>> meta = MetaPolicy(suite, layers=2, width=8).fit(4_000, snapshots=2)
    >>> found = objectives_along(meta.path_, SurrogateEstimator(20), steps_per_task=512)
    >>> mixtures = found.mixtures(suite.weights)
    >>> found.factors(mixtures).rows.shape, found.transfers(mixtures).shape
    ((50, 4), (50, 50))
    """

    surrogates: tuple[SurrogateEstimator, ...]
    estimates: tuple[Interactions, ...]

    def mixtures(self, weights: Float[np.ndarray, "n K"]) -> list[Float[np.ndarray, "n K"]]:
        """Say how the advantages of preferences are sums of those of objectives, snapshot by snapshot.

        The surrogates have brought these to one size, objective by objective, which is undone here.
        Preferences then have advantages of one size, on average, at every snapshot.
        """
        found = []
        for samples in map(_samples_of, self.surrogates):
            mixtures = weights * samples.deviations
            # Of all steps that were simulated: a step was kept the more likely, the more it counts here.
            covariance = samples.advantages * samples.chances @ samples.advantages.T / len(samples)
            variances = np.einsum("nk,kl,nl->n", mixtures, covariance, mixtures)
            found.append(mixtures / np.sqrt(variances.clip(min=0)).mean())
        return found

    def factors(self, mixtures: Mixtures) -> AffinityFactors:
        """Give rows whose products are the interactions of preferences, the sum over the snapshots.

        Interactions of objectives are unbiased, so that a matrix of small ones may have eigenvalues below 0:
        these are 0 here.
        """
        return _factors(mixtures, [interactions.matrix for interactions in self.estimates])

    def factor_draws(self, mixtures: Mixtures, draws: int, seed: int) -> list[AffinityFactors]:
        """Give the factors when episodes are drawn again, see `Interactions.draws`."""
        drawn = [interactions.draws(draws, seed) for interactions in self.estimates]
        return [_factors(mixtures, each) for each in zip(*drawn, strict=True)]

    def p_value(self, mixtures: Mixtures, draws: int, seed: int) -> float:
        """Tell how likely gradients of preferences differ as much as they do if they are only noise.

        The sum of squared differences from the mean gradient, in the metric of interactions, is what one
        policy each gains over one for all. It is compared with that of gradients turned around at random,
        episode by episode, see `Interactions.noise`. Preferences that are all the same have no difference.
        """
        if all(map(all_alike, mixtures)):
            return 1.0
        spread, null = 0.0, np.zeros(draws)
        for interactions, mixture in zip(self.estimates, mixtures, strict=True):
            centred = mixture - mixture.mean(axis=0)
            metric = centred.T @ centred
            spread += float(np.vdot(metric, interactions.matrix))
            null += np.einsum("kl,dkl->d", metric, interactions.noise(draws, seed))
        return float((1 + (null >= spread).sum()) / (1 + draws))

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


def _factors(mixtures: Mixtures, matrices: Sequence[Float[np.ndarray, "K K"]]) -> AffinityFactors:
    """Take products of preferences apart, with interactions of objectives at each snapshot."""
    rows = []
    for matrix, mixture in zip(matrices, mixtures, strict=True):
        values, vectors = np.linalg.eigh(matrix)
        rows.append(mixture @ (vectors * np.sqrt(values.clip(min=0))))
    return AffinityFactors(np.hstack(rows))


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
    return PathObjectives(found.surrogates, found.each)


def single_objectives(suite: TaskSuite) -> TaskSuite:
    """Give the suite whose tasks are the objectives themselves."""
    return suite.with_weights(np.eye(len(suite.objectives)))


def _samples_of(surrogate: SurrogateEstimator) -> Transitions:
    """Give the transitions that it was fitted to."""
    samples = surrogate.samples_
    if not isinstance(samples, Transitions) or samples.deviations is None:
        raise TypeError("these surrogates know no transitions of a policy: make them by objectives_along")
    return samples
