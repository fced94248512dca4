from math import log, sqrt

import numpy as np
import pytest
import torch

from gradex.generalization import LossRange, PACBayes, perturbed_loss
from gradex.policies import Categorical, Gaussian

RANGE = LossRange(-10.0, 10.0, certified=True)


def test_isotropic_is_the_best_of_mcallesters_bounds() -> None:
    loss, trace, r, N, delta = -0.5, 4.0, 3.0, 5000, 0.1
    bound = PACBayes(delta).isotropic(loss, RANGE, trace, r, N)
    values = []
    for epsilon in PACBayes().epsilons:
        for sigma in PACBayes().sigmas:
            beta = 1 / (1 + epsilon)
            divergence = r**2 / (2 * sigma**2)
            perturbed = loss + 10 + sigma**2 * trace / 2
            confidence = log(6 * 41 / delta)
            values.append(
                perturbed / beta + 20 * (divergence + confidence) / (2 * beta * (1 - beta) * N) - 10
            )
    assert bound.value == pytest.approx(min(values))
    terms = (bound.empirical_term, bound.curvature_term, bound.divergence_term, bound.confidence_term)
    assert sum(terms) == pytest.approx(bound.value) and not bound.vacuous
    assert bound.measured(loss + bound.sigma**2 * trace / 2) == pytest.approx(bound.value)


def test_the_best_sigma_gives_the_shape_of_the_theorem() -> None:
    trace, r, N, epsilon = 4.0, 3.0, 5000, 0.3
    fine = tuple(np.geomspace(1e-3, 1e2, 2000))
    bound = PACBayes(epsilons=(epsilon,), sigmas=fine).isotropic(0.0, RANGE, trace, r, N)
    expected = (1 + epsilon) * sqrt((1 + epsilon) / (2 * epsilon)) * sqrt(20 * trace * r**2 / N)
    assert bound.curvature_term + bound.divergence_term == pytest.approx(expected, rel=1e-4)
    form = 1.5
    sharper = PACBayes(epsilons=(epsilon,)).anisotropic(0.0, RANGE, form, r, N)
    expected = (1 + epsilon) * sqrt((1 + epsilon) / (2 * epsilon)) * sqrt(20 * form / N)
    assert sharper.curvature_term + sharper.divergence_term == pytest.approx(expected, rel=1e-9)


def test_no_covariance_beats_the_anisotropic_one() -> None:
    rng = np.random.default_rng(0)
    root = rng.standard_normal((4, 4))
    hessian, v = root @ root.T, rng.standard_normal(4)
    bounds = PACBayes(epsilons=(0.5,))
    best = bounds.anisotropic(0.0, RANGE, float(v @ hessian @ v), float(np.linalg.norm(v)), 1000)
    rate = 1.5**2 * 20 / (2 * 0.5 * 1000)
    for scale in np.geomspace(0.01, 10, 20):
        for _ in range(20):
            factor = scale * rng.standard_normal((4, 4))
            covariance = factor @ factor.T + 1e-9 * np.eye(4)
            value = 1.5 * np.trace(covariance @ hessian) / 2 + rate * v @ np.linalg.solve(covariance, v) / 2
            assert value >= best.curvature_term + best.divergence_term
    top = float(np.trace(hessian))
    isotropic = bounds.isotropic(0.0, RANGE, top, float(np.linalg.norm(v)), 1000)
    assert best.value <= isotropic.value


def test_moves_as_its_constants_do() -> None:
    def value(loss=0.0, trace=5.0, distance=2.0, samples=1000, delta=0.05) -> float:
        return PACBayes(delta).isotropic(loss, RANGE, trace, distance, samples).value

    assert value(loss=1.0) > value() and value(trace=50.0) > value() and value(distance=9.0) > value()
    assert value(samples=100) > value() and value(delta=0.001) > value()
    assert value(trace=-5.0) == value(trace=0.0) < value()


def test_says_when_it_says_nothing() -> None:
    assert PACBayes().isotropic(0.0, RANGE, 50.0, 10.0, 20).vacuous
    assert not PACBayes().isotropic(0.0, RANGE, 50.0, 10.0, 10**7).vacuous


