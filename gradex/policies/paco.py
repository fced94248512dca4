"""PaCo: the parameters of a task's policy, composed of parameter sets that all tasks share."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from gradex.policies.layers import Layer, TaskNetwork, affine, chain, embed, mix
from gradex.policies.stack import Observations, Outputs, Rows, Tape, Tasks
from gradex.policies.tanh import tanh
from gradex.seeds import Streams


@dataclass(frozen=True)
class PaCo(TaskNetwork):
    """Parameter-compositional network (Sun, Zhang, Xu and Tomizuka 2022, NeurIPS).

    All parameters of task τ's network are a combination of K parameter sets, the columns of Φ,

        θ_τ = Φ w_τ,   Φ = [φ_1, ..., φ_K],   w_τ in R^K,

    Φ being shared by the tasks. An affine layer is linear in its parameters, so that composing them is the
    same as composing what the K sets give, Σ_k w_τk (x W_k + b_k), side by side in one layer.

    At the start the sets are independent and orthogonal, and every w_τ is a unit vector: the composed weight
    has E[WᵀW] = Σ_k w_τk² gain² c I = gain² c I with c = min(1, inputs / outputs), as in a plain layer.

    Departures:

    1. The paper's rule for tasks whose loss explodes (mask the loss, and set w_τ anew between those of other
       tasks) belongs to training and is left out.
    2. w_τ starts on the unit sphere, see above.
    3. The network is our `MLP`, with tanh; its layers all have K sets, the last one too.
    4. Parameters of a policy's distribution, such as its standard deviation, are not composed.

    Attributes
    ----------
    features, outputs, tasks, layers, width, gain
        As for `MLP`.
    sets : int
        K; the paper uses 5 for MT10.

    Examples
    --------
    >>> from gradex.policies import PaCo
    >>> net = PaCo(features=4, outputs=2, tasks=10, width=8, sets=3)
    >>> net.shapes["composition.weight"], net.shapes["sets.0.weight"]
    ((10, 3), (4, 24))
    """

    sets: int = 5

    def __post_init__(self) -> None:
        self._require(tasks=1, layers=1, width=1, sets=1)

    @cached_property
    def table(self) -> Mapping[str, Layer]:
        sizes = [self.features, *[self.width] * (self.layers - 1), self.outputs]
        composition = Layer(self.tasks, self.sets, bias=None)
        return {"composition": composition, **chain("sets.", sizes, self.gain, blocks=self.sets)}

    def initial(self, streams: Streams) -> Rows:
        parameters = super().initial(streams)
        composition = self.split(parameters)["composition.weight"]
        composition /= composition.norm(dim=2, keepdim=True)
        return parameters

    def forward(
        self, parameters: Rows, observations: Observations, tasks: Tasks, tape: Tape | None = None
    ) -> Outputs:
        named, hidden = self.split(parameters), observations
        composition = embed("composition", named, tasks, tape)

        def composed(layer: int, hidden: Tensor) -> Tensor:
            sets = affine(f"sets.{layer}", named, hidden, tape)
            return mix(composition, sets.unflatten(-1, (self.sets, -1)))

        for layer in range(self.layers - 1):
            hidden = tanh(composed(layer, hidden))
        return composed(self.layers - 1, hidden)
