"""What critics say of a rollout: advantages, what the critics are to learn, and in which units."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from gradex.learners.actor_critic import ActorCritic
from gradex.learners.advantages import discounted_advantages
from gradex.learners.batch import in_pieces
from gradex.learners.returns import TaskReturns
from gradex.learners.rollouts import Rollout
from gradex.tasks import TaskSuite
from gradex.tensors import without_autocast


class Judgement(NamedTuple):
    """What is learnt from a rollout with the help of critics.

    Examples
    --------
    >>> from gradex import TaskSuite
    >>> from gradex.learners import ActorCritic, Collector
    >>> from gradex.learners.critic import judge
    >>> suite = TaskSuite.make("navigation", n=3)
    >>> agent = ActorCritic.initial(suite, [0])
    >>> rollout = Collector(suite, [(0, 2)], copies=2, seeds=[0]).collect(agent, steps=5)
    >>> judge(agent, rollout, suite, gae_lambda=0.95).targets.shape
    (5, 1, 4, 1)
    """

    agent: ActorCritic
    """The same networks, in units that follow the returns."""
    advantages: Float[np.ndarray, "steps policies environments"]
    """In units of the scale of each task's returns: tasks that pay much and little weigh alike."""
    targets: Float[np.ndarray, "steps policies environments heads"]
    """Of the critics."""
    explained_variance: Float[np.ndarray, "policies tasks"]
    """What the critics knew of the returns beforehand, see `TaskReturns`."""


def judge(agent: ActorCritic, rollout: Rollout, suite: TaskSuite, gae_lambda: float) -> Judgement:
    """Estimate the advantages of a rollout by the critics of the policies that acted.

    Where critics have a head for each objective, each objective is judged like a task of its own. Advantages
    are sums of these by the weights of the task, in units of its reward: generalised advantage estimation is
    linear in reward and value.
    """
    estimates, discount = critic_estimates(agent, rollout), suite.discount
    if not agent.by_objective:
        mean, scale = task_returns(agent, rollout.tasks)
        returns = TaskReturns.of(rollout, mean + scale * estimates[..., 0], discount, len(suite))
        agent = _rescaled(agent, returns)
        advantages, targets = critic_advantages(agent, rollout, estimates[..., 0], discount, gae_lambda)
        return Judgement(agent, advantages, targets[..., None], returns.explained_variance)
    heads, weights = range(estimates.shape[-1]), suite.weights[rollout.tasks]
    parts = [_of_objective(rollout, head) for head in heads]
    mean, scale = (rows.double().numpy()[:, None] for rows in (agent.return_mean, agent.return_scale))
    values = mean + scale * estimates
    worth = (weights * values).sum(axis=-1)
    explained = TaskReturns.of(rollout, worth, discount, len(suite)).explained_variance
    each = [TaskReturns.of(parts[head], values[..., head], discount, len(heads)) for head in heads]
    agent = _rescaled(agent, TaskReturns.joined(each))
    judged = [critic_advantages(agent, parts[k], estimates[..., k], discount, gae_lambda) for k in heads]
    shares = weights * agent.return_scale.double().numpy()[:, None]
    advantages = sum(shares[..., head] * judged[head][0] for head in heads)
    targets = np.stack([target for _, target in judged], axis=-1)
    return Judgement(agent, advantages.astype(targets.dtype), targets, explained)


def _of_objective(rollout: Rollout, head: int) -> Rollout:
    """Show a rollout as if this objective were the reward of a single task, of its number."""
    rewards = rollout.paid[..., head]
    return replace(rollout, rewards=rewards, tasks=np.full_like(rollout.tasks, head))


def critic_advantages(
    agent: ActorCritic,
    rollout: Rollout,
    estimates: Float[np.ndarray, "times policies environments"],
    discount: float,
    gae_lambda: float,
) -> tuple[
    Float[np.ndarray, "steps policies environments"], Float[np.ndarray, "steps policies environments"]
]:
    """Give advantages by the critics and the critics' targets, in units of each task's scale.

    Estimates are one head of `critic_estimates`.
    """
    mean, scale = task_returns(agent, rollout.tasks)
    # Padding may stand in a task that the policy never meets; its weight is 0.
    scale = np.where(scale > 0, scale, 1.0)
    values = (estimates + mean / scale).astype(estimates.dtype)
    rewards = (rollout.rewards / scale).astype(estimates.dtype)
    flags = rollout.terminated, rollout.ended
    advantages = discounted_advantages(rewards, values, *flags, discount, gae_lambda)
    return advantages, advantages + estimates[:-1]


@torch.no_grad()
@without_autocast()
def critic_estimates(
    agent: ActorCritic, rollout: Rollout
) -> Float[np.ndarray, "times policies environments heads"]:
    """Ask the critics about every observation of a rollout, in units of the scales of returns."""
    times, policies, environments, _ = rollout.observations.shape
    tasks = torch.from_numpy(rollout.tasks).repeat_interleave(times, dim=1)
    observations = rollout.observations.permute(1, 2, 0, 3).flatten(1, 2)
    estimates = in_pieces(partial(agent.critic.forward, agent.critics), observations, tasks)
    return estimates.reshape(policies, environments, times, -1).permute(2, 0, 1, 3).numpy()


def task_returns(
    agent: ActorCritic, tasks: Int[np.ndarray, "policies environments"]
) -> tuple[Float[np.ndarray, "policies environments"], Float[np.ndarray, "policies environments"]]:
    """Give mean and scale of the returns of the task in each environment, in float64; 0 if not known."""
    places = torch.from_numpy(tasks)
    mean, scale = (
        rows.cpu().double().gather(1, places).numpy() for rows in (agent.return_mean, agent.return_scale)
    )
    return mean, scale


def _rescaled(agent: ActorCritic, returns: TaskReturns) -> ActorCritic:
    """Let the critics' units follow these returns."""
    known = (rows.double().numpy() for rows in (agent.return_mean, agent.return_scale))
    mean, scale = (torch.from_numpy(array).to(agent.return_scale) for array in returns.scale(*known))
    return replace(agent, return_mean=mean, return_scale=scale)
