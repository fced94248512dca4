"""Networks as stacks: P functions of one shape, evaluated together.

A stack of P networks is one matrix of parameters, one row per network; a single network is a stack of one.
Everything that is done to a policy as a point in parameter space (a step, a distance, a lift from a projected
space) is then plain arithmetic on rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradex.seeds import Streams


@dataclass(frozen=True)
class Tape:
    """What passed through the layers in one forward evaluation.

    With the layer's input a and the sensitivity δ of the loss to its output, the gradient of one sample's
    weight is the outer product a δᵀ, that of its bias δ. A layer that is used once per sample needs nothing
    else.

    Attributes
    ----------
    inputs, outputs : dict of str to Tensor [policies, batch, features]
        By name of the layer.

    Examples
    --------
    >>> import torch
    >>> from gradex.policies import MLP, Tape
    >>> from gradex.seeds import Streams
    >>> net, tape = MLP(features=4, outputs=2, layers=2, width=8), Tape()
    >>> tasks = torch.zeros(1, 5, dtype=torch.int64)
    >>> _ = net.forward(net.initial(Streams([0])), torch.zeros(1, 5, 4), tasks, tape)
    >>> {layer: tuple(inputs.shape) for layer, inputs in tape.inputs.items()}
    {'0': (1, 5, 4), '1': (1, 5, 8)}
    """

    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)


class Network(ABC):
    """A function of an observation and a task, with the parameters left open.

    Concrete networks are frozen dataclasses; they say what their parameters are and how to evaluate them.

    Examples
    --------
    >>> from gradex.policies import MLP, Network
    >>> net = MLP(features=4, outputs=2, layers=2, width=8)
    >>> isinstance(net, Network)
    True
    >>> dict(net.shapes)
    {'0.weight': (4, 8), '0.bias': (8,), '1.weight': (8, 2), '1.bias': (2,)}
    >>> net.size
    58
    """

    @property
    @abstractmethod
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each parameter of one network, in the order in which a row holds them.

        An affine layer L owns two: "L.weight" of shape (inputs, outputs) and "L.bias" of shape (outputs,).
        A linear layer, such as the embedding of a task, owns the weight alone.
        """

    @abstractmethod
    def initial(self, streams: Streams) -> Float[Tensor, "policies parameters"]:
        """Draw one row of parameters per stream."""

    @abstractmethod
    def forward(
        self,
        parameters: Float[Tensor, "policies parameters"],
        observations: Float[Tensor, "policies batch features"],
        tasks: Int[Tensor, "policies batch"],
        tape: Tape | None = None,
    ) -> Float[Tensor, "policies batch outputs"]:
        """Evaluate row p of the parameters on batch p of the observations."""

    @property
    def sees_task(self) -> bool:
        """Whether the result depends on the task: what a policy does in one then says nothing of others."""
        return True

    @property
    def size(self) -> int:
        """Number of parameters of one network."""
        return sum(prod(shape) for shape in self.shapes.values())

    def split(self, parameters: Float[Tensor, "policies parameters"]) -> dict[str, Tensor]:
        """View rows of parameters as named arrays [policies, *shape]."""
        pieces = parameters.split([prod(shape) for shape in self.shapes.values()], dim=1)
        return {
            name: piece.view(-1, *shape)
            for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)
        }


def affine(
    layer: str, named: Mapping[str, Tensor], inputs: Float[Tensor, "policies batch i"], tape: Tape | None
) -> Float[Tensor, "policies batch o"]:
    """Apply the layer of every network of a stack at once, and note it on the tape; a bias is optional."""
    weight, bias = named[f"{layer}.weight"], named.get(f"{layer}.bias")
    if bias is None:
        outputs = torch.bmm(inputs, weight)
    else:
        outputs = torch.baddbmm(bias.unsqueeze(1), inputs, weight)
    if tape is not None:
        tape.inputs[layer], tape.outputs[layer] = inputs, outputs
    return outputs


def orthogonal(streams: Streams, inputs: int, outputs: int, gain: float) -> Float[Tensor, "policies i o"]:
    """Draw orthogonal weights, the usual start for policy gradients (Saxe et al. 2014, ICLR)."""
    tall = torch.from_numpy(streams.normals(max(inputs, outputs), min(inputs, outputs)))
    q, r = torch.linalg.qr(tall)
    # Without the signs of the diagonal, Q would not be uniform over the orthogonal matrices.
    q = q * torch.diagonal(r, dim1=-2, dim2=-1).sign().unsqueeze(-2)
    weight = q if inputs >= outputs else q.transpose(1, 2)
    return gain * weight
