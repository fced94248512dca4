"""The surrogate: what training on a subset of tasks would do without doing it (PolicyGradEx, Algorithm 1)."""

from collections.abc import Collection, Sequence
from typing import Any, SupportsIndex

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from gradex.display import card
from gradex.seeds import generator_for
from gradex.settings import Estimator, shown, whole
from gradex.surrogate.first_order import checked_distances, first_order_table, move_model
from gradex.surrogate.model import Model
from gradex.surrogate.projection import (
    GaussianProjection,
    KhatriRaoProjection,
    NoProjection,
    Projection,
    gradient_features,
)
from gradex.surrogate.samples import Block, Samples, for_torch
from gradex.surrogate.scores import SCORES, NegativeLoss, Score
from gradex.surrogate.subset_fits import SubsetFits, Subsets
from gradex.tensors import from_torch

#: λ with regularization="auto", as a share of the mean eigenvalue of the Hessian of all tasks at θ = 0, and
#: how much stronger it may be where samples are few.
AUTO_REGULARIZATION = 0.1
_STRONGER = (1, 10, 100, 1000)
#: The same with regularization="least": next to nothing, but enough for a Hessian to be invertible, and for a
#: minimum where a subset's samples can be told apart without any loss.
LEAST_REGULARIZATION = 1e-6
_RELATIVE = {"auto": AUTO_REGULARIZATION, "least": LEAST_REGULARIZATION}
#: What a `Model` has; asked of its class too, as an unfitted one has no parameters yet.
_ASKED = ("parameters", "gradients", "log_prob", "with_parameters")
_PROJECTIONS = ("gaussian", "khatri-rao", "none")
_PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


