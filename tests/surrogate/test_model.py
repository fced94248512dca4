"""A torch module that is no policy goes all the way to groups."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gradex.affinity import AffinityGraph, sample_subsets
from gradex.surrogate import ModuleGradients, Samples, SurrogateEstimator
from gradex.surrogate.gradients import Dense, FactoredGradients

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


class Last(nn.Module):
    """A log-probability of what a layer makes of the end of a sequence. It counts, and keeps a mean."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.last = layer, nn.LazyLinear(2)
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("mean", torch.zeros(4))
        self(torch.zeros(1, 3, 4))

    def forward(self, inputs: Tensor) -> Tensor:
        self.count += 1
        self.mean.mul_(0.9).add_(inputs.detach().mean(dim=(0, 1)), alpha=0.1)
        given = self.layer(inputs)
        return self.last(given[0] if isinstance(given, tuple) else given)[:, -1].log_softmax(-1)[:, 0]


class Checkpointed(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return checkpoint(
            lambda given: super(Checkpointed, self).forward(given).tanh(), inputs, use_reentrant=False
        )


def call(module: nn.Module, batch: Tensor) -> Tensor:
    return module(batch)


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize("layer", [lambda: nn.LSTM(4, 6, batch_first=True), lambda: Checkpointed(4, 6)])
@pytest.mark.parametrize("training", [False, True])
def test_a_module_that_vmap_cannot_batch_is_differentiated_sample_by_sample(layer, training: bool) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module, inputs = Last(layer()).double().train(training), torch.randn(30, 3, 4).double()
    before = deepcopy(module.state_dict())
    model = ModuleGradients(module, call, inputs)
    with pytest.warns(
        UserWarning, match="vmap cannot batch this module, so each sample is differentiated alone"
    ):
        (found,) = model.gradients(Samples(np.ones(30)), np.arange(30), torch.float64)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    for row, ours in zip(inputs, found.dense(), strict=True):
        expected = torch.autograd.grad(module(row[None]).sum(), list(module.parameters()))
        torch.testing.assert_close(ours, torch.cat([each.flatten() for each in expected]))


def test_sample_by_sample_is_what_vmap_gives(module, batch, monkeypatch: pytest.MonkeyPatch) -> None:
    def features() -> np.ndarray:
        model = ModuleGradients(module.train(), log_odds, batch)
        return SurrogateEstimator(projection="none").fit(model, tasks()).features

    def broken(*_, **__):
        raise RuntimeError("vmap: of no use\nat all")

    expected = features()
    monkeypatch.setattr("gradex.surrogate.model.vmap", lambda *_, **__: broken)
    with pytest.warns(UserWarning, match="which is slow; it says: vmap: of no use$"):
        np.testing.assert_allclose(features(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "layer", [nn.Dropout(0.5), nn.BatchNorm1d(8), nn.Unflatten(1, (2, 4)), nn.LSTM(8, 8, 2, dropout=0.5)]
)
def test_training_mode_that_matters_is_refused(layer: nn.Module) -> None:
    if isinstance(layer, nn.Unflatten):  # statistics that one sample has, too
        layer = nn.Sequential(layer, nn.BatchNorm1d(2), nn.Flatten())
    module = nn.Sequential(nn.Linear(4, 8), layer)
    before = deepcopy(module.state_dict())

    def log_prob(module: nn.Module, batch: Tensor) -> Tensor:
        given = module(batch)
        return (given[0] if isinstance(given, tuple) else given)[:, 0]

    model = ModuleGradients(module, log_prob, torch.randn(30, 4, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(
        ValueError, match=r"depends on chance or on other samples: call module.eval\(\) first"
    ):
        SurrogateEstimator(projection="none").fit(model, Samples(np.ones(30)))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def first_of(module: nn.Module, batch: Tensor) -> Tensor:
    return module(batch)[:, 0]


@pytest.mark.filterwarnings("ignore:.*vmap:UserWarning", "ignore:There is a performance drop:UserWarning")
def test_sparse_gradients_are_as_good() -> None:
    module = nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Linear(3, 2))
    samples, batch = Samples(np.ones(20), np.arange(20) % 2), torch.arange(20) % 5
    sparse, dense = (
        SurrogateEstimator(projection="none")
        .fit(ModuleGradients(module.requires_grad_(), first_of, batch), samples)
        .features
        for module[0].sparse in (True, False)
    )
    np.testing.assert_allclose(sparse, dense, rtol=1e-5)


def test_autocast_around_it_changes_nothing(module, batch) -> None:
    def found() -> list[np.ndarray]:
        model = ModuleGradients(module, log_odds, batch)
        surrogate = SurrogateEstimator(projection_dim=10).fit(model, tasks())
        (gradients,) = model.gradients(tasks(), np.arange(9), torch.float32)
        values = model.log_prob(torch.from_numpy(model.parameters)[None], tasks(), np.arange(9))
        return [gradients.dense().numpy(), values.numpy(), surrogate.features, surrogate.solve([(0,)]).theta]

    usual = found()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lowered = found()
    for one, other in zip(usual, lowered, strict=True):
        np.testing.assert_array_equal(one, other)


def test_memory_may_be_any_number() -> None:
    batch = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    model = ModuleGradients(nn.Linear(4, 1), first_of, batch, memory=1e6)
    assert SurrogateEstimator(projection="none").fit(model, Samples(np.ones(30))).features.shape == (30, 5)


def test_a_module_that_is_trained_on_leaves_what_was_fitted(module, batch) -> None:
    model = ModuleGradients(module, log_odds, batch, (name for name in ["adapter.weight"]))
    surrogate = SurrogateEstimator(projection="none").fit(model, tasks())
    theta, expected = model.parameters, surrogate.first_order_error(distances=(0.01,))
    with torch.no_grad():
        module.adapter.weight += 3
    np.testing.assert_array_equal(model.parameters, theta)
    pd.testing.assert_frame_equal(surrogate.first_order_error(distances=(0.01,)), expected)
    np.testing.assert_allclose(surrogate.adapted([0], distance=0.0).parameters, theta)


class Normal:
    """The density of mean 0, whose gradients come as somebody gives them."""

    def __init__(self, given: Callable[[Tensor], Any]) -> None:
        self.parameters, self.given = np.zeros(3), given
        self.values = torch.from_numpy(np.random.default_rng(0).normal(size=(60, 3)))

    def gradients(self, samples: Samples, rows: np.ndarray, dtype: torch.dtype) -> Any:
        return self.given(self.values[rows].to(dtype))

    def log_prob(self, parameters: Tensor, samples: Samples, rows: np.ndarray) -> Tensor:
        return -((self.values[rows] - parameters[:, None]) ** 2).sum(-1) / 2

    def with_parameters(self, parameters: np.ndarray) -> "Normal":
        return Normal(self.given)


@pytest.mark.parametrize(
    "given",
    [
        lambda rows: [rows.numpy()[::-1].copy()[::-1]],  # runs backwards
        lambda rows: rows.float().numpy()[:, None],  # sample by sample, in single precision
        lambda rows: [rows * torch.ones(3, requires_grad=True)],
        lambda rows: [FactoredGradients([Dense(rows.clone().requires_grad_())])],
    ],
)
def test_gradients_come_as_arrays_or_with_a_graph_too(given: Callable[[Tensor], Any]) -> None:
    samples = Samples(np.sign(np.random.default_rng(1).normal(size=60)), np.arange(60) // 20)
    ours, theirs = (SurrogateEstimator(2).fit(Normal(each), samples) for each in (given, lambda rows: [rows]))
    np.testing.assert_allclose(ours.features, theirs.features, rtol=1e-6)
    found = [each.first_order_error([0.1])["relative_to_output"] for each in (ours, theirs)]
    np.testing.assert_allclose(*found, rtol=1e-4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda rows: rows, r"the model gives gradients of shape \(3,\): give batches \[k, 3\]"),
        (lambda rows: [rows[:, :2]], "the model gives gradients of 2 numbers: it has 3 parameters"),
        (lambda rows: [rows[:, :2].numpy()], "the model gives gradients of 2 numbers: it has 3 parameters"),
        (lambda rows: [rows[:5]], "the model has 5 gradients for 60 samples: give it as many"),
    ],
)
def test_gradients_of_another_shape_are_refused(given: Callable[[Tensor], Any], message: str) -> None:
    samples = Samples(np.ones(60), np.arange(60) // 20)
    with pytest.raises(ValueError, match=message):
        SurrogateEstimator(2).fit(Normal(given), samples)


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        (lambda odds: odds.mean(), r"\(\)"),
        (lambda odds: odds[:, None], r"\(1, 1\)"),
        (lambda odds: odds[:, None].expand(-1, 7), r"\(1, 7\)"),
        (lambda odds: odds - torch.zeros(len(odds), 1), r"\(1, 1\)"),
    ],
)
def test_log_prob_gives_one_number_for_each_sample(module, batch, given, shape) -> None:
    model = ModuleGradients(module, lambda *sample: given(log_odds(*sample)), batch)
    with pytest.raises(ValueError, match=rf"log_prob gives the shape {shape} for a batch of 1: give \(1,\)"):
        SurrogateEstimator().fit(model, tasks())


def test_other_parameters_give_one_number_for_each_sample_too(module, batch) -> None:
    model = ModuleGradients(module, lambda *sample: log_odds(*sample).mean(0, keepdim=True), batch)
    theta = torch.from_numpy(model.parameters)[None]
    with pytest.raises(ValueError, match=r"log_prob gives the shape \(1,\) for a batch of 2: give \(2,\)"):
        model.log_prob(theta, tasks(), np.arange(2))


def test_refuses_what_does_not_fit_together(module, batch) -> None:
    with pytest.raises(ValueError, match=r"the module has no parameter 'lora': choose from \['embedding"):
        ModuleGradients(module, log_odds, batch, ["lora"])
    with pytest.raises(ValueError, match=r"parameter 'last\.bias' comes twice: name it once"):
        ModuleGradients(module, log_odds, batch, ["last.weight", "last.bias", "last.bias"])
    with pytest.raises(ValueError, match=r"tensors of the batch have \[3, 240\] samples"):
        ModuleGradients(module, log_odds, batch | {"items": batch["items"][:3]})
    with pytest.raises(TypeError, match="the batch holds str: give tensors"):
        ModuleGradients(module, log_odds, "batch")
    for wrong in (torch.tensor(0.5), batch["items"].to_sparse()):
        with pytest.raises(TypeError, match=r"the batch holds a tensor of shape \(.*: give dense ones"):
            ModuleGradients(module, log_odds, batch | {"items": wrong})
    with pytest.raises(ValueError, match="no parameter requires a gradient: name those that would be"):
        ModuleGradients(deepcopy(module).requires_grad_(False), log_odds, batch)
    with pytest.raises(ValueError, match="the batch has 240 samples for 3 advantages: give as many"):
        SurrogateEstimator(projection="none").fit(
            ModuleGradients(module, log_odds, batch), Samples(np.ones(3))
        )
    with pytest.raises(TypeError, match="ModuleGradients collects no samples by itself: give some"):
        SurrogateEstimator().fit(ModuleGradients(module, log_odds, batch))
