"""Fits of subsets of tasks, scored on samples that they did not see (PolicyGradEx, Algorithm 1)."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from operator import index
from typing import SupportsIndex

import numpy as np
from jaxtyping import Bool, Float, Int

from gradex.progress import bar
from gradex.seeds import generator_for
from gradex.settings import Fitted, as_seed, check_subsets, whole
from gradex.surrogate.factors import first_order_factors
from gradex.surrogate.interactions import Interactions, first_order_interactions
from gradex.surrogate.logistic import Solution
from gradex.surrogate.samples import Block, Samples, deal, draw, independent, owners
from gradex.surrogate.scores import (
    SCORES,
    Score,
    SubsetScores,
    check_divergence,
    divergence_factors,
    score_subsets,
)
from gradex.surrogate.span import Span
from gradex.threads import one_thread, threads_for

#: Tolerance on fits to episodes that were drawn again: what it misses of the affinities is less than a tenth
#: of what the draw changes.
DRAW_TOLERANCE = 0.01

Subsets = Collection[Collection[SupportsIndex]]


class SubsetFits(Fitted):
    """What a surrogate says of subsets of tasks once it has features; it needs no model for that."""

    features: Float[np.ndarray, "N d"]
    samples_: Samples
    regularization_: float
    score: str | Score

    def _fill(
        self,
        features: Float[np.ndarray, "N d"],
        samples: Samples,
        blocks: Sequence[Block],
        folds: int,
        regularization: float,
    ) -> None:
        """Keep features and samples, those that depend on each other dealt into one fold."""
        owner, episodes = owners(blocks), samples.episodes
        episodes = np.arange(len(samples)) if episodes is None else episodes
        units = independent(owner, episodes, samples.clusters)
        dealt = deal(owner, units, folds) if folds > 1 else np.zeros_like(owner)
        self.features, self.samples_, self.regularization_ = features, samples, regularization
        self._blocks, self._owner, self._episodes, self._units = blocks, owner, episodes, units
        self._folds, self._parts = dealt, folds
        self._span = Span(features, blocks, regularization)

    @property
    def labels(self) -> Float[np.ndarray, "*n N"]:
        return np.where(self.samples_.advantages < 0, -1.0, 1.0)

    @property
    def weights(self) -> Float[np.ndarray, "*n N"]:
        return np.abs(self.samples_.advantages)

    @property
    def tasks(self) -> Int[np.ndarray, " N"] | None:
        return self.samples_.tasks

    @property
    def episodes(self) -> Int[np.ndarray, " N"]:
        return self._episodes

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
        return self.regularization_path(subsets, [self.regularization_], tolerance)[0]

    def regularization_path(
        self, subsets: Subsets, regularizations: Sequence[float], tolerance: float = 1e-6
    ) -> list[Solution]:
        """Minimise the loss of each subset for several λ, starting from the solution for the λ before.

        Parameters
        ----------
        subsets, tolerance
            As for `solve`.
        regularizations : sequence of float
            Values of λ, best in order of size.
        """
        members, everything = self._members(subsets), np.ones((1, len(self.samples_)), dtype=bool)
        wrong = [value for value in regularizations if not 0 < value < np.inf]
        if wrong:
            raise ValueError(f"regularizations contain {wrong[0]}: give positive numbers")
        path, start = [], None
        for value in regularizations:
            solution = self._span.regression.solve(
                members, everything, tolerance, regularization=value, start=start
            )
            start = solution.theta
            only = {name: array[:, 0] for name, array in vars(solution).items()}
            path.append(replace(solution, **only | {"theta": self._span.lift(only["theta"])}))
        return path

    def _solve_within(self, subsets: Subsets, divergence: float | None = None) -> Float[np.ndarray, "m d"]:
        """Give the solution of each subset, made as long as `Score.divergence` describes if that is given."""
        check_divergence(divergence)
        theta, members = self.solve(subsets).theta, self._members(subsets)
        if divergence is None:
            return theta
        together = np.zeros(len(self.samples_), dtype=np.int64)  # all samples were fitted: one fold
        own = (members, theta[:, None], self.features, self._blocks, together)
        with one_thread():
            return theta * divergence_factors(divergence, *own).double().numpy()

    def scores(
        self, subsets: Subsets, tolerance: float = 1e-4, draws: int = 0, seed: int = 0
    ) -> SubsetScores:
        """Estimate how well each task would do after training on each subset that contains it.

        Every sample is scored once, by the fit that left out its fold, and a task's score is the mean over
        its samples.

        Parameters
        ----------
        subsets : m sequences of int
        tolerance : float
            On the relative KKT residual of the fits.
        draws, seed : int
            Also score this often with the episodes drawn again, see `score_draws`.
        """
        scores = self._score(self._members(subsets), tolerance)
        return replace(scores, drawn=self.score_draws(subsets, draws, seed)) if draws else scores

    def score_draws(
        self, subsets: Subsets, draws: int, seed: int = 0, tolerance: float = DRAW_TOLERANCE
    ) -> Float[np.ndarray, "draws m n"]:
        """Score subsets as if other episodes had been met: the bootstrap (Efron 1979), by episode.

        Each draw takes as many episodes of every task as there are, with replacement, and fits and scores all
        subsets anew; those that began alike come together, see `Samples.clusters`. Copies of an episode stay
        in its fold, as a fit must not see what it is scored on. The meta-policy and the projection stay what
        they are. The spread errs on the large side where episodes are few, as a draw has fewer different ones
        to fit.

        Parameters
        ----------
        subsets, draws, seed, tolerance
            As for `scores`.

        Returns
        -------
        array [draws, m, n]
            The scores of each task in each draw; nan where it is not in the subset.
        """
        members, draws = self._members(subsets), whole("draws", draws, 0)
        rng = generator_for(as_seed(seed), "bootstrap of episodes")
        scores = [
            self._score(members, tolerance, draw(self._owner, self._units, rng)).per_task
            for _ in bar(range(draws), "drawing episodes again")
        ]
        return np.array(scores).reshape(draws, *members.shape)

    def transfers(self, tolerance: float = 1e-4) -> Float[np.ndarray, "n n"]:
        """Estimate what each task gains by the fit of each task alone: n fits for all n x n.

        The gain is the score, held out as in `scores`, less that of no step. It is for samples that serve all
        tasks, or for tasks whose policies see the same, as a step is taken where another task's samples lie.

        Parameters
        ----------
        tolerance : float
            As for `scores`.

        Returns
        -------
        array [n, n]
            Row i, column j: what task i gains by the fit of task j, in the units of the score. See
            `AffinityGraph.from_transfers`.
        """
        alone = np.eye(self.samples_.n, dtype=bool)
        every = np.ones_like(alone)
        theta = self._span.regression.solve(alone, self._counts(), tolerance).theta
        samples = (self._span.coordinates, self._blocks, self._folds)
        with threads_for(len(alone) * len(self.samples_)):
            moved = score_subsets(self._own_score, every, theta, *samples, fitted=alone).per_task
            still = score_subsets(self._own_score, every[:1], np.zeros_like(theta[:1]), *samples).per_task
        return (moved - still).T

    def factors(self) -> Float[np.ndarray, "n r"]:
        """Give F with F Fᵀ = gᵢᵀ (H + λI)⁻¹ gⱼ for all pairs of tasks, without any subset or pair.

        What `interactions` estimates, but products of an episode with itself are not left out, so that there
        are no standard errors and F Fᵀ is positive semidefinite. See `AffinityGraph.from_factors`. Factors
        are linear in the advantages unless there are offsets.

        Returns
        -------
        array [n, r]
            r is the numerical rank; 1 at least.
        """
        hessian = self._span.regression.hessian.numpy()
        return first_order_factors(self._span.coordinates, self._blocks, hessian, self.regularization_)

    def task_gradients(self) -> Float[np.ndarray, "n d"]:
        """Give each task's projected policy gradient, the mean of Â g̃ over its samples.

        With offsets z₀ it is that of 2 (Â⁺ - |Â| σ(z₀)) g̃: twice how the loss falls at θ*.
        """
        gradients = np.zeros((self.samples_.n, self.features.shape[1]))
        for block in self._blocks:
            gradients[block.tasks] = 2 * block.pulls() @ self.features[block.rows] / len(block.rows)
        return gradients

    def interactions(self) -> Interactions:
        """Give gᵢᵀ (H + λI)⁻¹ gⱼ of all pairs of tasks, without any subset, with exact standard errors.

        gᵢ is half of what `task_gradients` gives, H the Hessian of all tasks together. For large λ a subset's
        score is the mean of this matrix over its members, see `gradex.surrogate.interactions`.

        Raises
        ------
        ValueError
            If a task has fewer than four independent episodes.
        """
        strength, span = self.regularization_, self._span
        hessian = span.regression.hessian.numpy()
        return first_order_interactions(span.coordinates, self.samples_, hessian, strength)

    def _members(self, subsets: Subsets) -> Bool[np.ndarray, "m n"]:
        n = self.samples_.n
        check_subsets(subsets, n)
        members = np.zeros((len(subsets), n), dtype=bool)
        for row, subset in zip(members, subsets, strict=True):
            row[list(map(index, subset))] = True
        return members

    def _choose_regularization(self, candidates: Sequence[float]) -> None:
        """Take the λ by which tasks, each by itself, gain most on episodes that the fit did not see."""
        alone = np.eye(self.samples_.n, dtype=bool)
        start, gains = None, []
        for value in reversed(candidates):  # from the strongest: its solution is nearest to 0
            theta = self._span.regression.solve(
                alone, self._counts(), DRAW_TOLERANCE, regularization=value, start=start
            ).theta
            gains.append(self._scored(alone, theta).score.mean())
            start = theta
        self.regularization_ = candidates[len(candidates) - 1 - int(np.argmax(gains))]
        self._span.regression.regularization = self.regularization_

    def _counts(self) -> Bool[np.ndarray, "folds N"]:
        """Say which samples each fit sees: those outside of its fold, or all where there is one."""
        if self._parts == 1:
            return np.ones((1, len(self.samples_)), dtype=bool)
        return self._folds != np.arange(self._parts)[:, None]

    def _score(
        self,
        members: Bool[np.ndarray, "m n"],
        tolerance: float,
        times: Float[np.ndarray, " N"] | None = None,
    ) -> SubsetScores:
        """Fit without each fold and score on it, every sample so many times."""
        counts = self._counts() if times is None else self._counts() * times
        return self._scored(members, self._span.regression.solve(members, counts, tolerance).theta, times)

    def _scored(
        self,
        members: Bool[np.ndarray, "m n"],
        theta: Float[np.ndarray, "m folds d"],
        times: Float[np.ndarray, " N"] | None = None,
    ) -> SubsetScores:
        """Score every sample by the fit of its own fold."""
        samples = (self._span.coordinates, self._blocks, self._folds)
        with one_thread():
            return score_subsets(self._own_score, members, theta, *samples, times)

    @property
    def _own_score(self) -> Score:
        return SCORES[self.score] if isinstance(self.score, str) else self.score
