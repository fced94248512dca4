"""What a learner trains: a stack of policies, each with a critic of its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradex.policies import (
    Network,
    Policy,
    SquashedGaussian,
    Standardised,
    Twin,
    action_distribution,
    network,
)
from gradex.streams import Streams
from gradex.tasks import TaskSuite


@dataclass(frozen=True)
class ActorCritic:
    """A stack of policies with their critics.

    By default the policy does not see which task it is in (it is what the tasks share); the critic does,
    because it only serves training and an advantage is measured against what this task pays.

    Attributes
    ----------
    policy : Policy
    critic : Network
        Estimates the return of (observation, task), less the task's `return_mean`, in units of its
        `return_scale`: tasks may pay in thousands and in hundredths, to the critic they are alike.
    actors : Tensor [policies, p]
    critics : Tensor [policies, q]
    return_mean, return_scale : Tensor [policies, tasks]
        Mean and standard deviation of the returns that each policy saw in each task; 0 before any.
    more : mapping of str to Tensor [policies, ...]
        What else a learner keeps for each policy: target networks, temperatures.

    Examples
    --------
    >>> from gradex import TaskSuite
    >>> from gradex.learners import ActorCritic
    >>> suite = TaskSuite.make("navigation", n=3)
    >>> stack = ActorCritic.initial(suite, seeds=[0, 1, 2, 3], layers=2, width=8)
    >>> len(stack), len(stack[0]), len(stack[0].repeat(100))
    (4, 1, 100)
    >>> tuple(stack.actors.shape)
    (4, 52)
    """

    policy: Policy
    critic: Network
    actors: Float[Tensor, "policies p"]
    critics: Float[Tensor, "policies q"]
    return_mean: Float[Tensor, "policies tasks"]
    return_scale: Float[Tensor, "policies tasks"]
    more: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def initial(
        cls, suite: TaskSuite, seeds: Sequence[int], layers: int = 4, width: int = 64, network: str = "mlp"
    ) -> "ActorCritic":
        """Make one fresh policy and critic per seed, both of one architecture.

        Where the policy does not see the task, the critic is a network that does.

        Parameters
        ----------
        suite : TaskSuite
        seeds : sequence of int
        layers, width : int
        network : str
            One of `gradex.policies.ARCHITECTURES`.
        """
        distribution = action_distribution(suite.action_space)
        policy = Policy(built(network, suite, distribution.outputs, layers, width), distribution)
        critic = built(seeing(network), suite, 1, layers, width, gain=1.0, layer_norm=True)
        streams = Streams(seeds, branch=0)
        unknown = torch.zeros(len(seeds), len(suite))
        return cls(policy, critic, policy.initial(streams), critic.initial(streams), unknown, unknown.clone())

    def __len__(self) -> int:
        return len(self.actors)

    def __getitem__(self, index: int) -> "ActorCritic":
        """Give one policy, as a stack of one."""
        return self._each(lambda rows: rows[index : index + 1])

    def repeat(self, count: int) -> "ActorCritic":
        """Give a stack of `count` equal copies of a single policy."""
        return self.repeat_each(count)

    def repeat_each(self, count: int) -> "ActorCritic":
        """Give `count` copies of every policy of a stack, side by side."""
        return self._each(lambda rows: rows.repeat_interleave(count, dim=0))

    def clone(self) -> "ActorCritic":
        """Give the same stack in memory of its own."""
        return self._each(Tensor.clone)

    def to(self, device: torch.device | str) -> "ActorCritic":
        """Give the same stack on another device, in memory of its own only if it is not there yet."""
        return self._each(lambda rows: rows.to(device))

    def values(
        self, observations: Float[Tensor, "policies batch features"], tasks: Int[Tensor, "policies batch"]
    ) -> Float[Tensor, "policies batch"]:
        """Estimate returns, in units of reward.

        Twin critics judge actions: there it is the lesser of both for the most probable action.
        """
        if isinstance(self.critic, Twin) and isinstance(self.policy.distribution, SquashedGaussian):
            outputs, _ = self.policy.outputs(self.actors, observations, tasks)
            mode = self.policy.distribution.squashed(self.policy.distribution.mode(outputs))
            seen = torch.cat([observations, mode], dim=-1)
            estimates = self.critic.forward(self.critics, seen, tasks).amin(dim=-1)
        else:
            estimates = self.critic.forward(self.critics, observations, tasks).squeeze(-1)
        return self.return_mean.gather(1, tasks) + self.return_scale.gather(1, tasks) * estimates

    def _each(self, change: Callable[[Tensor], Tensor]) -> "ActorCritic":
        """Change every tensor."""
        return replace(
            self,
            actors=change(self.actors),
            critics=change(self.critics),
            return_mean=change(self.return_mean),
            return_scale=change(self.return_scale),
            more={name: change(rows) for name, rows in self.more.items()},
        )


def built(
    name: str,
    suite: TaskSuite,
    outputs: int,
    layers: int,
    width: int,
    gain: float = 0.01,
    actions: int = 0,
    layer_norm: bool = False,
) -> Network:
    """Build a network for the observations of a suite, on a common scale where they come without one.

    Parameters
    ----------
    name : str
        One of `gradex.policies.ARCHITECTURES`.
    suite : TaskSuite
    outputs, layers, width, gain, layer_norm
        As in `gradex.policies.network`.
    actions : int
        Numbers that come after those of the observation: a network that judges actions sees them too.
    """
    features = suite.observation_space.shape[0] + actions
    made = network(name, features, outputs, len(suite), layers, width, gain, layer_norm)
    known = suite.typical_observation
    if known is None:
        return made
    centre, spread = known
    return Standardised(made, (*centre, *[0.0] * actions), (*spread, *[1.0] * actions))


def seeing(name: str) -> str:
    """Give the architecture itself, or if it does not see the task the one like it that does."""
    return "one_hot_mlp" if name == "mlp" else name
