"""One trunk for all tasks, and a head for each."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradex.policies.layers import Layer, LayeredNetwork, chain, hidden
from gradex.policies.stack import Tape, affine


@dataclass(frozen=True)
class MultiHead(LayeredNetwork):
    """Hard parameter sharing (Caruana 1997, Machine Learning 28), "multi-head" in Yu et al. (2019, CoRL).

    With a trunk f that all tasks share and a head for each task τ,

        network(s, τ) = V_τ f(s) + c_τ.

    All heads are evaluated side by side, as one affine layer, and each sample keeps those of its own task.

    Departures:

    1. tanh in the trunk, so that nothing but the heads differs from `MLP`.

    Attributes
    ----------
    features, outputs : int
        Size of an observation and of the result.
    tasks : int
        Number of heads; `forward` takes indices below it.
    layers : int
        Number of affine layers, the heads being the last.
    width : int
        Size of every hidden layer.
    gain : float
        Scale of each head at the start.
    layer_norm : bool
        Whether what comes before each tanh is brought to mean 0 and variance 1 over the layer (Ba et al.
        2016, arXiv 1607.06450), without parameters.

    Examples
    --------
    >>> import torch
    >>> from gradex.policies import MultiHead
    >>> from gradex.seeds import Streams
    >>> net = MultiHead(features=4, outputs=2, tasks=10, layers=3, width=8)
    >>> parameters = net.initial(Streams(seeds=[0, 1, 2]))  # three policies in one stack
    >>> tuple(parameters.shape)
    (3, 292)
    >>> observations, tasks = torch.zeros(3, 5, 4), torch.zeros(3, 5, dtype=torch.int64)
    >>> tuple(net.forward(parameters, observations, tasks).shape)
    (3, 5, 2)
    """

    features: int
    outputs: int
    tasks: int
    layers: int = 4
    width: int = 64
    gain: float = 0.01
    layer_norm: bool = False

    def __post_init__(self) -> None:
        self._require(tasks=1, layers=1, width=1)

    @cached_property
    def table(self) -> Mapping[str, Layer]:
        sizes = [self.features, *[self.width] * (self.layers - 1)]
        heads = Layer(sizes[-1], self.outputs, self.gain, blocks=self.tasks)
        return {**chain("trunk.", sizes), "heads": heads}

    def forward(
        self,
        parameters: Float[Tensor, "policies parameters"],
        observations: Float[Tensor, "policies batch features"],
        tasks: Int[Tensor, "policies batch"],
        tape: Tape | None = None,
    ) -> Float[Tensor, "policies batch outputs"]:
        named, passed = self.split(parameters), observations
        for layer in range(self.layers - 1):
            passed = hidden(affine(f"trunk.{layer}", named, passed, tape), self.layer_norm)
        return affine("heads", named, passed, tape).gather(2, self.own(tasks))

    def own(self, tasks: Int[Tensor, "policies batch"]) -> Int[Tensor, "policies batch outputs"]:
        """Give the places of each sample's own outputs among those of all heads."""
        return tasks.unsqueeze(-1) * self.outputs + torch.arange(self.outputs, device=tasks.device)
