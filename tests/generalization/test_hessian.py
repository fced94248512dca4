import dataclasses
import sys

import pytest
import torch

from gradex.generalization import ExactTrace, Hessian, PolicyGradientLoss
from gradex.policies import Categorical, Gaussian, Policy, Standardised
from tests.oracles import hessian as oracle


def dense(hessian):
    return hessian @ torch.eye(hessian.size, dtype=hessian.dtype).expand(hessian.stack, -1, -1)


def expected(hessian):
    return oracle.hessians(hessian.loss, hessian.policy, hessian.parameters, hessian.samples)


def test_products_and_exact_trace_are_those_of_the_dense_hessian(hessian) -> None:
    matrices = expected(hessian)
    scale = matrices.abs().amax()
    torch.testing.assert_close(dense(hessian), matrices, rtol=0, atol=1e-12 * float(scale))
    traces = matrices.diagonal(dim1=1, dim2=2)
    exact = ExactTrace().estimate(hessian)
    assert (abs(exact.value - traces.sum(1).numpy()) <= 1e-12 * traces.abs().sum(1).numpy()).all()
    assert (exact.stderr == 0).all() and exact.products == 0
    assert all((end == exact.value).all() for end in exact.interval())


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_holds_with_another_loss_and_where_the_network_sees_the_task(small_hessian, smoothing: float) -> None:
    loss = PolicyGradientLoss(advantage_limit=1.0, smoothing=smoothing)
    hessian = small_hessian(Categorical(3), 3, loss, tasks=2)
    matrices = expected(hessian)
    torch.testing.assert_close(dense(hessian), matrices, rtol=1e-10, atol=1e-13)
    trace = matrices.diagonal(dim1=1, dim2=2).sum(1)
    torch.testing.assert_close(
        torch.from_numpy(ExactTrace().estimate(hessian).value), trace, rtol=1e-10, atol=0
    )


@pytest.mark.parametrize("architecture", ["multi_head", "soft_modularization", "paco", "care"])
def test_networks_for_several_tasks_have_products_and_no_exact_trace(small_hessian, architecture) -> None:
    hessian = small_hessian(Categorical(3), 3, width=3, tasks=2, policies=1, architecture=architecture)
    torch.testing.assert_close(dense(hessian), expected(hessian), rtol=1e-10, atol=1e-12)
    name = type(hessian.policy.network).__name__
    with pytest.raises(ValueError, match=f"^no exact trace is known for a {name}: estimate it, .*XTrace"):
        ExactTrace().estimate(hessian)


def test_chunks_do_not_matter(small_hessian, monkeypatch: pytest.MonkeyPatch) -> None:
    hessian = small_hessian(Gaussian(2), 4)
    vectors = torch.randn(2, hessian.size, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = hessian @ vectors, ExactTrace().estimate(hessian).value
    monkeypatch.setattr(sys.modules["gradex.generalization.hessian"], "_CHUNK", 4)
    monkeypatch.setattr(sys.modules["gradex.generalization.exact_trace"], "_ENTRIES", 150)
    torch.testing.assert_close(hessian @ vectors, whole[0], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(ExactTrace().estimate(hessian).value, whole[1], rtol=1e-12, atol=0)


def test_a_policy_does_not_depend_on_its_company(small_hessian) -> None:
    both = small_hessian(Categorical(3), 4)
    samples = type(both.samples)(*(x[1:] for x in vars(both.samples).values()))
    alone = dataclasses.replace(both, parameters=both.parameters[1:], samples=samples)
    torch.testing.assert_close(dense(alone)[0], dense(both)[1], rtol=1e-12, atol=1e-15)
    assert ExactTrace().estimate(alone).value[0] == pytest.approx(ExactTrace().estimate(both).value[1])


def test_precision_is_that_of_the_parameters(small_hessian) -> None:
    double = small_hessian(Categorical(3), 4)
    numbers = (x.float() if x.is_floating_point() else x for x in vars(double.samples).values())
    single = dataclasses.replace(
        double, parameters=double.parameters.float(), samples=type(double.samples)(*numbers)
    )
    products = dense(single)
    assert products.dtype == torch.float32
    torch.testing.assert_close(products.double(), dense(double), rtol=1e-3, atol=1e-4)
    assert ExactTrace().estimate(single).value == pytest.approx(ExactTrace().estimate(double).value, rel=1e-3)


def test_leaves_no_gradients_behind_and_works_without(hessian) -> None:
    with torch.no_grad():
        product = hessian @ torch.ones(hessian.stack, hessian.size, 1, dtype=torch.float64)
    assert not product.requires_grad and not hessian.parameters.requires_grad


@pytest.mark.parametrize("layers", [1, 3, 5])
def test_the_exact_trace_of_standardised_perceptrons_is_that_of_the_dense_hessian(
    small_hessian, layers: int
) -> None:
    plain = small_hessian(Gaussian(2), layers)
    network = Standardised(plain.policy.network, (0.5, -2.0, 1.0), (2.0, 0.3, 1.0))
    policy = Policy(network, plain.policy.distribution)
    hessian = Hessian(policy, plain.loss, plain.parameters, plain.samples)
    dense = oracle.hessians(plain.loss, policy, plain.parameters, plain.samples)
    traces = dense.diagonal(dim1=1, dim2=2)
    found = ExactTrace().estimate(hessian)
    assert (abs(found.value - traces.sum(1).numpy()) <= 1e-12 * traces.abs().sum(1).numpy()).all()
    assert found.value != pytest.approx(ExactTrace().estimate(plain).value)


def test_exact_trace_refuses_what_it_does_not_know() -> None:
    from gradex.generalization import DenseOperator

    with pytest.raises(
        ValueError, match=r"no exact trace is known for a DenseOperator: estimate it, .*XTrace"
    ):
        ExactTrace().estimate(DenseOperator(torch.eye(3)[None]))
