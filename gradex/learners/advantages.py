"""Advantages: generalised advantage estimation, and baselines that need no critic."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from gradex.learners.rollouts import Rollout

#: Weight of the ridge beside the mean square of each feature and target.
_RIDGE = 1e-5
#: Deviations smaller than this share of a feature's size are rounding of single precision: it is a constant.
_CONSTANT = 1e-6
#: Parts of the episodes, each of which is measured against a fit on the others.
_PARTS = 10
#: Weights of the ridge that cross-validation chooses from, beside the mean square 1 of a feature.
_RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)
#: The same for time and intercept, which are hardly held back.
_LEAST = 1e-6
#: Features of an observation beyond this number are mixed into so many.
_MOST = 200


def discounted_advantages(
    rewards: Float[np.ndarray, "steps *shape"],
    values: Float[np.ndarray, "times *shape"],
    terminated: Bool[np.ndarray, "steps *shape"],
    ended: Bool[np.ndarray, "steps *shape"],
    discount: float,
    gae_lambda: float,
) -> Float[np.ndarray, "steps *shape"]:
    """Generalised advantage estimation (Schulman et al. 2016, Eq. 16).

    An episode that was cut off is continued by the critic's value of its final observation; one that
    terminated is not. With next-step autoreset the final observation is the next entry of `values`, so both
    cases need no more than their flags.

    Parameters
    ----------
    rewards, terminated, ended : arrays [steps, ...]
    values : array [steps + 1, ...]
    discount, gae_lambda : float
        γ and λ.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.learners import discounted_advantages
    >>> ends = np.array([False, True])  # an episode of two steps, and a critic that knows nothing
    >>> discounted_advantages(np.ones(2), np.zeros(3), ends, ends, discount=0.5, gae_lambda=1.0)
    array([1.5, 1. ])
    """
    rewards, values = np.asarray(rewards), np.asarray(values)
    terminated, ended = np.asarray(terminated, dtype=bool), np.asarray(ended, dtype=bool)  # ~1 would be -2
    surprise = rewards + discount * values[1:] * ~terminated - values[:-1]
    decay = discount * gae_lambda * ~ended
    # Single precision stays what it is, but whole numbers have advantages with fractions.
    advantages = np.empty_like(surprise, dtype=None if surprise.dtype.kind == "f" else np.float64)
    running = np.zeros_like(surprise[0])
    for t in range(len(rewards) - 1, -1, -1):
        running = surprise[t] + decay[t] * running
        advantages[t] = running
    return advantages


def unit_of(paid: Float[np.ndarray, "*shape"], axis: int | tuple[int, ...]) -> Float[np.ndarray, "*reduced"]:
    """Give the unit in which rewards vary along some axes, which are kept, or 1 where nothing is paid.

    In this unit no advantage is lost beside what keeps divisions by deviations from 0, however small rewards
    are, and rounding stays small beside it.
    """
    unit = paid.std(axis=axis, keepdims=True) + _CONSTANT * np.abs(paid).max(axis=axis, keepdims=True)
    return np.where(unit > 0, unit, 1.0)


def baseline_advantages(
    rollout: Rollout, discount: float, gae_lambda: float
) -> Float[np.ndarray, "steps policies environments"]:
    """Estimate advantages by the `linear_baseline` of each policy, which has a single task."""
    values = linear_baseline(rollout, discount)
    flags = rollout.terminated, rollout.ended
    return discounted_advantages(rollout.rewards, values, *flags, discount, gae_lambda)


def linear_baseline(rollout: Rollout, discount: float) -> Float[np.ndarray, "times policies environments"]:
    """Estimate the return from every observation by least squares (Duan et al. 2016, ICML, supplement).

    The features are the observation, its square, three powers of the time since the episode began, and 1.
    Observations are standardised before they are squared, as a square far from 0 is lost beside the number.
    Every policy of the stack has a fit of its own, to its own discounted returns in this rollout: what is
    estimated is the return in the mixture of its tasks, so give each policy a single one.

    The rollout begins at the start of episodes. Estimates are in float64.
    """
    nothing = np.zeros((len(rollout.rewards) + 1, *rollout.rewards.shape[1:]))
    flags = rollout.terminated, rollout.ended
    returns = discounted_advantages(rollout.rewards, nothing, *flags, discount, gae_lambda=1.0)
    real = rollout.real
    features = _standardised(_baseline_features(rollout), real)
    policies, count = features.shape[1], features.shape[-1]
    weight = real / real.sum(axis=(0, 2), keepdims=True)
    mean = (weight * returns).sum(axis=(0, 2), keepdims=True)
    root = np.sqrt(weight)
    design = np.moveaxis(root[..., None] * features[: len(real)], 1, 0).reshape(policies, -1, count)
    target = np.moveaxis(root * (returns - mean), 1, 0).reshape(policies, -1, 1)
    solution = np.linalg.solve(design.mT @ design + _RIDGE * np.eye(count), design.mT @ target)
    return mean + np.einsum("tpef,pf->tpe", features, solution[..., 0])


def _baseline_features(rollout: Rollout) -> Float[np.ndarray, "times policies environments f"]:
    """Give the standardised observation, its square, and three powers of the time since the episode began."""
    observations = _standardised(rollout.observations.double().numpy(), rollout.real)
    elapsed = np.arange(len(observations))[:, None, None] - _begun(rollout)
    time = elapsed[..., None] / len(rollout.rewards)
    return np.concatenate([observations, observations**2, time, time**2, time**3], axis=-1)


def _begun(rollout: Rollout) -> Int[np.ndarray, "times policies environments"]:
    """Give the time at which the episode of each observation began."""
    begun = np.zeros((len(rollout.ended) + 1, *rollout.ended.shape[1:]), dtype=np.int64)
    # The step after an end only resets; what it leads to is the beginning of an episode.
    begun[2:] = np.where(rollout.ended[:-1], np.arange(2, len(begun))[:, None, None], 0)
    return np.maximum.accumulate(begun, axis=0)


def _standardised(
    features: Float[np.ndarray, "times policies environments f"],
    real: Bool[np.ndarray, "steps policies environments"],
) -> Float[np.ndarray, "times policies environments f"]:
    """Bring features to mean 0 and mean square 1 over each policy's real steps, or to 0 if constant there."""
    weight = real / real.sum(axis=(0, 2), keepdims=True)
    mean = np.einsum("tpe,tpef->pf", weight, features[: len(real)])[:, None]
    centred = features - mean
    rows = centred[: len(real)]
    deviation = np.sqrt(np.einsum("tpe,tpef,tpef->pf", weight, rows, rows))[:, None]
    varies = deviation > _CONSTANT * np.abs(mean)
    centred *= np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    return centred


