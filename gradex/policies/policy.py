"""A policy: a network that ends in a distribution over actions."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from gradex.policies.distributions import ActionDistribution
from gradex.policies.stack import Network, Tape
from gradex.seeds import Streams


@dataclass(frozen=True)
class Policy:
    """π_θ(a | s) for every row θ of a parameter matrix.

    The distribution's own parameters stand at the end of a row.

    Attributes
    ----------
    network : Network
    distribution : ActionDistribution

    Examples
    --------
    >>> import torch
    >>> from gradex.policies import MLP, Categorical, Policy
    >>> policy = Policy(MLP(features=4, outputs=2, layers=2, width=8), Categorical(2))
    >>> parameters = torch.zeros(1, policy.size)  # a policy that prefers nothing
    >>> observations, tasks = torch.zeros(1, 1, 4), torch.zeros(1, 1, dtype=torch.int64)
    >>> actions = torch.ones(1, 1, dtype=torch.int64)
    >>> round(policy.log_prob(parameters, observations, tasks, actions).exp().item(), 6)
    0.5
    """

    network: Network
    distribution: ActionDistribution

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each named parameter, in the order in which a row holds them."""
        return {**self.network.shapes, **self.distribution.parameters}

    @property
    def size(self) -> int:
        """Number of parameters p of one policy."""
        return sum(prod(shape) for shape in self.shapes.values())

    def initial(self, streams: Streams) -> Float[Tensor, "policies parameters"]:
        """Draw one row of parameters per stream."""
        own = torch.zeros(len(streams), self.size - self.network.size)
        return torch.cat([self.network.initial(streams), own], dim=1)

    def outputs(
        self,
        parameters: Float[Tensor, "policies parameters"],
        observations: Float[Tensor, "policies batch features"],
        tasks: Int[Tensor, "policies batch"],
        tape: Tape | None = None,
    ) -> tuple[Float[Tensor, "policies batch outputs"], dict[str, Tensor]]:
        """Give the network's outputs and the distribution's own parameters [policies, *shape]."""
        shapes = self.distribution.parameters
        network, *pieces = parameters.split([self.network.size, *map(prod, shapes.values())], dim=1)
        own = {
            name: piece.view(-1, *shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)
        }
        return self.network.forward(network, observations, tasks, tape), own

    def log_prob(
        self,
        parameters: Float[Tensor, "policies parameters"],
        observations: Float[Tensor, "policies batch features"],
        tasks: Int[Tensor, "policies batch"],
        actions: Shaped[Tensor, "policies batch *a"],
    ) -> Float[Tensor, "policies batch"]:
        """Log π_θ(a | s) of each sample."""
        outputs, own = self.outputs(parameters, observations, tasks)
        return self.distribution.log_prob(outputs, own, actions)
