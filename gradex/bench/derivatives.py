"""First derivatives of networks, what updates spend their time on: ours, by autograd, and compiled."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from gradex.bench.timing import alternately, row
from gradex.policies import Network, Twin, matched_width, network
from gradex.streams import Streams
from gradex.threads import one_thread

#: Numbers of an observation, of an action, and tasks: those of MT10.
_FEATURES, _ACTIONS, _TASKS = 39, 4, 10
#: Affine layers; and the width of soft modularization, as large as which the others are made.
_LAYERS, _WIDTH = 4, 128
#: Architectures, all with a minibatch of PPO.
_ARCHITECTURES, _MINIBATCH = ("one_hot_mlp", "multi_head", "soft_modularization", "paco", "care"), 800
#: Widths of the two critics of SAC, and its batch.
_CRITICS, _BATCH = (64, 256), 256
#: Derivatives in a measurement, and measurements of each.
_REPEATS, _TIMES = 50, 5
#: Of torch.compile.
_BACKEND = "inductor"


def rows() -> Iterator[dict[str, object]]:
    """Take the derivative of an output by the parameters on one thread, as where batches are small."""
    with one_thread():
        size = network("soft_modularization", _FEATURES, _ACTIONS, _TASKS, _LAYERS, _WIDTH).size
        for name in _ARCHITECTURES:
            width = matched_width(name, _FEATURES, _ACTIONS, _TASKS, _LAYERS, size)
            made = network(name, _FEATURES, _ACTIONS, _TASKS, _LAYERS, width)
            yield from _compared(f"{name}, {_LAYERS} affine layers of {width}", made, _FEATURES, _MINIBATCH)
        for width in _CRITICS:
            inputs, name = _FEATURES + _ACTIONS, f"two mlp critics, {_LAYERS} affine layers of {width}"
            yield from _compared(name, Twin(network("mlp", inputs, 1, 1, _LAYERS, width)), inputs, _BATCH)


def _compared(name: str, made: Network, features: int, samples: int) -> Iterator[dict[str, object]]:
    """Time the same derivative three ways; compiling, where there is a compiler, is told but not counted."""
    parameters = made.initial(Streams([0], branch=0)).contiguous()
    generator = torch.Generator().manual_seed(0)
    observations = torch.randn(1, samples, features, generator=generator)
    tasks = torch.randint(_TASKS, (1, samples), generator=generator)
    with torch.no_grad():
        outputs = made.forward(parameters, observations, tasks)
    sensitivity = torch.randn(outputs.shape, generator=generator)
    leaf, bound = parameters.clone().requires_grad_(), made.bind(parameters)

    def ours() -> Tensor:
        return bound.vjp(observations, tasks)[1].to_parameters(sensitivity)

    def automatic(forward: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        return torch.autograd.grad(forward(leaf, observations, tasks), leaf, sensitivity)[0]

    ways: list[Callable[[], Tensor]] = [ours, partial(automatic, made.forward)]
    peers = ["autograd"]
    if _BACKEND != "inductor" or _compiler():
        from torch._inductor.utils import fresh_cache  # takes seconds

        torch._dynamo.reset()
        ways.append(partial(automatic, torch.compile(made.forward, dynamic=False, backend=_BACKEND)))
        start = time.perf_counter()
        with fresh_cache():  # as the first time on a machine
            ways[-1]()
        spent = time.perf_counter() - start
        peers.append(f"autograd through torch.compile, after {spent:.0f} s of compiling")
    reference = ways[1]()
    for way in ways:
        torch.testing.assert_close(way(), reference, rtol=1e-3, atol=1e-3 * float(reference.abs().max()))
    seconds, *theirs = alternately(_TIMES, *(partial(_seconds, way) for way in ways))
    setting = f"{name}, {samples} samples; medians of {_TIMES}"
    for peer, their in zip(peers, theirs, strict=True):
        yield row(peer, setting, 1e3 * seconds, 1e3 * their, "ms")


def _seconds(derivative: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    for _ in range(_REPEATS):
        derivative()
    return (time.perf_counter() - start) / _REPEATS


def _compiler() -> str | None:
    """Find the C++ compiler that torch would call."""
    return shutil.which(os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++"))
