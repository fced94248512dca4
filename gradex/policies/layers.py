"""Networks that are a table of layers, and what they do between them."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gradex.policies.stack import Network, Rows, Tape
from gradex.policies.tanh import tanh
from gradex.seeds import Streams


@dataclass(frozen=True)
class Layer:
    """The shape of an affine or linear layer, and how it starts.

    Its weight is `blocks` orthogonal matrices [inputs, outputs] side by side, each drawn by itself; a gain of
    √2 keeps the scale through a hidden layer. A layer with the bias None is linear.
    """

    inputs: int
    outputs: int
    gain: float = 2**0.5
    blocks: int = 1
    bias: float | None = 0.0

    def shapes(self, name: str) -> dict[str, tuple[int, ...]]:
        """Give the shape of each parameter of the layer of this name."""
        width = self.blocks * self.outputs
        weight: dict[str, tuple[int, ...]] = {f"{name}.weight": (self.inputs, width)}
        return weight if self.bias is None else weight | {f"{name}.bias": (width,)}

    def initial(self, streams: Streams) -> Rows:
        """Draw weights for one layer per stream; the biases follow them."""
        blocks = [_orthogonal(streams, self.inputs, self.outputs, self.gain) for _ in range(self.blocks)]
        weight = torch.cat(blocks, dim=2).flatten(1)
        if self.bias is None:
            return weight
        bias = weight.new_full((len(streams), self.blocks * self.outputs), self.bias)
        return torch.cat([weight, bias], dim=1)


class LayeredNetwork(Network):
    """A network whose parameters are those of a table of layers."""

    @property
    @abstractmethod
    def table(self) -> Mapping[str, Layer]:
        """Layers by name, in the order in which a row holds them."""

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {
            parameter: shape
            for name, layer in self.table.items()
            for parameter, shape in layer.shapes(name).items()
        }

    def initial(self, streams: Streams) -> Rows:
        return torch.cat([layer.initial(streams).float() for layer in self.table.values()], dim=1)

    def _require(self, **least: int) -> None:
        """Refuse the first size that is below what the architecture needs."""
        for name, minimum in least.items():
            if (size := getattr(self, name)) < minimum:
                kind = type(self).__name__
                raise ValueError(f"{name}={size} is too small for {kind}: give at least {minimum}")


@dataclass(frozen=True)
class TaskNetwork(LayeredNetwork):
    """A layered network that sees the task, whatever it does with it; sizes are as for `MLP`."""

    features: int
    outputs: int
    tasks: int
    layers: int = 4
    width: int = 64
    gain: float = 0.01

    def __post_init__(self) -> None:
        self._require(tasks=1, layers=1, width=1)


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


def perceptron(
    prefix: str,
    layers: int,
    named: Mapping[str, Tensor],
    inputs: Float[Tensor, "policies batch i"],
    tape: Tape | None,
    layer_norm: bool = False,
) -> Float[Tensor, "policies batch o"]:
    """Pass through layers prefix0, prefix1, ... of a `chain`, with tanh between them."""
    for layer in range(layers - 1):
        inputs = hidden(affine(f"{prefix}{layer}", named, inputs, tape), layer_norm)
    return affine(f"{prefix}{layers - 1}", named, inputs, tape)


def hidden(
    outputs: Float[Tensor, "policies batch width"], layer_norm: bool
) -> Float[Tensor, "policies batch width"]:
    """Pass what an affine layer gives through tanh, normalised over the layer before if wished."""
    return tanh(F.layer_norm(outputs, outputs.shape[-1:]) if layer_norm else outputs)


def chain(prefix: str, sizes: Sequence[int], gain: float = 2**0.5, blocks: int = 1) -> dict[str, Layer]:
    """Give layers prefix0, prefix1, ... from each size to the next; the gain is that of the last."""
    return {
        f"{prefix}{number}": Layer(inputs, outputs, gain if number == len(sizes) - 2 else 2**0.5, blocks)
        for number, (inputs, outputs) in enumerate(pairwise(sizes))
    }


def embedding(tasks: int, width: int) -> Layer:
    """Give a linear layer on the one-hot task, whose numbers have mean square 1 at the start."""
    return Layer(tasks, width, gain=max(tasks, width) ** 0.5, bias=None)


def one_hot(
    tasks: Int[Tensor, "policies batch"], count: int, dtype: torch.dtype
) -> Float[Tensor, "policies batch count"]:
    """Give vectors with a one at the place of the task; unlike torch's, without a look for the largest."""
    zeros = torch.zeros(*tasks.shape, count, dtype=dtype, device=tasks.device)
    return zeros.scatter_(-1, tasks.unsqueeze(-1), 1.0)


def embed(
    layer: str,
    named: Mapping[str, Tensor],
    tasks: Int[Tensor, "policies batch"],
    tape: Tape | None,
) -> Float[Tensor, "policies batch width"]:
    """Look each sample's task up, as a linear layer on the one-hot task, which the tape can note."""
    weight = named[f"{layer}.weight"]
    return affine(layer, named, one_hot(tasks, weight.shape[1], weight.dtype), tape)


def mix(
    weights: Float[Tensor, "policies batch parts"], values: Float[Tensor, "policies batch parts width"]
) -> Float[Tensor, "policies batch width"]:
    """Add up parts with weights of each sample's own.

    As a batch of tiny matrix products it would take several times as long on a CPU.
    """
    return (weights.unsqueeze(-1) * values).sum(dim=2)


def _orthogonal(streams: Streams, inputs: int, outputs: int, gain: float) -> Float[Tensor, "policies i o"]:
    """Draw orthogonal weights, the usual start for policy gradients (Saxe et al. 2014, ICLR)."""
    tall = torch.from_numpy(streams.normals(max(inputs, outputs), min(inputs, outputs)))
    q, r = torch.linalg.qr(tall)
    # Without the signs of the diagonal, Q would not be uniform over the orthogonal matrices.
    q = q * torch.diagonal(r, dim1=-2, dim2=-1).sign().unsqueeze(-2)
    weight = q if inputs >= outputs else q.transpose(1, 2)
    return gain * weight
