"""Transitions: steps of one policy in every task, with advantages (PolicyGradEx, Algorithm 1, step 2)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped

from gradex.learners.actor_critic import ActorCritic
from gradex.learners.rollouts import Collector, Rollout, discounted_advantages
from gradex.learners.threads import threads_for
from gradex.streams import derive
from gradex.tasks import TaskSuite

#: Steps to simulate per environment where episodes are long or unbounded.
_SPAN = 512
#: Samples whose values are estimated together: critics see the task as one of n inputs, which takes memory.
_SAMPLES = 2**15


@dataclass(frozen=True)
class Transitions:
    """Steps of a policy in every task of a suite.

    Attributes
    ----------
    observations : float array [N, features]
    actions : int array [N], or float array [N, dimensions]
    advantages : float array [N]
        Normalised to mean 0 and standard deviation 1 within each task.
    tasks : int array [N]
    episodes : int array [N]
        Which episode a step belongs to; no two tasks share one.
    """

    observations: Float[np.ndarray, "N features"]
    actions: Shaped[np.ndarray, "N ..."]
    advantages: Float[np.ndarray, " N"]
    tasks: Int[np.ndarray, " N"]
    episodes: Int[np.ndarray, " N"]

    def __len__(self) -> int:
        return len(self.tasks)


def collect_transitions(
    agent: ActorCritic,
    suite: TaskSuite,
    steps_per_task: int,
    copies: int,
    seed: int,
    advantages_of: Callable[[Rollout], Float[np.ndarray, "steps environments"]],
) -> Transitions:
    """Run a single policy in `copies` environments of every task and keep `steps_per_task` steps of each.

    More is simulated than kept, whole episodes of typical length, because neighbouring steps tell nearly the
    same.

    Parameters
    ----------
    agent : ActorCritic
        A stack of one.
    suite : TaskSuite
    steps_per_task, copies, seed : int
    advantages_of : callable
        Estimates the advantage of every step of a rollout of this policy in all tasks, `copies` environments
        of each side by side.
    """
    if steps_per_task < 2 or copies < 1:
        raise ValueError(
            f"cannot keep {steps_per_task} steps of {copies} copies: ask for at least 2 steps and 1 copy"
        )
    together = suite.fitting(copies) or len(suite)
    tasks = range(len(suite))
    pieces: list[Transitions] = []
    for first in tasks[::together]:
        # Where not all tasks fit into memory, further ones have random numbers of their own.
        own = int(derive(np.array([seed]), first)[0]) % 2**31 if first else seed
        chosen = tasks[first : first + together]
        pieces.append(_of_tasks(agent, suite, chosen, steps_per_task, copies, own, advantages_of))
    numbers = np.cumsum([0, *(piece.episodes.max() + 1 for piece in pieces)])
    return Transitions(
        np.concatenate([piece.observations for piece in pieces]),
        np.concatenate([piece.actions for piece in pieces]),
        np.concatenate([piece.advantages for piece in pieces]),
        np.concatenate([piece.tasks for piece in pieces]),
        np.concatenate([piece.episodes + number for piece, number in zip(pieces, numbers, strict=False)]),
    )


def _of_tasks(
    agent: ActorCritic,
    suite: TaskSuite,
    chosen: Sequence[int],
    steps_per_task: int,
    copies: int,
    seed: int,
    advantages_of: Callable[[Rollout], Float[np.ndarray, "steps environments"]],
) -> Transitions:
    """Collect the transitions of tasks that run at the same time."""
    collector = Collector(suite, [chosen], copies, [seed])
    # At worst every second step only resets, so twice the steps surely suffice.
    length = max(2 * -(-steps_per_task // copies), min(suite.horizon or _SPAN, _SPAN))
    with threads_for(copies * len(chosen)):
        rollout = collector.collect(agent, length)
    collector.close()
    advantages = advantages_of(rollout)
    tasks = np.broadcast_to(rollout.tasks[0], advantages.shape)
    before = np.cumsum(rollout.ended[:, 0], axis=0) - rollout.ended[:, 0]
    episodes = before * advantages.shape[1] + np.arange(advantages.shape[1])
    kept = _choose(tasks, rollout.real[:, 0], len(chosen), steps_per_task, np.random.default_rng(seed))
    own = advantages[kept].reshape(len(chosen), steps_per_task)
    centred = own - own.mean(axis=1, keepdims=True)
    return Transitions(
        rollout.observations[:-1, 0].numpy()[kept],
        rollout.actions[:, 0].numpy()[kept],
        (centred / (own.std(axis=1, keepdims=True) + 1e-8)).ravel(),
        tasks[kept],
        episodes[kept],
    )


@torch.no_grad()
def critic_advantages(
    agent: ActorCritic, rollout: Rollout, discount: float, trace: float
) -> Float[np.ndarray, "steps environments"]:
    """Estimate the advantages of a single policy's steps by its critic, in float64.

    Parameters
    ----------
    agent : ActorCritic
        A stack of one.
    rollout : Rollout
    discount, trace : float
        γ, and λ of generalised advantage estimation.
    """
    agent, times = agent.to("cpu"), len(rollout.observations)
    tasks = torch.from_numpy(rollout.tasks).repeat(1, times)
    samples = rollout.observations.transpose(0, 1).flatten(1, 2)
    pieces = zip(samples.split(_SAMPLES, dim=1), tasks.split(_SAMPLES, dim=1), strict=True)
    values = torch.cat([agent.values(*piece) for piece in pieces], dim=1).double()
    return discounted_advantages(
        rollout.rewards,
        values.reshape(times, 1, -1).numpy(),
        rollout.terminated,
        rollout.ended,
        discount,
        trace,
    )[:, 0]


def _choose(
    tasks: Int[np.ndarray, "steps environments"],
    real: np.ndarray,
    n: int,
    steps_per_task: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose equally many real steps of every task at random; the places come task by task."""
    rank = np.where(real, rng.random(real.shape), np.inf)
    order = np.lexsort((rank.ravel(), tasks.ravel())).reshape(n, -1)[:, :steps_per_task]
    return np.unravel_index(order.ravel(), real.shape)  # type: ignore[return-value]