# ---------------------------------------------------------------------- cross-fitting
def cross_fitted_advantages(
    rollout: Rollout,
    rewards: Float[np.ndarray, "steps tasks environments"],
    episodes: Int[np.ndarray, "steps #tasks environments"],
    discount: float,
    gae_lambda: float,
) -> Float[np.ndarray, "steps tasks environments"]:
    """Estimate the advantages of one policy's steps, task by task, in float64.

    Each task has a linear baseline of its own, with the features of `linear_baseline`, fitted to the
    discounted returns of these very episodes: neither what a task pays nor how a critic copes with it makes a
    difference. An episode is measured against the fit on the others, in ten parts (cross-fitting), as a
    baseline that had seen the episode's own return would follow its noise and take part of the advantage
    away. The ridge is the one that predicts left-out episodes best, for each task by itself. With λ = 1 the
    mean of Â ∇ log π is an unbiased estimate of the policy gradient of finite episodes.

    An episode ends where it terminates and at its time limit, as the baseline sees the time. One that is cut
    off by the end of the simulation is continued by a first fit to episodes that begin before any such one.
    Where one was cut that began at the start, the fit is to all returns up to there: about 0 at the end where
    all were cut after the same time, which is then the horizon.

    The rollout begins at the start of episodes, and has the tasks of one policy in place of the policies of a
    stack, or a single task whose steps serve all. `episodes` numbers the episode of each step: no two tasks
    share a number, unless they share all.
    """
    ended = np.broadcast_to(rollout.ended, rewards.shape)

    def advantages(values: np.ndarray, lam: float) -> np.ndarray:
        return discounted_advantages(rewards, values, ended, ended, discount, lam)

    parts = np.zeros_like(episodes)  # the episodes of each task are dealt into them, in turn
    for task in range(episodes.shape[1]):
        _, number = np.unique(episodes[:, task], return_inverse=True)
        parts[:, task] = number.reshape(episodes[:, task].shape) % _PARTS
    fits = _Fits.of(rollout, parts)
    nothing = np.zeros((len(rewards) + 1, *rewards.shape[1:]))
    values = fits.within(_before_cuts(rollout)).everywhere(advantages(nothing, 1.0))
    found = np.zeros_like(rewards)
    for part, own in enumerate(fits.without_each(values[:-1] + advantages(values, 1.0))):
        found = np.where(parts == part, advantages(own, gae_lambda), found)
    return found


def _before_cuts(rollout: Rollout) -> Bool[np.ndarray, "steps tasks environments"]:
    """Mark the steps of episodes that begin before any which the end of the simulation cuts off.

    All of them are whole. Among later ones only short episodes are, and values fitted to short ones are too
    low. Of a task of which an episode was cut that began at the start all steps are marked.
    """
    begun = _begun(rollout)
    first = np.where(rollout.ended[-1], len(begun), begun[-1]).min(axis=1)[:, None]
    return rollout.real & ((begun[:-1] < first) | (first == 0))


#: Gram matrices, moments with the targets, and numbers of steps, by part and task.
_Sums = tuple[
    Float[np.ndarray, "parts #tasks f f"],
    Float[np.ndarray, "parts tasks f"],
    Float[np.ndarray, "parts #tasks"],
]


