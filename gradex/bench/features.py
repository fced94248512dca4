"""Gradient features against traker's projector on gradients sample by sample."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gradex.bench.timing import fastest, row
from gradex.learners import Transitions
from gradex.policies import MLP, Categorical, Policy
from gradex.policies.gradients import PolicyGradients, gradient_layout
from gradex.streams import Streams
from gradex.surrogate import GaussianProjection, KhatriRaoProjection, Projection
from gradex.surrogate.features import gradient_features

#: Observation, width, layers and actions of Meta-World's networks; samples; dimension of the projection.
_SIZES, _SAMPLES, _DIMENSION = (39, 256, 4, 8), 20_000, 400
#: The Gaussian projection is one long matrix product; so many samples tell its speed.
_SLICE = 2_000
#: A network of a million parameters, and a million samples.
_LARGE, _MANY = (39, 700, 4, 8), 1_000_000
#: Where Linux tells a process's memory, and where its peak is reset.
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def rows() -> Iterator[dict[str, object]]:
    """Time one whole pass for khatri-rao, slices for the Gaussian and the peer, scaled up to all samples."""
    try:
        from trak.projectors import BasicProjector
    except ImportError:
        raise ValueError("the peer traker is not installed: pip install 'gradex[bench]'") from None
    policy, samples = _setting(_SIZES, _SAMPLES)
    theta = policy.initial(Streams([0]))[0]
    some = _first(samples, _SLICE)

    def features(projection: Projection, of: Transitions) -> None:
        gradient_features(PolicyGradients(policy, theta), of, projection)

    khatri_rao = KhatriRaoProjection(gradient_layout(policy), _DIMENSION, seed=0)
    gaussian = GaussianProjection(policy.size, _DIMENSION, seed=0)
    ours = {
        "khatri-rao": fastest(lambda: features(khatri_rao, samples), 5),
        "gaussian": fastest(lambda: features(gaussian, some), 2) * _SAMPLES / _SLICE,
    }
    bare = fastest(lambda: _forward_and_backward(policy, theta, samples), 5)
    size = f"p = {policy.size:,}, N = {_SAMPLES:,}, d = {_DIMENSION}"
    yield row("bare forward and backward pass", f"khatri-rao, {size}", ours["khatri-rao"], bare, "s")
    if _RESET.exists():
        yield from _memory_rows()
    projector = BasicProjector(policy.size, _DIMENSION, 0, "normal", torch.device("cpu"))
    # The peer draws its projection anew for every batch, so that it gains from large ones, which take memory:
    # a gigabyte for 1000. Its projector for GPUs takes 32 at a time.
    for batch in (32, 250, 1000):
        peer = fastest(_peer(projector, samples, batch), 2) * _SAMPLES / batch
        for name, seconds in ours.items():
            slices = f"the peer's {batch} of them in one batch" + (
                f", ours {_SLICE:,}" if name == "gaussian" else ""
            )
            setting = f"{name}, {size}; timed on {slices}, times N"
            yield row("traker BasicProjector on vmap(grad)", setting, seconds, peer, "s")


def _setting(sizes: tuple[int, int, int, int], count: int) -> tuple[Policy, Transitions]:
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


def _memory_rows() -> Iterator[dict[str, object]]:
    """Compare memory above the inputs with that of gradients as p-vectors.

    Of the network of a million parameters a slice is measured: only the features grow with the samples; what
    else it takes, the gradients of a batch, stays.
    """
    each = 4e-6 * _DIMENSION
    for sizes, count in ((_SIZES, _SAMPLES), (_LARGE, _MANY)):
        # Each in a process of its own, as what others have freed would be used again unseen.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            parameters, peak = pool.submit(_measure, sizes, _SAMPLES, _DIMENSION).result()
        setting = (
            f"khatri-rao, p = {parameters:,}, N = {count:,}, d = {_DIMENSION}, features above the inputs"
        )
        if count > _SAMPLES:
            setting += f": {peak:.0f} MB measured at N = {_SAMPLES:,}, and {1e3 * each:.1f} kB for each more"
        memory = peak + each * (count - _SAMPLES)
        yield row("all gradients as p-vectors", setting, memory, 4e-6 * parameters * count, "MB")


def _measure(sizes: tuple[int, int, int, int], count: int, dimension: int) -> tuple[int, float]:
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


def _peer(projector, samples: Transitions, batch: int) -> Callable[[], object]:  # type: ignore[no-untyped-def]
    """Gradients as torch's documentation takes them sample by sample, then the projector."""
    observed, width, layers, actions = _SIZES
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
