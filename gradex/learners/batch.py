"""What a stack of policies and critics learns from: the samples of a rollout, dealt into minibatches."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradex.learners.actor_critic import ActorCritic
from gradex.learners.rollouts import Rollout, discounted_advantages

#: Samples of all policies together, and at least of each, that are evaluated at a time.
_CACHED, _LEAST = 2**11, 2**8


@dataclass(frozen=True)
class Batch:
    """Samples of a stack, [policies, samples, ...].

    A policy's weights are 0 where there is no real step, and sum to 1.
    """

    observations: Tensor
    tasks: Tensor
    actions: Tensor
    log_probs: Tensor
    advantages: Tensor
    targets: Tensor
    weights: Tensor

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        agent: ActorCritic,
        rollout: Rollout,
        estimates: Float[np.ndarray, "times policies environments"],
        discount: float,
        trace: float,
        standardise: str,
    ) -> "Batch":
        """Say what the policies and critics of `agent` can learn from a rollout.

        Parameters
        ----------
        agent : ActorCritic
        rollout : Rollout
        estimates : array [steps + 1, policies, environments]
            What the critics say of its observations, see `critic_estimates`.
        discount, trace : float
            γ, and λ of generalised advantage estimation.
        standardise : {"policy", "task"}
        """
        times, policies, environments, _ = rollout.observations.shape
        every = torch.from_numpy(rollout.tasks).unsqueeze(2).expand(policies, environments, times)
        # Environment-major, so that the padding stands at the end of a policy's samples.
        observations = rollout.observations.permute(1, 2, 0, 3)
        # In units of each task's scale, in which tasks that pay much and little weigh alike.
        mean, scale = task_returns(agent, rollout.tasks)
        # Padding may stand in a task that the policy never meets; its weight is 0.
        scale = np.where(scale > 0, scale, 1.0)
        values = (estimates + mean / scale).astype(estimates.dtype)
        rewards = (rollout.rewards / scale).astype(estimates.dtype)
        advantages = discounted_advantages(
            rewards, values, rollout.terminated, rollout.ended, discount, trace
        )

        def samples(array: Tensor) -> Tensor:
            return array.movedim(0, 2).flatten(1, 2)

        observations, tasks = observations[:, :, :-1].flatten(1, 2), every[:, :, :-1].flatten(1, 2)
        actions, real = samples(rollout.actions), samples(torch.from_numpy(rollout.real)).to(observations)
        advantage = samples(torch.from_numpy(advantages))
        targets = samples(torch.from_numpy(advantages + estimates[:-1]))
        weights = real / real.sum(dim=1, keepdim=True)
        advantage = _standardised(advantage, weights, tasks if standardise == "task" else None)
        log_probs = _in_pieces(partial(agent.policy.log_prob, agent.actors), observations, tasks, actions)
        return cls(observations, tasks, actions, log_probs, advantage, targets, weights)

    def to(self, device: torch.device) -> "Batch":
        """Give the same samples on a device."""
        return Batch(*(getattr(self, column.name).to(device) for column in fields(self)))

    def pieces(self, keys: Float[np.ndarray, "policies samples"], count: int) -> Iterator["Batch"]:
        """Deal the samples into `count` random minibatches, in the order of their keys.

        Padding has infinite keys and goes last; the samples are dealt like cards, so every minibatch gets its
        share of them, and a policy's minibatches hold the same samples in any company.
        """
        order = torch.from_numpy(np.argsort(keys, axis=1)).to(self.tasks.device)
        hands = order.unflatten(1, (-1, count))
        # Places among the samples of all policies, one after the other.
        hands = hands + torch.arange(len(order), device=order.device)[:, None, None] * order.shape[1]
        columns = [getattr(self, column.name).flatten(0, 1) for column in fields(self)]
        for hand in range(count):
            chosen = hands[:, :, hand]
            drawn = (column.index_select(0, chosen.flatten()) for column in columns)
            piece = Batch(*(column.unflatten(0, chosen.shape) for column in drawn))
            share = piece.weights.sum(dim=1, keepdim=True)
            yield replace(piece, weights=piece.weights / share.clamp(min=1e-12))


@torch.no_grad()
def critic_estimates(
    agent: ActorCritic, rollout: Rollout
) -> Float[np.ndarray, "times policies environments"]:
    """Ask the critics about every observation of a rollout, in units of the tasks' scales."""
    times, policies, environments, _ = rollout.observations.shape
    tasks = torch.from_numpy(rollout.tasks).repeat_interleave(times, dim=1)
    observations = rollout.observations.permute(1, 2, 0, 3).flatten(1, 2)
    estimates = _in_pieces(partial(agent.critic.forward, agent.critics), observations, tasks)
    return estimates.reshape(policies, environments, times).permute(2, 0, 1).numpy()


def task_returns(
    agent: ActorCritic, tasks: Int[np.ndarray, "policies environments"]
) -> tuple[Float[np.ndarray, "policies environments"], Float[np.ndarray, "policies environments"]]:
    """Give mean and scale of the returns of the task in each environment, in float64; 0 if not known."""
    places = torch.from_numpy(tasks)
    mean, scale = (
        rows.cpu().double().gather(1, places).numpy() for rows in (agent.return_mean, agent.return_scale)
    )
    return mean, scale


def _in_pieces(evaluate: Callable[..., Tensor], *columns: Tensor) -> Tensor:
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
