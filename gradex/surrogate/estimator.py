"""The surrogate: what training on a subset of tasks would do without doing it (PolicyGradEx, Algorithm 1)."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from operator import index
from typing import Any, SupportsIndex

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from tqdm.auto import trange

from gradex.seeds import generator_for
from gradex.settings import Estimator, as_seed, check_subset, shown, whole
from gradex.surrogate.closed_form import natural_gradient_affinity
from gradex.surrogate.features import gradient_features
from gradex.surrogate.first_order import first_order_table
from gradex.surrogate.folds import deal_episodes, draw_episodes
from gradex.surrogate.khatri_rao import KhatriRaoProjection
from gradex.surrogate.logistic import Solution
from gradex.surrogate.model import Model
from gradex.surrogate.projection import (
    GaussianProjection,
    NoProjection,
    Projection,
)
from gradex.surrogate.samples import Samples, block_of_rows
from gradex.surrogate.scores import SCORES, NegativeLoss, Score, SubsetScores, score_subsets
from gradex.surrogate.span import Span
from gradex.threads import one_thread

#: λ with regularization="auto", as a share of the mean eigenvalue of the Hessian of all tasks at θ = 0.
AUTO_REGULARIZATION = 0.1
#: The same with regularization="least": next to nothing, but enough for a Hessian to be invertible, and for a
#: minimum where a subset's samples can be told apart without any loss.
LEAST_REGULARIZATION = 1e-6
#: Tolerance on fits to episodes that were drawn again: what it misses of the affinities is less than a tenth
#: of what the draw changes.
DRAW_TOLERANCE = 0.01
_RELATIVE = {"auto": AUTO_REGULARIZATION, "least": LEAST_REGULARIZATION}
#: What a `Model` has; asked of its class too, as an unfitted one has no parameters yet.
_ASKED = ("parameters", "gradients", "log_prob", "with_parameters")
_PROJECTIONS = ("gaussian", "khatri-rao", "none")
_PRECISIONS = {"float32": torch.float32, "float64": torch.float64}

Subsets = Collection[Collection[SupportsIndex]]


class SurrogateEstimator(Estimator):
    """Logistic regressions on projected gradients of one model (PolicyGradEx, Sec. 3.1, Algorithm 1).

    There are three doors: `fit(meta, transitions)` for a meta-policy, `fit(model, samples)` for anything that
    tells its gradients, such as `ModuleGradients` of a torch module, and `fit_features(features, samples)`
    for any matrix of per-sample gradients.

    Parameters
    ----------
    projection_dim : int
        d; the paper gains nothing beyond 400.
    projection : {"gaussian", "khatri-rao", "none"}
        "gaussian" is the paper's; "khatri-rao" costs hardly more than the gradients themselves and is the one
        for large networks or very many samples; "none" keeps all p parameters, whatever `projection_dim`
        says. `gradex.surrogate.projection` tells more.
    regularization : float, "auto" or "least"
        λ. "auto" and "least" are relative to the scale of features and weights, see `AUTO_REGULARIZATION` and
        `LEAST_REGULARIZATION`.
    folds : int
        Scores come from samples that the fit did not see: the episodes of each task are dealt into this many
        folds. 1 scores the very samples that were fitted, as the paper does.
    score : {"loss", "improvement"} or Score
    seed : int
        Fixes the projection.
    dtype : {"float32", "float64"}
        Precision of gradients and features.

    Attributes
    ----------
    features : float array [N, d]
        g̃ = Pᵀ ∇ log π_θ*(a | s).
    samples_ : Samples
        What was fitted.
    labels, weights : float array [N] or [n, N]
        Sign of the advantage, +1 where it is 0, and its absolute value.
    tasks : int array [N] or None
        None where samples serve all tasks.
    episodes : int array [N]
    projection_ : Projection
    regularization_ : float
        λ as used.

    Examples
    --------
    Features of which tasks 0 and 1 want the one sign, task 2 the other:

    >>> import numpy as np
    >>> from gradex.surrogate import Samples, SurrogateEstimator
    >>> features = np.random.default_rng(0).normal(size=(300, 4))
    >>> tasks = np.arange(300) % 3
    >>> advantages = features[:, 0] * np.array([1.0, 1.0, -1.0])[tasks]
    >>> surrogate = SurrogateEstimator().fit_features(features, Samples(advantages, tasks))
    >>> friends, foes = surrogate.scores([(0, 1), (0, 2)]).score
    >>> bool(friends > foes)
    True
    """

    features: Float[np.ndarray, "N d"]
    samples_: Samples
    projection_: Projection
    regularization_: float

    _fitting = "fit(meta)"
    _results = ("features", "samples_", "projection_", "regularization_")

    def __init__(
        self,
        projection_dim: int = 400,
        projection: str = "gaussian",
        regularization: float | str = "auto",
        folds: int = 4,
        score: str | Score = "loss",
        seed: int = 0,
        dtype: str = "float32",
    ) -> None:
        self.projection_dim = projection_dim
        self.projection = projection
        self.regularization = regularization
        self.folds = folds
        self.score = score
        self.seed = seed
        self.dtype = dtype
        self._plain()

    def _check(self) -> None:
        if self.projection not in _PROJECTIONS:
            raise ValueError(f"unknown projection {self.projection!r}: choose one of {list(_PROJECTIONS)}")
        if self.dtype not in _PRECISIONS:
            raise ValueError(f"unknown dtype {self.dtype!r}: choose one of {list(_PRECISIONS)}")
        if self.projection_dim < 1:
            raise ValueError(f"projection_dim is {self.projection_dim}: choose 1 or more")
        strength = self.regularization
        if strength not in _RELATIVE and (isinstance(strength, str) or not 0 < strength < np.inf):
            raise ValueError(f"regularization is {strength!r}: choose 'auto', 'least' or a positive number")
        if self.folds < 1:
            raise ValueError(f"folds is {self.folds}: choose 2 or more, or 1 for scores in-sample")
        if isinstance(self.score, str) and self.score not in SCORES:
            raise ValueError(f"unknown score {self.score!r}: choose one of {list(SCORES)}, or give a Score")

    @classmethod
    def literal(
        cls, projection_dim: int = 400, seed: int = 0, dtype: str = "float32"
    ) -> "SurrogateEstimator":
        """Give Algorithm 1 to the letter: f̂(S) is minus the least loss of Eq. (4) on the samples of S.

        So scores are in-sample, and projections Gaussian. Two things cannot be literal. Without any ridge
        there is no unique minimum where features are dependent, and none at all where the samples of a subset
        can be told apart without loss; so there is one of `LEAST_REGULARIZATION`. And the paper does not say
        how it estimates advantages: they are those of the transitions, taken as they come.

        Parameters
        ----------
        projection_dim, seed, dtype
            As ever.
        """
        return cls(projection_dim, "gaussian", "least", folds=1, score=NegativeLoss(), seed=seed, dtype=dtype)

    # ------------------------------------------------------------------ fitting
    def fit(self, model: Model, samples: Samples | None = None) -> "SurrogateEstimator":
        """Compute the projected gradients of all samples.

        Parameters
        ----------
        model : Model
            At θ*: a fitted `MetaPolicy`, `ModuleGradients`, or whatever keeps the protocol
            `gradex.surrogate.model.Model`.
        samples : Samples, optional
            Transitions of a meta-policy in every task of its suite, by default `meta.transitions()`; samples
            of the kind that another model knows.

        Raises
        ------
        TypeError
            If the model does not tell its gradients.
        ValueError
            If an advantage or a gradient is not finite, a task has no sample or too few episodes for the
            folds, or the projection has more dimensions than the model has parameters.
        """
        own = self._plain()
        if not all(hasattr(type(model), name) or hasattr(model, name) for name in _ASKED):
            raise TypeError(
                f"model is {shown(model)}: give a MetaPolicy, ModuleGradients of a torch module, or another "
                "model with parameters, gradients, log_prob and with_parameters"
            )
        theta = model.parameters
        if samples is None:
            if not hasattr(model, "transitions"):
                raise TypeError(f"{type(model).__name__} collects no samples by itself: give some")
            samples = model.transitions()
        samples.blocks()  # refuses what cannot be fitted before gradients are computed
        projection = own._make_projection(len(theta), getattr(model, "layout", [(1, len(theta))]))
        features = gradient_features(model, samples, projection, _PRECISIONS[own.dtype])
        return self._take(features, samples, projection, own)._of(model)

    def fit_features(self, features: Float[np.ndarray, "N d"], samples: Samples) -> "SurrogateEstimator":
        """Take per-sample gradients as they are, projected or not; nothing leads back to a model then.

        Parameters
        ----------
        features : float array [N, d]
            In single or double precision.
        samples : Samples

        Raises
        ------
        ValueError
            If features or advantages are not finite or do not fit together.
        """
        own, features = self._plain(), np.asarray(features)
        if features.ndim != 2 or len(features) != len(samples) or features.dtype not in (np.float32, float):
            raise ValueError(
                f"features have the shape {features.shape} and type {features.dtype} for {len(samples)} "
                "samples: give float32 or float64 [N, d]"
            )
        wrong = int((~np.isfinite(features).all(axis=1)).sum())
        if wrong:
            raise ValueError(f"{wrong} samples have features that are not finite: check the gradients")
        return self._take(features, samples, NoProjection(features.shape[1]), own)._of(None)

    def _take(
        self,
        features: Float[np.ndarray, "N d"],
        samples: Samples,
        projection: Projection,
        own: "SurrogateEstimator",
    ) -> "SurrogateEstimator":
        """Keep features and samples, dealt into folds, and find out how strong the ridge is."""
        blocks, episodes = samples.blocks(), samples.episodes
        episodes = np.arange(len(samples)) if episodes is None else episodes
        owner = np.array([block.tasks[0] for block in blocks])[block_of_rows(blocks)]
        folds = np.zeros(len(samples), dtype=np.int64)
        if own.folds > 1:
            folds = deal_episodes(owner, episodes, own.folds)
        squares = np.einsum("nd,nd->n", features, features)
        weights = np.concatenate(
            [np.abs(block.advantages) * squares[block.rows] for block in blocks], axis=None
        )
        mean_eigenvalue = 0.25 * float(np.mean(weights)) / features.shape[1]
        if mean_eigenvalue == 0:
            raise ValueError("all advantages or gradients are 0, nothing to fit: collect other transitions")
        if isinstance(own.regularization, str):
            self.regularization_ = _RELATIVE[own.regularization] * mean_eigenvalue
        else:
            self.regularization_ = float(own.regularization)
        self.features, self.samples_, self.projection_ = features, samples, projection
        self._blocks, self._owner, self._episodes, self._folds = blocks, owner, episodes, folds
        self._span, self._parts = Span(features, blocks, self.regularization_), own.folds
        return self

    def _of(self, model: Model | None) -> "SurrogateEstimator":
        self._model = model
        return self

    def _make_projection(self, parameters: int, layout: Sequence[tuple[int, int]]) -> Projection:
        match self.projection:
            case "gaussian":
                return GaussianProjection(parameters, self.projection_dim, self.seed)
            case "khatri-rao":
                return KhatriRaoProjection(layout, self.projection_dim, self.seed)
        return NoProjection(parameters)

    def _fitted(self) -> "SurrogateEstimator":
        if not self._is_fitted():
            raise self._not_fitted()
        return self

    def _of_a_model(self) -> Model:
        model = self._fitted()._model
        if model is None:
            raise ValueError("these features came without a model: fit(model, samples) for what needs one")
        return model

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
        self._fitted()
        return self.regularization_path(subsets, [self.regularization_], tolerance)[0]

    def regularization_path(
        self, subsets: Subsets, regularizations: Sequence[float], tolerance: float = 1e-6
    ) -> list[Solution]:
        """Minimise the loss of each subset for several λ, starting from the solution for the λ before.

        Parameters
        ----------
        subsets : m sequences of int
        regularizations : sequence of float
            Values of λ, best in order of size.
        tolerance : float
            On the relative KKT residual.

        Returns
        -------
        list of Solution
            One per λ, as `solve` gives them.
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
        return replace(scores, draws=self.score_draws(subsets, draws, seed)) if draws else scores

    def score_draws(
        self, subsets: Subsets, draws: int, seed: int = 0, tolerance: float = DRAW_TOLERANCE
    ) -> Float[np.ndarray, "draws m n"]:
        """Score subsets as if other episodes had been met: the bootstrap (Efron 1979), by episode.

        Each draw takes as many episodes of every task as there are, with replacement, and fits and scores all
        subsets anew. Copies of an episode stay in its fold, as a fit must not see what it is scored on. The
        meta-policy and the projection stay what they are. The spread errs on the large side where episodes
        are few, as a draw has fewer different ones to fit.

        Parameters
        ----------
        subsets : m sequences of int
        draws, seed : int
        tolerance : float
            On the relative KKT residual of the fits.

        Returns
        -------
        array [draws, m, n]
            The scores of each task in each draw; nan where it is not in the subset.
        """
        members, draws = self._members(subsets), whole("draws", draws, 0)
        rng = generator_for(as_seed(seed), "bootstrap of episodes")
        scores = [
            self._score(members, tolerance, draw_episodes(self._owner, self._episodes, rng)).per_task
            for _ in trange(draws, desc="drawing episodes again", delay=2, leave=False)
        ]
        return np.array(scores).reshape(draws, *members.shape)

    def _score(
        self,
        members: Bool[np.ndarray, "m n"],
        tolerance: float,
        times: Float[np.ndarray, " N"] | None = None,
    ) -> SubsetScores:
        """Fit without each fold and score on it, every sample so many times."""
        folds = np.arange(self._parts)[:, None]
        counts = self._folds != folds if self._parts > 1 else np.ones((1, len(self.samples_)), dtype=bool)
        if times is not None:
            counts = counts * times
        theta = self._span.regression.solve(members, counts, tolerance).theta
        score = SCORES[self.score] if isinstance(self.score, str) else self.score
        samples = (self._span.coordinates, self._blocks, self._folds)
        with one_thread():
            return score_subsets(score, members, theta, *samples, times)

    def _members(self, subsets: Subsets) -> Bool[np.ndarray, "m n"]:
        n = self._fitted().samples_.n
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
        gradients = np.zeros((self._fitted().samples_.n, self.features.shape[1]))
        for block in self._blocks:
            gradients[block.tasks] = block.advantages @ self.features[block.rows] / len(block.rows)
        return gradients

    def natural_gradient_affinity(self) -> Float[np.ndarray, "n n"]:
        """Give gᵢᵀ (H + λI)⁻¹ gⱼ, the affinity of all pairs of tasks to first order, without any subset.

        gᵢ is half of what `task_gradients` gives, H the Hessian of all tasks together. For large λ a subset's
        score is the mean of this matrix over its members; `gradex.surrogate.closed_form` derives it.
        """
        self._fitted()
        samples = (self._span.coordinates, self._blocks, self._folds)
        hessian = self._span.regression.hessian.numpy()
        return natural_gradient_affinity(*samples, hessian, self.regularization_)

    # ------------------------------------------------------------------ back in parameter space
    def adapted(self, subset: Collection[SupportsIndex], distance: float | None = None) -> Any:
        """Give the model at θ* + P θ̂_S.

        Parameters
        ----------
        subset : sequence of int
        distance : float, optional
            Keep the direction, but make ‖Δθ‖ this share of ‖θ*‖.
        """
        model = self._of_a_model()
        theta, delta = model.parameters.astype(np.float64), self._steps([subset])[0]
        if distance is not None:
            if not 0 <= distance < np.inf:
                raise ValueError(f"distance is {distance}: choose a number from 0 on")
            delta *= distance * np.linalg.norm(theta) / (np.linalg.norm(delta) or 1.0)
        return model.with_parameters(theta + delta)

    def _steps(self, subsets: Subsets) -> Float[np.ndarray, "m p"]:
        """Give P θ̂ of each subset."""
        return self.projection_.lift(torch.from_numpy(self.solve(subsets).theta)).numpy()

    def first_order_error(
        self,
        distances: Sequence[float] = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1),
        subsets: Subsets | None = None,
        samples: int = 4096,
        trained: Sequence[Model] | None = None,
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
        trained : sequence of MetaPolicy or Model, optional
            One per subset, trained on from this model: the direction of real training besides.

        Returns
        -------
        pandas.DataFrame
            Columns distance, direction ("random", "surrogate" or "training"), subset (its number),
            relative_to_output, relative_to_change.

        Raises
        ------
        ValueError
            If a distance is not positive, or there is not one trained policy per subset.
        """
        model = self._of_a_model()
        if not (np.isfinite(distances).all() and np.min(distances, initial=np.inf) > 0):
            raise ValueError(f"distances are {list(distances)}: give positive numbers")
        rng = generator_for(self._plain().seed, "first-order error")
        n = self.samples_.n
        if subsets is None:
            subsets = [rng.choice(n, min(3, n), replace=False).tolist() for _ in range(8)]
        members, steps = self._members(subsets), {"surrogate": self._steps(subsets)}
        theta = torch.from_numpy(model.parameters).double()
        if trained is not None:
            if len(trained) != len(subsets):
                raise ValueError(
                    f"{len(trained)} trained policies for {len(subsets)} subsets: give one for each"
                )
            steps["training"] = np.stack([policy.parameters for policy in trained]) - theta.numpy()
        return first_order_table(model, members, steps, distances, self.samples_, self._blocks, samples, rng)
