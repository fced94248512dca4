"""Squashed Gaussians against torch.distributions, and far out against more digits."""

from math import log

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.distributions import AffineTransform, Independent, Normal, TanhTransform, TransformedDistribution

from gradex.policies import SquashedGaussian
from gradex.seeds import Streams

POLICIES, BATCH = 3, 5
CASES = [SquashedGaussian(1), SquashedGaussian(3), SquashedGaussian(2, (-2.0, 0.0), (1.0, 5.0))]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def theirs(distribution: SquashedGaussian, outputs: torch.Tensor) -> torch.distributions.Distribution:
    mean, log_std = outputs.chunk(2, dim=-1)
    low, high = torch.tensor(distribution.low).double(), torch.tensor(distribution.high).double()
    transforms = [TanhTransform(), AffineTransform((low + high) / 2, (high - low) / 2)]
    return Independent(TransformedDistribution(Normal(mean, log_std.clamp(-20, 2).exp()), transforms), 1)


@pytest.mark.parametrize("distribution", CASES)
def test_equals_torch(distribution: SquashedGaussian) -> None:
    # Not so wide that an action is beyond what is told apart.
    outputs = 0.5 * normal(POLICIES, BATCH, distribution.outputs)
    noise = normal(POLICIES, BATCH, distribution.dimensions, seed=1)
    reference = theirs(distribution, outputs)
    actions = distribution.sample(outputs, {}, noise)
    low, high = torch.tensor(distribution.low), torch.tensor(distribution.high)
    assert ((actions > low) & (actions < high)).all()
    ours = distribution.log_prob(outputs, {}, actions)
    torch.testing.assert_close(ours, reference.log_prob(actions), rtol=1e-9, atol=1e-9)
    # The same draw between -1 and 1; its density differs by the size of the intervals.
    scaled, log_density = distribution.squash(outputs, noise)
    torch.testing.assert_close(scaled, distribution.squashed(actions), rtol=1e-12, atol=1e-12)
    volume = ((high - low) / 2).double().log().sum()
    torch.testing.assert_close(log_density - volume, ours, rtol=1e-9, atol=1e-9)
    mean, _ = outputs.chunk(2, dim=-1)
    torch.testing.assert_close(distribution.squashed(distribution.mode(outputs)), torch.tanh(mean))


def test_the_density_of_a_draw_is_right_far_out() -> None:
    mean = torch.tensor([-30.0, -9.0, 12.0, 50.0])
    outputs = torch.stack([mean, torch.zeros(4)], dim=-1).unsqueeze(0)
    scaled, log_density = SquashedGaussian(1).squash(outputs, torch.zeros(1, 4, 1))
    # log(1 - tanh²u) is log 4 - 2 |u| here, up to exp(-2 |u|).
    expected = -0.5 * log(2 * np.pi) - (log(4) - 2 * mean.abs())
    torch.testing.assert_close(log_density[0], expected)
    assert (scaled.abs() <= 1).all()


def test_deviations_are_clamped() -> None:
    distribution = SquashedGaussian(1)
    for raw, clamped in ((-1e3, -20.0), (1e3, 2.0)):
        action = distribution.sample(torch.tensor([[[0.0, raw]]]), {}, torch.full((1, 1, 1), 0.01))
        torch.testing.assert_close(action.item(), np.tanh(0.01 * np.exp(clamped)).item())


def test_gradients_of_stored_actions_are_those_of_a_normal_density() -> None:
    """Also where an action was rounded to the end of its interval: there they stay finite."""
    distribution = SquashedGaussian(2, (-1.0, -3.0), (1.0, 3.0))
    outputs = normal(1, BATCH, 4).requires_grad_()
    u = normal(1, BATCH, 2, seed=2)
    actions = torch.tanh(u) * torch.tensor([1.0, 3.0])
    (ours,) = torch.autograd.grad(distribution.log_prob(outputs, {}, actions).sum(), outputs)
    mean, log_std = outputs.chunk(2, dim=-1)
    (expected,) = torch.autograd.grad(Normal(mean, log_std.exp()).log_prob(u).sum(), outputs)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


