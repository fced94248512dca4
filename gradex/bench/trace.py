"""The trace of a Hessian: exact against products with vectors, and our estimators against curvlinops'.

curvlinops (Dangel et al., arXiv 2501.19183) has the same estimators for one matrix at a time. It has no
standard errors, no stacks, and draws from torch's global generator, so ours are our own. Its Hessian
differentiates forward over reverse, ours reverse over reverse.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gradex.bench.timing import fastest, row
from gradex.generalization import (
    DenseOperator,
    ExactTrace,
    Hessian,
    Hutchinson,
    HutchPlusPlus,
    PolicyGradientLoss,
    Samples,
    XTrace,
)
from gradex.policies import MLP, Categorical, Policy
from gradex.streams import Streams

#: Observation and actions, affine layers, width, samples.
_OBSERVED, _ACTIONS, _LAYERS, _WIDTH, _SAMPLES = 4, 2, (2, 3, 4, 8), 64, 20_000
#: Products that the exact trace is compared with, and how many of them are timed.
_PRODUCTS, _TIMED = 100, 10
#: Width and samples of the matrix that is estimated, products, and repetitions.
_SMALL_WIDTH, _SMALL_SAMPLES, _ESTIMATED, _REPEATS = 32, 2_000, (30, 60, 120), 100


def rows() -> Iterator[dict[str, object]]:
    """Time one whole exact trace, and some products, scaled up; then compare errors of estimates."""
    try:
        import curvlinops
    except ImportError:
        raise ValueError("the peer curvlinops is not installed: pip install 'gradex[bench]'") from None
    for layers in _LAYERS:
        yield from _time_rows(curvlinops, layers)
    yield from _error_rows(curvlinops)


def _time_rows(curvlinops: Any, layers: int) -> Iterator[dict[str, object]]:
    """Time the exact trace of a network against products of several makes."""
    hessian = _hessian(layers, _WIDTH, _SAMPLES)
    size = f"{layers} affine layers of {_WIDTH}, p = {hessian.size:,}, N = {_SAMPLES:,}"
    timed = f"{_TIMED} products timed, times {_PRODUCTS / _TIMED:g}"
    trace = float(ExactTrace().estimate(hessian).value[0])
    stderr = float(Hutchinson(_TIMED).estimate(hessian).stderr[0]) * np.sqrt(_TIMED / _PRODUCTS)
    vectors = torch.ones(hessian.size, _TIMED, dtype=hessian.dtype)
    peer = _peer_operator(curvlinops, hessian)
    exact = fastest(lambda: ExactTrace().estimate(hessian), 3)
    ours, plain, theirs = (
        fastest(run, 2) * _PRODUCTS / _TIMED
        for run in (
            lambda: hessian @ vectors.unsqueeze(0),
            lambda: _double_backward(hessian, vectors),
            lambda: peer @ vectors,
        )
    )
    left = f"which leave Hutchinson's standard error at {stderr / abs(trace):.0%} of the trace"
    for name, seconds in (
        ("double backward, all samples at once", plain),
        ("curvlinops HessianLinearOperator", theirs),
        ("our own Hessian", ours),
    ):
        setting = f"exact trace, {size}; {timed}, {left}"
        yield row(f"{_PRODUCTS} products, {name}", setting, exact, seconds, "s")
    yield row("curvlinops HessianLinearOperator", f"{_PRODUCTS} products, {size}; {timed}", ours, theirs, "s")


def _error_rows(curvlinops: Any) -> Iterator[dict[str, object]]:
    """Estimate one trace many times with as many products on both sides."""
    hessian = _hessian(3, _SMALL_WIDTH, _SMALL_SAMPLES)
    matrix = (hessian @ torch.eye(hessian.size, dtype=hessian.dtype).unsqueeze(0))[0]
    trace = float(matrix.trace())
    operator = DenseOperator(matrix.unsqueeze(0))
    for products in _ESTIMATED:
        for ours, theirs in (
            (Hutchinson, curvlinops.hutchinson_trace),
            (HutchPlusPlus, curvlinops.hutchpp_trace),
            (XTrace, curvlinops.xtrace),
        ):
            estimates = [ours(products, seed).estimate(operator).value[0] for seed in range(_REPEATS)]
            peers = [_seeded(theirs, matrix, products, seed) for seed in range(_REPEATS)]
            errors = [_relative_error(each, trace) for each in (estimates, peers)]
            yield row(
                f"curvlinops {theirs.__name__}",
                f"{ours.__name__}, {products} products, p = {hessian.size:,}, {_REPEATS} repetitions",
                errors[0],
                errors[1],
                "relative error",
            )


def _relative_error(estimates: list[float], trace: float) -> float:
    """Give the root mean square error, in units of the trace."""
    return float(np.sqrt(np.mean(np.square(np.array(estimates) - trace)))) / abs(trace)


def _hessian(layers: int, width: int, count: int) -> Hessian:
    """Give the Hessian of a random policy on random samples."""
    policy = Policy(MLP(_OBSERVED, _ACTIONS, layers, width, gain=1.0), Categorical(_ACTIONS))
    rng = np.random.default_rng(0)
    samples = Samples(
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


def _peer_operator(curvlinops: Any, hessian: Hessian) -> Any:
    """Give the same Hessian as a user of curvlinops would write it, with torch's modules."""
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
