"""The updates of soft actor-critic, of a whole stack at once (Haarnoja et al. 2018, arXiv 1812.05905)."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradex.learners.actor_critic import ActorCritic
from gradex.learners.adam import Adam
from gradex.learners.replay import ReplayBatch
from gradex.policies import Network, SquashedGaussian


class SoftUpdates:
    """Critics, actors, temperatures and target critics of a stack, and how a batch moves them.

    Parameters
    ----------
    agent : ActorCritic
        Its tensors are copied.
    subsets : int Tensor [policies, tasks]
        Tasks of each policy.
    samples : int
        Samples of each of these tasks in a batch.
    learning_rate : float
    discount, tau, target_entropy : float
        γ, τ and the entropy H̄ that temperatures aim at, in nats of actions scaled to [-1, 1].
    max_norm : float, optional
        Gradients of each policy's actor and critics are scaled down to this norm.
    """

    def __init__(
        self,
        agent: ActorCritic,
        subsets: Int[Tensor, "policies tasks"],
        samples: int,
        learning_rate: float,
        discount: float,
        tau: float,
        target_entropy: float,
        max_norm: float | None,
    ) -> None:
        self._agent, self._subsets = agent, subsets
        self._tasks = subsets.repeat_interleave(samples, dim=1)
        self._discount, self._tau, self._target_entropy = discount, tau, target_entropy
        self._targets = agent.more["target_critics"].clone()
        self._latest: tuple[Tensor, Tensor] | None = None
        # The epsilon of Adam's paper; ours for policy gradients is larger.
        self._actors, self._critics, self._log_temperature = (
            Adam(rows, learning_rate, epsilon=1e-8, max_norm=norm)
            for rows, norm in (
                (agent.actors, max_norm),
                (agent.critics, max_norm),
                (agent.more["log_temperature"], None),
            )
        )

    @property
    def tasks(self) -> int:
        """Number of tasks of each policy."""
        return self._subsets.shape[1]

    @property
    def task_of_sample(self) -> Int[Tensor, "policies batch"]:
        """Task of each sample of a batch."""
        return self._tasks

    @property
    def samples(self) -> int:
        """Samples of each policy in a batch."""
        return self._tasks.shape[1]

    @property
    def size(self) -> int:
        """Number of parameters of all actors and critics."""
        return self._actors.rows.numel() + self._critics.rows.numel()

    @property
    def distribution(self) -> SquashedGaussian:
        """What the policies' actions are drawn from."""
        return squashed_gaussian(self._agent)

    @property
    def actors(self) -> Float[Tensor, "policies p"]:
        """The actors as they are now, in the memory that moves."""
        return self._actors.rows

    def agent(self) -> ActorCritic:
        """Give the stack as it is now, in memory of its own."""
        more = {"target_critics": self._targets, "log_temperature": self._log_temperature.rows}
        return replace(self._agent, actors=self._actors.rows, critics=self._critics.rows, more=more).clone()

    def update(self, batch: ReplayBatch, noise: Float[Tensor, "policies 2 batch dimensions"]) -> None:
        """Move everything once.

        All losses use the temperatures from before the update, and the actor's loss the critics from after
        it, as is usual.

        Parameters
        ----------
        batch : ReplayBatch [policies, batch, ...]
            Equally many of each task, task by task; actions scaled to [-1, 1].
        noise : Tensor [policies, 2, batch, dimensions]
            Standard normal: for the actions that follow the batch's steps, and for those instead of its own.
        """
        temperatures = self._log_temperature.rows.exp().gather(1, self._tasks)
        self._improve_critics(batch, noise[:, 0], temperatures)
        log_density = self._improve_actors(batch, noise[:, 1], temperatures)
        self._improve_temperatures(log_density)
        self._targets.lerp_(self._critics.rows, self._tau)

    def _improve_critics(
        self,
        batch: ReplayBatch,
        noise: Float[Tensor, "policies batch dimensions"],
        temperatures: Float[Tensor, "policies batch"],
    ) -> None:
        """Move the critics towards the soft Bellman target (Eqs. 5 and 6), the lesser of both targets."""
        with torch.no_grad():
            actions, log_density = self._drawn(self._actors.rows, batch.next_observations, noise)
            following = least_value(
                self._agent.critic, self._targets, batch.next_observations, actions, self._tasks
            )
            soft = following - temperatures * log_density
            target = batch.rewards + self._discount * (1 - batch.terminated) * soft
        seen = joined(batch.observations, batch.actions)
        values = self._agent.critic.forward(self._critics.parameters, seen, self._tasks)
        self._critics.descend(0.5 * ((values - target.unsqueeze(-1)) ** 2).sum(dim=-1).mean(dim=1))
        self._latest = target, values.detach()

    def explained_variance(self, n: int) -> Float[np.ndarray, "policies {n}"]:
        """Tell which share of the variance of the latest batch's targets the critics explained, by task.

        Targets hold one reward and what the target critics make of the rest, so that this is kinder than a
        comparison with whole returns. nan for tasks that are not a policy's, and before any update.

        Parameters
        ----------
        n : int
            Number of tasks of the suite.
        """
        explained = torch.full((len(self._subsets), n), torch.nan)
        if self._latest is not None:
            target, values = (each.unflatten(1, (self.tasks, -1)) for each in self._latest)
            missed = (target.unsqueeze(-1) - values).var(dim=2, correction=0).mean(dim=-1)
            share = 1 - missed / target.var(dim=2, correction=0)
            explained.scatter_(1, self._subsets.cpu(), share.cpu().float())
        explained[~explained.isfinite()] = torch.nan
        return explained.double().numpy()

    def _improve_actors(
        self,
        batch: ReplayBatch,
        noise: Float[Tensor, "policies batch dimensions"],
        temperatures: Float[Tensor, "policies batch"],
    ) -> Float[Tensor, "policies batch"]:
        """Move the actors (Eq. 9 with the lesser of both critics); give log-densities of their actions."""
        actions, log_density = self._drawn(self._actors.parameters, batch.observations, noise)
        values = least_value(self._agent.critic, self._critics.rows, batch.observations, actions, self._tasks)
        self._actors.descend((temperatures * log_density - values).mean(dim=1))
        return log_density.detach()

    def _improve_temperatures(self, log_density: Float[Tensor, "policies batch"]) -> None:
        """Move each task's temperature until its entropy is the wanted one (Eq. 18, by log α)."""
        excess = (log_density + self._target_entropy).unflatten(1, (self.tasks, -1)).mean(dim=2)
        # The loss is - log α times the excess: its gradient needs no graph.
        gradient = torch.zeros_like(self._log_temperature.rows).scatter_(1, self._subsets, -excess)
        self._log_temperature.step(gradient)

    def _drawn(
        self,
        actors: Float[Tensor, "policies p"],
        observations: Float[Tensor, "policies batch features"],
        noise: Float[Tensor, "policies batch dimensions"],
    ) -> tuple[Float[Tensor, "policies batch dimensions"], Float[Tensor, "policies batch"]]:
        """Draw actions in [-1, 1], and give their log-densities."""
        outputs, _ = self._agent.policy.outputs(actors, observations, self._tasks)
        return self.distribution.squash(outputs, noise)

    # ------------------------------------------------------------------ to be gone on from
    def state(self) -> dict[str, Tensor]:
        """Give everything that updates move, which they do in place."""
        parts = {
            f"{name}.{part}".removesuffix(".parameters"): tensor
            for name, optimiser in self._optimisers.items()
            for part, tensor in optimiser.state().items()
        }
        return {"target_critics": self._targets, **parts}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a `state`."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])

    @property
    def _optimisers(self) -> dict[str, Adam]:
        return {
            "actors": self._actors,
            "critics": self._critics,
            "log_temperature": self._log_temperature,
        }


