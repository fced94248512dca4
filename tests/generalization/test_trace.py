from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import binom

from gradex.generalization import DenseOperator, Hutchinson, XTrace
from gradex.policies import Categorical

REPEATS = 200
ESTIMATORS = [partial(Hutchinson, 60), partial(XTrace, 60), partial(XTrace, 12)]


def spectrum(name: str, size: int = 120) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    orthogonal = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q
    noise = 0.5 * torch.randn(size, generator=generator, dtype=torch.float64)
    ranks = torch.arange(1, size + 1, dtype=torch.float64)
    values = {
        "outliers": torch.where(ranks <= 3, 20 / ranks, noise),
        "decay": 1 / ranks,
        "rank 4": torch.where(ranks <= 4, 5 - ranks, 0.0),
        "zero": 0 * ranks,
    }[name]
    return (orthogonal * values) @ orthogonal.T


@pytest.fixture(scope="module")
def matrices(request: pytest.FixtureRequest) -> dict[str, torch.Tensor]:
    from tests.generalization.conftest import small_hessian

    hessian = small_hessian(Categorical(3), 3, policies=1, count=100, width=8)
    network = (hessian @ torch.eye(hessian.size, dtype=torch.float64)[None])[0]
    return {"network": network} | {name: spectrum(name) for name in ("outliers", "decay")}


@pytest.mark.parametrize("make", ESTIMATORS, ids=lambda make: f"{make.func.__name__}-{make.args[0]}")
@pytest.mark.parametrize("name", ["network", "outliers", "decay"])
def test_intervals_hold_the_trace_as_often_as_they_say(matrices, name: str, make) -> None:
    operator = DenseOperator(matrices[name].unsqueeze(0))
    trace = float(matrices[name].trace())
    estimates = [make(seed=seed).estimate(operator) for seed in range(REPEATS)]
    values = np.concatenate([estimate.value for estimate in estimates])
    inside = sum(low[0] <= trace <= high[0] for low, high in (e.interval(0.95) for e in estimates))
    # 99.9 % of binomial counts lie within, if intervals hold with the stated chance.
    assert binom.ppf(0.0005, REPEATS, 0.95) <= inside
    assert abs(values.mean() - trace) < 4 * values.std() / np.sqrt(REPEATS)
    stderr = np.sqrt(np.mean([estimate.stderr**2 for estimate in estimates]))
    assert 0.85 < stderr / values.std() < 1.2


@pytest.mark.parametrize("make", [partial(XTrace, 60), partial(XTrace, 12)])
@pytest.mark.parametrize("name", ["rank 4", "zero"])
def test_a_matrix_of_low_rank_is_no_estimate(name: str, make) -> None:
    matrix = spectrum(name)
    estimate = make().estimate(DenseOperator(matrix.unsqueeze(0)))
    assert estimate.value[0] == pytest.approx(float(matrix.trace()), abs=1e-9)
    assert estimate.stderr[0] < 1e-6


def test_xtrace_is_the_mean_over_vectors_left_out_in_turn() -> None:
    matrix, k = spectrum("outliers", 30), 5
    generator = torch.Generator().manual_seed(3)
    vectors = torch.randn(30, k, generator=generator, dtype=torch.float64)
    vectors *= 30**0.5 / vectors.norm(dim=0)

    def estimate(i: int, others: list[int]) -> float:
        basis = torch.linalg.qr(matrix @ vectors[:, others]).Q
        rest = vectors[:, i] - basis @ (basis.T @ vectors[:, i])
        rest *= (30 - len(others)) ** 0.5 / rest.norm()
        return float((basis * (matrix @ basis)).sum() + rest @ matrix @ rest)

    def without(*left: int) -> list[int]:
        return [j for j in range(k) if j not in left]

    t = np.array([estimate(i, without(i)) for i in range(k)])
    gains = np.array(
        [[t[i] - estimate(i, without(i, j)) if j != i else 0 for i in range(k)] for j in range(k)]
    )
    covariance = (gains * gains.T).sum() / (k * (k - 1))
    ours = XTrace(2 * k, seed=3).estimate(DenseOperator(matrix.unsqueeze(0)))
    assert ours.value[0] == pytest.approx(t.mean(), rel=1e-10)
    assert ours.stderr[0] == pytest.approx(np.sqrt(t.var(ddof=1) / k + max(covariance, 0)), rel=1e-8)


@pytest.mark.parametrize("make", ESTIMATORS)
def test_stacks_seeds_and_products(make) -> None:
    stack = torch.stack([spectrum("outliers"), spectrum("decay")])
    together = make(seed=1).estimate(DenseOperator(stack))
    torch.manual_seed(5)  # nothing draws from the global generator
    for row in range(2):
        alone = make(seed=1).estimate(DenseOperator(stack[row : row + 1]))
        assert alone.value[0] == pytest.approx(together.value[row], rel=1e-10)
        assert alone.stderr[0] == pytest.approx(together.stderr[row], rel=1e-8)
    assert together.products == make.args[0]
    assert (make(seed=2).estimate(DenseOperator(stack)).value != together.value).all()
    scaled = make(seed=1).estimate(DenseOperator(-3 * stack))
    np.testing.assert_allclose(scaled.value, -3 * together.value, rtol=1e-10)
    np.testing.assert_allclose(scaled.stderr, 3 * together.stderr, rtol=1e-8)


def test_products_are_those_that_were_asked_for() -> None:
    class Counting(DenseOperator):
        def __matmul__(self, vectors):
            counts.append(vectors.shape[2])
            return super().__matmul__(vectors)

    for make in ESTIMATORS:
        counts: list[int] = []
        make().estimate(Counting(spectrum("decay").unsqueeze(0)))
        assert sum(counts) == make.args[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Hutchinson(1), "products=1 is too few for a standard error: give at least 2"),
        (lambda: XTrace(7), "products=7: XTrace takes an even number, at least 6"),
        (lambda: XTrace(4), "products=4: XTrace takes an even number, at least 6"),
    ],
)
def test_refuses_numbers_of_products(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_refuses_to_see_the_whole_space_and_impossible_levels() -> None:
    operator = DenseOperator(spectrum("decay", 10).unsqueeze(0))
    with pytest.raises(ValueError, match="products=20 span a matrix of 10 rows: give fewer"):
        XTrace(20).estimate(operator)
    with pytest.raises(ValueError, match=r"level is 95: choose a chance between 0 and 1"):
        XTrace(6).estimate(operator).interval(95)
