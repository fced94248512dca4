"""Distributions over actions against torch.distributions, and their samples against their probabilities."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from scipy import stats

from gradex.policies import ActionDistribution, Categorical, Gaussian
from gradex.seeds import Streams

POLICIES, BATCH = 3, 5
#: Acts in shares of [100, 200] and of [-3, 0].
SCALED = Gaussian(2, (150.0, -1.5), (50.0, 1.5))


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def theirs(
    distribution: ActionDistribution, outputs: torch.Tensor, own: dict[str, torch.Tensor]
) -> torch.distributions.Distribution:
    if isinstance(distribution, Categorical):
        return torch.distributions.Categorical(logits=outputs)
    assert isinstance(distribution, Gaussian)
    centre = outputs.new_tensor(distribution.centre or [0.0] * distribution.dimensions)
    half_width = outputs.new_tensor(distribution.half_width or [1.0] * distribution.dimensions)
    deviation = half_width * own["log_std"].exp().unsqueeze(1)
    law = torch.distributions.Normal(centre + half_width * outputs, deviation.expand_as(outputs))
    return torch.distributions.Independent(law, 1)


@pytest.mark.parametrize("distribution", [Categorical(4), Categorical(2), Gaussian(1), Gaussian(3), SCALED])
def test_equals_torch(distribution: ActionDistribution) -> None:
    outputs = 3 * normal(POLICIES, BATCH, distribution.outputs)
    own = {name: normal(POLICIES, *shape, seed=1) for name, shape in distribution.parameters.items()}
    reference = theirs(distribution, outputs, own)
    if isinstance(distribution, Categorical):
        actions = torch.arange(POLICIES * BATCH).reshape(POLICIES, BATCH) % distribution.actions
    else:
        actions = normal(POLICIES, BATCH, distribution.outputs, seed=2)
    ours = distribution.log_prob(outputs, own, actions)
    torch.testing.assert_close(ours, reference.log_prob(actions), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        distribution.entropy(outputs, own), reference.entropy(), rtol=1e-12, atol=1e-12
    )
    assert torch.equal(distribution.mode(outputs), reference.mode)


def test_categorical_samples_have_their_probabilities() -> None:
    logits, draws = torch.tensor([[0.0, 1.5, -1.0], [-2.0, 0.0, 0.0]], dtype=torch.float64), 20_000
    noise = torch.from_numpy(Streams([0, 1]).uniforms(draws))
    actions = Categorical(3).sample(logits.unsqueeze(1).expand(2, draws, 3), {}, noise)
    for row, expected in zip(actions, torch.softmax(logits, dim=1), strict=True):
        counts = np.bincount(row, minlength=3)
        assert stats.chisquare(counts, draws * expected.numpy()).pvalue > 0.001


def test_categorical_sampling_at_the_edges() -> None:
    logits = torch.tensor([[[-torch.inf, 0.0, 0.0, -torch.inf]]])
    sample = Categorical(4).sample
    least, most = (
        torch.tensor([[1e-7]]),
        torch.tensor([[1.0]]),
    )  # a uniform rounded up to single precision may be 1
    assert sample(logits, {}, least).item() == 1
    peaked = torch.tensor([[[0.0, -1e3, -1e3]]])
    assert Categorical(3).sample(peaked, {}, torch.tensor([[0.999999]])).item() == 0
    assert 0 <= Categorical(3).sample(peaked, {}, most).item() <= 2


def test_gaussian_samples_have_their_moments() -> None:
    draws = 20_000
    mean = torch.tensor([[1.0, -2.0], [0.0, 0.5]], dtype=torch.float64)
    own = {"log_std": torch.tensor([[0.0, -1.0], [1.0, 0.3]], dtype=torch.float64)}
    noise = torch.from_numpy(Streams([0, 1]).normals(draws, 2))
    actions = Gaussian(2).sample(mean.unsqueeze(1).expand(2, draws, 2), own, noise)
    deviation = own["log_std"].exp()
    assert ((actions.mean(dim=1) - mean).abs() < 4 * deviation / draws**0.5).all()
    # The standard error of an estimated standard deviation is σ / sqrt(2 N).
    assert ((actions.std(dim=1) - deviation).abs() < 4 * deviation / (2 * draws) ** 0.5).all()
    for policy in range(2):
        assert abs(np.corrcoef(actions[policy].T.numpy())[0, 1]) < 4 / draws**0.5


def test_what_is_drawn_is_scored() -> None:
    """The mean of -log π over samples is the entropy, within its standard error."""
    draws = 20_000
    for distribution in (Categorical(3), Gaussian(2), SCALED):
        outputs = normal(1, 1, distribution.outputs).expand(1, draws, -1)
        own = {name: normal(1, *shape, seed=1) for name, shape in distribution.parameters.items()}
        draw = Streams([3]).normals if distribution.noise_shape else Streams([3]).uniforms
        actions = distribution.sample(outputs, own, torch.from_numpy(draw(draws, *distribution.noise_shape)))
        surprise = -distribution.log_prob(outputs, own, actions)
        assert (
            abs(surprise.mean() - distribution.entropy(outputs, own)[0, 0]) < 4 * surprise.std() / draws**0.5
        )


def test_a_range_of_actions_changes_no_gradient() -> None:
    usual = Gaussian(2)
    outputs, own = normal(POLICIES, BATCH, 2), {"log_std": normal(POLICIES, 2, seed=1)}
    noise = normal(POLICIES, BATCH, 2, seed=2)

    def gradients(distribution: Gaussian) -> list[torch.Tensor]:
        leaves = outputs.clone().requires_grad_(), own["log_std"].clone().requires_grad_()
        actions = distribution.sample(outputs, own, noise)
        density = distribution.log_prob(leaves[0], {"log_std": leaves[1]}, actions)
        return list(torch.autograd.grad(density.sum(), leaves))

    for ours, expected in zip(gradients(SCALED), gradients(usual), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)
    assert repr(usual) == "Gaussian(dimensions=2)"
    assert usual == Gaussian(2, (0.0, 0.0), (1.0, 1.0)) != SCALED
    with pytest.raises(ValueError, match=r"a half-width of 0.0 leaves no choice: give positive numbers"):
        Gaussian(1, (0.0,), (0.0,))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_actions_begin_near_the_only_end_where_zero_is_beyond(dtype: type[np.floating]) -> None:
    far = 2e37  # as good as infinite
    low, high = np.array(
        [
            *[(-np.inf, np.inf), (0, np.inf), (-np.inf, 0), (-5, np.inf), (-np.inf, 5), (far, np.inf)],
            *[(0.5, np.inf), (10, np.inf), (-np.inf, -10), (100, far), (-far, -100), (10, 14)],
        ],
        dtype,
    ).T
    law = Gaussian.of(Box(low, high, dtype=dtype))
    assert law.centre == (0.0,) * 6 + (0.5, 10.0, -10.0, 100.0, -100.0, 12.0)
    assert law.half_width == (1.0,) * 11 + (2.0,)
    assert Gaussian.of(Box(low[:6], high[:6], dtype=dtype)) == Gaussian(6)
