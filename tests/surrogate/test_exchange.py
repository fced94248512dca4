"""A user's module is as it was, whatever happens in a call."""

from collections import deque
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradex.surrogate import ModuleGradients, Samples, SurrogateEstimator
from gradex.surrogate.exchange import call_with, own_copy


class Remembering(nn.Module):
    """Keeps what it saw in attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)
        self.seen: Any = None
        self.calls, self.all, self.recent, self.named = 0, [], deque(maxlen=2), {}

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen, self.calls = torch.tanh(self.first(inputs)), self.calls + 1
        self.new = self.named["seen"] = self.seen
        self.all.append(self.seen)
        self.recent.append(self.seen)
        return self.last(self.seen)


class Tamed(nn.Module):
    """Brings the rows of a table to length when it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.last = nn.Embedding(5, 3, max_norm=1.0), nn.Linear(3, 2)
        nn.init.normal_(self.table.weight, std=5)

    def forward(self, places: Tensor) -> Tensor:
        return self.last(self.table(places))


class Writing(nn.Module):
    """Writes to its own parameter in every call."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.last = nn.Parameter(torch.ones(())), nn.Linear(3, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            self.scale.mul_(0.5)
        return self.last(inputs * self.scale)


def shared() -> nn.Module:
    twice = nn.Linear(3, 3)
    return nn.Sequential(twice, nn.Tanh(), twice, nn.Linear(3, 2))


def weight_norm() -> nn.Module:
    return nn.utils.weight_norm(nn.Linear(3, 2))


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def log_prob(module: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return module(batch[0]).log_softmax(-1).gather(-1, batch[1][:, None])[:, 0]


def numbers() -> tuple[Tensor, Tensor]:
    return torch.randn(40, 3, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2


def samples() -> Samples:
    return Samples(np.random.default_rng(0).normal(size=40), np.arange(40) // 20)


def held(module: nn.Module) -> list[Any]:
    """What a module has in its attributes: the very objects, and what they have in them."""
    own = [vars(part) for part in module.modules()]
    parts = [each for attributes in own for each in attributes.values()]
    entries = [each for each in parts if isinstance(each, dict | list | deque)]
    return [
        *([*attributes] for attributes in own),
        [id(each) for each in parts],
        *([*map(id, each.values() if isinstance(each, dict) else each)] for each in entries),
    ]


def by_autograd(module: nn.Module, batch: tuple[Tensor, Tensor], names: list[str] | None = None) -> Tensor:
    """Give the gradients sample by sample, of a copy."""
    rows = []
    for place in range(len(batch[0])):
        own = own_copy(module)
        chosen = [own.get_parameter(name) for name in names] if names else list(own.parameters())
        one = batch[0][place : place + 1], batch[1][place : place + 1]
        found = torch.autograd.grad(log_prob(own, one).sum(), chosen, materialize_grads=True)
        rows.append(torch.cat([each.flatten() for each in found]))
    return torch.stack(rows)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("make", [shared, Remembering, weight_norm])
def test_a_module_is_as_it_was(make: Callable[[], nn.Module]) -> None:
    module = seeded(make)
    before, values = held(module), deepcopy(module.state_dict())
    surrogate = SurrogateEstimator(projection="none").fit(
        ModuleGradients(module, log_prob, numbers()), samples()
    )
    assert len(surrogate.first_order_error(distances=(0.01,)))
    moved = surrogate.adapted((0,))
    assert held(module) == before
    assert all(torch.equal(each, values[name]) for name, each in module.state_dict().items())
    assert not torch.equal(log_prob(moved.module, numbers()), log_prob(module, numbers()))
    np.testing.assert_allclose(
        surrogate.features, by_autograd(module, numbers()).numpy(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("make", [shared, Remembering])
def test_it_is_as_it_was_where_a_call_fails(make: Callable[[], nn.Module]) -> None:
    module = seeded(make)
    before = held(module)

    def failing(module: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        log_prob(module, batch)
        raise KeyError("no more")

    with pytest.raises(KeyError, match="no more"):
        SurrogateEstimator().fit(ModuleGradients(module, failing, numbers()), samples())
    assert held(module) == before


@pytest.mark.filterwarnings("ignore:.*vmap:UserWarning")
@pytest.mark.parametrize("names", [None, ["last.weight", "last.bias"]])
def test_a_layer_that_writes_to_its_weights_moves_neither_them_nor_the_model(names) -> None:
    module, batch = seeded(Tamed), (torch.arange(40) % 5, torch.arange(40) % 2)
    expected, before = by_autograd(module, batch, names), deepcopy(module.state_dict())
    model = ModuleGradients(module, log_prob, batch, names)
    theta = model.parameters
    surrogate = SurrogateEstimator(projection="none").fit(model, samples())
    stack = torch.from_numpy(theta)[None]
    model.log_prob(stack, samples(), np.arange(5))
    for each in (model.parameters, stack[0].numpy()):
        np.testing.assert_array_equal(each, theta)
    assert all(torch.equal(each, before[name]) for name, each in module.state_dict().items())
    np.testing.assert_allclose(surrogate.features, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_a_module_that_writes_to_what_is_frozen_is_refused() -> None:
    model = ModuleGradients(seeded(Writing), log_prob, numbers(), ["last.weight"])
    with pytest.raises(ValueError, match="writes to parameter 'scale' in a call: name it in `parameters`"):
        SurrogateEstimator().fit(model, samples())
    SurrogateEstimator().fit(ModuleGradients(model.module, log_prob, numbers()), samples())


def test_a_call_with_other_tensors_is_that_of_a_module_that_has_them() -> None:
    module, other = seeded(shared), shared()
    inputs = numbers()[0]
    torch.testing.assert_close(call_with(module, dict(other.named_parameters()), inputs), other(inputs))


def test_attributes_with_a_graph_are_copied_as_numbers() -> None:
    module = seeded(Remembering)
    module.seen = module.first(numbers()[0])
    copied = own_copy(module)
    assert torch.equal(copied.seen, module.seen)
    assert copied.seen.is_leaf
    assert module.seen.grad_fn is not None
