"""Whole episodes of a stack of policies, with advantages that need no critic.

A critic knows the tasks that it was trained on, so advantages on unseen tasks must come without it if a loss
on one side is to mean the same as on the other.
"""

from collections.abc import Sequence
from contextlib import closing

import numpy as np
from jaxtyping import Bool, Float, Int

from gradex.learners import ActorCritic, Collector, Rollout, Transitions, discounted_advantages
from gradex.learners.advantages import unit_of
from gradex.learners.evaluation import check_patience
from gradex.seeds import Streams
from gradex.tasks import TaskSuite
from gradex.threads import threads_for

#: Steps between two looks at which tasks have enough whole episodes.
_CHUNK = 64


def collect_episodes(
    agents: ActorCritic,
    suite: TaskSuite,
    subsets: Sequence[Sequence[int]],
    steps_per_task: int,
    copies: int,
    seeds: Sequence[int],
) -> list[Transitions]:
    """Run each policy for whole episodes in the tasks of its subset, and keep equally many steps of each.

    Of every task the first r episodes of each copy are used, r being the least number with
    `steps_per_task` steps in total, so that long episodes are not missed. Of their steps `steps_per_task` are
    drawn at random.

    The advantage of a step is what followed, Σ γᵏ r, less the mean of the same over the other episodes of the
    policy and task at the same time after their start; 0 where there is no other. A truncated episode ends
    like one that terminates: time is known here, and what a finite episode pays is its value. The mean of
    -A log π then is minus a covariance, between how probable an action was and how well it ended: the same
    quantity on tasks that were trained on and on others. Last, each task's advantages are brought to mean 0
    and standard deviation 1: tasks count equally, however large or small their rewards.

    Parameters
    ----------
    agents : ActorCritic
    suite : TaskSuite
    subsets : sequence of sequences of int
        Task indices of each policy, all of one size.
    steps_per_task, copies : int
        Steps kept, and environments, for each policy and task.
    seeds : sequence of int
        One per policy. What a policy meets does not depend on its company.

    Returns
    -------
    list of Transitions
        One per policy; `tasks` holds indices into the suite.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex import TaskSuite
    >>> from gradex.generalization import collect_episodes
    >>> from gradex.learners import ActorCritic
    >>> suite = TaskSuite.make("navigation", n=3)
    >>> agents = ActorCritic.initial(suite, seeds=[0, 1])
    >>> subsets = [(0, 1), (1, 2)]
    >>> first, second = collect_episodes(agents, suite, subsets, steps_per_task=60, copies=4, seeds=[0, 1])
    >>> np.unique(first.tasks).tolist(), len(second)
    ([0, 1], 120)
    """
    if steps_per_task < 2 or copies < 2:
        raise ValueError(
            f"cannot keep {steps_per_task} steps of {copies} copies: ask for at least 2 of both, as one "
            "episode is measured against others"
        )
    pieces: list[Rollout] = []
    rounds = np.zeros((len(subsets), len(subsets[0])), dtype=np.int64)
    with closing(Collector(suite, subsets, copies, seeds)) as collector:
        while not rounds.all():
            policy, place = np.argwhere(rounds == 0)[0]
            check_patience(suite, subsets[policy][place], len(pieces) * _CHUNK, steps_per_task)
            with threads_for(collector.layout.real.size):
                pieces.append(collector.collect(agents, _CHUNK))
            ended, real = (np.concatenate([getattr(x, name) for x in pieces]) for name in ("ended", "real"))
            rounds = _rounds(ended, real, copies, steps_per_task)
    rollout = Rollout.joined(pieces)
    rank = _before(ended)
    used = real & (rank < np.repeat(rounds, copies, axis=1))
    no_critic = np.zeros((len(real) + 1, *real.shape[1:]))
    returns = discounted_advantages(rollout.rewards, no_critic, ended, ended, suite.discount, gae_lambda=1.0)
    place = _draw(used, copies, steps_per_task, seeds)
    advantages = _less_the_others(returns, used, _times(real, ended), copies)[place]
    advantages -= advantages.mean(axis=2, keepdims=True)
    advantages /= unit_of(returns[place], 2)
    advantages /= advantages.std(axis=2, keepdims=True) + 1e-8
    columns = {
        "observations": rollout.observations.numpy()[place],
        "actions": rollout.actions.numpy()[place],
        "advantages": advantages,
        "tasks": np.broadcast_to(np.asarray(subsets)[:, :, None], advantages.shape),
        "episodes": (rank * rank.shape[2] + np.arange(rank.shape[2]))[place],
    }
    return [
        Transitions(**{name: x[policy].reshape(-1, *x.shape[3:]) for name, x in columns.items()})
        for policy in range(len(subsets))
    ]


