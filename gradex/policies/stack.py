"""Networks as stacks: P functions of one shape, evaluated together.

A stack of P networks is one matrix of parameters, one row per network; a single network is a stack of one.
Everything that is done to a policy as a point in parameter space (a step, a distance, a lift from a projected
space) is then plain arithmetic on rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradex.seeds import Streams

#: What every network of a stack takes, and gives.
Rows = Float[Tensor, "policies parameters"]
Observations = Float[Tensor, "policies batch features"]
Tasks = Int[Tensor, "policies batch"]
Outputs = Float[Tensor, "policies batch outputs"]


def by_name(rows: Rows, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """View rows of parameters as named arrays [policies, *shape]."""
    pieces = rows.split([prod(shape) for shape in shapes.values()], dim=1)
    return {name: piece.view(-1, *shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}


@dataclass(frozen=True, eq=False)
class Tape:
    """What passed through the layers in one forward evaluation, of which gradients of samples are made.

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
    def initial(self, streams: Streams) -> Rows:
        """Draw one row of parameters per stream."""

    @abstractmethod
    def forward(
        self, parameters: Rows, observations: Observations, tasks: Tasks, tape: Tape | None = None
    ) -> Outputs:
        """Evaluate row p of the parameters on batch p of the observations."""

    @property
    def sees_task(self) -> bool:
        """Whether the result depends on the task: what a policy does in one then says nothing of others."""
        return True

    @property
    def size(self) -> int:
        """Number of parameters of one network."""
        return sum(prod(shape) for shape in self.shapes.values())

    def split(self, parameters: Rows) -> dict[str, Tensor]:
        """View rows of parameters as named arrays [policies, *shape]."""
        return by_name(parameters, self.shapes)


@dataclass(frozen=True)
class Standardised(Network):
    """A network that sees (s - centre) / spread in place of an observation s.

    Both are constants of the suite, known or measured before training: nothing of them changes while a policy
    learns, so that it stays a function of its parameters alone.

    Attributes
    ----------
    network : Network
    centre, spread : tuples of float [features]

    Examples
    --------
    >>> from gradex.policies import MLP, Standardised
    >>> net = Standardised(MLP(features=2, outputs=1), centre=(0.0, 50.0), spread=(1.0, 10.0))
    >>> net.size == net.network.size
    True
    """

    network: Network
    centre: tuple[float, ...]
    spread: tuple[float, ...]

    def __post_init__(self) -> None:
        if not all(number > 0 for number in self.spread):
            raise ValueError(f"a spread of {min(self.spread)} scales nothing: give positive numbers")

    @cached_property
    def _constants(self) -> Float[np.ndarray, "both features"]:
        """Centre, and one over the spread; a tensor would belong to the transform that asks first."""
        return np.array([self.centre, [1 / number for number in self.spread]])

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self.network.shapes

    @property
    def sees_task(self) -> bool:
        return self.network.sees_task

    def initial(self, streams: Streams) -> Rows:
        return self.network.initial(streams)

    def forward(
        self, parameters: Rows, observations: Observations, tasks: Tasks, tape: Tape | None = None
    ) -> Outputs:
        centre, factor = torch.from_numpy(self._constants).to(observations)
        return self.network.forward(parameters, (observations - centre) * factor, tasks, tape)


@dataclass(frozen=True)
class Twin(Network):
    """A row of parameters holds those of one network, then those of the other: [q1 | q2].

    A stack of P twins is evaluated as a stack of 2 P networks, in one batched product per layer. The outputs
    of the two stand side by side.

    Attributes
    ----------
    network : Network

    Examples
    --------
    >>> from gradex.policies import MLP, Twin
    >>> critics = Twin(MLP(features=4, outputs=1))
    >>> critics.size == 2 * critics.network.size
    True
    """

    network: Network

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {
            f"{which}.{name}": shape
            for which in ("first", "second")
            for name, shape in self.network.shapes.items()
        }

    def initial(self, streams: Streams) -> Rows:
        return torch.cat([self.network.initial(streams), self.network.initial(streams)], dim=1)

    def forward(
        self, parameters: Rows, observations: Observations, tasks: Tasks, tape: Tape | None = None
    ) -> Outputs:
        if tape is not None:
            raise ValueError("twins share one evaluation: put each network on a tape of its own")
        rows = parameters.unflatten(1, (2, -1)).flatten(0, 1)
        # Both networks of a policy see the same.
        seen, owners = (
            each.unsqueeze(1).expand(-1, 2, *each.shape[1:]).flatten(0, 1) for each in (observations, tasks)
        )
        outputs = self.network.forward(rows, seen, owners)
        return outputs.unflatten(0, (-1, 2)).transpose(1, 2).flatten(2)
