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

from gradex.policies.stack import Network, Tape, affine, orthogonal
from gradex.seeds import Streams


@dataclass(frozen=True)
class Layer:
    """The shape of an affine or linear layer, and how it starts.

    Attributes
    ----------
    inputs, outputs : int
        Shape of the weight of one block.
    gain : float
        Scale of the orthogonal weight at the start; √2 keeps the scale through a hidden layer.
    blocks : int
        Weights side by side that are drawn each by itself.
    bias : float or None
        Bias at the start; None is a linear layer, without any.
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

    def initial(self, streams: Streams) -> Float[Tensor, "policies parameters"]:
        """Draw weights for one layer per stream; the biases follow them."""
        blocks = [orthogonal(streams, self.inputs, self.outputs, self.gain) for _ in range(self.blocks)]
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

    def initial(self, streams: Streams) -> Float[Tensor, "policies parameters"]:
        return torch.cat([layer.initial(streams).float() for layer in self.table.values()], dim=1)

    def _require(self, **least: int) -> None:
        """Refuse sizes below what the architecture needs.

        Raises
        ------
        ValueError
            Names the first of them.
        """
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise ValueError(
                    f"{type(self).__name__} with {name}={getattr(self, name)} cannot be: "
                    f"choose {minimum} or more"
                )


def hidden(
    outputs: Float[Tensor, "policies batch width"], layer_norm: bool
) -> Float[Tensor, "policies batch width"]:
    """Pass what an affine layer gives through tanh, normalised over the layer before if wished."""
    return torch.tanh(F.layer_norm(outputs, outputs.shape[-1:]) if layer_norm else outputs)


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
