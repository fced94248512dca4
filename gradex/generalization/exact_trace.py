"""The exact trace of the Hessian of a multilayer perceptron, layer by layer.

What comes out of a layer, s, is linear in its weight and bias. With its input a, their block of the Hessian
is [a, 1] [a, 1]ᵀ ⊗ ∂²ℓ/∂s² for one sample, whose trace is (|a|² + 1) tr ∂²ℓ/∂s². No other blocks are needed,
and one walk back through the network is enough.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gradex.generalization.hessian import Hessian, SymmetricOperator
from gradex.generalization.loss import StackedSamples
from gradex.generalization.trace import TraceEstimate, TraceEstimator
from gradex.policies import MLP, Network, Standardised, Tape

#: Numbers per array while the network is walked back, 2 MB in double precision.
_ENTRIES = 2**18


@final
@dataclass(frozen=True)
class ExactTrace(TraceEstimator):
    r"""The sum of the diagonal, over the network's and the distribution's parameters; no products.

    With s_l = a_l W_l + b_l and a_{l+1} = tanh s_l, of which D_l is the diagonal matrix of derivatives
    1 - a_{l+1}², and δ_l = ∂ℓ/∂s_l, the chain rule gives

        ∂²ℓ/∂s_l² = D_l W_{l+1} (∂²ℓ/∂s_{l+1}²) W_{l+1}ᵀ D_l + diag(c_l),   c_l = -2 a_{l+1} δ_l,

    hence, with J_{lk} = D_l W_{l+1} ⋯ D_{k-1} W_k (the derivative of s_k by s_l) and K = ∂²ℓ/∂s² at the
    outputs, of which there are few,

        tr ∂²ℓ/∂s_l² = tr J_{lL}ᵀ J_{lL} K + Σ_k Σ_j c_k[j] |column j of J_{lk}|².

    Columns of J_{l,l+1} have squared lengths (1 - a²)² W_{l+1}², so that three affine layers need no matrix
    per sample at all; h of them need (h - 3) (h - 2) / 2 products of matrices per sample.

    Examples
    --------
    >>> import torch
    >>> from gradex import MetaPolicy, TaskSuite
    >>> from gradex.generalization import ExactTrace, Hessian, PolicyGradientLoss, StackedSamples
    >>> meta = MetaPolicy(TaskSuite.make("navigation", n=3), layers=2, width=4).fit(steps=1)
    >>> theta = torch.from_numpy(meta.parameters).double().unsqueeze(0)
    >>> samples = StackedSamples.of([meta.transitions(20, sharing="none")])
    >>> hessian = Hessian(meta.agent_.policy, PolicyGradientLoss(), theta, samples)
    >>> matrix = (hessian @ torch.eye(hessian.size, dtype=torch.float64).unsqueeze(0))[0]
    >>> bool(abs(ExactTrace().estimate(hessian).value[0] - matrix.trace()) < 1e-9)
    True
    """

    def estimate(self, operator: SymmetricOperator) -> TraceEstimate:
        """Give the trace of the Hessian of each policy; other operators are refused, see `check`."""
        if not isinstance(operator, Hessian):
            raise _unknown(operator)
        network = _perceptron(operator.policy.network)
        widest = max(shape[-1] for shape in network.shapes.values())
        # Up to three layers every array has some vectors per sample, beyond a matrix.
        each = widest * (widest if network.layers > 3 else operator.policy.distribution.outputs)
        chunks = operator.samples.chunks(max(_ENTRIES // (operator.stack * each), 1))
        total = torch.stack([_sum(operator, network, chunk) for chunk in chunks]).sum(dim=0)
        value = (total / operator.samples.count).cpu().numpy()
        return TraceEstimate(value, np.zeros_like(value), inf, products=0)

    def check(self, network: Network) -> None:
        """Refuse a network whose trace is not known: none but perceptrons, also behind standardisation."""
        _perceptron(network)


def _perceptron(network: Network) -> MLP:
    """Give the perceptron, also behind standardised observations: the tape has what its layers see."""
    inner = network.network if isinstance(network, Standardised) else network
    if not isinstance(inner, MLP) or inner.layer_norm:
        raise _unknown(inner)
    return inner


def _unknown(what: object) -> ValueError:
    return ValueError(
        f"no exact trace is known for a {type(what).__name__}: estimate it, such as by XTrace()"
    )


def _sum(hessian: Hessian, network: MLP, samples: StackedSamples) -> Float[Tensor, " policies"]:
    """Add up the traces of samples."""
    theta, tape = hessian.parameters, Tape()
    with torch.no_grad():
        outputs, own = hessian.policy.outputs(theta, samples.observations, samples.tasks, tape)
    named = network.split(theta[:, : network.size])
    weights = [named[f"{layer}.weight"] for layer in range(network.layers)]
    slope, curvature, of_own = _head(hessian, outputs, own, samples)
    with torch.no_grad():
        inputs = [tape.inputs[str(layer)] for layer in range(network.layers)]
        return of_own + _walk_back(weights, inputs, slope, curvature)


def _walk_back(
    weights: list[Float[Tensor, "policies _ _"]],
    inputs: list[Float[Tensor, "policies N _"]],
    slope: Float[Tensor, "policies N o"],
    curvature: Float[Tensor, "policies N o o"],
) -> Float[Tensor, " policies"]:
    """Add up the traces of all layers, from the first two derivatives by the outputs."""
    total = _times_lengths(inputs[-1], curvature.diagonal(dim1=2, dim2=3).sum(dim=2))
    # Columns of J are kept as rows: to the outputs, and to every layer that was passed, with its c. Those of
    # the layer just passed are D W, of which the trace needs no matrix for each sample.
    outward: Tensor | None = None
    passed: list[tuple[Tensor, Tensor]] = []
    latest: Tensor | None = None
    for layer in reversed(range(len(weights) - 1)):
        weight, active = weights[layer + 1], inputs[layer + 1]
        derivative = 1 - active.square()
        squared = derivative.square()
        if latest is None:
            pairs = (weight.unsqueeze(3) * weight.unsqueeze(2)).flatten(2)
            trace = (squared @ pairs * curvature.flatten(2)).sum(dim=2)
        else:
            trace = (squared @ weight.square() * latest).sum(dim=2)
        if outward is not None:
            outward = _pull_back(outward, weight, derivative)
            trace += _quadratic(outward, curvature)
        passed = [(_pull_back(rows, weight, derivative), c) for rows, c in passed]
        for rows, c in passed:
            trace += (rows.square().sum(dim=3) * c).sum(dim=2)
        if layer > 0:  # nobody asks for these rows beyond the first layer
            rows = weight.mT.unsqueeze(1) * derivative.unsqueeze(2)
            if latest is None:
                outward = rows
            else:
                passed.append((rows, latest))
        slope = slope @ weight.mT * derivative
        latest = -2 * active * slope
        total += _times_lengths(inputs[layer], trace + latest.sum(dim=2))
    return total


def _quadratic(
    rows: Float[Tensor, "policies N o i"], curvature: Float[Tensor, "policies N o o"]
) -> Float[Tensor, "policies N"]:
    """Give tr Jᵀ J K, row by row: a product of such small matrices for each sample would take longer."""
    lengths = torch.stack([(rows * row.unsqueeze(2)).sum(dim=3) for row in rows.unbind(dim=2)], dim=2)
    return (lengths * curvature).sum(dim=(2, 3))


def _pull_back(
    rows: Float[Tensor, "policies N j o"],
    weight: Float[Tensor, "policies i o"],
    derivative: Float[Tensor, "policies N i"],
) -> Float[Tensor, "policies N j i"]:
    """Turn derivatives by what a layer gives into derivatives by what its predecessor gave, before tanh."""
    return (rows.flatten(1, 2) @ weight.mT).unflatten(1, rows.shape[1:3]).mul_(derivative.unsqueeze(2))


def _times_lengths(
    inputs: Float[Tensor, "policies N i"], traces: Float[Tensor, "policies N"]
) -> Float[Tensor, " policies"]:
    """Sum (|a|² + 1) tr ∂²ℓ/∂s² over samples."""
    return ((inputs.square().sum(dim=2) + 1) * traces).sum(dim=1)


def _head(
    hessian: Hessian,
    outputs: Float[Tensor, "policies N o"],
    own: Mapping[str, Float[Tensor, "policies _"]],
    samples: StackedSamples,
) -> tuple[Float[Tensor, "policies N o"], Float[Tensor, "policies N o o"], Float[Tensor, " policies"]]:
    """Give the loss's first two derivatives by the network's outputs, and its trace over the rest.

    The rest are the distribution's own parameters, of which every sample has a second derivative.
    """
    stack, count, width = outputs.shape

    def alone(x: Tensor) -> Tensor:
        """To the distribution every sample is a policy of its own, and so are its parameters."""
        return x.reshape(stack * count, 1, *x.shape[2:])

    with torch.inference_mode(False), torch.enable_grad():
        z = alone(outputs).detach().requires_grad_()
        owned = {
            name: value.detach().repeat_interleave(count, dim=0).requires_grad_()
            for name, value in own.items()
        }
        values = hessian.loss.of_outputs(
            hessian.policy.distribution, z, owned, alone(samples.actions), alone(samples.advantages)
        )
        slope, *slopes = torch.autograd.grad(values.sum(), [z, *owned.values()], create_graph=True)
        rows = [torch.autograd.grad(s.sum(), z, retain_graph=True)[0] for s in slope.unbind(dim=-1)]
        diagonal = [
            torch.autograd.grad(first[:, entry].sum(), value, retain_graph=True)[0][:, entry]
            for first, value in zip(slopes, owned.values(), strict=True)
            for entry in range(value.shape[1])
        ]
    trace = sum(diagonal, outputs.new_zeros(stack * count)).reshape(stack, count).sum(dim=1)
    curvature = torch.stack(rows, dim=-1).reshape(stack, count, width, width)
    return slope.detach().reshape(stack, count, width), curvature, trace
