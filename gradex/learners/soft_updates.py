"""The updates of soft actor-critic, of a whole stack at once (Haarnoja et al. 2018, arXiv 1812.05905)."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradex.learners.actor_critic import ActorCritic
from gradex.learners.adam import Adam
from gradex.learners.replay import Steps
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
    rates : Tensor [policies]
        Learning rates.
    discount, smoothing, target_entropy : float
        γ, τ and the entropy H̄ that temperatures aim at, in nats of actions scaled to [-1, 1].
    max_norm : float, optional
        Gradients of each policy's actor and critics are scaled down to this norm.
    """

    def __init__(
        self,
        agent: ActorCritic,
        subsets: Int[Tensor, "policies tasks"],
        samples: int,
        rates: Float[Tensor, " policies"],
        discount: float,
        smoothing: float,
        target_entropy: float,
        max_norm: float | None,
    ) -> None:
        self._agent, self._subsets = agent, subsets
        self._tasks = subsets.repeat_interleave(samples, dim=1)
        self._rates, self._discount, self._smoothing = rates, discount, smoothing
        self._target_entropy, self._max_norm = target_entropy, max_norm
        self._targets = agent.more["target_critics"].clone()
        self._latest: tuple[Tensor, Tensor] | None = None
        # The epsilon of Adam's paper; ours for policy gradients is larger.
        self._actors, self._critics, self._log_temperature = (
            Adam(rows.clone(), epsilon=1e-8)
            for rows in (agent.actors, agent.critics, agent.more["log_temperature"])
        )
        self._actor, _ = agent.policy.bind(self._actors.parameters)
        self._critic = agent.critic.bind(self._critics.parameters)
        self._target = agent.critic.bind(self._targets)

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
        return self._actors.parameters.numel() + self._critics.parameters.numel()

    @property
    def distribution(self) -> SquashedGaussian:
        """What the policies' actions are drawn from."""
        return squashed_gaussian(self._agent)

    @property
    def actors(self) -> Float[Tensor, "policies p"]:
        """The actors as they are now, in the memory that moves."""
        return self._actors.parameters

    def agent(self) -> ActorCritic:
        """Give the stack as it is now, in memory of its own."""
        rows = self._rows()
        more = {name: rows[name] for name in ("target_critics", "log_temperature")}
        return replace(self._agent, actors=rows["actors"], critics=rows["critics"], more=more).clone()

    def update(self, batch: Steps, noise: Float[Tensor, "policies 2 batch dimensions"]) -> None:
        """Move everything once.

        All losses use the temperatures from before the update, and the actor's loss the critics from after
        it, as is usual.

        Parameters
        ----------
        batch : Steps [policies, batch, ...]
            Equally many of each task, task by task; actions scaled to [-1, 1].
        noise : Tensor [policies, 2, batch, dimensions]
            Standard normal: for the actions that follow the batch's steps, and for those instead of its own.
        """
        temperatures = self._log_temperature.parameters.exp().gather(1, self._tasks)
        self._improve_critics(batch, noise[:, 0], temperatures)
        log_density = self._improve_actors(batch, noise[:, 1], temperatures)
        self._improve_temperatures(log_density)
        self._targets.lerp_(self._critics.parameters, self._smoothing)

    def _improve_critics(
        self,
        batch: Steps,
        noise: Float[Tensor, "policies batch dimensions"],
        temperatures: Float[Tensor, "policies batch"],
    ) -> None:
        """Move the critics towards the soft Bellman target (Eqs. 5 and 6), the lesser of both targets."""
        outputs = self._actor(batch.following, self._tasks)
        actions, log_density = self.distribution.squash(outputs, noise)
        following = _least(self._target(joined(batch.following, actions), self._tasks))
        soft = following - temperatures * log_density
        target = batch.rewards + self._discount * (1 - batch.terminated) * soft
        values, pullback = self._critic.vjp(joined(batch.observations, batch.actions), self._tasks)
        self._latest = target, values
        # The derivative of half the mean squared error of each critic.
        error = (values - target.unsqueeze(-1)) / self.samples
        self._move(self._critics, pullback.to_parameters(error))

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
        batch: Steps,
        noise: Float[Tensor, "policies batch dimensions"],
        temperatures: Float[Tensor, "policies batch"],
    ) -> Float[Tensor, "policies batch"]:
        """Move the actors (Eq. 9 with the lesser of both critics); give log-densities of their actions."""
        outputs, to_actor = self._actor.vjp(batch.observations, self._tasks)
        actions, log_density = self.distribution.squash(outputs, noise)
        values, to_critic = self._critic.vjp(joined(batch.observations, actions), self._tasks)
        # The loss is the mean of α log π - min Q, in which the lesser critic counts.
        first = values[..., 0] <= values[..., 1]
        of_values = torch.stack([first, ~first], dim=-1).to(values) / -self.samples
        of_actions = to_critic.to_inputs(of_values)[..., -noise.shape[-1] :]
        of_outputs = self.distribution.squash_vjp(
            outputs, noise, actions, of_actions, temperatures / self.samples
        )
        self._move(self._actors, to_actor.to_parameters(of_outputs))
        return log_density

    def _improve_temperatures(self, log_density: Float[Tensor, "policies batch"]) -> None:
        """Move each task's temperature until its entropy is the wanted one (Eq. 18, by log α)."""
        excess = (log_density + self._target_entropy).unflatten(1, (self.tasks, -1)).mean(dim=2)
        gradient = torch.zeros_like(self._log_temperature.parameters).scatter_(1, self._subsets, -excess)
        self._log_temperature.step(gradient, self._rates)

    def _move(self, optimiser: Adam, gradient: Tensor) -> None:
        if self._max_norm is not None:
            norm = gradient.norm(dim=1, keepdim=True)
            gradient = gradient * (self._max_norm / (norm + 1e-6)).clamp(max=1.0)
        optimiser.step(gradient, self._rates)

    # ------------------------------------------------------------------ to be gone on from
    def state(self) -> dict[str, Tensor]:
        """Give everything that updates move."""
        return self._rows() | {
            f"{name}.{part}": tensor
            for name, optimiser in self._optimisers.items()
            for part, tensor in optimiser.state().items()
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a `state`."""
        for name, rows in self._rows().items():
            rows.copy_(state[name])
        for name, optimiser in self._optimisers.items():
            optimiser.restore({part: state[f"{name}.{part}"] for part in ("mean", "square", "count")})

    @property
    def _optimisers(self) -> dict[str, Adam]:
        return {
            "actors": self._actors,
            "critics": self._critics,
            "log_temperature": self._log_temperature,
        }

    def _rows(self) -> dict[str, Tensor]:
        optimised = {name: optimiser.parameters for name, optimiser in self._optimisers.items()}
        return optimised | {"target_critics": self._targets}


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
