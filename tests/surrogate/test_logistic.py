from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from gradex.surrogate import logistic
from gradex.surrogate.logistic import SubsetLogisticRegression
from gradex.surrogate.samples import Samples
from tests.oracles import surrogate as oracle

N_TASKS, D, LAMBDA = 5, 9, 0.01


@pytest.fixture
def samples() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    count = 400
    features = rng.standard_normal((count, D)) * np.geomspace(0.1, 3, D)
    labels = np.where(features @ rng.standard_normal(D) + rng.standard_normal(count) > 0, 1.0, -1.0)
    tasks = np.concatenate([np.arange(N_TASKS), rng.integers(0, N_TASKS, count - N_TASKS)])  # unequal sizes
    return {"features": features, "labels": labels, "weights": rng.exponential(size=count), "tasks": tasks}


@pytest.fixture
def members() -> np.ndarray:
    """All subsets of 1 to 5 tasks."""
    subsets = [subset for size in range(1, N_TASKS + 1) for subset in combinations(range(N_TASKS), size)]
    return np.array([[task in subset for task in range(N_TASKS)] for subset in subsets])


def regression(samples: dict[str, np.ndarray], regularization: float) -> SubsetLogisticRegression:
    blocks = Samples(samples["labels"] * samples["weights"], samples["tasks"]).blocks()
    return SubsetLogisticRegression(samples["features"], blocks, regularization)


def everything(samples: dict[str, np.ndarray]) -> np.ndarray:
    return np.ones((1, len(samples["tasks"])), dtype=bool)


