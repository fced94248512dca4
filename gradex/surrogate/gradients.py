"""Per-sample gradients of log π, kept in factors (PolicyGradEx, Algorithm 1, step 2).

The samples of a batch are independent, so one backward pass of Σ log π gives the sensitivity δ of every
sample at every layer. With the layer's input a, a sample's gradient is a δᵀ for the weight and δ for
the bias (Goodfellow 2015, arXiv 1510.01799), together [a, 1] δᵀ. The p-vectors themselves, one per sample,
are only ever built in slices.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import accumulate, pairwise
from math import prod
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from gradex.policies import Network, Policy, Tape

#: Columns that are built at a time.
_COLUMNS = 512


class Block(ABC):
    """Some neighbouring columns of the matrix of gradients, one row per sample.

    They are the entries, row-major, of a matrix G of `shape`; each sample has its own.
    """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns of G."""

    @property
    def width(self) -> int:
        """Number of entries of G."""
        return prod(self.shape)

    @abstractmethod
    def columns(self, start: int, stop: int) -> Float[Tensor, "N entries"]:
        """Build entries start to stop - 1 of each sample."""

    @abstractmethod
    def contract(
        self, left: Float[Tensor, "rows d"], right: Float[Tensor, "columns d"]
    ) -> Float[Tensor, "N d"]:
        """Give leftₖᵀ G rightₖ of each sample for d pairs of vectors, in the gradients' precision."""


@dataclass(frozen=True)
class Dense(Block):
    """Entries that are stored as they are, G having one row: the distribution's own parameters."""

    values: Float[Tensor, "N width"]

    @property
    def shape(self) -> tuple[int, int]:
        return (1, self.values.shape[1])

    def columns(self, start: int, stop: int) -> Float[Tensor, "N entries"]:
        return self.values[:, start:stop]

    def contract(
        self, left: Float[Tensor, "rows d"], right: Float[Tensor, "columns d"]
    ) -> Float[Tensor, "N d"]:
        return self.values @ (right * left).to(self.values)


@dataclass(frozen=True)
class _Layer(Block):
    """The parameters of a layer.

    Attributes
    ----------
    inputs : Tensor [N, i]
        What went into the layer, a.
    sensitivities : Tensor [N, o]
        Gradient of log π with respect to what came out, δ.
    """

    inputs: Float[Tensor, "N i"]
    sensitivities: Float[Tensor, "N o"]

    def columns(self, start: int, stop: int) -> Float[Tensor, "N entries"]:
        outputs = self.sensitivities.shape[1]
        first, last = start // outputs, -(-stop // outputs)
        inputs = self.inputs[:, first:last]
        if last > self.inputs.shape[1]:
            inputs = F.pad(inputs, (0, 1), value=1.0)
        products = inputs.unsqueeze(2) * self.sensitivities.unsqueeze(1)
        return products.flatten(1)[:, start - first * outputs : stop - first * outputs]


@final
@dataclass(frozen=True)
class Linear(_Layer):
    """G = a δᵀ: a layer without bias, such as the embedding of a task."""

    @property
    def shape(self) -> tuple[int, int]:
        return (self.inputs.shape[1], self.sensitivities.shape[1])

    def contract(
        self, left: Float[Tensor, "rows d"], right: Float[Tensor, "columns d"]
    ) -> Float[Tensor, "N d"]:
        left, right = left.to(self.inputs), right.to(self.inputs)
        return (self.inputs @ left).mul_(self.sensitivities @ right)


