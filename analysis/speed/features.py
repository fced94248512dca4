"""Gradient features against traker's projector on gradients sample by sample."""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analysis.speed.comparison import Comparison
from analysis.speed.peers import installed
from analysis.speed.timing import fastest
from gradex.learners import Transitions
from gradex.policies import MLP, Categorical, Policy
from gradex.policies.policy import PolicyGradients, gradient_layout
from gradex.seeds import Streams
from gradex.surrogate import GaussianProjection, KhatriRaoProjection, Projection
from gradex.surrogate.projection import gradient_features

#: What is left out without a package.
WITHOUT = {"trak": "features against traker"}

#: Where Linux tells a process's memory, and where its peak is reset.
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")

#: Observation, width, layers and actions of a network.
_Sizes = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Amount:
    """How much is differentiated and projected.

    Attributes
    ----------
    sizes : tuple of int
        Those of Meta-World's networks.
    samples, dimension : int
        The dimension is that of the projection.
    slice : int
        The Gaussian projection is one long matrix product; so many samples tell its speed.
    batches : tuple of int
        Of the peer.
    large, many : tuple of int, int
        A network of a million parameters, and a million samples.
    """

    sizes: _Sizes = (39, 256, 4, 8)
    samples: int = 20_000
    dimension: int = 400
    slice: int = 2_000
    batches: tuple[int, ...] = (32, 250, 1000)
    large: _Sizes = (39, 700, 4, 8)
    many: int = 1_000_000


_SMOKE = _Amount((3, 8, 3, 2), 1_000, 10, 100, (4, 8, 16), large=(3, 16, 3, 2), many=10_000)
_AMOUNTS = {"smoke": _SMOKE, "laptop": _Amount(), "paper": _Amount()}


def compare(scale: str) -> Iterator[Comparison]:
    """Time one whole pass for khatri-rao, slices for the Gaussian and the peer, scaled up to all samples."""
    amount = _AMOUNTS[scale]
    policy, samples = _setting(amount.sizes, amount.samples)
    theta = policy.initial(Streams([0]))[0]
    some = _first(samples, amount.slice)

    def features(projection: Projection, of: Transitions) -> None:
        gradient_features(PolicyGradients(policy, theta), of, projection)

    khatri_rao = KhatriRaoProjection(gradient_layout(policy), amount.dimension, seed=0)
    gaussian = GaussianProjection(policy.size, amount.dimension, seed=0)
    ours = {
        "khatri-rao": fastest(lambda: features(khatri_rao, samples), 5),
        "gaussian": fastest(lambda: features(gaussian, some), 2) * amount.samples / amount.slice,
    }
    bare = fastest(lambda: _forward_and_backward(policy, theta, samples), 5)
    size = f"p = {policy.size:,}, N = {amount.samples:,}, d = {amount.dimension}"
    yield Comparison("khatri-rao", "bare forward and backward pass", size, ours["khatri-rao"], bare, "s")
    if _RESET.exists():
        yield from _memory(amount)
    if installed("trak"):
        yield from _against_traker(amount, ours, size, policy.size, samples)


def _against_traker(
    amount: _Amount, ours: Mapping[str, float], size: str, parameters: int, samples: Transitions
) -> Iterator[Comparison]:
    """Compare seconds with those of the peer in batches of several sizes.

    The peer draws its projection anew for every batch, so that it gains from large ones, which take memory: a
    gigabyte for 1000. Its projector for GPUs takes 32 at a time.
    """
    from trak.projectors import BasicProjector

    projector = BasicProjector(parameters, amount.dimension, 0, "normal", torch.device("cpu"))
    for batch in amount.batches:
        projected = _peer(projector, amount.sizes, samples, batch)
        peer = fastest(projected, 2) * amount.samples / batch
        for name, seconds in ours.items():
            slices = f", ours {amount.slice:,}" if name == "gaussian" else ""
            setting = f"{size}; timed on the peer's {batch} of them in one batch{slices}, times N"
            yield Comparison(name, "traker BasicProjector on vmap(grad)", setting, seconds, peer, "s")


