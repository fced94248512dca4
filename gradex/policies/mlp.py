"""The multilayer perceptron, as a stack."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gradex.policies.fused import Perceptrons
from gradex.policies.layers import Layer, LayeredNetwork, chain, tanh
from gradex.policies.products import suit_onednn
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
        named, hidden = self.split(parameters), self.inputs(observations, tasks)
        for layer in range(self.layers - 1):
            hidden = tanh(affine(str(layer), named, hidden, tape))
        return affine(str(self.layers - 1), named, hidden, tape)

    def fused(self) -> "FusedMLP":
        return FusedMLP(*astuple(self))

    def inputs(
        self, observations: Float[Tensor, "policies batch features"], tasks: Int[Tensor, "policies batch"]
    ) -> Float[Tensor, "policies batch inputs"]:
        """Put the task beside the observation, if the network sees it."""
        if not self.tasks:
            return observations
        return torch.cat([observations, F.one_hot(tasks, self.tasks).to(observations.dtype)], dim=-1)


class FusedMLP(MLP):
    """The same function of the same parameters as one operation, which can be differentiated once."""

    def forward(
        self,
        parameters: Float[Tensor, "policies parameters"],
        observations: Float[Tensor, "policies batch features"],
        tasks: Int[Tensor, "policies batch"],
        tape: Tape | None = None,
    ) -> Float[Tensor, "policies batch outputs"]:
        if tape is not None:
            return super().forward(parameters, observations, tasks, tape)
        inputs = self.inputs(observations, tasks)
        if not suit_onednn(inputs, self.width**2):
            return Perceptrons.apply(parameters, inputs, self)
        # It has no products of stacks.
        each = zip(parameters.split(1), inputs.split(1), strict=True)
        return torch.cat([Perceptrons.apply(row, batch, self) for row, batch in each])