@pytest.mark.parametrize("method", ["isotropic", "anisotropic"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": np.nan}, "loss is nan: give a number"),
        ({"curvature": np.nan}, "(trace|form) is nan: give a number"),
        ({"distance": -1.0}, "distance is -1.0: choose at least 0"),
        ({"distance": np.nan}, "distance is nan: give a finite number"),
        ({"samples": 0}, "samples is 0: it must be positive"),
        ({"samples": -3}, "samples is -3: it must be positive"),
    ],
)
def test_refuses_numbers_that_bound_nothing(method: str, wrong: dict, message: str) -> None:
    given = {"loss": 0.1, "range": RANGE, "curvature": 5.0, "distance": 1.0, "samples": 100} | wrong
    with pytest.raises(ValueError, match=message):
        getattr(PACBayes(), method)(*given.values())


@pytest.mark.parametrize(("low", "high"), [(1.0, 0.0), (np.nan, 1.0), (0.0, np.nan)])
def test_refuses_a_range_that_holds_no_loss(low: float, high: float) -> None:
    with pytest.raises(ValueError, match=f"the loss ranges from {low} to {high}: give numbers, the lower"):
        LossRange(low, high, certified=True)


def test_an_untrained_policy_has_no_divergence() -> None:
    for bound in (
        PACBayes().isotropic(0.0, RANGE, 5.0, 0.0, 1000),
        PACBayes().anisotropic(0.0, RANGE, 0.0, 0.0, 1000),
    ):
        assert bound.divergence_term == 0 and np.isfinite(bound.value)


def test_perturbed_loss_is_what_the_expansion_says_for_small_noise(small_hessian) -> None:
    hessian = small_hessian(Categorical(3), 3, count=30)
    arguments = (hessian.loss, hessian.policy, hessian.parameters, hessian.samples)
    dense = hessian @ torch.eye(hessian.size, dtype=torch.float64).expand(2, -1, -1)
    trace = dense.diagonal(dim1=1, dim2=2).sum(dim=1).numpy()
    here = hessian.loss.evaluate(*arguments[1:]).mean(dim=1).numpy()
    sigma = np.array([1e-2, 2e-2])
    value, stderr = perturbed_loss(*arguments, sigma, draws=200, seed=0)
    expected = here + sigma**2 * trace / 2
    assert (stderr < 2e-3 * np.abs(here) + 1e-3).all()
    assert (np.abs(value - expected) < 4 * stderr + 1e-5).all()
    assert (np.abs(value - here) > 0).all()


def test_perturbed_losses_end_where_their_range_does(small_hessian) -> None:
    """A Gaussian policy far away finds actions so improbable that its loss may be anything."""
    hessian = small_hessian(Gaussian(2), 3, count=30)
    arguments = (hessian.loss, hessian.policy, hessian.parameters, hessian.samples, np.full(2, 3.0), 4, 0)
    here = hessian.loss.evaluate(*arguments[1:4]).numpy()
    ranges = [LossRange(float(own.min()), float(own.max()), certified=False) for own in here]
    value, _ = perturbed_loss(*arguments, ranges)
    free, _ = perturbed_loss(*arguments)
    for own, cut, wild in zip(ranges, value, free, strict=True):
        assert own.low < cut < own.high and not own.low < wild < own.high
    wide = [LossRange(-1e9, 1e9, certified=False)] * 2
    np.testing.assert_allclose(perturbed_loss(*arguments, wide)[0], free)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"delta": 0.0}, "delta is 0.0"),
        ({"epsilons": ()}, r"epsilons are \[\]"),
        ({"sigmas": (0.1, 0.0)}, r"sigmas are \[0.1, 0.0\]"),
    ],
)
def test_refuses_settings(settings, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PACBayes(**settings)


def test_refuses_a_single_draw(small_hessian) -> None:
    hessian = small_hessian(Categorical(3), 2)
    with pytest.raises(ValueError, match="draws=1 is too few for a standard error: give at least 2"):
        perturbed_loss(
            hessian.loss, hessian.policy, hessian.parameters, hessian.samples, np.ones(2), 1, seed=0
        )
