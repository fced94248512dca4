import numpy as np
import pytest
import torch

from gradex.generalization import DenseOperator, lanczos, positive_trace, top_eigenvalue
from gradex.policies import Categorical


@pytest.fixture(scope="module")
def dense() -> torch.Tensor:
    from tests.generalization.conftest import small_hessian

    hessian = small_hessian(Categorical(3), 4, count=60, width=8)
    matrix = hessian @ torch.eye(hessian.size, dtype=torch.float64).expand(2, -1, -1)
    return (matrix + matrix.mT) / 2


def positive_part(dense: torch.Tensor) -> torch.Tensor:
    values, vectors = torch.linalg.eigh(dense)
    return (vectors * values.clamp_min(0).unsqueeze(1)) @ vectors.mT


def test_top_eigenvalue_is_that_of_the_dense_hessian(dense: torch.Tensor) -> None:
    expected = torch.linalg.eigvalsh(dense)[:, -1].numpy()
    few, many = (top_eigenvalue(DenseOperator(dense), steps) for steps in (8, 40))
    np.testing.assert_allclose(many.value, expected, rtol=1e-9)
    assert (many.residual < 1e-4 * expected).all() and many.products == 40
    distance = np.abs(torch.linalg.eigvalsh(dense).numpy() - few.value[:, None]).min(axis=1)
    assert (distance <= few.residual).all() and (few.value <= expected + 1e-12).all()


def test_positive_form_is_that_of_the_dense_hessian(dense: torch.Tensor) -> None:
    vector = torch.randn(2, dense.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.einsum("pi,pij,pj->p", vector, positive_part(dense), vector).numpy()
    for steps, tolerance in ((40, 0.1), (dense.shape[1], 1e-9)):
        quadrature = lanczos(DenseOperator(dense), vector.unsqueeze(2), steps)
        found = vector.square().sum(dim=1) * quadrature.positive[:, 0]
        np.testing.assert_allclose(found.numpy(), expected, rtol=tolerance)


def test_positive_trace_is_within_its_interval(dense: torch.Tensor) -> None:
    expected = positive_part(dense).diagonal(dim1=1, dim2=2).sum(dim=1).numpy()
    estimate = positive_trace(DenseOperator(dense), vectors=60, steps=100)
    low, high = estimate.interval(0.999)
    assert (low < expected).all() and (expected < high).all()
    assert (estimate.stderr < 0.1 * expected).all() and estimate.products == 60 * 100


def test_quadrature_is_exact_for_polynomials(dense: torch.Tensor) -> None:
    start = torch.randn(2, dense.shape[1], 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    unit = start / start.norm(dim=1, keepdim=True)
    result = lanczos(DenseOperator(dense), start, 3)
    for power in range(6):
        expected = (unit * (torch.linalg.matrix_power(dense, power) @ unit)).sum(dim=1)
        torch.testing.assert_close((result.weights * result.nodes**power).sum(dim=2), expected)


def test_an_exhausted_start_sees_its_own_eigenvalues_and_no_others() -> None:
    matrix = torch.diag(torch.tensor([5.0, -1.0, -2.0, -3.0, -4.0], dtype=torch.float64)).unsqueeze(0)
    start = torch.zeros(1, 5, 2, dtype=torch.float64)
    start[0, [1, 3], 0] = torch.tensor([3.0, 4.0], dtype=torch.float64)  # two eigenvectors; and a start of 0
    result = lanczos(DenseOperator(matrix), start, 5)
    assert float(result.nodes[0, 0].max()) == pytest.approx(-1.0)
    assert float((result.weights * result.nodes)[0, 0].sum()) == pytest.approx(-0.36 - 3 * 0.64)
    assert (result.nodes[0, 1] == -torch.inf).all() and (result.positive == 0).all()
    assert result.largest.value == pytest.approx(-1.0)
    assert result.largest.residual == pytest.approx(0, abs=1e-12) and result.largest.products == 10


def test_refuses_too_little() -> None:
    operator = DenseOperator(torch.eye(3, dtype=torch.float64).unsqueeze(0))
    with pytest.raises(ValueError, match="steps=0 is too few: give at least 1"):
        top_eigenvalue(operator, 0)
    with pytest.raises(ValueError, match="vectors=1 is too few for a standard error: give at least 2"):
        positive_trace(operator, 1)
