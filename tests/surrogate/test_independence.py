"""What a sample's number depends on, besides the sample."""

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradex.surrogate import ModuleGradients, Samples, SurrogateEstimator
from gradex.surrogate.independence import check_numbers


class Centred(nn.Linear):
    """Sees by how much a sample is above the mean of its batch."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs - inputs.mean(dim=0))


class Followed(nn.Linear):
    """Adds what comes before in the batch."""

    def forward(self, inputs: Tensor) -> Tensor:
        found = super().forward(inputs)
        return found + found.roll(1, dims=0)


def norm() -> nn.Module:
    """Normalise by statistics of the batch, which one sample has, too."""
    return nn.Sequential(nn.Unflatten(1, (2, 2)), nn.BatchNorm1d(2, track_running_stats=False), nn.Flatten())


def first_of(module: nn.Module, batch: Tensor) -> Tensor:
    return module(batch).log_softmax(-1)[:, 0]


def fit(module: nn.Module, log_prob: Callable[[nn.Module, Tensor], Tensor], memory: float) -> np.ndarray:
    batch = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    model = ModuleGradients(module.eval(), log_prob, batch, memory=memory)
    return SurrogateEstimator(projection="none").fit(model, Samples(np.ones(30))).features


@pytest.mark.parametrize("memory", [1, 1e6])
@pytest.mark.parametrize("layer", [lambda: Centred(4, 4), norm, lambda: Followed(4, 4)])
def test_a_module_that_mixes_samples_is_refused(layer: Callable[[], nn.Module], memory: float) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(layer(), nn.Linear(4, 3))
    with pytest.raises(
        ValueError, match=r"^the module's number for a sample depends on chance or on other s"
    ):
        fit(module, first_of, memory)


def test_it_is_refused_too_where_numbers_hardly_show_it() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(Centred(4, 4), nn.Linear(4, 3))
    with torch.no_grad():  # as heads of policies begin
        module[1].weight *= 0.01
        module[1].bias *= 0
        inputs = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
        alone = torch.cat([first_of(module, row[None]) for row in inputs])
        check_numbers(module, alone, first_of(module, inputs))
    with pytest.raises(ValueError, match="depends on chance or on other samples"):
        fit(module, first_of, 1e6)


def test_a_number_that_is_nothing_but_rounding_is_as_good() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 3))
    start = deepcopy(module).double()

    def log_ratio(module: nn.Module, batch: Tensor) -> Tensor:
        return first_of(module, batch) - first_of(start, batch.double()).to(batch.dtype)

    with torch.no_grad():
        inputs = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
        assert log_ratio(module, inputs).abs().max() < 1e-6
    np.testing.assert_array_equal(fit(module, log_ratio, 1e6), fit(module, first_of, 1e6))
