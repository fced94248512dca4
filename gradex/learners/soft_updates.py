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
from gradex.policies import SquashedGaussian


class SoftUpdates:
    """Critics, actors, temperatures and target critics of a stack, and how a batch moves them.

    The tensors of `agent` are copied. A batch has `samples` samples of each task of a policy; `tasks` tells
    the task of each, [policies, batch]. Settings are those of `SAC`.
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
        self._distribution = squashed_gaussian(agent)
        self.tasks = subsets.repeat_interleave(samples, dim=1)
        self._discount, self._tau, self._target_entropy = discount, tau, target_entropy
        self._targets = agent.more["target_critics"].clone()
        self._latest: tuple[Tensor, Tensor] | None = None
        # The epsilon of Adam's paper; ours for policy gradients is larger.
        self.actors = Adam(agent.actors, learning_rate, 1e-8, max_norm)
        self.critics = Adam(agent.critics, learning_rate, 1e-8, max_norm)
        self.log_temperature = Adam(agent.more["log_temperature"], learning_rate, 1e-8)

    def agent(self) -> ActorCritic:
        """Give the stack as it is now, in memory of its own."""
        more = {"target_critics": self._targets, "log_temperature": self.log_temperature.rows}
        return replace(self._agent, actors=self.actors.rows, critics=self.critics.rows, more=more).clone()

    def update(self, batch: ReplayBatch, noise: Float[Tensor, "policies 2 batch dimensions"]) -> None:
        """Move everything once.

        All losses use the temperatures from before the update, and the actor's loss the critics from after
        it, as is usual. The batch, [policies, batch, ...], is ordered by task, and its actions are scaled to
        [-1, 1]. The noise is standard normal: for the actions that follow the batch's steps, and for those
        instead of its own.
        """
        temperatures = self.log_temperature.rows.exp().gather(1, self.tasks)
        self._improve_critics(batch, noise[:, 0], temperatures)
        log_density = self._improve_actors(batch, noise[:, 1], temperatures)
        self._improve_temperatures(log_density)
        self._targets.lerp_(self.critics.rows, self._tau)

    def _improve_critics(self, batch: ReplayBatch, noise: Tensor, temperatures: Tensor) -> None:
        """Move the critics towards the soft Bellman target (Eqs. 5 and 6), the lesser of both targets."""
        with torch.no_grad():
            seen = batch.next_observations
            actions, log_density = self._drawn(self.actors.rows, seen, noise)
            following = torch.minimum(*self._values(self._targets, seen, actions).unbind(dim=-1))
            soft = following - temperatures * log_density
            target = batch.rewards + self._discount * (1 - batch.terminated) * soft
        values = self._values(self.critics.parameters, batch.observations, batch.actions)
        self.critics.descend(0.5 * ((values - target.unsqueeze(-1)) ** 2).sum(dim=-1).mean(dim=1))
        self._latest = target, values.detach()

    def _improve_actors(self, batch: ReplayBatch, noise: Tensor, temperatures: Tensor) -> Tensor:
        """Move the actors (Eq. 9 with the lesser of both critics); give log-densities of their actions."""
        actions, log_density = self._drawn(self.actors.parameters, batch.observations, noise)
        both = self._values(self.critics.rows, batch.observations, actions)
        values = torch.minimum(*both.unbind(dim=-1))
        self.actors.descend((temperatures * log_density - values).mean(dim=1))
        return log_density.detach()

    def _improve_temperatures(self, log_density: Float[Tensor, "policies batch"]) -> None:
        """Move each task's temperature until its entropy is the wanted one (Eq. 18, by log α)."""
        excess = (log_density + self._target_entropy).unflatten(1, (self._subsets.shape[1], -1)).mean(dim=2)
        # The loss is - log α times the excess: its gradient needs no graph.
        gradient = torch.zeros_like(self.log_temperature.rows).scatter_(1, self._subsets, -excess)
        self.log_temperature.step(gradient)

    def _drawn(self, actors: Tensor, observations: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Draw actions in [-1, 1], and give their log-densities."""
        outputs, _ = self._agent.policy.outputs(actors, observations, self.tasks)
        return self._distribution.squash(outputs, noise)

    def _values(
        self, critics: Tensor, observations: Tensor, actions: Tensor
    ) -> Float[Tensor, "policies batch 2"]:
        """Give both critics' values of (observation, action scaled to [-1, 1])."""
        return self._agent.critic.forward(critics, torch.cat([observations, actions], dim=-1), self.tasks)

    def explained_variance(self, n: int) -> Float[np.ndarray, "policies {n}"]:
        """Tell which share of the variance of the latest batch's targets the critics explained, by task.

        Targets hold one reward and what the target critics make of the rest, so that this is kinder than a
        comparison with whole returns. nan for those of the suite's n tasks that are not a policy's, and
        before any update.
        """
        explained = torch.full((len(self._subsets), n), torch.nan, dtype=torch.float32, device="cpu")
        if self._latest is not None:
            target, values = (each.unflatten(1, (self._subsets.shape[1], -1)) for each in self._latest)
            missed = (target.unsqueeze(-1) - values).var(dim=2, correction=0).mean(dim=-1)
            share = 1 - missed / target.var(dim=2, correction=0)
            explained.scatter_(1, self._subsets.cpu(), share.cpu().float())
        explained[~explained.isfinite()] = torch.nan
        return explained.double().numpy()

    def state(self) -> dict[str, Tensor]:
        """Give everything that updates move, which they do in place."""
        optimisers = {name: getattr(self, name) for name in ("actors", "critics", "log_temperature")}
        parts = {f"{name}.{part}": x for name, each in optimisers.items() for part, x in each.state().items()}
        return {"target_critics": self._targets, **parts}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a `state`."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])


def squashed_gaussian(agent: ActorCritic) -> SquashedGaussian:
    """Give the distribution of policies that soft actor-critic can train, or refuse the policies."""
    distribution = agent.policy.distribution
    if not isinstance(distribution, SquashedGaussian) or "target_critics" not in agent.more:
        raise ValueError("these policies are of another learner: make them by SAC.initial")
    return distribution
