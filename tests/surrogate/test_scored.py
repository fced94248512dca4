"""What a module and its log-probability must give."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradex.surrogate import ModuleGradients, Samples, SurrogateEstimator


def first_of(module: nn.Module, batch: Tensor) -> Tensor:
    return module(batch)[:, 0]


class Noisy(nn.Linear):
    """Drops inputs in evaluation mode, too."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(inputs, 0.5))


@pytest.mark.parametrize("layer", [Noisy(4, 4), nn.BatchNorm1d(4, track_running_stats=False)])
def test_noise_in_evaluation_mode_is_refused(layer: nn.Module) -> None:
    module = nn.Sequential(nn.Linear(4, 4), layer).eval()
    model = ModuleGradients(module, first_of, torch.randn(30, 4, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(ValueError, match=r"^the module's number for a sample depends on chance.*turn off"):
        SurrogateEstimator(projection="none").fit(model, Samples(np.ones(30)))


@pytest.mark.wrong_types
def test_what_is_no_module_or_gives_no_tensor_is_told() -> None:
    batch = torch.ones(30, 4)
    with pytest.raises(TypeError, match=r"module is a function: give a torch\.nn\.Module"):
        ModuleGradients(first_of, first_of, batch)
    model = ModuleGradients(nn.Linear(4, 1), lambda module, batch: first_of(module, batch).tolist(), batch)
    with pytest.raises(TypeError, match=r"log_prob gives a list: give a tensor of shape \(1,\)"):
        SurrogateEstimator(projection="none").fit(model, Samples(np.ones(30)))
