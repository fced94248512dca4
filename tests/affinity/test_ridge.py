import numpy as np
import pytest
from scipy.sparse.linalg import aslinearoperator

from gradex.affinity.ridge import DenseRidge, IterativeRidge, best_strength

STRENGTHS = (1e-3, 0.1, 10.0)
every_shape = pytest.mark.parametrize("shape", [(12, 30), (30, 12), (15, 15)])


def problem(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape), rng.standard_normal(shape[0])


def oracle(design, target, strength):
    """Solve the normal equations; return coefficients, squared misfit and its degrees of freedom."""
    inverse = np.linalg.inv(design.T @ design + strength * np.eye(design.shape[1]))
    coefficients = inverse @ design.T @ target
    residual = target - design @ coefficients
    return coefficients, residual @ residual, np.trace(np.eye(len(target)) - design @ inverse @ design.T)


@every_shape
@pytest.mark.parametrize("strength", STRENGTHS)
def test_dense(shape, strength):
    design, target = problem(shape)
    coefficients, squared, freedom = oracle(design, target, strength)
    ridge = DenseRidge(design, target, freedom=len(target))
    np.testing.assert_allclose(ridge.coefficients(strength), coefficients, atol=1e-8)
    assert ridge.misfit(strength) == pytest.approx((squared, freedom), rel=1e-6)


@every_shape
@pytest.mark.parametrize("strength", STRENGTHS)
def test_iterative(shape, strength):
    design, target = problem(shape)
    coefficients, squared, freedom = oracle(design, target, strength)
    operator = aslinearoperator(design)
    signs = np.random.default_rng(1).choice([-1.0, 1.0], size=(400, len(target)))
    ridges = [IterativeRidge(operator, target, probe) for probe in signs]
    np.testing.assert_allclose(ridges[0].coefficients(strength), coefficients, atol=1e-7)
    assert ridges[0].misfit(strength)[0] == pytest.approx(squared, rel=1e-3)
    estimates = [ridge.misfit(strength)[1] for ridge in ridges]
    assert np.mean(estimates) == pytest.approx(freedom, abs=4 * np.std(estimates) / 20 + 1e-6)


def test_cross_validation_finds_the_noise():
    """The best strength is the variance of the noise over that of the coefficients."""
    rng = np.random.default_rng(0)
    design = rng.standard_normal((400, 200))
    strengths = np.logspace(-3, 5, 9)
    for noise in (1.0, 10.0, 100.0):
        target = design @ rng.standard_normal(200) + noise * rng.standard_normal(400)
        best = best_strength(DenseRidge(design, target, freedom=400), strengths)
        assert noise**2 / 10 <= best <= noise**2 * 10
