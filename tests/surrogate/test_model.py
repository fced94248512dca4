"""A torch module that is no policy goes all the way to groups."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradex.affinity import AffinityGraph, sample_subsets
from gradex.surrogate import ModuleGradients, Samples, SurrogateEstimator

COUNT, N = 240, 6


class Scorer(nn.Module):
    """Scores pairs of items: a reward model for preferences, with an embedding, a buffer and an adapter."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.first = nn.Linear(4, 8)
        self.norm = nn.LayerNorm(8)
        self.adapter = nn.Linear(8, 8, bias=False)
        self.last = nn.Linear(8, 1)
        self.register_buffer("scale", torch.tensor(0.5))

    def forward(self, items: Tensor, numbers: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(self.embedding(items) + numbers))
        return self.scale * self.last(self.norm(hidden + self.adapter(hidden)))[:, 0]


def log_odds(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return module(batch["items"], batch["better"]) - module(batch["items"], batch["worse"])


@pytest.fixture
def module() -> Scorer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Scorer().eval()


@pytest.fixture
def batch() -> dict[str, Tensor]:
    rng = np.random.default_rng(0)
    numbers = (torch.from_numpy(rng.standard_normal((COUNT, 4), dtype=np.float32)) for _ in range(2))
    items = torch.from_numpy(rng.integers(0, 7, COUNT))
    return dict(zip(("better", "worse"), numbers, strict=True)) | {"items": items}


def tasks() -> Samples:
    return Samples(np.random.default_rng(1).standard_normal((N, COUNT)))


@pytest.mark.parametrize("names", [None, ["adapter.weight"], ["last.bias", "embedding.weight"]])
def test_gradients_are_those_of_autograd_sample_by_sample(module, batch, names) -> None:
    model = ModuleGradients(module, log_odds, batch, names, memory=2**16)
    rows = np.array([5, 0, 239, 17, 17])
    found = torch.cat([each.dense() for each in model.gradients(tasks(), rows, torch.float64)])
    double = deepcopy(module).double()
    own = dict(double.named_parameters())
    chosen = [own[name] for name in (names or own)]
    for place, row in enumerate(rows):
        one = {
            name: value[row : row + 1].double() if value.is_floating_point() else value[row : row + 1]
            for name, value in batch.items()
        }
        gradients = torch.autograd.grad(log_odds(double, one).sum(), chosen, materialize_grads=True)
        expected = torch.cat([each.flatten() for each in gradients])
        torch.testing.assert_close(found[place], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("projection", ["gaussian", "khatri-rao"])
def test_features_are_their_projections(module, batch, projection: str) -> None:
    model = ModuleGradients(module, log_odds, batch)
    surrogate = SurrogateEstimator(projection_dim=10, projection=projection, dtype="float64").fit(
        model, tasks()
    )
    gradients = model.gradients(tasks(), np.arange(COUNT), torch.float64)
    dense = torch.cat([each.dense() for each in gradients])
    matrix = surrogate.projection_.lift(torch.eye(10, dtype=torch.float64))
    np.testing.assert_allclose(surrogate.features, dense @ matrix.T, rtol=1e-9, atol=1e-11)


def test_leads_to_groups(module, batch) -> None:
    """Three tasks reward what the other three punish; noise hides it from single samples."""
    model = ModuleGradients(module, log_odds, batch, ["adapter.weight", "last.weight"])
    # A task prefers by the log-odds of another module, or by their opposite.
    other = model.with_parameters(model.parameters + np.random.default_rng(3).standard_normal(72))
    with torch.no_grad():
        taste = (log_odds(other.module, batch) - log_odds(module, batch)).numpy()
    signs = np.array([1, 1, 1, -1, -1, -1])
    noise = np.random.default_rng(2).standard_normal((N, COUNT))
    samples = Samples(signs[:, None] * taste / taste.std() + 2 * noise)
    surrogate = SurrogateEstimator(projection="none").fit(model, samples)
    scores = surrogate.scores(sample_subsets(N, 15, 2, seed=0))
    found = AffinityGraph.from_scores(scores).partition(k=2)
    assert found.agreement(np.array([0, 0, 0, 1, 1, 1])).nmi == 1
    assert surrogate.first_order_error(distances=(1e-3, 1e-2)).relative_to_change.max() < 0.1


def test_moved_it_is_a_module_of_its_own(module, batch) -> None:
    model = ModuleGradients(module, log_odds, batch, ["adapter.weight"])
    before, rows = model.parameters, np.arange(COUNT)
    moved = model.with_parameters(before + 1)
    np.testing.assert_array_equal(model.parameters, before)
    np.testing.assert_allclose(moved.parameters, before + 1, rtol=1e-6)
    with torch.no_grad():
        expected = torch.stack([log_odds(each, batch) for each in (module, moved.module)])
    stack = torch.from_numpy(np.stack([before, moved.parameters]))
    torch.testing.assert_close(model.log_prob(stack, tasks(), rows), expected)
    surrogate = SurrogateEstimator(projection="none").fit(model, tasks())
    assert isinstance(surrogate.adapted((0, 1)), ModuleGradients)


def test_a_module_of_half_precision_is_differentiated_in_single(module, batch) -> None:
    half = ModuleGradients(deepcopy(module).bfloat16(), log_odds, batch)
    single = ModuleGradients(deepcopy(half.module).float(), log_odds, batch)
    assert half.parameters.dtype == np.float32
    np.testing.assert_array_equal(half.parameters, single.parameters)
    ours, theirs = (SurrogateEstimator(projection="none").fit(each, tasks()) for each in (half, single))
    np.testing.assert_array_equal(ours.features, theirs.features)
    assert ours.adapted([0, 1]).module.last.weight.dtype == torch.bfloat16


def test_refuses_what_does_not_fit_together(module, batch) -> None:
    with pytest.raises(ValueError, match=r"the module has no parameter 'lora': choose from \['embedding"):
        ModuleGradients(module, log_odds, batch, ["lora"])
    with pytest.raises(ValueError, match=r"tensors of the batch have \[3, 240\] samples"):
        ModuleGradients(module, log_odds, batch | {"items": batch["items"][:3]})
    with pytest.raises(TypeError, match="the batch holds str: give tensors"):
        ModuleGradients(module, log_odds, "batch")
    with pytest.raises(ValueError, match="no parameter requires a gradient: name those that would be"):
        ModuleGradients(deepcopy(module).requires_grad_(False), log_odds, batch)
    with pytest.raises(ValueError, match="the batch has 240 samples for 3 advantages: give as many"):
        SurrogateEstimator(projection="none").fit(
            ModuleGradients(module, log_odds, batch), Samples(np.ones(3))
        )
    with pytest.raises(TypeError, match="ModuleGradients collects no samples by itself: give some"):
        SurrogateEstimator().fit(ModuleGradients(module, log_odds, batch))
