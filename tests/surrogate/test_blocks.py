"""Samples that serve all tasks give what copies of them for each task give."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import minimize

from gradex.surrogate import Samples, SurrogateEstimator
from tests.oracles.blocks import copied

N, COUNT, D = 5, 120, 8
SUBSETS = [*combinations(range(N), 2), (0, 1, 2, 3, 4), (3,), (1, 2, 4)]


@pytest.fixture(params=[False, True], ids=["no offsets", "offsets"])
def shared(request: pytest.FixtureRequest) -> tuple[np.ndarray, Samples]:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((COUNT, D)) * np.geomspace(0.3, 2, D)
    advantages = features @ rng.standard_normal((D, N)) + 2 * rng.standard_normal((COUNT, N))
    offsets = rng.standard_normal(COUNT) if request.param else None
    return features, Samples(advantages.T, episodes=np.arange(COUNT) // 6, offsets=offsets)


def fitted(features: np.ndarray, samples: Samples, **settings) -> SurrogateEstimator:
    return SurrogateEstimator(**{"folds": 1, **settings}).fit_features(features, samples)


@pytest.mark.parametrize(
    "ask",
    [
        lambda surrogate: surrogate.solve(SUBSETS, 1e-10).theta,
        lambda surrogate: surrogate.scores(SUBSETS, 1e-10).per_task,
        lambda surrogate: surrogate.interactions().matrix,
        lambda surrogate: surrogate.interactions().stderr,
        lambda surrogate: surrogate.task_gradients(),
        lambda surrogate: np.array(surrogate.regularization_),
    ],
    ids=["solve", "scores", "interactions", "errors", "gradients", "ridge"],
)
@pytest.mark.parametrize("score", ["loss", "improvement"])
def test_samples_that_serve_all_tasks_are_as_good_as_copies(shared, ask: Callable, score: str) -> None:
    one, many = (ask(fitted(*of, score=score)) for of in (shared, copied(*shared)))
    np.testing.assert_allclose(one, many, rtol=1e-6, atol=1e-9)


def test_so_are_held_out_scores_and_draws_where_folds_are_the_same(shared) -> None:
    one, many = (fitted(*of, folds=3) for of in (shared, copied(*shared)))
    many._folds = np.tile(one._folds, N)
    np.testing.assert_allclose(one.scores(SUBSETS, 1e-10).per_task, many.scores(SUBSETS, 1e-10).per_task,
                               rtol=1e-6, atol=1e-9)  # fmt: skip
    times = np.random.default_rng(1).integers(0, 3, COUNT).astype(float)
    found, expected = (
        surrogate._score(surrogate._members(SUBSETS), 1e-10, np.tile(times, len(surrogate.samples_) // COUNT))
        for surrogate in (one, many)
    )
    np.testing.assert_allclose(found.per_task, expected.per_task, rtol=1e-6, atol=1e-9)


def test_offsets_are_margins_before_any_step(shared) -> None:
    features, samples = shared
    surrogate = fitted(features, samples)
    offsets = np.zeros(COUNT) if samples.offsets is None else samples.offsets
    for subset, theta in zip(SUBSETS, surrogate.solve(SUBSETS, 1e-9).theta, strict=True):
        own = samples.advantages[list(subset)]

        def loss(theta: np.ndarray, own=own) -> float:
            margins = offsets + features @ theta
            each = own.clip(min=0) * np.logaddexp(0, -margins) - own.clip(max=0) * np.logaddexp(0, margins)
            return each.mean() + surrogate.regularization_ / 2 * theta @ theta

        best = minimize(loss, np.zeros(D), method="BFGS", options={"gtol": 1e-9})
        np.testing.assert_allclose(theta, best.x, atol=1e-5)


def test_many_tasks_cost_no_copies() -> None:
    """A thousand tasks on two thousand samples: copies would take two million."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((2000, 20)).astype(np.float32)
    kinds = rng.standard_normal((20, 4))
    advantages = (features @ kinds)[:, np.arange(1000) % 4].T + rng.standard_normal((1000, 2000))
    surrogate = fitted(features, Samples(advantages), folds=4)
    scores = surrogate.scores([tuple(range(kind, 1000, 4)) for kind in range(4)])
    mixed = surrogate.scores([tuple(range(250))])
    assert np.nanmean(scores.per_task) > np.nanmean(mixed.per_task) + 0.05


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Samples(np.zeros((2, 3, 4))), r"advantages have the shape \(2, 3, 4\): give \[N\], or"),
        (lambda: Samples(np.zeros((2, 3)), tasks=np.zeros(3, int)), "serve all tasks: give no tasks"),
        (lambda: Samples(np.zeros(3), tasks=np.zeros(2, int)), "3 samples have 2 tasks: give one entry per"),
        (lambda: Samples(np.zeros(3), tasks=np.array([0, 2, 2])), "task 1 has no samples: collect some"),
        (lambda: Samples(np.zeros(3), tasks=np.array([0, -1, 1])), "task -1 is negative: number tasks"),
        (lambda: Samples(np.ones(3), offsets=np.array([0, np.nan, 0])), "1 offsets are not finite"),
        (lambda: Samples(np.array([1.0, np.inf])), "1 advantages are not finite"),
        (
            lambda: Samples(np.ones(3), tasks=np.array([0, 1, 10**9])),
            "tasks reach 1000000000 with 3 samples: number",
        ),
        (lambda: Samples(np.ma.array(np.ones(3), mask=[0, 1, 0])), "the array is masked in places"),
        (lambda: Samples(np.array([1e-30, -1e-31])), "advantages reach 1e-30: give them in a unit"),
        (lambda: Samples(np.array([1.0, -1e25])), "advantages reach 1e.25: give them in a unit"),
    ],
)
def test_refuses_samples_that_cannot_be(make: Callable[[], Samples], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make().blocks()


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((4, 2)), r"features have the shape \(4, 2\) and type float64 for 3 samples"),
        (np.zeros((3, 2), dtype=int), "type int64 for 3 samples: give float32 or float64"),
        (np.full((3, 2), np.nan), "3 samples have features that are not finite: check the gradients"),
        (np.zeros((3, 2)), "all advantages or gradients are 0, nothing to fit"),
    ],
)
def test_refuses_features_that_cannot_be(features: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fitted(features, Samples(np.ones(3)))


def test_features_without_a_model_lead_back_to_none(shared) -> None:
    surrogate = fitted(*shared)
    for use in (lambda: surrogate.adapted((0,)), surrogate.first_order_error):
        with pytest.raises(ValueError, match="these features came without a model: fit"):
            use()


def test_scores_follow_the_unit_of_advantages() -> None:
    rng = np.random.default_rng(0)
    features, tasks = rng.normal(size=(200, 4)), np.arange(200) % 4
    advantages = features.sum(axis=1) + rng.normal(size=200)
    usual, *others = (
        SurrogateEstimator(projection_dim=4)
        .fit_features(features, Samples(advantages * unit, tasks))
        .scores([[0, 1]])
        .per_task[0, :2]
        / unit
        for unit in (1.0, 1e-14, 1e13)
    )
    for each in others:
        np.testing.assert_allclose(each, usual, rtol=1e-4)


def test_offsets_may_be_far_off() -> None:
    [block] = Samples(np.array([2.0, 2.0, -3.0]), offsets=np.array([-800.0, 800.0, 800.0])).blocks()
    np.testing.assert_array_equal(block.pulls(), [[2.0, 0.0, -3.0]])


def test_gradients_of_tasks_are_those_of_the_loss() -> None:
    """Twice its slope at θ*, also with offsets."""
    rng = np.random.default_rng(0)
    features, tasks, offsets = rng.normal(size=(60, 3)), np.arange(60) % 3, rng.normal(size=60)
    advantages = rng.normal(size=60)
    samples = Samples(advantages, tasks, offsets=offsets)
    found = SurrogateEstimator(projection="none").fit_features(features, samples).task_gradients()

    def loss(theta: np.ndarray, own: np.ndarray) -> float:
        margins = np.sign(advantages) * (offsets + features @ theta)
        return float(np.mean((np.abs(advantages) * np.logaddexp(0, -margins))[own]))

    for task in range(3):
        slope = [(loss(step, tasks == task) - loss(-step, tasks == task)) / 2e-5 for step in 1e-5 * np.eye(3)]
        np.testing.assert_allclose(found[task], -2 * np.array(slope), rtol=1e-6)
