"""Advantages that no critic has to know: against a baseline fitted on the other episodes of the same task."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from gradex.learners.baseline import baseline_features, standardised
from gradex.learners.rollouts import Rollout, discounted_advantages

#: Parts of the episodes, each of which is measured against a fit on the others.
_PARTS = 10
#: Weights of the ridge that cross-validation chooses from, beside the mean square 1 of a feature.
_RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)
#: The same for time and intercept, which are hardly held back.
_LEAST = 1e-6
#: Features of an observation beyond this number are mixed into so many.
_MOST = 200


def cross_fitted_advantages(
    rollout: Rollout,
    rewards: Float[np.ndarray, "steps tasks environments"],
    episodes: Int[np.ndarray, "steps #tasks environments"],
    discount: float,
    trace: float,
) -> Float[np.ndarray, "steps tasks environments"]:
    """Estimate the advantages of one policy's steps, task by task, in float64.

    Each task has a linear baseline of its own, with the features of `gradex.learners.baseline`, fitted to the
    discounted returns of these very episodes: neither what a task pays nor how a critic copes with it makes a
    difference. An episode is measured against the fit on the others, in ten parts (cross-fitting), as a
    baseline that had seen the episode's own return would follow its noise and take part of the advantage
    away. The ridge is the one that predicts left-out episodes best, for each task by itself. With λ = 1 the
    mean of Â ∇ log π is an unbiased estimate of the policy gradient of finite episodes.

    An episode ends where it terminates and at its time limit, as the baseline sees the time. One that is cut
    off by the end of the simulation is continued by a first fit, to returns up to there: about 0 where all
    episodes were cut after the same time, which is then the horizon.

    Parameters
    ----------
    rollout : Rollout
        Of a policy, with its tasks in place of the policies of a stack; begins at the start of episodes. Or
        with a single task, whose steps serve all tasks.
    rewards : array [steps, tasks, environments]
        What each task pays for them.
    episodes : int array [steps, tasks or 1, environments]
        Number of each step's episode; no two tasks share one, unless they share all.
    discount, trace : float
        γ, and λ of generalised advantage estimation.
    """
    ended = np.broadcast_to(rollout.ended, rewards.shape)

    def advantages(values: np.ndarray, trace: float) -> np.ndarray:
        return discounted_advantages(rewards, values, ended, ended, discount, trace)

    fits = _Fits.of(rollout, _parts(episodes))
    nothing = np.zeros((len(rewards) + 1, *rewards.shape[1:]))
    values = fits.everywhere(advantages(nothing, trace=1.0))
    found = np.zeros_like(rewards)
    for part, own in enumerate(fits.without_each(values[:-1] + advantages(values, trace=1.0))):
        found = np.where(fits.parts == part, advantages(own, trace), found)
    return found


def _parts(
    episodes: Int[np.ndarray, "steps tasks environments"],
) -> Int[np.ndarray, "steps tasks environments"]:
    """Deal the episodes of each task into parts, in turn."""
    parts = np.zeros_like(episodes)
    for task in range(episodes.shape[1]):
        _, number = np.unique(episodes[:, task], return_inverse=True)
        parts[:, task] = number.reshape(episodes[:, task].shape) % _PARTS
    return parts


@dataclass(frozen=True)
class _Fits:
    """Ridge regressions of each task, on all of its episodes and on those outside of each part.

    Where one set of steps serves all tasks, arrays below have a single one, and targets have all.

    Attributes
    ----------
    features : array [tasks, times * environments, f]
        Standardised, the intercept last.
    penalty : array [f]
        Whether the ridge is for a feature.
    weights : array [parts, tasks, steps * environments]
        1 where a real step belongs to the part.
    grams : array [parts, tasks, f, f]
        Sums of products of the features of each part.
    parts : int array [steps, tasks, environments]
    """

    features: Float[np.ndarray, "tasks places f"]
    penalty: Float[np.ndarray, " f"]
    weights: Float[np.ndarray, "parts tasks rows"]
    grams: Float[np.ndarray, "parts tasks f f"]
    parts: Int[np.ndarray, "steps tasks environments"]

    @classmethod
    def of(cls, rollout: Rollout, parts: Int[np.ndarray, "steps tasks environments"]) -> "_Fits":
        scaled = standardised(baseline_features(rollout), rollout.real)
        seen, time = scaled[..., :-3], scaled[..., -3:]
        if seen.shape[-1] > _MOST:
            mixture = np.random.default_rng(0).normal(size=(seen.shape[-1], _MOST))
            seen = seen @ mixture / np.sqrt(seen.shape[-1])
        features = np.concatenate([seen, time, np.ones_like(time[..., :1])], axis=-1)
        features = np.moveaxis(features, 1, 0).reshape(features.shape[1], -1, features.shape[-1])
        own = [rollout.real & (parts == part) for part in range(int(parts.max()) + 1)]
        weights = np.stack([_rows(each).astype(np.float64) for each in own])
        rows = features[:, : weights.shape[2]]
        grams = np.stack([rows.mT @ (rows * weight[..., None]) for weight in weights])
        penalty = np.ones(features.shape[-1])
        penalty[-4:] = 0
        return cls(features, penalty, weights, grams, parts)

    def everywhere(
        self, targets: Float[np.ndarray, "steps tasks environments"]
    ) -> Float[np.ndarray, "times tasks environments"]:
        """Fit each task on all of its episodes, and evaluate at all observations."""
        moments, counts = self._moments(targets)
        ridge = self._ridge(targets)
        solution = self._solve(self.grams.sum(axis=0), moments.sum(axis=0), counts.sum(axis=0), ridge)
        return self._evaluate(solution)

    def without_each(
        self, targets: Float[np.ndarray, "steps tasks environments"]
    ) -> list[Float[np.ndarray, "times tasks environments"]]:
        """Fit each task outside of each part, and evaluate at all observations."""
        return [self._evaluate(each) for each in self._outside(targets, self._ridge(targets))]

    def _ridge(self, targets: Float[np.ndarray, "steps tasks environments"]) -> Float[np.ndarray, " tasks"]:
        """Choose the ridge of each task that predicts left-out episodes best."""
        rows = self.features[:, : self.weights.shape[2]]
        errors = []
        for ridge in _RIDGES:
            solutions = self._outside(targets, np.full(targets.shape[1], ridge))
            missed = _rows(targets) - np.einsum("tnf,ptf->ptn", rows, solutions)
            errors.append((self.weights * missed**2).sum(axis=(0, 2)))
        return np.array(_RIDGES)[np.argmin(errors, axis=0)]

    def _outside(
        self, targets: Float[np.ndarray, "steps tasks environments"], ridge: Float[np.ndarray, " tasks"]
    ) -> Float[np.ndarray, "parts tasks f"]:
        moments, counts = self._moments(targets)
        grams, moments, counts = (each.sum(axis=0) - each for each in (self.grams, moments, counts))
        return self._solve(grams, moments, counts, ridge)

    def _moments(
        self, targets: Float[np.ndarray, "steps tasks environments"]
    ) -> tuple[Float[np.ndarray, "parts tasks f"], Float[np.ndarray, "parts #tasks"]]:
        rows = self.features[:, : self.weights.shape[2]]
        return np.einsum("tnf,ptn->ptf", rows, self.weights * _rows(targets)), self.weights.sum(axis=2)

    def _solve(
        self,
        grams: Float[np.ndarray, "*parts #tasks f f"],
        moments: Float[np.ndarray, "*parts tasks f"],
        counts: Float[np.ndarray, "*parts #tasks"],
        ridge: Float[np.ndarray, " tasks"],
    ) -> Float[np.ndarray, "*parts tasks f"]:
        """Minimise the mean squared error and the ridge; without any step the fit is 0."""
        held = counts[..., None] * (ridge[:, None] * self.penalty + _LEAST) + (counts[..., None] == 0)
        return np.linalg.solve(grams + held[..., None] * np.eye(len(self.penalty)), moments[..., None])[
            ..., 0
        ]

    def _evaluate(
        self, solution: Float[np.ndarray, "tasks f"]
    ) -> Float[np.ndarray, "times tasks environments"]:
        values = np.einsum("tnf,tf->tn", self.features, solution)
        return np.moveaxis(values.reshape(len(solution), -1, self.parts.shape[2]), 0, 1)


def _rows(array: Bool[np.ndarray, "steps tasks environments"] | np.ndarray) -> np.ndarray:
    """Order [steps, tasks, environments] as [tasks, steps * environments]."""
    return np.moveaxis(array, 1, 0).reshape(array.shape[1], -1)