class SurrogateEstimator(SubsetFits, Estimator):
    """Logistic regressions on projected gradients of one model (PolicyGradEx, Sec. 3.1, Algorithm 1).

    There are three doors: `fit(meta, transitions)` for a meta-policy, `fit(model, samples)` for anything that
    tells its gradients, such as `ModuleGradients` of a torch module, and `fit_features(features, samples)`
    for any matrix of per-sample gradients.

    Parameters
    ----------
    projection_dim : int
        d; the paper gains nothing beyond 400. Where the model has no more parameters, all are kept.
    projection : {"gaussian", "khatri-rao", "none"}
        "gaussian" is the paper's; "khatri-rao" costs hardly more than the gradients themselves and is the one
        for large networks or very many samples; "none" keeps all p parameters, whatever `projection_dim`
        says. `gradex.surrogate.projection` tells more.
    regularization : float, "auto" or "least"
        λ. "auto" is that by which tasks gain most on episodes that the fit did not see, each after a step of
        its own: where samples are few, a weak one makes steps follow their noise. "auto" and "least" are
        relative to the scale of features and weights, see `AUTO_REGULARIZATION` and `LEAST_REGULARIZATION`.
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
            raise ValueError(f"projection_dim={self.projection_dim} is too few: give at least 1")
        strength = self.regularization
        if strength not in _RELATIVE and (isinstance(strength, str) or not 0 < strength < np.inf):
            raise ValueError(f"regularization is {strength!r}: choose 'auto', 'least' or a positive number")
        if self.folds < 1:
            raise ValueError(f"folds={self.folds} is too few: give at least 2, or 1 for scores in-sample")
        if isinstance(self.score, str) and self.score not in SCORES:
            raise ValueError(f"unknown score {self.score!r}: choose one of {list(SCORES)}, or give a Score")

    def _card(self) -> str:
        samples = self.samples_
        facts = {"samples": len(samples), "features": self.features.shape[1], "ridge": self.regularization_}
        return card("SurrogateEstimator", {"tasks": samples.n, **facts, "folds": self.folds})

    @classmethod
    def literal(
        cls, projection_dim: int = 400, seed: int = 0, dtype: str = "float32"
    ) -> "SurrogateEstimator":
        """Give Algorithm 1 to the letter: f̂(S) is minus the least loss of Eq. (4) on the samples of S.

        So scores are in-sample, and projections Gaussian. Two things cannot be literal. Without any ridge
        there may be no minimum, or many, so there is one of `LEAST_REGULARIZATION`. And the paper does not
        say how it estimates advantages: they are those of the transitions, taken as they come.
        """
        return cls(projection_dim, "gaussian", "least", folds=1, score=NegativeLoss(), seed=seed, dtype=dtype)

    def fit(self, model: Model, samples: Samples | None = None) -> "SurrogateEstimator":
        """Compute the projected gradients of all samples.

        Parameters
        ----------
        model : Model
            At θ*: a fitted `MetaPolicy`, `ModuleGradients`, or any other model.
        samples : Samples, optional
            Transitions of a meta-policy in every task of its suite, by default `meta.transitions()`; samples
            of the kind that another model knows.

        Raises
        ------
        TypeError
            If the model does not tell its gradients.
        ValueError
            If an advantage or a gradient is not finite, or a task has no sample or too few episodes for the
            folds.
        """
        own = self._plain()
        if not all(hasattr(type(model), name) or hasattr(model, name) for name in _ASKED):
            raise TypeError(
                f"model is {shown(model)}: give a MetaPolicy, ModuleGradients of a torch module, or another "
                "model with parameters, gradients, log_prob and with_parameters"
            )
        if samples is None:
            if not hasattr(model, "transitions"):
                raise TypeError(f"{type(model).__name__} collects no samples by itself: give some")
            samples = model.transitions()
        theta, samples = model.parameters, samples.apart()
        blocks = samples.blocks()  # refuses what cannot be fitted before gradients are computed
        projection = own._make_projection(len(theta), getattr(model, "layout", [(1, len(theta))]))
        features = gradient_features(model, samples, projection, _PRECISIONS[own.dtype])
        return self._take(own, features, samples, blocks, projection, model)

    def fit_features(self, features: Float[np.ndarray, "N d"], samples: Samples) -> "SurrogateEstimator":
        """Take per-sample gradients as they are, projected or not; nothing leads back to a model then.

        Parameters
        ----------
        features : float array [N, d]
            In single or double precision. They are not copied: leave them as they are afterwards.
        samples : Samples

        Raises
        ------
        ValueError
            If features or advantages are not finite or do not fit together.
        """
        own, features, samples = self._plain(), for_torch(np.asarray(from_torch(features))), samples.apart()
        if features.ndim != 2 or len(features) != len(samples) or features.dtype not in (np.float32, float):
            raise ValueError(
                f"features have the shape {features.shape} and type {features.dtype} for {len(samples)} "
                "samples: give float32 or float64 [N, d]"
            )
        wrong = int((~np.isfinite(features).all(axis=1)).sum())
        if wrong:
            raise ValueError(f"{wrong} samples have features that are not finite: check the gradients")
        return self._take(own, features, samples, samples.blocks(), NoProjection(features.shape[1]), None)

    def _take(
        self,
        own: "SurrogateEstimator",
        features: Float[np.ndarray, "N d"],
        samples: Samples,
        blocks: Sequence[Block],
        projection: Projection,
        model: Model | None,
    ) -> "SurrogateEstimator":
        """Find out how strong the ridge of these settings is, and keep everything."""
        squares = np.einsum("nd,nd->n", features, features)
        weights = np.concatenate(
            [np.abs(block.advantages) * squares[block.rows] for block in blocks], axis=None
        )
        mean_eigenvalue = 0.25 * float(np.mean(weights)) / features.shape[1]
        if mean_eigenvalue == 0:
            raise ValueError(
                "all advantages or gradients are 0, nothing to fit: collect others, or check log_prob"
            )
        strength = own.regularization
        ridge = _RELATIVE[strength] * mean_eigenvalue if isinstance(strength, str) else float(strength)
        self._fill(features, samples, blocks, own.folds, ridge)
        if strength == "auto" and own.folds > 1:
            self._choose_regularization([factor * ridge for factor in _STRONGER])
        self.projection_, self._model = projection, model
        return self

    def _make_projection(self, parameters: int, layout: Sequence[tuple[int, int]]) -> Projection:
        if self.projection == "none" or parameters <= self.projection_dim:
            return NoProjection(parameters)
        if self.projection == "gaussian":
            return GaussianProjection(parameters, self.projection_dim, self.seed)
        return KhatriRaoProjection(layout, self.projection_dim, self.seed)

    # ------------------------------------------------------------------ back in parameter space
    def adapted(self, subset: Collection[SupportsIndex], distance: float | None = None) -> Any:
        """Give the model at θ* + P θ̂_S.

        Parameters
        ----------
        subset : sequence of int
        distance : float, optional
            Keep the direction, but make ‖Δθ‖ this share of ‖θ*‖.
        """
        return move_model(self._of_a_model(), self.steps([subset])[0], distance)

    def _of_a_model(self) -> Model:
        if not self._is_fitted():
            raise self._not_fitted()
        if self._model is None:
            raise ValueError("these features came without a model: fit(model, samples) for what needs one")
        return self._model

    def steps(self, subsets: Subsets, divergence: float | None = None) -> Float[np.ndarray, "m p"]:
        """Give P θ̂_S, by which all parameters move for each subset.

        Parameters
        ----------
        subsets : m sequences of int
        divergence : float, optional
            Keep the direction, but make ½ mean (g·Δθ)² over the subset's samples this number, see `Score`.
        """
        return self.projection_.lift(torch.from_numpy(self._solve_within(subsets, divergence))).numpy()

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
            Columns distance, direction ("random", "surrogate" or "training"), subset (its number);
            relative_to_output, Σ(log π_θ - linear)² / Σ(log π_θ)², small for any small step; and
            the stricter relative_to_change, Σ(log π_θ - linear)² / Σ(log π_θ - log π_θ*)².

        Raises
        ------
        ValueError
            If a distance is not positive, or there is none, no sample, or not one trained policy per subset.
        """
        model = self._of_a_model()
        lengths, samples = checked_distances(distances), whole("samples", samples, 1)
        rng = generator_for(self._plain().seed, "first-order error")
        n = self.samples_.n
        if subsets is None:
            subsets = [rng.choice(n, min(3, n), replace=False).tolist() for _ in range(8)]
        members, steps = self._members(subsets), {"surrogate": self.steps(subsets)}
        if trained is not None:
            if len(trained) != len(subsets):
                raise ValueError(
                    f"{len(trained)} trained policies for {len(subsets)} subsets: give one for each"
                )
            parameters = np.stack([policy.parameters for policy in trained])
            steps["training"] = parameters - model.parameters.astype(np.float64)
        return first_order_table(model, members, steps, lengths, self.samples_, self._blocks, samples, rng)