@final
@dataclass(frozen=True)
class Affine(_Layer):
    """G = [a, 1] δᵀ: weight and bias of an affine layer, the bias being the weight of a constant input."""

    @property
    def shape(self) -> tuple[int, int]:
        return (self.inputs.shape[1] + 1, self.sensitivities.shape[1])

    def contract(
        self, left: Float[Tensor, "rows d"], right: Float[Tensor, "columns d"]
    ) -> Float[Tensor, "N d"]:
        left, right = left.to(self.inputs), right.to(self.inputs)
        return torch.addmm(left[-1], self.inputs, left[:-1]).mul_(self.sensitivities @ right)


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
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)

    def __matmul__(self, matrix: Float[Tensor, "p k"]) -> Float[Tensor, "N k"]:
        """Multiply by a matrix with one row per parameter."""
        starts = range(0, self.parameters, _COLUMNS)
        slices = (self.columns(start, min(start + _COLUMNS, self.parameters)) for start in starts)
        products = (piece @ rows for piece, rows in zip(slices, matrix.split(_COLUMNS), strict=True))
        return reduce(Tensor.add_, products)

    def dense(self) -> Float[Tensor, "N p"]:
        """Build the whole matrix."""
        return self.columns(0, self.parameters)


def gradient_layout(policy: Policy) -> list[tuple[int, int]]:
    """Give the shapes of the matrices that make up a gradient, in the order of the parameters.

    (inputs + 1, outputs) for each affine layer, (inputs, outputs) for each layer without bias, and (1, size)
    for each of the distribution's own parameters.

    Raises
    ------
    ValueError
        If a parameter of the network is in no layer.
    """
    layout = []
    for layer, kind in _layers(policy.network).items():
        inputs, outputs = policy.network.shapes[f"{layer}.weight"]
        layout.append((inputs + 1 if kind is Affine else inputs, outputs))
    return layout + [(1, prod(shape)) for shape in policy.distribution.parameters.values()]


def _layers(network: Network) -> dict[str, type[Affine | Linear]]:
    """Give the kind of each layer by its name, in the order of the parameters."""
    layers: dict[str, type[Affine | Linear]] = {}
    for before, name in pairwise(["", *network.shapes]):
        layer, _, kind = name.rpartition(".")
        if kind == "weight":
            layers[layer] = Linear
        elif kind == "bias" and before == f"{layer}.weight":
            layers[layer] = Affine
        else:
            raise ValueError(
                f"parameter {name!r} is in no affine layer: "
                "apply it through `affine`, with the bias right after the weight"
            )
    return layers


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
        Its network must put every parameter into layers that note themselves on the tape.
    parameters : Tensor [p]
        θ. Its precision and device are those of the result.
    observations : Tensor [N, features]
    tasks : int Tensor [N]
    actions : Tensor [N] or [N, dimensions]

    Raises
    ------
    ValueError
        If a parameter of the network is in no layer.
    """
    layers, tape = _layers(policy.network), Tape()
    dtype, device = parameters.dtype, parameters.device
    observations, tasks = observations.to(device, dtype), tasks.to(device)
    actions = actions.to(device, dtype) if actions.is_floating_point() else actions.to(device)
    with torch.enable_grad():
        theta = parameters.detach().unsqueeze(0).requires_grad_()
        outputs, own = policy.outputs(theta, observations.unsqueeze(0), tasks.unsqueeze(0), tape)
        # To the distribution every sample is a policy of its own, and so are its parameters.
        own = {
            name: value.detach().expand(len(tasks), *value.shape[1:]).requires_grad_()
            for name, value in own.items()
        }
        log_prob = policy.distribution.log_prob(outputs.transpose(0, 1), own, actions.unsqueeze(1))
        missing = next((layer for layer in layers if layer not in tape.outputs), None)
        if missing is not None:
            raise ValueError(f"layer {missing!r} is not on the tape: hand the tape on to `affine`")
        taped = [*(tape.outputs[layer] for layer in layers), *own.values()]
        gradients = torch.autograd.grad(log_prob.sum(), taped)
    blocks: list[Block] = [
        kind(tape.inputs[layer].detach().squeeze(0), delta.squeeze(0))
        for (layer, kind), delta in zip(layers.items(), gradients, strict=False)
    ]
    blocks.extend(Dense(gradient.flatten(1)) for gradient in gradients[len(layers) :])
    return FactoredGradients(blocks)
