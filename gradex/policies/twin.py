"""Two networks of one architecture side by side, as the two critics of soft actor-critic."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

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


def _twice(rows: Tensor) -> Tensor:
    """Give every policy's rows to both of its networks."""
    return rows.unsqueeze(1).expand(-1, 2, *rows.shape[1:]).flatten(0, 1)


def _beside(outputs: Float[Tensor, "twins batch o"]) -> Float[Tensor, "policies batch both"]:
    return outputs.unflatten(0, (-1, 2)).transpose(1, 2).flatten(2)
