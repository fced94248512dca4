"""The multilayer perceptron as one operation, whose derivatives are written out."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from gradex.policies.products import product
from gradex.policies.stack import Network


class Perceptrons(Function):
    """A stack of multilayer perceptrons with tanh between their layers, forwards and backwards."""

    @staticmethod
    def forward(ctx: Any, parameters: Tensor, inputs: Tensor, network: Network) -> Tensor:
        """Evaluate rows of parameters [policies, p] on inputs [policies, batch, i].

        The parameters of the network are weight and bias of each layer.
        """
        layers = _layers(network, parameters)
        passed = [inputs]
        for weight, bias in layers[:-1]:
            # tanh x = 2 σ(2x) - 1, as in layers.py, but in place.
            passed.append(product(passed[-1], weight, bias).mul_(2).sigmoid_().mul_(2).sub_(1))
        ctx.network = network
        ctx.save_for_backward(parameters, *passed)
        return product(passed[-1], *layers[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, sensitivity: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Give the gradients that are asked for: that of an action, say, but none of its critic's weights."""
        parameters, *passed = ctx.saved_tensors
        of_parameters, of_inputs, _ = ctx.needs_input_grad
        layers = _layers(ctx.network, parameters)
        gradient = torch.empty_like(parameters) if of_parameters else None
        gradients = [] if gradient is None else _layers(ctx.network, gradient)
        for number in range(len(layers) - 1, -1, -1):
            below = passed[number]
            if gradients:
                weight, bias = gradients[number]
                weight.copy_(product(below.transpose(1, 2), sensitivity))
                torch.sum(sensitivity, dim=1, out=bias)
            if number > 0:
                sensitivity = product(sensitivity, layers[number][0].transpose(1, 2))
                torch.ops.aten.tanh_backward(sensitivity, below, grad_input=sensitivity)
        inputs = product(sensitivity, layers[0][0].transpose(1, 2)) if of_inputs else None
        return gradient, inputs, None


def _layers(network: Network, rows: Tensor) -> list[tuple[Tensor, Tensor]]:
    """View rows as weight and bias of each layer."""
    return list(pairwise(network.split(rows).values()))[::2]