def squashed_gaussian(agent: ActorCritic) -> SquashedGaussian:
    """Give the distribution of policies that soft actor-critic can train.

    Raises
    ------
    ValueError
        If their actions are drawn otherwise, or there are no target critics.
    """
    distribution = agent.policy.distribution
    if not isinstance(distribution, SquashedGaussian) or "target_critics" not in agent.more:
        raise ValueError("these policies are of another learner: make them by SAC.initial")
    return distribution


def joined(
    observations: Float[Tensor, "policies batch features"],
    actions: Float[Tensor, "policies batch dimensions"],
) -> Float[Tensor, "policies batch both"]:
    """Give the inputs of critics."""
    return torch.cat([observations, actions], dim=-1)


def least_value(
    critic: Network,
    critics: Float[Tensor, "policies q"],
    observations: Float[Tensor, "policies batch features"],
    actions: Float[Tensor, "policies batch dimensions"],
    tasks: Int[Tensor, "policies batch"],
) -> Float[Tensor, "policies batch"]:
    """Give the lesser of both critics' values of (observation, action scaled to [-1, 1])."""
    return _least(critic.forward(critics, joined(observations, actions), tasks))


def _least(values: Float[Tensor, "policies batch 2"]) -> Float[Tensor, "policies batch"]:
    return torch.minimum(*values.unbind(dim=-1))
