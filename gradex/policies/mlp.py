"""Multilayer perceptrons as stacks, with one head or a head for each task."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

from gradex.policies.layers import (
    Layer,
    LayeredNetwork,
    TaskNetwork,
    affine,
    chain,
    hidden,
    one_hot,
    perceptron,
)
from gradex.policies.stack import Observations, Outputs, Rows, Tape, Tasks


@dataclass(frozen=True)
class MLP(LayeredNetwork):
    """Affine layers with tanh between them.

    Attributes
    ----------
    features, outputs : int
        Size of an observation and of the result.
    layers : int
        Number of affine layers between them; PolicyGradEx, Table 1, uses four.
    width : int
        Size of every hidden layer.
    tasks : int
        Number of tasks. The task enters as a one-hot vector beside the observation; if 0 the network does not
        see it.
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
        self._require(layers=1, width=1)

    @property
    def sees_task(self) -> bool:
        return self.tasks > 0

    @cached_property
    def table(self) -> Mapping[str, Layer]:
        sizes = [self.features + self.tasks, *[self.width] * (self.layers - 1), self.outputs]
        return chain("", sizes, self.gain)

    def forward(
        self, parameters: Rows, observations: Observations, tasks: Tasks, tape: Tape | None = None
    ) -> Outputs:
        seen = observations
        if self.tasks:
            seen = torch.cat([observations, one_hot(tasks, self.tasks, observations.dtype)], dim=-1)
        return perceptron("", self.layers, self.split(parameters), seen, tape, self.layer_norm)


@dataclass(frozen=True)
class MultiHead(TaskNetwork):
    """Hard parameter sharing (Caruana 1997, Machine Learning 28), "multi-head" in Yu et al. (2019, CoRL).

    With a trunk f that all tasks share and a head for each task τ,

        network(s, τ) = V_τ f(s) + c_τ.

    All heads are evaluated side by side, as one affine layer, and each sample keeps those of its own task.

    Departures:

    1. tanh in the trunk, so that nothing but the heads differs from `MLP`.

    Attributes
    ----------
    features, outputs, tasks, layers, width, gain, layer_norm
        As for `MLP`; the heads are the last layer.

    Examples
    --------
    >>> from gradex.policies import MultiHead
    >>> MultiHead(features=4, outputs=2, tasks=10, layers=3, width=8).shapes["heads.weight"]
    (8, 20)
    """

    layer_norm: bool = False

    @cached_property
    def table(self) -> Mapping[str, Layer]:
        sizes = [self.features, *[self.width] * (self.layers - 1)]
        heads = Layer(sizes[-1], self.outputs, self.gain, blocks=self.tasks)
        return {**chain("trunk.", sizes), "heads": heads}

    def forward(
        self, parameters: Rows, observations: Observations, tasks: Tasks, tape: Tape | None = None
    ) -> Outputs:
        named, passed = self.split(parameters), observations
        for layer in range(self.layers - 1):
            passed = hidden(affine(f"trunk.{layer}", named, passed, tape), self.layer_norm)
        own = tasks.unsqueeze(-1) * self.outputs + torch.arange(self.outputs, device=tasks.device)
        return affine("heads", named, passed, tape).gather(2, own)
