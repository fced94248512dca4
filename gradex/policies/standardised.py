"""Observations brought to a common scale before any network sees them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from jaxtyping import Float, Int
from torch import Tensor

from gradex.policies.stack import Network, Tape
from gradex.streams import Streams


@dataclass(frozen=True)
class Standardised(Network):
    """A network that sees (s - centre) / spread in place of an observation s.

    Both are constants of the suite: nothing of them is learned or estimated, so that a policy stays a
    function of its parameters alone.

    Attributes
    ----------
    network : Network
    centre, spread : tuples of float [features]
    """

    network: Network
    centre: tuple[float, ...]
    spread: tuple[float, ...]

    def __post_init__(self) -> None:
        if not all(number > 0 for number in self.spread):
            raise ValueError(f"a spread of {min(self.spread)} scales nothing: choose positive numbers")

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self.network.shapes

    def initial(self, streams: Streams) -> Float[Tensor, "policies parameters"]:
        return self.network.initial(streams)

    def fused(self) -> Network:
        return replace(self, network=self.network.fused())

    def forward(
        self,
        parameters: Float[Tensor, "policies parameters"],
        observations: Float[Tensor, "policies batch features"],
        tasks: Int[Tensor, "policies batch"],
        tape: Tape | None = None,
    ) -> Float[Tensor, "policies batch outputs"]:
        centre, factor = (observations.new_tensor(each) for each in (self.centre, self._factor))
        return self.network.forward(parameters, (observations - centre) * factor, tasks, tape)

    @cached_property
    def _factor(self) -> tuple[float, ...]:
        return tuple(1 / number for number in self.spread)