_Flags = Bool[np.ndarray, "steps policies environments"]
_Counts = Int[np.ndarray, "steps policies environments"]


def _before(flags: _Flags) -> _Counts:
    """Count the flags before each step."""
    return np.cumsum(flags, axis=0) - flags


def _rounds(
    ended: _Flags, real: _Flags, copies: int, steps_per_task: int
) -> Int[np.ndarray, "policies tasks"]:
    """Give the least number of episodes per copy that has enough steps, or 0 while they are not over."""
    rank = _before(ended)
    policies, environments = ended.shape[1:]
    finished = ended.sum(axis=0).reshape(policies, -1, copies).min(axis=2)
    steps = np.zeros((policies, environments // copies, rank.max() + 1), dtype=np.int64)
    _, policy, environment = np.nonzero(real)
    np.add.at(steps, (policy, environment // copies, rank[real]), 1)
    enough = steps.cumsum(axis=2) >= steps_per_task
    rounds = enough.argmax(axis=2) + 1
    return np.where(enough.any(axis=2) & (rounds <= finished), rounds, 0)


def _times(real: _Flags, ended: _Flags) -> _Counts:
    """Count the steps of an episode before each; steps that only reset are none."""
    before = _before(real)
    begins = np.concatenate([np.ones_like(ended[:1]), ended[:-1]])
    return before - np.maximum.accumulate(np.where(begins, before, 0), axis=0)


def _less_the_others(
    returns: Float[np.ndarray, "steps policies environments"],
    used: _Flags,
    times: _Counts,
    copies: int,
) -> Float[np.ndarray, "steps policies environments"]:
    """Subtract the mean over the other episodes of the same policy and task at the same time."""
    _, policy, environment = np.nonzero(used)
    shape = (used.shape[1], used.shape[2] // copies, times.max() + 1)
    cell = np.ravel_multi_index((policy, environment // copies, times[used]), shape)
    count = np.bincount(cell)[cell]
    mean = np.bincount(cell, returns[used])[cell] / count
    advantages = np.zeros_like(returns)
    # x - mean of the others = (x - mean of all) n / (n - 1)
    advantages[used] = np.where(count > 1, (returns[used] - mean) * count / np.maximum(count - 1, 1), 0.0)
    return advantages


def _draw(
    used: _Flags, copies: int, steps_per_task: int, seeds: Sequence[int]
) -> tuple[Int[np.ndarray, "..."], ...]:
    """Draw steps of every policy and task: indices that broadcast to [policies, tasks, kept]."""
    steps, policies, environments = used.shape
    # Step by step, so that simulating longer adds numbers and changes none.
    chance = Streams(seeds, branch=3).uniforms(steps, environments)
    keys = np.where(used.transpose(1, 0, 2), chance, np.inf).reshape(policies, steps, -1, copies)
    order = keys.transpose(0, 2, 1, 3).reshape(policies, environments // copies, -1)
    step, copy = np.divmod(order.argsort(axis=2, kind="stable")[:, :, :steps_per_task], copies)
    policy, task = np.ogrid[:policies, : environments // copies]
    return step, policy[..., None], task[..., None] * copies + copy
