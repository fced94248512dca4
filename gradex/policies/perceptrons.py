"""Multilayer perceptrons bound to their parameters, with derivatives written out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from gradex.policies.bound import Memory, Pullback
from gradex.policies.kernels import multiply
from gradex.policies.stack import Network


class Perceptrons:
    """Affine layers with tanh between them, at rows of parameters that may move in place.

    Parameters
    ----------
    network : Network
        Its parameters are weight and bias of each layer, from the first to the last.
    parameters : Tensor [policies, parameters]
    """

    def __init__(self, network: Network, parameters: Float[Tensor, "policies parameters"]) -> None:
        self._parameters = parameters.detach()
        self._network, self._layers = network, _affine(network, self._parameters)
        self._hidden = [Memory() for _ in self._layers[1:]]
        self._below = [Memory() for _ in self._layers[1:]]

    def vjp(
        self, inputs: Float[Tensor, "policies batch inputs"]
    ) -> tuple[Float[Tensor, "policies batch outputs"], Pullback]:
        """Evaluate, and give the way back."""
        passed = [inputs]
        for layer, memory in zip(self._layers[:-1], self._hidden, strict=True):
            hidden = memory(inputs, *inputs.shape[:2], layer.weight.shape[2])
            passed.append(multiply(passed[-1], layer.weight, layer.bias, out=hidden).tanh_())
        outputs = multiply(passed[-1], self._layers[-1].weight, self._layers[-1].bias)
        return outputs, _Passed(self._layers, self._gradients, passed, self._below)

    @cached_property
    def _gradients(self) -> tuple[Tensor, Sequence["_Affine"]]:
        """Memory for the derivative by the parameters, also layer by layer."""
        rows = torch.empty_like(self._parameters, memory_format=torch.contiguous_format)
        return rows, _affine(self._network, rows)


@dataclass(frozen=True)
class _Passed(Pullback):
    """What went into each layer."""

    layers: Sequence["_Affine"]
    gradients: tuple[Tensor, Sequence["_Affine"]]
    inputs: Sequence[Tensor]
    memory: Sequence[Memory]

    def to_parameters(self, sensitivity: Tensor) -> Tensor:
        rows, gradients = self.gradients
        for number in range(len(self.layers) - 1, -1, -1):
            multiply(self.inputs[number].mT, sensitivity, out=gradients[number].weight)
            torch.sum(sensitivity, dim=1, keepdim=True, out=gradients[number].bias)
            if number > 0:
                sensitivity = self._below(number, sensitivity)
        return rows

    def to_inputs(self, sensitivity: Tensor) -> Tensor:
        for number in range(len(self.layers) - 1, 0, -1):
            sensitivity = self._below(number, sensitivity)
        return multiply(sensitivity, self.layers[0].transposed)

    def _below(self, number: int, sensitivity: Tensor) -> Tensor:
        """Go back through a layer and the tanh before it."""
        passed = self.inputs[number]
        below = self.memory[number - 1](passed, *passed.shape)
        multiply(sensitivity, self.layers[number].transposed, out=below)
        return torch.ops.aten.tanh_backward.grad_input(below, passed, grad_input=below)


@dataclass(frozen=True)
class _Affine:
    """Weight [policies, inputs, outputs] and bias [policies, 1, outputs] of a layer, or their derivatives."""

    weight: Tensor
    bias: Tensor
    transposed: Tensor


def _affine(network: Network, rows: Tensor) -> list[_Affine]:
    """View rows as weight and bias of each layer."""
    pairs = list(pairwise(network.split(rows).values()))[::2]
    return [_Affine(weight, bias.unsqueeze(1), weight.mT) for weight, bias in pairs]
