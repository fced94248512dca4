"""What a learner trains: a stack of policies, each with a critic of its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

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
from gradex.seeds import Streams
from gradex.store import fingerprint, not_finite
from gradex.tasks import TaskSuite


@dataclass(frozen=True, eq=False)
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
    return_mean, return_scale : Tensor [policies, tasks or objectives]
        Mean and standard deviation of the returns that each policy saw in each task; 0 before any.
    more : mapping of str to Tensor [policies, ...]
        What else a learner keeps for each policy: target networks, temperatures.
    by_objective : bool
        Whether the critic does not see the task either, and has a head for each objective in its place: where
        rewards are sums of objectives, see `TaskSuite.linear`. Tasks may then be many, and others later.

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
    by_objective: bool = False

    @classmethod
    def initial(
        cls,
        suite: TaskSuite,
        seeds: Sequence[int],
        layers: int = 4,
        width: int = 64,
        network: str = "mlp",
        by_objective: bool = False,
    ) -> "ActorCritic":
        """Make one fresh policy and critic per seed, both of one of `gradex.policies.ARCHITECTURES`.

        Where the policy does not see the task, the critic is a network that does, or `by_objective` one with
        a head for each objective.
        """
        distribution = action_distribution(suite.action_space)
        policy = Policy(build_network(network, suite, distribution.outputs, layers, width), distribution)
        valued = len(suite.objectives) if by_objective else len(suite)
        kind, heads = (network, valued) if by_objective else (seeing(network), 1)
        critic = build_network(kind, suite, heads, layers, width, gain=1.0, layer_norm=True)
        streams = Streams(seeds, branch=0)
        actors, critics = policy.initial(streams), critic.initial(streams)
        unknown = actors.new_zeros(len(seeds), valued)
        return cls(policy, critic, actors, critics, unknown, unknown.clone(), by_objective=by_objective)

    def __len__(self) -> int:
        return len(self.actors)

    def __getitem__(self, index: int | slice) -> "ActorCritic":
        """Give one policy, as a stack of one, or some of them."""
        chosen = index if isinstance(index, slice) else slice(index, index + 1)
        return self._each(lambda rows: rows[chosen])

    def repeat(self, count: int) -> "ActorCritic":
        """Give `count` copies of every policy of a stack, side by side."""
        return self._each(lambda rows: rows.repeat_interleave(count, dim=0))

    @classmethod
    def joined(cls, stacks: Sequence["ActorCritic"]) -> "ActorCritic":
        """Put stacks of one architecture into one."""
        first, *others = stacks
        return first._each(lambda *rows: torch.cat(rows), *others)

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

    def tensors(self) -> dict[str, Tensor]:
        """Give everything that was trained by name ("policy.0.weight"), shaped as the networks use it."""
        policy, critic = _named(self.policy, self.actors), _named(self.critic, self.critics)
        parts = {"policy": policy, "critic": critic, "more": self.more}
        named = {f"{part}.{name}": rows for part, own in parts.items() for name, rows in own.items()}
        return named | {"return_mean": self.return_mean, "return_scale": self.return_scale}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that was trained."""
        return fingerprint(self.tensors())

    def restored(self, tensors: Mapping[str, Tensor]) -> "ActorCritic":
        """Give a stack of this architecture and size whose `tensors` are these, or refuse them."""
        expected = self.tensors()
        for name, wanted in expected.items():
            tensor = tensors.get(name)
            if tensor is None or tensor.shape[1:] != wanted.shape[1:]:
                found = "missing" if tensor is None else f"of shape {tuple(tensor.shape[1:])}"
                raise ValueError(f"{name} is {found}, expected {tuple(wanted.shape[1:])}")
            count = len(tensor) if tensor.dim() else 0
            if count != len(wanted):
                raise ValueError(f"{name} holds {count} policies, expected {len(wanted)}")
            if tensor.dtype != wanted.dtype:
                raise ValueError(f"{name} is of type {tensor.dtype}, expected {wanted.dtype}")
        if unknown := sorted(tensors.keys() - expected.keys()):
            raise ValueError(f"{unknown[0]} does not belong to this architecture")
        if (broken := not_finite(tensors)) is not None:
            raise ValueError(f"{broken} is not finite, so it must be trained again")

        def rows(part: Network | Policy, prefix: str) -> Tensor:
            return torch.cat([tensors[f"{prefix}.{name}"].flatten(1) for name in part.shapes], dim=1)

        return replace(
            self,
            actors=rows(self.policy, "policy"),
            critics=rows(self.critic, "critic"),
            return_mean=tensors["return_mean"],
            return_scale=tensors["return_scale"],
            more={name: tensors[f"more.{name}"] for name in self.more},
        )

    def _each(self, change: Callable[..., Tensor], *others: "ActorCritic") -> "ActorCritic":
        """Change every tensor, by those of the same name in other stacks where they are given."""
        stacks = (self, *others)
        names = ("actors", "critics", "return_mean", "return_scale")
        changed: dict[str, Any] = {name: change(*(getattr(own, name) for own in stacks)) for name in names}
        more = {name: change(*(own.more[name] for own in stacks)) for name in self.more}
        return replace(self, **changed, more=more)


def _named(part: Network | Policy, parameters: Float[Tensor, "policies parameters"]) -> dict[str, Tensor]:
    """Cut rows of parameters into named tensors."""
    pieces = parameters.split([prod(shape) for shape in part.shapes.values()], dim=1)
    shapes = zip(part.shapes.items(), pieces, strict=True)
    return {name: piece.unflatten(1, shape) for (name, shape), piece in shapes}


def build_network(
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

    See `gradex.policies.network`. A network that judges actions sees their numbers, `actions` of them, after
    those of the observation.
    """
    features = suite.observation_space.shape[0] + actions
    made = network(name, features, outputs, len(suite), layers, width, gain, layer_norm)
    if (known := suite.typical_observation) is None:
        return made
    centre, spread = known
    return Standardised(made, (*centre, *[0.0] * actions), (*spread, *[1.0] * actions))


def seeing(name: str) -> str:
    """Give the architecture itself, or if it does not see the task the one like it that does."""
    return "one_hot_mlp" if name == "mlp" else name