def of_subset(samples: dict[str, np.ndarray], inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = inside[samples["tasks"]]
    return (samples["features"] * samples["labels"][:, None])[rows], samples["weights"][rows]


@pytest.mark.parametrize("regularization", [1.0, LAMBDA, 1e-5])
def test_every_subset_has_the_minimiser_that_newton_finds(samples, members, regularization: float) -> None:
    solution = regression(samples, regularization).solve(members, everything(samples), 1e-11)
    assert (solution.status == "converged").all()
    for inside, theta in zip(members, solution.theta[:, 0], strict=True):
        best = oracle.newton(*of_subset(samples, inside), regularization)
        np.testing.assert_allclose(theta, best, rtol=1e-5, atol=1e-7)


def test_every_subset_has_the_minimiser_that_scikit_learn_finds(samples, members) -> None:
    solution = regression(samples, LAMBDA).solve(members, everything(samples), 1e-10)
    for inside, theta in zip(members[::4], solution.theta[::4, 0], strict=True):
        rows = inside[samples["tasks"]]
        # scikit-learn minimises C Σ w log(1 + exp(-z)) + |θ|²/2.
        model = LogisticRegression(
            C=1 / (LAMBDA * rows.sum()), fit_intercept=False, tol=1e-12, max_iter=10_000
        )
        model.fit(samples["features"][rows], samples["labels"][rows], sample_weight=samples["weights"][rows])
        np.testing.assert_allclose(theta, model.coef_[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-4, 1e-6, 1e-10])
def test_reported_residual_is_the_true_one_and_below_the_tolerance(
    samples, members, tolerance: float
) -> None:
    solution = regression(samples, LAMBDA).solve(members, everything(samples), tolerance)
    assert (solution.kkt_residual <= tolerance).all()
    rounding = 1e-5 if tolerance >= 1e-5 else 1e-12
    for inside, theta, residual in zip(
        members, solution.theta[:, 0], solution.kkt_residual[:, 0], strict=True
    ):
        signed, weights = of_subset(samples, inside)
        slope, start = (oracle.gradient(x, signed, weights, LAMBDA) for x in (theta, np.zeros(D)))
        assert residual == pytest.approx(
            np.linalg.norm(slope) / np.linalg.norm(start), rel=1e-3, abs=rounding
        )


def test_every_step_decreases_the_loss(samples, members) -> None:
    # Large features make the curvature vary along a step, where Newton's step would overshoot.
    samples["features"] = 30 * samples["features"]
    fitted = regression(samples, 1e-3)
    losses = []
    for iterations in range(30):
        theta = fitted.solve(members, everything(samples), 1e-13, iterations).theta[:, 0]
        each = zip(members, theta, strict=True)
        losses.append([oracle.loss(x, *of_subset(samples, inside), 1e-3) for inside, x in each])
    change = np.diff(losses, axis=0)
    assert (change <= 1e-7).all()  # the first steps are in float32
    assert (change[0] < 0).all()


def test_says_when_the_iterations_did_not_suffice(samples, members) -> None:
    solution = regression(samples, 1e-4).solve(members, everything(samples), 1e-12, 2)
    assert set(solution.status.ravel()) == {"iteration limit"}
    assert (solution.iterations == 2).all()
    assert (solution.kkt_residual > 1e-12).all()


def test_a_fold_fits_its_own_samples_only(samples, members) -> None:
    fold = np.arange(len(samples["tasks"])) % 3
    fitted = fold != np.arange(3)[:, None]
    solution = regression(samples, LAMBDA).solve(members, fitted, 1e-11)
    assert solution.theta.shape == (len(members), 3, D)
    for number in range(3):
        for inside, theta in zip(members, solution.theta[:, number], strict=True):
            rows = inside[samples["tasks"]] & fitted[number]
            signed = (samples["features"] * samples["labels"][:, None])[rows]
            best = oracle.newton(signed, samples["weights"][rows], LAMBDA)
            np.testing.assert_allclose(theta, best, rtol=1e-6, atol=1e-8)


def test_a_subset_does_not_depend_on_its_company(samples, members, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = regression(samples, LAMBDA)
    together = fitted.solve(members, everything(samples), 1e-10)
    alone = fitted.solve(members[7:8], everything(samples), 1e-10)
    np.testing.assert_allclose(alone.theta[0], together.theta[7], rtol=1e-7, atol=1e-9)
    assert abs(alone.iterations[0] - together.iterations[7]) <= 1  # rounding decides about the last
    monkeypatch.setattr(logistic, "_CHUNK", 1)  # one subset at a time
    chunked = fitted.solve(members, everything(samples), 1e-10)
    np.testing.assert_allclose(chunked.theta, together.theta, rtol=1e-7, atol=1e-9)


def test_single_precision_samples_are_fitted_in_double_precision_where_the_tolerance_asks(
    samples, members
) -> None:
    samples["features"] = samples["features"].astype(np.float32)
    solution = regression(samples, LAMBDA).solve(members, everything(samples), 1e-10)
    assert (solution.status == "converged").all()
    samples["features"] = samples["features"].astype(np.float64)
    best = oracle.newton(*of_subset(samples, members[-1]), LAMBDA)
    np.testing.assert_allclose(solution.theta[-1, 0], best, rtol=1e-7)


def test_separable_samples_converge(samples, members) -> None:
    samples["labels"] = np.where(samples["features"][:, -1] > 0, 1.0, -1.0)
    solution = regression(samples, 1e-6).solve(members, everything(samples), 1e-4)
    assert (solution.status == "converged").all()


def test_tasks_without_weight_stay_where_they_are(samples, members) -> None:
    samples["weights"] = np.where(samples["tasks"] == 2, 0.0, samples["weights"])
    solution = regression(samples, LAMBDA).solve(members, everything(samples), 1e-6)
    alone = np.flatnonzero((members == (np.arange(N_TASKS) == 2)).all(axis=1))[0]
    assert (solution.theta[alone] == 0).all()
    assert solution.kkt_residual[alone] == 0 and solution.iterations[alone] == 0
    assert (solution.status == "converged").all()


def test_refuses_a_regularization_that_rounding_loses(samples, members) -> None:
    samples["features"][:, 1] = samples["features"][:, 0]
    samples["features"] *= 1e6
    fitted = regression(samples, 1e-30)
    with pytest.raises(ValueError, match="regularization 1e-30 is lost in rounding: choose a larger one"):
        fitted.solve(members, everything(samples), 1e-6)


def test_draws_no_random_numbers(samples, members) -> None:
    before = torch.random.get_rng_state()
    regression(samples, LAMBDA).solve(members, everything(samples), 1e-6)
    assert torch.equal(torch.random.get_rng_state(), before)
