"""Per-sample gradients of log π, kept in factors (PolicyGradEx, Algorithm 1, step 2).

The samples of a batch are independent, so one backward pass of Σ log π gives the sensitivity δ of every
sample at every affine layer. With the layer's input a, a sample's gradient is a δᵀ for the weight and δ for
the bias (Goodfellow 2015, arXiv 1510.01799). The p-vectors themselves, one per sample, are only ever built in
slices.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import accumulate

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from gradex.policies import Policy, Tape

#: Columns that are built at a time.
_COLUMNS = 512


class Block(ABC):
    """Some neighbouring columns of the matrix of gradients, one row per sample."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Number of columns."""

    @abstractmethod
    def columns(self, start: int, stop: int) -> Float[Tensor, "N columns"]:
        """Build columns start to stop - 1."""


@dataclass(frozen=True)
class Dense(Block):
    """Columns that are stored as they are: biases, and the distribution's own parameters."""

    values: Float[Tensor, "N width"]

    @property
    def width(self) -> int:
        return self.values.shape[1]

    def columns(self, start: int, stop: int) -> Float[Tensor, "N columns"]:
        return self.values[:, start:stop]


@dataclass(frozen=True)
class Outer(Block):
    """Outer products a δᵀ, row-major: the weight of an affine layer.

    Attributes
    ----------
    inputs : Tensor [N, i]
        What went into the layer, a.
    sensitivities : Tensor [N, o]
        Gradient of log π with respect to what came out, δ.
    """

    inputs: Float[Tensor, "N i"]
    sensitivities: Float[Tensor, "N o"]

    @property
    def width(self) -> int:
        return self.inputs.shape[1] * self.sensitivities.shape[1]

    def columns(self, start: int, stop: int) -> Float[Tensor, "N columns"]:
        outputs = self.sensitivities.shape[1]
        first, last = start // outputs, -(-stop // outputs)
        products = self.inputs[:, first:last, None] * self.sensitivities[:, None, :]
        return products.flatten(1)[:, start - first * outputs : stop - first * outputs]


@dataclass(frozen=True)
class FactoredGradients:
    """Gradients g of N samples with respect to p parameters: a matrix [N, p] in factors.

    Attributes
    ----------
    blocks : sequence of Block
        In the order of the parameters.
    """

    blocks: Sequence[Block]

    @cached_property
    def _offsets(self) -> list[int]:
        return [0, *accumulate(block.width for block in self.blocks)]

    @property
    def parameters(self) -> int:
        """Number of columns p."""
        return self._offsets[-1]

    def columns(self, start: int, stop: int) -> Float[Tensor, "N columns"]:
        """Build columns start to stop - 1, the derivatives with respect to these parameters."""
        pieces = [
            block.columns(max(start - offset, 0), min(stop - offset, block.width))
            for block, offset in zip(self.blocks, self._offsets, strict=False)
            if start < offset + block.width and stop > offset
        ]
        return torch.cat(pieces, dim=1)

    def __matmul__(self, matrix: Float[Tensor, "p k"]) -> Float[Tensor, "N k"]:
        """Multiply by a matrix with one row per parameter."""
        starts = range(0, self.parameters, _COLUMNS)
        slices = (self.columns(start, min(start + _COLUMNS, self.parameters)) for start in starts)
        products = (piece @ rows for piece, rows in zip(slices, matrix.split(_COLUMNS), strict=True))
        return reduce(Tensor.add_, products)

    def dense(self) -> Float[Tensor, "N p"]:
        """Build the whole matrix."""
        return self.columns(0, self.parameters)


def log_prob_gradients(
    policy: Policy,
    parameters: Float[Tensor, " p"],
    observations: Float[Tensor, "N features"],
    tasks: Int[Tensor, " N"],
    actions: Shaped[Tensor, "N *a"],
) -> FactoredGradients:
    """Differentiate log π_θ(a | s) of every sample with respect to θ, in one forward and one backward pass.

    Parameters
    ----------
    policy : Policy
        Its network must put every parameter into affine layers that note themselves on the tape.
    parameters : Tensor [p]
        θ. Its precision is that of the result.
    observations : Tensor [N, features]
    tasks : int Tensor [N]
    actions : Tensor [N] or [N, dimensions]

    Raises
    ------
    ValueError
        If a parameter of the network is in no affine layer.
    """
    dtype = parameters.dtype
    tape = Tape()
    with torch.enable_grad():
        theta = parameters.detach().unsqueeze(0).requires_grad_()
        outputs, own = policy.outputs(theta, observations.to(dtype).unsqueeze(0), tasks.unsqueeze(0), tape)
        places = [name.rpartition(".") for name in policy.network.shapes]
        for layer, _, kind in places:
            if layer not in tape.outputs or kind not in ("weight", "bias"):
                raise ValueError(
                    f"parameter {layer or kind!r} is in no affine layer: apply it through `affine`"
                )
        # To the distribution every sample is a policy of its own, and so are its parameters.
        own = {
            name: value.detach().expand(len(tasks), *value.shape[1:]).requires_grad_()
            for name, value in own.items()
        }
        acted = actions.to(dtype) if actions.is_floating_point() else actions
        log_prob = policy.distribution.log_prob(outputs.transpose(0, 1), own, acted.unsqueeze(1))
        taped = [*tape.outputs.values(), *own.values()]
        gradients = torch.autograd.grad(log_prob.sum(), taped)
    deltas = {layer: delta.squeeze(0) for layer, delta in zip(tape.outputs, gradients, strict=False)}
    blocks: list[Block] = []
    for layer, _, kind in places:
        weight = Outer(tape.inputs[layer].detach().squeeze(0), deltas[layer])
        blocks.append(weight if kind == "weight" else Dense(deltas[layer]))
    blocks.extend(Dense(gradient.flatten(1)) for gradient in gradients[len(deltas) :])
    return FactoredGradients(blocks)