@dataclass(frozen=True, eq=False)
class _Fits:
    """Ridge regressions of each task, on all of its episodes and on those outside of each part.

    Features are standardised, with the intercept last. Weights are 1 where a real step belongs to the part.
    Where one set of steps serves all tasks, these arrays have a single one, and targets have all.
    """

    features: Float[np.ndarray, "tasks places f"]
    weights: Float[np.ndarray, "parts tasks rows"]
    grams: Float[np.ndarray, "parts tasks f f"]
    environments: int

    @classmethod
    def of(cls, rollout: Rollout, parts: Int[np.ndarray, "steps tasks environments"]) -> "_Fits":
        scaled = _standardised(_baseline_features(rollout), rollout.real)
        seen, time = scaled[..., :-3], scaled[..., -3:]
        if seen.shape[-1] > _MOST:
            mixture = np.random.default_rng(0).normal(size=(seen.shape[-1], _MOST))
            seen = seen @ mixture / np.sqrt(seen.shape[-1])
        features = np.concatenate([seen, time, np.ones_like(time[..., :1])], axis=-1)
        features = np.moveaxis(features, 1, 0).reshape(features.shape[1], -1, features.shape[-1])
        own = [rollout.real & (parts == part) for part in range(int(parts.max()) + 1)]
        weights = np.stack([_rows(each).astype(np.float64) for each in own])
        return cls(features, weights, _grams(features, weights), parts.shape[2])

    def within(self, marked: Bool[np.ndarray, "steps tasks environments"]) -> "_Fits":
        """Give the same of marked steps alone."""
        weights = self.weights * _rows(marked)
        if np.array_equal(weights, self.weights):
            return self
        return replace(self, weights=weights, grams=_grams(self.features, weights))

    def everywhere(
        self, returns: Float[np.ndarray, "steps tasks environments"]
    ) -> Float[np.ndarray, "times tasks environments"]:
        """Fit each task on all of its episodes, and evaluate at all observations."""
        targets = _rows(returns)
        sums = self._sums(targets)
        grams, moments, counts = (each.sum(axis=0) for each in sums)
        return self._evaluate(self._solve(grams, moments, counts, self._ridge(targets, _outside(sums))))

    def without_each(
        self, returns: Float[np.ndarray, "steps tasks environments"]
    ) -> list[Float[np.ndarray, "times tasks environments"]]:
        """Fit each task outside of each part, and evaluate at all observations."""
        targets = _rows(returns)
        outside = _outside(self._sums(targets))
        return [self._evaluate(each) for each in self._solve(*outside, self._ridge(targets, outside))]

    def _ridge(self, targets: Float[np.ndarray, "tasks rows"], outside: _Sums) -> Float[np.ndarray, " tasks"]:
        """Choose the ridge of each task that predicts left-out episodes best."""
        errors = []
        for ridge in _RIDGES:
            solutions = self._solve(*outside, np.full(len(targets), ridge))
            missed = targets - np.einsum("tnf,ptf->ptn", self._fitted, solutions)
            errors.append((self.weights * missed**2).sum(axis=(0, 2)))
        return np.array(_RIDGES)[np.argmin(errors, axis=0)]

    @property
    def _fitted(self) -> Float[np.ndarray, "tasks rows f"]:
        """The features of steps, without those of the last observations."""
        return self.features[:, : self.weights.shape[2]]

    def _sums(self, targets: Float[np.ndarray, "tasks rows"]) -> _Sums:
        """Sum over each part."""
        moments = np.einsum("tnf,ptn->ptf", self._fitted, self.weights * targets)
        return self.grams, moments, self.weights.sum(axis=2)

    def _solve(
        self,
        grams: Float[np.ndarray, "*parts #tasks f f"],
        moments: Float[np.ndarray, "*parts tasks f"],
        counts: Float[np.ndarray, "*parts #tasks"],
        ridge: Float[np.ndarray, " tasks"],
    ) -> Float[np.ndarray, "*parts tasks f"]:
        """Minimise the mean squared error and the ridge; without any step the fit is 0."""
        identity = np.eye(grams.shape[-1])
        # Time and intercept are hardly held back.
        held = counts[..., None] * (ridge[:, None] * (np.arange(len(identity)) < len(identity) - 4) + _LEAST)
        held += counts[..., None] == 0
        return np.linalg.solve(grams + held[..., None] * identity, moments[..., None])[..., 0]

    def _evaluate(
        self, solution: Float[np.ndarray, "tasks f"]
    ) -> Float[np.ndarray, "times tasks environments"]:
        values = np.einsum("tnf,tf->tn", self.features, solution)
        return np.moveaxis(values.reshape(len(values), -1, self.environments), 0, 1)


def _outside(sums: _Sums) -> _Sums:
    """Turn sums over each part into those over what lies outside of it."""
    grams, moments, counts = (each.sum(axis=0) - each for each in sums)
    return grams, moments, counts


def _grams(
    features: Float[np.ndarray, "tasks places f"], weights: Float[np.ndarray, "parts tasks rows"]
) -> Float[np.ndarray, "parts tasks f f"]:
    rows = features[:, : weights.shape[2]]
    return np.stack([rows.mT @ (rows * weight[..., None]) for weight in weights])


def _rows(array: np.ndarray) -> np.ndarray:
    """Order [steps, tasks, environments] as [tasks, steps * environments]."""
    return np.moveaxis(array, 1, 0).reshape(array.shape[1], -1)
