"""What an estimator refuses, in words that name the remedy."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from gradex.learners import PPO, Transitions
from gradex.meta_policy import MetaPolicy
from gradex.surrogate import SurrogateEstimator


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"projection_dim": 0}, "projection_dim=0 is too few: give at least 1"),
        (
            {"projection": "fourier"},
            r"unknown projection 'fourier': choose one of \['gaussian', 'khatri-rao'",
        ),
        ({"dtype": "float16"}, r"unknown dtype 'float16': choose one of \['float32', 'float64'\]"),
        ({"regularization": 0.0}, "regularization is 0.0: choose 'auto', 'least' or a positive number"),
        ({"regularization": "best"}, "regularization is 'best': choose 'auto', 'least' or a positive number"),
        (
            {"regularization": float("nan")},
            "regularization is nan: choose 'auto', 'least' or a positive number",
        ),
        ({"folds": 0}, "folds=0 is too few: give at least 2, or 1 for scores in-sample"),
        (
            {"score": "return"},
            r"unknown score 'return': choose one of \['loss', 'improvement'\], or give a Score",
        ),
    ],
)
def test_refuses_settings_that_cannot_be(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SurrogateEstimator(**settings)


def _with(transitions: Transitions, name: str, place: int, value: float) -> Transitions:
    array = getattr(transitions, name).copy()
    array[place] = value
    return replace(transitions, **{name: array})


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (lambda t: _with(t, "advantages", 4, np.nan), {}, "1 advantages are not finite: check the rewards"),
        (
            lambda t: _with(t, "observations", 4, np.inf),
            {},
            "1 gradients are not finite: check the observations",
        ),
        (lambda t: _with(t, "tasks", 4, 5), {}, "transitions name tasks beyond 0 to 4: collect them on this"),
        (
            lambda t: replace(t, observations=t.observations[:, :1]),
            {},
            r"samples have observations of shape \(1,\) where the policy has \(3,\): collect transitions on",
        ),
        (
            lambda t: replace(t, tasks=np.minimum(t.tasks, 3)),
            {},
            "task 4 has no samples: collect some in every task",
        ),
        (
            lambda t: replace(t, advantages=0 * t.advantages),
            {},
            "all advantages or gradients are 0, nothing to fit",
        ),
        (
            lambda t: t,
            {"folds": 7},
            "task 0 has 6 independent episodes for 7 folds: collect more, or choose fewer folds",
        ),
    ],
)
def test_refuses_transitions_that_cannot_be(
    meta: MetaPolicy, transitions: Transitions, change: Callable, settings: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        SurrogateEstimator(**{"projection_dim": 12, **settings}).fit(meta, change(transitions))


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    "subset", [(), (0, 0), (1, 5), (-1, 2), 0, (0.0, 1.0), ("a",), (True, False), iter((0, 1))]
)
@pytest.mark.parametrize(
    "use", ["solve", "scores", "steps", lambda s, subsets: s.interactions().pooled(subsets)]
)
def test_refuses_what_is_no_subset(surrogate: SurrogateEstimator, subset: Any, use: str | Callable) -> None:
    call = use if callable(use) else getattr(SurrogateEstimator, use)
    with pytest.raises(ValueError, match="is not a subset of 5 tasks: give different indices from 0 to 4"):
        call(surrogate, [(0, 1), subset])


def test_refuses_no_subsets_and_impossible_distances(surrogate: SurrogateEstimator) -> None:
    with pytest.raises(ValueError, match="no subset was given: give at least one"):
        surrogate.scores([])
    with pytest.raises(ValueError, match=r"regularizations contain -1\.0: give positive numbers"):
        surrogate.regularization_path([(0,)], [1.0, -1.0])
    with pytest.raises(ValueError, match=r"distance=-1\.0 is invalid: give a finite number"):
        surrogate.adapted((0,), distance=-1.0)
    with pytest.raises(ValueError, match="samples=0 is too small: give at least 1"):
        surrogate.first_order_error(samples=0)


def test_says_so_when_it_is_not_fitted(meta: MetaPolicy) -> None:
    surrogate = SurrogateEstimator()
    for use in (
        lambda: surrogate.solve([(0,)]),
        lambda: surrogate.scores([(0,)]),
        lambda: surrogate.adapted((0,)),
        surrogate.task_gradients,
        surrogate.interactions,
        lambda: surrogate.regularization_path([(0,)], [1.0]),
        surrogate.first_order_error,
    ):
        with pytest.raises(NotFittedError, match="this SurrogateEstimator is not fitted: call fit"):
            use()


@pytest.mark.wrong_types
def test_refuses_what_is_no_model_that_is_fitted(meta: MetaPolicy, transitions: Transitions) -> None:
    surrogate = SurrogateEstimator()
    with pytest.raises(NotFittedError, match="MetaPolicy"):
        surrogate.fit(MetaPolicy(meta.suite, learner=PPO()))
    with pytest.raises(TypeError, match="model is 3: give a MetaPolicy, ModuleGradients"):
        surrogate.fit(3, transitions)
