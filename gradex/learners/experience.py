"""What a policy can learn from in a task that no critic knows: samples with advantages, for MAML."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gradex.learners.actor_critic import ActorCritic
from gradex.learners.baseline import linear_baseline
from gradex.learners.rollouts import Rollout, discounted_advantages
from gradex.policies import Policy


@dataclass(frozen=True)
class Experience:
    """What the rows of a stack met and can learn from, [rows, samples, ...].

    A row's weights are 0 where there is no real step, and sum to 1; its advantages have mean 0 and standard
    deviation 1.
    """

    observations: Tensor
    tasks: Tensor
    actions: Tensor
    log_probs: Tensor
    advantages: Tensor
    weights: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, agent: ActorCritic, rollout: Rollout, discount: float, trace: float) -> "Experience":
        """Estimate the advantages of a rollout of the policies of `agent`, each in a task of its own."""
        advantages = rollout_advantages(rollout, discount, trace)

        def samples(array: Tensor) -> Tensor:
            return array.movedim(0, 2).flatten(1, 2)

        observations, actions = samples(rollout.observations[:-1]), samples(rollout.actions)
        tasks = torch.from_numpy(np.repeat(rollout.tasks, len(rollout.rewards), axis=1))
        advantage = samples(torch.from_numpy(advantages)).to(observations)
        real = samples(torch.from_numpy(rollout.real)).to(observations)
        weights = real / real.sum(dim=1, keepdim=True)
        centred = advantage - (weights * advantage).sum(dim=1, keepdim=True)
        spread = (weights * centred**2).sum(dim=1, keepdim=True).sqrt()
        log_probs = agent.policy.log_prob(agent.actors, observations, tasks, actions)
        return cls(observations, tasks, actions, log_probs, centred / (spread + 1e-8), weights)

    def ratio(self, policy: Policy, actors: Float[Tensor, "rows p"]) -> Float[Tensor, "rows samples"]:
        """Give π_θ(a|s) over the probability with which the actions were drawn."""
        return (policy.log_prob(actors, self.observations, self.tasks, self.actions) - self.log_probs).exp()


def rollout_advantages(
    rollout: Rollout, discount: float, trace: float
) -> Float[np.ndarray, "steps policies environments"]:
    """Estimate advantages by the linear baseline of each policy, which has a single task."""
    return discounted_advantages(
        rollout.rewards,
        linear_baseline(rollout, discount),
        rollout.terminated,
        rollout.ended,
        discount,
        trace,
    )
