"""Advantages as soft actor-critic knows them: by twin critics and a policy's own log-densities."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradex.learners.actor_critic import ActorCritic
from gradex.learners.rollouts import Rollout
from gradex.learners.soft_updates import least_value, squashed_gaussian
from gradex.streams import Streams

#: Actions whose mean stands for the policy's.
_ACTIONS = 8
#: Samples that are looked at together: critics see the task as one of n inputs, which takes memory.
_SAMPLES = 2**14


@torch.no_grad()
def soft_advantages(
    agent: ActorCritic, rollout: Rollout, seed: int
) -> Float[np.ndarray, "steps environments"]:
    """Estimate the advantages of a single policy's steps, in float64.

    A(s, a) = min Q(s, a) - α log π(a|s) - V(s), where V(s) = E[min Q(s, a') - α log π(a'|s)] is a mean over 8
    actions a' of the policy. With the entropy term of the action itself the advantages have mean 0 under the
    policy, and Σ A ∇ log π is the gradient of what soft actor-critic maximises, return and entropy (Haarnoja
    et al. 2018, Eqs. 3 and 9).

    Parameters
    ----------
    agent : ActorCritic
        A stack of one.
    rollout : Rollout
    seed : int
        Fixes the other actions.
    """
    agent = agent.to("cpu")
    steps, _, environments = rollout.rewards.shape
    observations = rollout.observations[:-1].flatten(0, 2).unsqueeze(0)
    actions = rollout.actions.flatten(0, 2).unsqueeze(0)
    tasks = torch.from_numpy(np.tile(rollout.tasks, (1, steps)))
    streams = Streams([seed], branch=2)
    pieces = zip(*(rows.split(_SAMPLES, dim=1) for rows in (observations, actions, tasks)), strict=True)
    advantages = torch.cat([_piece(agent, streams, *piece) for piece in pieces], dim=1)
    return advantages.reshape(steps, environments).double().numpy()


def _piece(
    agent: ActorCritic,
    streams: Streams,
    observations: Float[Tensor, "1 batch features"],
    actions: Float[Tensor, "1 batch dimensions"],
    tasks: Int[Tensor, "1 batch"],
) -> Float[Tensor, "1 batch"]:
    outputs, own = agent.policy.outputs(agent.actors, observations, tasks)
    temperatures = agent.more["log_temperature"].exp().gather(1, tasks)
    distribution = squashed_gaussian(agent)

    def soft(chosen: Float[Tensor, "1 batch dimensions"]) -> Float[Tensor, "1 batch"]:
        values = least_value(agent.critic, agent.critics, observations, distribution.squashed(chosen), tasks)
        return values - temperatures * distribution.log_prob(outputs, own, chosen)

    noise = torch.from_numpy(streams.normals(_ACTIONS, *actions.shape[1:])).to(outputs)
    others = [soft(distribution.sample(outputs, own, each)) for each in noise.unbind(dim=1)]
    return soft(actions) - torch.stack(others).mean(dim=0)
