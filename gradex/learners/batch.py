"""What a stack of policies and critics learns from: the samples of a rollout, with their advantages."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from operator import itemgetter

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradex.learners.actor_critic import ActorCritic
from gradex.learners.rollouts import Rollout
from gradex.policies import Policy
from gradex.tensors import without_autocast

#: Samples of all policies together, and at least of each, that are evaluated at a time.
_CACHED, _LEAST = 2**11, 2**8


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples of a stack, [policies, samples, ...], environment by environment.

    `log_probs` are those of the policies that acted. They are None where these learn from it once: π over
    itself is 1, and has the slope of log π. Weights of each policy sum to 1, and are 0 where there is no real
    step; where there is none at all, their sum is 0. Targets are of the critics, [policies, samples, heads],
    where any learn.

    Examples
    --------
    >>> from gradex import TaskSuite
    >>> from gradex.learners import ActorCritic, Collector
    >>> from gradex.learners.advantages import baseline_advantages
    >>> from gradex.learners.batch import Batch
    >>> suite = TaskSuite.make("navigation", n=3)
    >>> agent = ActorCritic.initial(suite, [0])
    >>> rollout = Collector(suite, [(0,)], copies=2, seeds=[0]).collect(agent, steps=5)
    >>> batch = Batch.of(agent, rollout, baseline_advantages(rollout, suite.discount, gae_lambda=1.0))
    >>> tuple(batch.actions.shape)
    (1, 10, 2)
    """

    observations: Tensor
    tasks: Tensor
    actions: Tensor
    log_probs: Tensor | None
    advantages: Tensor
    weights: Tensor
    targets: Tensor | None = None

    @classmethod
    @torch.no_grad()
    @without_autocast()
    def of(
        cls,
        agent: ActorCritic,
        rollout: Rollout,
        advantages: Float[np.ndarray, "steps policies environments"],
        targets: Float[np.ndarray, "steps policies environments heads"] | None = None,
        standardise: str = "policy",
        once: bool = False,
    ) -> "Batch":
        """Say what can be learnt from a rollout of the policies of `agent`.

        Advantages are brought to mean 0 and standard deviation 1 over the samples of each "policy", or of
        each "task" of it. If `once`, nobody but these policies, as they are, learns from it, and no network
        is evaluated.
        """

        def samples(array: Tensor | np.ndarray) -> Tensor:
            array = torch.from_numpy(array) if isinstance(array, np.ndarray) else array
            return array.movedim(0, 2).flatten(1, 2)

        observations, actions = samples(rollout.observations[:-1]), samples(rollout.actions)
        tasks = torch.from_numpy(rollout.tasks.repeat(len(advantages), axis=1))
        real = samples(rollout.real).to(observations)
        # Of a policy that has only reset its environments nothing is learnt: all weights are 0.
        weights = real / real.sum(dim=1, keepdim=True).clamp(min=1)
        groups = tasks if standardise == "task" else None
        standard = _standardised(samples(advantages).to(observations), weights, groups)
        log_prob = partial(agent.policy.log_prob, agent.actors)
        log_probs = None if once else in_pieces(log_prob, observations, tasks, actions)
        wanted = None if targets is None else samples(targets)
        return cls(observations, tasks, actions, log_probs, standard, weights, wanted)

    def to(self, device: torch.device) -> "Batch":
        """Give the same samples on a device."""
        return self._each(lambda column: column.to(device))

    def ratio(self, policy: Policy, actors: Float[Tensor, "policies p"]) -> Float[Tensor, "policies samples"]:
        """Give π_θ(a|s) over the probability with which the actions were drawn."""
        return self.ratio_of(policy.log_prob(actors, self.observations, self.tasks, self.actions))

    def ratio_of(self, log_probs: Float[Tensor, "policies samples"]) -> Float[Tensor, "policies samples"]:
        """Give the ratio of policies whose log π_θ(a|s) is known."""
        drawn = log_probs.detach() if self.log_probs is None else self.log_probs
        return (log_probs - drawn).exp()

    def pieces(self, keys: Float[np.ndarray, "policies samples"], count: int) -> Iterator["Batch"]:
        """Deal the samples into `count` random minibatches, in the order of their keys.

        Padding has infinite keys and goes last; the samples are dealt like cards, so every minibatch gets its
        share of them, and a policy's minibatches hold the same samples in any company.
        """
        order = torch.from_numpy(np.argsort(keys, axis=1)).to(self.tasks.device)
        hands = order.unflatten(1, (-1, count))
        # Places among the samples of all policies, one after the other.
        hands = hands + torch.arange(len(order), device=order.device)[:, None, None] * order.shape[1]
        flat = self._each(lambda column: column.flatten(0, 1))
        for hand in range(count):
            chosen = hands[:, :, hand]
            piece = flat._each(partial(_chosen, places=chosen))
            share = piece.weights.sum(dim=1, keepdim=True)
            yield replace(piece, weights=piece.weights / share.clamp(min=1e-12))

    def few_at_a_time(self) -> Iterator[tuple[slice, "Batch"]]:
        """Give so few policies at a time that what passes through networks stays in the cache."""
        policies, samples = self.weights.shape
        count = max(1, 2 * _CACHED // samples)
        for first in range(0, policies, count):
            rows = slice(first, first + count)
            yield rows, self._each(itemgetter(rows))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """Change every tensor."""
        columns = ((column.name, getattr(self, column.name)) for column in fields(self))
        return replace(self, **{name: change(each) for name, each in columns if each is not None})


def _chosen(column: Tensor, places: Int[Tensor, "policies samples"]) -> Tensor:
    """Pick places of a column that is flat over policies and samples."""
    return column.index_select(0, places.flatten()).unflatten(0, places.shape)


def in_pieces(evaluate: Callable[..., Tensor], *columns: Tensor) -> Tensor:
    """Evaluate so few samples at a time that what passes through a network stays in the cache."""
    count = max(_LEAST, _CACHED // len(columns[0]))
    pieces = zip(*(column.split(count, dim=1) for column in columns), strict=True)
    return torch.cat([evaluate(*piece) for piece in pieces], dim=1)


def _standardised(
    values: Float[Tensor, "policies samples"],
    weights: Float[Tensor, "policies samples"],
    groups: Int[Tensor, "policies samples"] | None,
) -> Float[Tensor, "policies samples"]:
    """Bring a policy's samples, or each group of them, to weighted mean 0 and standard deviation 1."""

    def mean(numbers: Tensor) -> Tensor:
        if groups is None:
            return (weights * numbers).sum(dim=1, keepdim=True)
        sums = weights.new_zeros(len(weights), int(groups.max()) + 1)
        total = sums.scatter_add(1, groups, weights)
        return (sums.scatter_add(1, groups, weights * numbers) / total.clamp(min=1e-12)).gather(1, groups)

    centred = values - mean(values)
    return centred / (mean(centred**2).sqrt() + 1e-8)
