"""The multilayer perceptron, as a stack."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gradex.policies.layers import Layer, LayeredNetwork, chain, tanh
from gradex.policies.stack import Tape, affine


@dataclass(frozen=True)
class MLP(LayeredNetwork):
    """Affine layers with tanh between them.

    Attributes
    ----------
    features, outputs : int
        Size of an observation and of the result.
    layers : int
        Number of affine layers; PolicyGradEx, Table 1, uses four.
    width : int
        Size of every hidden layer.
    tasks : int
        If positive, the task enters as a one-hot vector of this length beside the observation; if 0 the
        network does not see it.
    gain : float
        Scale of the last layer at the start; small for a policy, so that it starts close to uniform.
    """

    features: int
    outputs: int
    layers: int = 4
    width: int = 64
    tasks: int = 0
    gain: float = 0.01

    def __post_init__(self) -> None:
        if self.layers < 1 or self.width < 1:
            raise ValueError(
                f"an MLP of {self.layers} layers of width {self.width} cannot be: both must be at least 1"
            )

    @cached_property
    def table(self) -> Mapping[str, Layer]:
        sizes = [self.features + self.tasks, *[self.width] * (self.layers - 1), self.outputs]
        return chain("", sizes, self.gain)

    def forward(
        self,
        parameters: Float[Tensor, "policies parameters"],
        observations: Float[Tensor, "policies batch features"],
        tasks: Int[Tensor, "policies batch"],
        tape: Tape | None = None,
    ) -> Float[Tensor, "policies batch outputs"]:
        named = self.split(parameters)
        hidden = observations
        if self.tasks:
            hidden = torch.cat([hidden, F.one_hot(tasks, self.tasks).to(hidden.dtype)], dim=-1)
        for layer in range(self.layers - 1):
            hidden = tanh(affine(str(layer), named, hidden, tape))
        return affine(str(self.layers - 1), named, hidden, tape)
