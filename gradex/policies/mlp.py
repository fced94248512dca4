"""The multilayer perceptron, as a stack."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradex.policies.layers import Layer, LayeredNetwork, chain, hidden, one_hot
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
    layer_norm : bool
        Whether what comes before each tanh is brought to mean 0 and variance 1 over the layer (Ba et al.
        2016, arXiv 1607.06450), without parameters.

    Examples
    --------
    >>> import torch
    >>> from gradex.policies import MLP
    >>> from gradex.seeds import Streams
    >>> net = MLP(features=4, outputs=2, layers=3, width=8)
    >>> parameters = net.initial(Streams(seeds=[0, 1, 2]))  # three policies in one stack
    >>> tuple(parameters.shape)
    (3, 130)
    >>> observations, tasks = torch.zeros(3, 5, 4), torch.zeros(3, 5, dtype=torch.int64)
    >>> tuple(net.forward(parameters, observations, tasks).shape)
    (3, 5, 2)
    """

    features: int
    outputs: int
    layers: int = 4
    width: int = 64
    tasks: int = 0
    gain: float = 0.01
    layer_norm: bool = False

    def __post_init__(self) -> None:
        if self.layers < 1 or self.width < 1:
            raise ValueError(
                f"an MLP of {self.layers} layers of width {self.width} cannot be: both must be at least 1"
            )

    @property
    def sees_task(self) -> bool:
        return self.tasks > 0

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
        named, passed = self.split(parameters), self.inputs(observations, tasks)
        for layer in range(self.layers - 1):
            passed = hidden(affine(str(layer), named, passed, tape), self.layer_norm)
        return affine(str(self.layers - 1), named, passed, tape)

    def inputs(
        self, observations: Float[Tensor, "policies batch features"], tasks: Int[Tensor, "policies batch"]
    ) -> Float[Tensor, "policies batch inputs"]:
        """Put the task beside the observation, if the network sees it."""
        if not self.tasks:
            return observations
        return torch.cat([observations, one_hot(tasks, self.tasks, observations.dtype)], dim=-1)
