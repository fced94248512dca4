import numpy as np
import pytest
import torch

from gradex.generalization import PolicyGradientLoss, StackedSamples
from gradex.learners import Transitions
from gradex.policies import Categorical, Gaussian
from tests.oracles import hessian as oracle


@pytest.mark.parametrize("loss", [PolicyGradientLoss(), PolicyGradientLoss(1.0, 0.0)])
@pytest.mark.parametrize("distribution", [Categorical(3), Gaussian(2)])
def test_is_the_formula_sample_by_sample(small_hessian, loss: PolicyGradientLoss, distribution) -> None:
    hessian = small_hessian(distribution, 3, loss)
    policy, theta, samples = hessian.policy, hessian.parameters, hessian.samples
    values = loss.evaluate(policy, theta, samples)
    for row in range(2):
        arrays = [x[row] for x in vars(samples).values()]
        expected = [oracle.sample_loss(loss, policy, theta[row], *(x[n] for x in arrays)) for n in range(7)]
        torch.testing.assert_close(values[row], torch.stack(expected), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("logit", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("advantage", [-1e3, -0.1, 1e3])
def test_no_sample_leaves_the_certified_range(logit: float, advantage: float) -> None:
    loss, distribution = PolicyGradientLoss(3.0, 0.05), Categorical(4)
    outputs = torch.tensor([[[logit, 0.0, 0.0, 0.0]]], dtype=torch.float64)
    actions, advantages = torch.tensor([[0]]), torch.tensor([[advantage]], dtype=torch.float64)
    value = loss.of_outputs(distribution, outputs, {}, actions, advantages)
    interval = loss.range(distribution, value)
    assert interval.certified and interval.width == pytest.approx(2 * 3 * np.log(4 / 0.05))
    assert interval.low <= float(value) <= interval.high


def test_the_certified_range_is_reached() -> None:
    loss, distribution = PolicyGradientLoss(), Categorical(2)
    outputs, actions = torch.tensor([[[-1e4, 0.0]]], dtype=torch.float64), torch.tensor([[0]])
    for advantage in (-9.0, 9.0):
        value = loss.of_outputs(distribution, outputs, {}, actions, outputs.new_full((1, 1), advantage))
        interval = loss.range(distribution, value)
        assert float(value) == pytest.approx(interval.high if advantage > 0 else interval.low)


@pytest.mark.parametrize(
    ("distribution", "loss"),
    [(Gaussian(1), PolicyGradientLoss()), (Categorical(2), PolicyGradientLoss(5, 0))],
)
def test_without_a_bound_the_range_is_the_observed_one(distribution, loss: PolicyGradientLoss) -> None:
    interval = loss.range(distribution, torch.tensor([1.0, -2.0, 3.0]))
    assert (interval.low, interval.high, interval.certified) == (-2.0, 3.0, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0,), "advantage_limit is 0.0: give a positive, finite number"),
        ((float("inf"),), "advantage_limit is inf"),
        ((5.0, 1.0), "smoothing is 1.0"),
        ((5.0, -0.1), "smoothing is -0.1"),
    ],
)
def test_refuses_settings(arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PolicyGradientLoss(*arguments)


def transitions(count: int, first: float) -> Transitions:
    observations = np.arange(first, first + 2 * count, dtype=np.float32).reshape(count, 2)
    zeros = np.zeros(count, dtype=np.int64)
    return Transitions(
        observations=observations, actions=zeros, advantages=np.linspace(0, first, count), tasks=zeros,
        episodes=zeros,
    )  # fmt: skip


def test_samples_stack_and_cut() -> None:
    samples = StackedSamples.of([transitions(5, 0.0), transitions(5, 100.0)])
    assert samples.observations.dtype == samples.advantages.dtype == torch.float64
    assert samples.actions.dtype == torch.int64 and samples.count == 5
    np.testing.assert_array_equal(samples.observations[1].numpy(), transitions(5, 100.0).observations)
    pieces = list(samples.chunks(2))
    assert [piece.count for piece in pieces] == [2, 2, 1]
    torch.testing.assert_close(torch.cat([piece.advantages for piece in pieces], dim=1), samples.advantages)


def test_samples_of_unequal_number_are_refused() -> None:
    with pytest.raises(ValueError, match=r"policies of one stack have \[3, 4\] transitions"):
        StackedSamples.of([transitions(4, 0.0), transitions(3, 0.0)])