def test_actions_at_the_end_of_their_interval_have_its_mean_density() -> None:
    """Also where an action was rounded to the end: there derivatives are those of a probability."""
    distribution = SquashedGaussian(2, (-1.0, -3.0), (1.0, 3.0))
    outputs = normal(1, BATCH, 4)
    outputs[..., 0] += 5
    outputs.requires_grad_()
    edge = torch.tensor([1.0, -3.0], dtype=torch.float64).expand(1, BATCH, 2)
    mean, log_std = outputs.chunk(2, dim=-1)
    outermost = torch.atanh(torch.tensor(1 - 2**-17, dtype=torch.float64))
    far = (mean * torch.tensor([1.0, -1.0]) - outermost) / log_std.exp()
    expected = torch.special.log_ndtr(far) - torch.tensor([2.0**-17, 3 * 2.0**-17]).double().log()
    ours = distribution.log_prob(outputs, {}, edge)
    torch.testing.assert_close(ours, expected.sum(dim=-1), rtol=1e-9, atol=1e-9)
    gradients = [torch.autograd.grad(each.sum(), outputs)[0] for each in (ours, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mean", [-100.0, -3.0, 0.0, 5.0, 100.0])
def test_derivatives_at_the_end_of_an_interval_stay_finite(mean: float) -> None:
    outputs = torch.tensor([[[mean, -3.0]]], requires_grad=True)
    action = torch.ones(1, 1, 1)
    value = SquashedGaussian(1).log_prob(outputs, {}, action).sum()
    (first,) = torch.autograd.grad(value, outputs, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), outputs)
    assert all(tensor.isfinite().all() for tensor in (value, first, second))


@pytest.mark.parametrize("interval", [(-1.0, 1.0), (0.0, 1.0), (100.0, 101.0)])
@pytest.mark.parametrize("mean", [-8.0, 0.0, 3.0, 4.0, 6.0, 7.0, 10.0])
def test_scores_of_stored_actions_are_0_on_average(mean: float, interval: tuple[float, float]) -> None:
    """However many of them were rounded to the end of their interval."""
    count, (low, high) = 40_000, interval
    distribution = SquashedGaussian(1, (low,), (high,))
    outputs = torch.tensor([mean, -1.0]).repeat(1, count, 1).requires_grad_()
    noise = torch.from_numpy(Streams([1]).normals(count, 1)).float()
    actions = distribution.sample(outputs, {}, noise).detach()
    (scores,) = torch.autograd.grad(distribution.log_prob(outputs, {}, actions).sum(), outputs)
    # Standard errors of scores of the mean and the log-standard-deviation, if u were known.
    allowed = 4 * torch.tensor([np.e, 2**0.5]) / count**0.5
    assert (scores[0].mean(dim=0).abs() < allowed).all()


def test_samples_have_their_density() -> None:
    """A histogram against the integral of the density."""
    distribution, draws = SquashedGaussian(1, (2.0,), (6.0,)), 40_000
    row = torch.tensor([0.7, -0.3], dtype=torch.float64)
    outputs = row.expand(1, draws, 2)
    actions = distribution.sample(outputs, {}, torch.from_numpy(Streams([0]).normals(draws, 1)))
    edges = np.linspace(2, 6, 9)
    counts, _ = np.histogram(actions.numpy(), edges)
    u = np.arctanh(np.clip((edges - 4) / 2, -1, 1)[1:-1])
    below = Normal(row[0], row[1].exp()).cdf(torch.from_numpy(u))
    expected = np.diff([0.0, *below.tolist(), 1.0])
    error = np.sqrt(expected * (1 - expected) / draws)
    assert (np.abs(counts / draws - expected) < 4 * error).all()


@pytest.mark.parametrize("log_std", [-5.0, -1.0, 0.0, 1.0, 2.0])
@pytest.mark.parametrize("distribution", CASES)
def test_the_entropy_is_the_mean_surprise(distribution: SquashedGaussian, log_std: float) -> None:
    draws = 40_000
    mean = normal(1, 1, distribution.dimensions, seed=3)
    outputs = torch.cat([mean, torch.full_like(mean, log_std)], dim=-1)
    noise = torch.from_numpy(Streams([3]).normals(draws, distribution.dimensions))
    _, log_density = distribution.squash(outputs.expand(1, draws, -1), noise)
    low, high = torch.tensor(distribution.low), torch.tensor(distribution.high)
    surprise = -log_density + ((high - low) / 2).log().sum()
    allowed = 4 * surprise.std() / draws**0.5 + 0.02 * distribution.dimensions
    assert (surprise.mean() - distribution.entropy(outputs, {})[0, 0]).abs() < allowed


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3),
        spaces.Box(-1, 1, (2, 2)),
        spaces.Box(-np.inf, 1, (2,)),
        spaces.Box(0, np.inf, (1,)),
        spaces.Box(-3e38, 3e38, (1,)),
        spaces.Box(-1e300, 1e300, (1,), np.float64),
    ],
)
def test_what_cannot_be_filled_is_refused(space: spaces.Space) -> None:
    with pytest.raises(
        ValueError, match="is not one that a squashed Gaussian can cover: use a one-dimensional Box"
    ):
        SquashedGaussian.of(space)


def test_an_action_space_is_filled() -> None:
    box = spaces.Box(np.array([-2.0, 0.0]), np.array([1.0, 5.0]), dtype=np.float64)
    assert SquashedGaussian.of(box) == SquashedGaussian(2, (-2.0, 0.0), (1.0, 5.0))
    assert SquashedGaussian.of(spaces.Box(-1, 1, (3,))) == SquashedGaussian(3)
