"""Two networks of one architecture side by side, as the two critics of soft actor-critic."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradex.policies.bound import Around, Bound, Pullback
from gradex.policies.stack import Network, Tape
from gradex.seeds import Streams


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

    def initial(self, streams: Streams) -> Float[Tensor, "policies parameters"]:
        return torch.cat([self.network.initial(streams), self.network.initial(streams)], dim=1)

    def bind(self, parameters: Float[Tensor, "policies parameters"]) -> Bound:
        return BoundTwin(self, parameters)

    def forward(
        self,
        parameters: Float[Tensor, "policies parameters"],
        observations: Float[Tensor, "policies batch features"],
        tasks: Int[Tensor, "policies batch"],
        tape: Tape | None = None,
    ) -> Float[Tensor, "policies batch outputs"]:
        if tape is not None:
            raise ValueError("twins share one evaluation: put each network on a tape of its own")
        rows = parameters.unflatten(1, (2, -1)).flatten(0, 1)
        return _beside(self.network.forward(rows, _twice(observations), _twice(tasks)))


class BoundTwin(Bound):
    """Two bound networks, evaluated together."""

    def __init__(self, outer: Twin, parameters: Float[Tensor, "policies parameters"]) -> None:
        if not parameters.is_contiguous():
            raise ValueError("the rows of twins are not one block of memory: bind a matrix of their own")
        # Not a copy: the parameters may move in place.
        self._inner = outer.network.bind(parameters.view(2 * len(parameters), outer.network.size))

    def vjp(
        self, observations: Float[Tensor, "policies batch features"], tasks: Int[Tensor, "policies batch"]
    ) -> tuple[Float[Tensor, "policies batch outputs"], Pullback]:
        outputs, pullback = self._inner.vjp(_twice(observations), _twice(tasks))
        return _beside(outputs), Around(pullback, _apart, _joined, _added)

    def __call__(self, observations: Tensor, tasks: Tensor) -> Tensor:
        return _beside(self._inner(_twice(observations), _twice(tasks)))


def _twice(rows: Tensor) -> Tensor:
    """Give every policy's rows to both of its networks."""
    return rows.unsqueeze(1).expand(-1, 2, *rows.shape[1:]).flatten(0, 1)


def _beside(outputs: Float[Tensor, "twins batch o"]) -> Float[Tensor, "policies batch both"]:
    return outputs.unflatten(0, (-1, 2)).transpose(1, 2).flatten(2)


def _apart(both: Float[Tensor, "policies batch both"]) -> Float[Tensor, "twins batch o"]:
    return both.unflatten(2, (2, -1)).transpose(1, 2).flatten(0, 1)


def _joined(gradient: Float[Tensor, "twins p"]) -> Float[Tensor, "policies both"]:
    return gradient.unflatten(0, (-1, 2)).flatten(1)


def _added(inputs: Float[Tensor, "twins batch i"]) -> Float[Tensor, "policies batch i"]:
    return inputs.unflatten(0, (-1, 2)).sum(dim=1)
