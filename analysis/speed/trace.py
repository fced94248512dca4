"""The trace of a Hessian: exact against products with vectors, and our estimators against curvlinops'.

curvlinops (Dangel et al., arXiv 2501.19183) has the same estimators for one matrix at a time. It has no
standard errors, no stacks, and draws from torch's global generator, so ours are our own. Its Hessian
differentiates forward over reverse, ours reverse over reverse.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from analysis.speed.comparison import Comparison
from analysis.speed.peers import installed
from analysis.speed.timing import fastest
from gradex.generalization import (
    DenseOperator,
    ExactTrace,
    Hessian,
    Hutchinson,
    PolicyGradientLoss,
    StackedSamples,
    XTrace,
)
from gradex.policies import MLP, Categorical, Policy
from gradex.seeds import Streams

#: What is left out without a package.
WITHOUT = {"curvlinops": "trace against curvlinops"}

#: Observation and actions of the policies.
_OBSERVED, _ACTIONS = 4, 2
#: Products that the exact trace is compared with.
_PRODUCTS = 100
_PEER = "curvlinops HessianLinearOperator"


@dataclass(frozen=True)
class _Amount:
    """How much is multiplied.

    Attributes
    ----------
    layers, width, samples : tuple of int, int, int
        Affine layers of the networks whose exact trace is timed, and their width.
    timed : int
        Products that are timed.
    small_width, small_samples : int
        Of the matrix whose trace is estimated.
    estimated, repeats : tuple of int, int
        Products of the estimators, and how often they estimate.
    """

    layers: tuple[int, ...] = (2, 3, 4, 8)
    width: int = 64
    samples: int = 20_000
    timed: int = 10
    small_width: int = 32
    small_samples: int = 2_000
    estimated: tuple[int, ...] = (30, 60, 120)
    repeats: int = 100


_SMOKE = _Amount((3,), 8, 200, 2, small_width=8, small_samples=100, estimated=(30,))
_AMOUNTS = {"smoke": _SMOKE, "laptop": _Amount(), "paper": _Amount()}


def compare(scale: str) -> Iterator[Comparison]:
    """Time one whole exact trace, and some products, scaled up; then compare errors of estimates."""
    amount = _AMOUNTS[scale]
    for layers in amount.layers:
        yield from _times(amount, layers)
    if installed("curvlinops"):
        yield from _errors(amount)


def _times(amount: _Amount, layers: int) -> Iterator[Comparison]:
    """Time the exact trace of a network against products of several makes."""
    hessian = _hessian(layers, amount.width, amount.samples)
    timed, scaled = amount.timed, _PRODUCTS / amount.timed
    trace = float(ExactTrace().estimate(hessian).value[0])
    stderr = float(Hutchinson(timed).estimate(hessian).stderr[0]) / np.sqrt(scaled)
    vectors = torch.ones(hessian.size, timed, dtype=hessian.dtype)
    exact = fastest(lambda: ExactTrace().estimate(hessian), 3)
    makes: dict[str, Callable[[], object]] = {
        "double backward, all samples at once": lambda: _double_backward(hessian, vectors),
        "our own Hessian": lambda: hessian @ vectors.unsqueeze(0),
    }
    if installed("curvlinops"):
        peer = _peer_operator(hessian)
        makes[_PEER] = lambda: peer @ vectors
    seconds = {name: fastest(run, 2) * scaled for name, run in makes.items()}
    setting = (
        f"{layers} affine layers of {amount.width}, p = {hessian.size:,}, N = {amount.samples:,}; "
        f"{timed} products timed, times {scaled:g}"
    )
    left = f"Hutchinson's standard error after them: {stderr / abs(trace):.0%} of the trace"
    for name, theirs in seconds.items():
        yield Comparison("exact trace", f"{_PRODUCTS} products, {name}", setting, exact, theirs, "s", left)
    if _PEER in seconds:
        ours, theirs = seconds["our own Hessian"], seconds[_PEER]
        yield Comparison(f"{_PRODUCTS} products", _PEER, setting, ours, theirs, "s")


def _errors(amount: _Amount) -> Iterator[Comparison]:
    """Estimate one trace many times with as many products on both sides."""
    import curvlinops

    hessian = _hessian(3, amount.small_width, amount.small_samples)
    matrix = (hessian @ torch.eye(hessian.size, dtype=hessian.dtype).unsqueeze(0))[0]
    trace = float(matrix.trace())
    operator = DenseOperator(matrix.unsqueeze(0))
    for products in amount.estimated:
        for ours, theirs in ((Hutchinson, curvlinops.hutchinson_trace), (XTrace, curvlinops.xtrace)):
            seeds = range(amount.repeats)
            estimates = [float(ours(products, seed).estimate(operator).value[0]) for seed in seeds]
            peers = [_seeded(theirs, matrix, products, seed) for seed in seeds]
            yield Comparison(
                f"error of {ours.__name__}",
                f"curvlinops {theirs.__name__}",
                f"{products} products, p = {hessian.size:,}, {amount.repeats} repetitions",
                _relative_error(estimates, trace),
                _relative_error(peers, trace),
                "relative error",
            )


def _relative_error(estimates: list[float], trace: float) -> float:
    """Give the root mean square error, in units of the trace."""
    return float(np.sqrt(np.mean(np.square(np.array(estimates) - trace)))) / abs(trace)


def _hessian(layers: int, width: int, count: int) -> Hessian:
    """Give the Hessian of a random policy on random samples."""
    policy = Policy(MLP(_OBSERVED, _ACTIONS, layers, width, gain=1.0), Categorical(_ACTIONS))
    rng = np.random.default_rng(0)
    samples = StackedSamples(
        torch.from_numpy(rng.standard_normal((1, count, _OBSERVED))),
        torch.zeros(1, count, dtype=torch.int64),
        torch.from_numpy(rng.integers(0, _ACTIONS, (1, count))),
        torch.from_numpy(rng.standard_normal((1, count))),
    )
    return Hessian(policy, PolicyGradientLoss(), policy.initial(Streams([0])).double(), samples)


def _double_backward(hessian: Hessian, vectors: Float[Tensor, "p k"]) -> None:
    """Differentiate the gradient along one vector after the other, all samples at once."""
    theta = hessian.parameters.detach().requires_grad_()
    loss = hessian.loss.of_samples(hessian.policy, theta, hessian.samples).mean()
    (gradient,) = torch.autograd.grad(loss, theta, create_graph=True)
    for vector in vectors.unbind(dim=1):
        torch.autograd.grad(gradient, theta, vector.unsqueeze(0), retain_graph=True)


def _peer_operator(hessian: Hessian) -> Any:
    """Give the same Hessian as a user of curvlinops would write it, with torch's modules."""
    import curvlinops

    named = hessian.policy.network.split(hessian.parameters)
    modules: list[nn.Module] = []
    for layer in range(len(named) // 2):
        weight, bias = named[f"{layer}.weight"][0], named[f"{layer}.bias"][0]
        linear = nn.Linear(weight.shape[0], weight.shape[1], dtype=weight.dtype)
        linear.weight.data, linear.bias.data = weight.T.clone(), bias.clone()
        modules += [linear, nn.Tanh()]
    model = nn.Sequential(*modules[:-1])
    samples = hessian.samples
    known = torch.stack([samples.actions[0].to(samples.advantages), samples.advantages[0]], dim=1)
    batches = list(zip(samples.observations[0].split(1024), known.split(1024), strict=True))
    loss = _MeanLoss(hessian.loss, hessian.policy)
    return curvlinops.HessianLinearOperator(
        model, loss, list(model.parameters()), batches, check_deterministic=False, num_data=samples.count
    )


class _MeanLoss(nn.Module):
    """The policy-gradient loss of a batch as curvlinops asks for it; labels are actions and advantages."""

    reduction = "mean"

    def __init__(self, loss: PolicyGradientLoss, policy: Policy) -> None:
        super().__init__()
        self._loss, self._distribution = loss, policy.distribution

    def forward(self, outputs: Tensor, known: Tensor) -> Tensor:
        actions, advantages = known[:, 0].long().unsqueeze(0), known[:, 1].unsqueeze(0)
        return self._loss.of_outputs(self._distribution, outputs.unsqueeze(0), {}, actions, advantages).mean()


def _seeded(estimate: Callable[[Tensor, int], Tensor], matrix: Tensor, products: int, seed: int) -> float:
    """Run what draws from torch's global generator, and leave that as it was."""
    with torch.random.fork_rng():
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        return float(estimate(matrix, products))
