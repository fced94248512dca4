"""Observations brought to a common scale before any network sees them."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from gradex.policies.stack import Network, Tape
from gradex.seeds import Streams


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
            raise ValueError(f"a spread of {min(self.spread)} scales nothing: choose positive numbers")

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self.network.shapes

    @property
    def sees_task(self) -> bool:
        return self.network.sees_task

    def initial(self, streams: Streams) -> Float[Tensor, "policies parameters"]:
        return self.network.initial(streams)

    def forward(
        self,
        parameters: Float[Tensor, "policies parameters"],
        observations: Float[Tensor, "policies batch features"],
        tasks: Int[Tensor, "policies batch"],
        tape: Tape | None = None,
    ) -> Float[Tensor, "policies batch outputs"]:
        centre, factor = self.scale(observations)
        return self.network.forward(parameters, (observations - centre) * factor, tasks, tape)

    def scale(self, like: Tensor) -> tuple[Float[Tensor, " features"], Float[Tensor, " features"]]:
        """Give the centre and what to multiply by, in the precision of a tensor and on its device."""
        return like.new_tensor(self.centre), like.new_tensor([1 / number for number in self.spread])
