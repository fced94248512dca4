"""The surrogate: what training on a subset of tasks would do without doing it (PolicyGradEx, Algorithm 1)."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from operator import index
from typing import SupportsIndex

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from sklearn.exceptions import NotFittedError
from tqdm.auto import tqdm

from gradex.learners import Transitions
from gradex.meta_policy import MetaPolicy, check_subset
from gradex.surrogate.first_order import first_order_error
from gradex.surrogate.folds import deal_episodes
from gradex.surrogate.gradients import log_prob_gradients
from gradex.surrogate.logistic import Solution, SubsetLogisticRegression
from gradex.surrogate.projection import GaussianProjection, NoProjection, Projection
from gradex.surrogate.scores import SCORES, Score, SubsetScores, score_subsets

#: λ with regularization="auto", as a share of the mean eigenvalue of the Hessian of all tasks at θ = 0.
AUTO_REGULARIZATION = 0.1
#: Samples whose gradients are projected together.
_BATCH = 8192

Subsets = Collection[Collection[SupportsIndex]]


class SurrogateEstimator:
    """Logistic regressions on projected gradients of one meta-policy (PolicyGradEx, Sec. 3.1, Algorithm 1).

    Parameters
    ----------
    projection_dim : int
        d; the paper gains nothing beyond 400.
    projection : {"gaussian", "none"}
        "none" keeps all p parameters, whatever `projection_dim` says.
    regularization : float or "auto"
        λ. "auto" is relative to the scale of features and weights, see `AUTO_REGULARIZATION`.
    folds : int
        Scores come from samples that the fit did not see: the episodes of each task are dealt into this many
        folds. 1 scores the very samples that were fitted, as the paper does.
    score : {"loss", "improvement"} or Score
    seed : int
        Fixes the projection.

    Attributes
    ----------
    features : float array [N, d]
        g̃ = Pᵀ ∇ log π_θ*(a | s).
    labels, weights : float array [N]
        Sign of the advantage, +1 where it is 0, and its absolute value.
    tasks, episodes : int array [N]
    projection_ : Projection
    regularization_ : float
        λ as used.
    """

    features: Float[np.ndarray, "N d"]
    labels: Float[np.ndarray, " N"]
    weights: Float[np.ndarray, " N"]
    tasks: Int[np.ndarray, " N"]
    episodes: Int[np.ndarray, " N"]

    def __init__(
        self,
        projection_dim: int = 400,
        projection: str = "gaussian",
        regularization: float | str = "auto",
        folds: int = 4,
        score: str | Score = "loss",
        seed: int = 0,
    ) -> None:
        if projection not in ("gaussian", "none"):
            raise ValueError(f"unknown projection {projection!r}: choose 'gaussian' or 'none'")
        if projection_dim < 1:
            raise ValueError(f"projection_dim is {projection_dim}: choose 1 or more")
        if regularization != "auto" and (isinstance(regularization, str) or not 0 < regularization < np.inf):
            raise ValueError(f"regularization is {regularization!r}: choose 'auto' or a positive number")
        if folds < 1:
            raise ValueError(f"folds is {folds}: choose 2 or more, or 1 for scores in-sample")
        if isinstance(score, str) and score not in SCORES:
            raise ValueError(f"unknown score {score!r}: choose one of {list(SCORES)}, or give a Score")
        self.projection_dim = projection_dim
        self.projection = projection
        self.regularization = regularization
        self.folds = folds
        self.score = SCORES[score] if isinstance(score, str) else score
        self.seed = seed

    # ------------------------------------------------------------------ fitting
    def fit(self, meta: MetaPolicy, transitions: Transitions | None = None) -> "SurrogateEstimator":
        """Compute the projected gradients of all samples.

        Parameters
        ----------
        meta : MetaPolicy
            Fitted; its parameters are θ*.
        transitions : Transitions, optional
            Steps of this policy in every task of its suite; by default `meta.transitions()`.

        Raises
        ------
        ValueError
            If an advantage or a gradient is not finite, a task has no sample or too few episodes for the
            folds, or the projection has more dimensions than the policy has parameters.
        """
        theta = meta.parameters
        transitions = meta.transitions() if transitions is None else transitions
        _check_transitions(transitions, len(meta.suite))
        folds = np.zeros(len(transitions), dtype=np.int64)
        if self.folds > 1:
            folds = deal_episodes(transitions.tasks, transitions.episodes, self.folds)
        self.projection_ = self._make_projection(len(theta))
        self.features = self._project(meta, transitions)
        self.labels = np.where(transitions.advantages < 0, -1.0, 1.0)
        self.weights = np.abs(transitions.advantages).astype(np.float64)
        self.tasks, self.episodes = transitions.tasks, transitions.episodes
        squares = np.square(self.features, dtype=np.float64).sum(axis=1)
        mean_eigenvalue = 0.25 * float(np.mean(self.weights * squares)) / self.projection_.dimension
        if mean_eigenvalue == 0:
            raise ValueError("all advantages or gradients are 0, nothing to fit: collect other transitions")
        relative = self.regularization == "auto"
        self.regularization_ = (
            AUTO_REGULARIZATION * mean_eigenvalue if relative else float(self.regularization)
        )
        self._regression = SubsetLogisticRegression(
            self.features, self.labels, self.weights, self.tasks, self.regularization_
        )
        self._meta, self._transitions, self._folds = meta, transitions, folds
        return self

    def _make_projection(self, parameters: int) -> Projection:
        if self.projection == "none":
            return NoProjection(parameters)
        return GaussianProjection(parameters, self.projection_dim, self.seed)

    def _project(self, meta: MetaPolicy, transitions: Transitions) -> Float[np.ndarray, "N d"]:
        theta = torch.from_numpy(meta.parameters)
        samples = (transitions.observations, transitions.tasks, transitions.actions)
        features = torch.empty(len(transitions), self.projection_.dimension, dtype=theta.dtype)
        batches = zip(*(torch.from_numpy(np.asarray(x)).split(_BATCH) for x in samples), strict=True)
        total = -(-len(transitions) // _BATCH)
        for out, batch in zip(
            features.split(_BATCH), tqdm(batches, "gradients", total=total, delay=2, leave=False), strict=True
        ):
            out.copy_(self.projection_.project(log_prob_gradients(meta.agent_.policy, theta, *batch)))
        wrong = int((~torch.isfinite(features).all(dim=1)).sum())
        if wrong:
            raise ValueError(
                f"{wrong} gradients are not finite: check the observations, the actions and the policy"
            )
        return features.numpy()

    def _fitted(self) -> MetaPolicy:
        if not hasattr(self, "_meta"):
            raise NotFittedError("this SurrogateEstimator is not fitted: call fit(meta) first")
        return self._meta

    # ------------------------------------------------------------------ subsets
    def solve(self, subsets: Subsets, tolerance: float = 1e-6) -> Solution:
        """Minimise the loss of each subset, on all samples of its tasks (PolicyGradEx, Eq. (4)).

        Parameters
        ----------
        subsets : m sequences of int
        tolerance : float
            On the relative KKT residual. From 1e-5 upwards the work is done in float32.

        Returns
        -------
        Solution
            theta [m, d], status [m], kkt_residual [m], iterations [m].
        """
        members = self._members(subsets)
        solution = self._regression.solve(members, np.ones((1, len(self.tasks)), dtype=bool), tolerance)
        return replace(solution, **{name: array[:, 0] for name, array in vars(solution).items()})

    def scores(self, subsets: Subsets, tolerance: float = 1e-4) -> SubsetScores:
        """Estimate how well each task would do after training on each subset that contains it.

        Every sample is scored once, by the fit that left out its fold, and a task's score is the mean over
        its samples.

        Parameters
        ----------
        subsets : m sequences of int
        tolerance : float
            On the relative KKT residual of the fits.
        """
        members = self._members(subsets)
        folds = np.arange(self.folds)[:, None]
        fitted = self._folds != folds if self.folds > 1 else np.ones((1, len(self.tasks)), dtype=bool)
        theta = self._regression.solve(members, fitted, tolerance).theta
        samples = (self.features, self.labels, self.weights, self.tasks, self._folds)
        return score_subsets(self.score, members, theta, *samples)

    def _members(self, subsets: Subsets) -> Bool[np.ndarray, "m n"]:
        n = len(self._fitted().suite)
        if len(subsets) == 0:
            raise ValueError("no subset was given: give at least one sequence of task indices")
        members = np.zeros((len(subsets), n), dtype=bool)
        for row, subset in zip(members, subsets, strict=True):
            tasks = [index(task) for task in subset]
            check_subset(tasks, n)
            row[tasks] = True
        return members

    def task_gradients(self) -> Float[np.ndarray, "n d"]:
        """Give each task's projected policy gradient, the mean of Â g̃ over its samples."""
        n = len(self._fitted().suite)
        total = np.zeros((n, self.features.shape[1]))
        np.add.at(total, self.tasks, (self.labels * self.weights)[:, None] * self.features)
        return total / np.bincount(self.tasks, minlength=n)[:, None]

    # ------------------------------------------------------------------ back in parameter space
    def adapted(self, subset: Collection[SupportsIndex], distance: float | None = None) -> MetaPolicy:
        """Give the policy at θ* + P θ̂_S.

        Parameters
        ----------
        subset : sequence of int
        distance : float, optional
            Keep the direction, but make ‖Δθ‖ this share of ‖θ*‖.
        """
        meta = self._fitted()
        theta, delta = meta.parameters.astype(np.float64), self._steps([subset])[0]
        if distance is not None:
            if not 0 <= distance < np.inf:
                raise ValueError(f"distance is {distance}: choose a number from 0 on")
            delta *= distance * np.linalg.norm(theta) / (np.linalg.norm(delta) or 1.0)
        return meta.with_parameters(theta + delta)

    def _steps(self, subsets: Subsets) -> Float[np.ndarray, "m p"]:
        """Give P θ̂ of each subset."""
        return self.projection_.lift(torch.from_numpy(self.solve(subsets).theta)).numpy()

    def first_order_error(
        self,
        distances: Sequence[float] = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1),
        subsets: Subsets | None = None,
        samples: int = 4096,
    ) -> pd.DataFrame:
        """Measure where the first-order expansion of log π holds (PolicyGradEx, Sec. 3.2, Table 1).

        Parameters
        ----------
        distances : sequence of float
            ‖θ - θ*‖ / ‖θ*‖.
        subsets : sequence of sequences of int, optional
            Each is measured on its own samples, along a random direction and along the surrogate's; by
            default eight random ones.
        samples : int
            At most so many samples per subset are used.

        Returns
        -------
        pandas.DataFrame
            Columns distance, direction ("random" or "surrogate"), subset (its number), relative_to_output,
            relative_to_change.
        """
        meta = self._fitted()
        if not (np.isfinite(distances).all() and np.min(distances, initial=np.inf) > 0):
            raise ValueError(f"distances are {list(distances)}: give positive numbers")
        rng = np.random.default_rng([self.seed, 1])
        n = len(meta.suite)
        if subsets is None:
            subsets = [rng.choice(n, min(3, n), replace=False).tolist() for _ in range(8)]
        members, steps = self._members(subsets), self._steps(subsets)
        theta = torch.from_numpy(meta.parameters).double()
        lengths = torch.tensor(distances, dtype=torch.float64)
        frames = []
        for number, (inside, step) in enumerate(zip(members, steps, strict=True)):
            candidates = np.flatnonzero(inside[self.tasks])
            rows = rng.choice(candidates, min(samples, len(candidates)), replace=False)
            batch = (self._transitions.observations, self._transitions.tasks, self._transitions.actions)
            error = first_order_error(
                meta.agent_.policy,
                theta,
                torch.from_numpy(np.stack([rng.standard_normal(len(theta)), step])),
                lengths,
                *(torch.from_numpy(np.asarray(x)[rows]) for x in batch),
            )
            columns = {name: value.flatten().numpy() for name, value in vars(error).items()}
            where = {
                "distance": np.tile(distances, 2),
                "direction": np.repeat(["random", "surrogate"], len(lengths)),
                "subset": number,
            }
            frames.append(pd.DataFrame({**where, **columns}))
        return pd.concat(frames, ignore_index=True)


def _check_transitions(transitions: Transitions, n: int) -> None:
    count = len(transitions.tasks)
    for name, array in vars(transitions).items():
        if len(array) != count:
            raise ValueError(f"{count} samples have {len(array)} {name}: give one entry per sample")
    wrong = np.count_nonzero(~np.isfinite(transitions.advantages))
    if wrong:
        raise ValueError(f"{wrong} advantages are not finite: check the rewards and the critic")
    if count and not 0 <= transitions.tasks.min() <= transitions.tasks.max() < n:
        raise ValueError(f"transitions name tasks beyond 0 to {n - 1}: collect them on this policy's suite")
    missing = np.flatnonzero(np.bincount(transitions.tasks, minlength=n) == 0)
    if len(missing):
        raise ValueError(f"task {missing[0]} has no transitions: collect some in every task of the suite")