def _memory(amount: _Amount) -> Iterator[Comparison]:
    """Compare memory above the inputs with that of gradients as p-vectors.

    Of the large network as many samples as of the other are measured: only the features grow with the
    samples; what else it takes, the gradients of a batch, stays.
    """
    each = 4e-6 * amount.dimension
    for sizes, count in ((amount.sizes, amount.samples), (amount.large, amount.many)):
        # Each in a process of its own, as what others have freed would be used again unseen.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            parameters, peak = pool.submit(_measure, sizes, amount.samples, amount.dimension).result()
        setting = f"p = {parameters:,}, N = {count:,}, d = {amount.dimension}, features above the inputs"
        remark = ""
        if count > amount.samples:
            setting += f": measured at N = {amount.samples:,}, and {1e3 * each:.3g} kB for each more"
            remark = f"{peak:.0f} MB measured"
        memory = peak + each * (count - amount.samples)
        theirs = 4e-6 * parameters * count
        yield Comparison(
            "khatri-rao, memory", "all gradients as p-vectors", setting, memory, theirs, "MB", remark
        )


def _setting(sizes: _Sizes, count: int) -> tuple[Policy, Transitions]:
    """Give a policy of these sizes and random samples."""
    observed, width, layers, actions = sizes
    policy = Policy(MLP(observed, actions, layers, width), Categorical(actions))
    rng = np.random.default_rng(0)
    tasks = np.zeros(count, dtype=np.int64)
    observations = rng.standard_normal((count, observed), dtype=np.float32)
    chosen, advantages = rng.integers(0, actions, count), rng.standard_normal(count)
    return policy, Transitions(
        observations=observations, actions=chosen, advantages=advantages, tasks=tasks, episodes=tasks
    )


def _first(samples: Transitions, count: int) -> Transitions:
    names = ("observations", "actions", "advantages", "tasks", "episodes")
    return Transitions(**{name: getattr(samples, name)[:count] for name in names})


def _measure(sizes: _Sizes, count: int, dimension: int) -> tuple[int, float]:
    """Give the number of parameters, and how far computing the features raises the memory in use, in MB."""
    policy, samples = _setting(sizes, count)
    theta = policy.initial(Streams([0]))[0]
    projection = KhatriRaoProjection(gradient_layout(policy), dimension, seed=0)
    gradient_features(PolicyGradients(policy, theta), _first(samples, 2), projection)
    before = _field("VmRSS")
    _RESET.write_text("5")  # the peak starts anew from here
    gradient_features(PolicyGradients(policy, theta), samples, projection)
    return policy.size, max(_field("VmHWM") - before, 4.0) / 1e3  # a page of 4 kB is the resolution


def _forward_and_backward(policy: Policy, theta: Tensor, samples: Transitions) -> None:
    parameters = theta.unsqueeze(0).requires_grad_()
    arrays = (samples.observations, samples.tasks, samples.actions)
    batch = (torch.from_numpy(array).unsqueeze(0) for array in arrays)
    policy.log_prob(parameters, *batch).sum().backward()


def _peer(projector: Any, shape: _Sizes, samples: Transitions, batch: int) -> Callable[[], object]:
    """Gradients as torch's documentation takes them sample by sample, then the projector."""
    observed, width, layers, actions = shape
    sizes = [observed, *[width] * (layers - 1)]
    hidden = [nn.Sequential(nn.Linear(i, width), nn.Tanh()) for i in sizes[:-1]]
    network = nn.Sequential(*hidden, nn.Linear(width, actions))
    parameters = {name: value.detach() for name, value in network.named_parameters()}

    def log_prob(parameters: dict[str, Tensor], observation: Tensor, action: Tensor) -> Tensor:
        outputs = torch.func.functional_call(network, parameters, (observation,))
        return torch.log_softmax(outputs, dim=-1).gather(-1, action.unsqueeze(0)).squeeze(0)

    gradients = torch.func.vmap(torch.func.grad(log_prob), in_dims=(None, 0, 0))
    some = [torch.from_numpy(array[:batch]) for array in (samples.observations, samples.actions)]
    return lambda: projector.project(gradients(parameters, *some), model_id=0)


def _field(name: str) -> float:
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return float(lines[name].split()[0])
