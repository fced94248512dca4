"""What a policy earns: whole episodes, task by task."""

from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from gradex.learners.actor_critic import ActorCritic
from gradex.learners.rollouts import Collector
from gradex.tasks import TaskSuite
from gradex.threads import threads_for

#: Steps between two looks at which environments still owe an episode.
_CHUNK = 64
#: Steps after which there should be enough whole episodes; or so many horizons after, if that is later: an
#: environment may claim a time limit that it does not keep.
_PATIENCE, _HORIZONS = 64_000, 10


class Episodes(NamedTuple):
    """Whole episodes, a row for each policy and task in their order.

    Examples
    --------
    >>> from gradex import TaskSuite
    >>> from gradex.learners import ActorCritic, run_episodes
    >>> suite = TaskSuite.make("navigation", n=3, horizon=20)
    >>> met = run_episodes(ActorCritic.initial(suite, seeds=[0]), suite, [(0, 2)], episodes=3, seeds=[0])
    >>> met.lengths.tolist()
    [[20.0, 20.0, 20.0], [20.0, 20.0, 20.0]]
    """

    returns: Float[np.ndarray, "members episodes"]
    lengths: Float[np.ndarray, "members episodes"]
    """In steps."""
    success: Float[np.ndarray, "members episodes"]
    """1 where success was flagged at any step, else 0; nan for a task that reported none in any episode."""


def evaluate(
    agent: ActorCritic,
    suite: TaskSuite,
    subsets: Sequence[Sequence[int]],
    episodes: int,
    seeds: Sequence[int],
    choose: str = "sample",
) -> pd.DataFrame:
    """Run every policy of a stack for whole episodes in the tasks of its subset.

    Parameters
    ----------
    agent : ActorCritic
    suite : TaskSuite
    subsets : sequence of sequences of int
        Task indices for each policy.
    episodes : int
        Per policy and task.
    seeds : sequence of int
        One per policy; policies with equal seeds meet equal starts, episode by episode (common random
        numbers).
    choose : {"sample", "mode"}

    Returns
    -------
    pandas.DataFrame
        Columns policy, task, return_mean, return_stderr, success, episode_length, one row per policy and
        task.

    Examples
    --------
    >>> from gradex import TaskSuite
    >>> from gradex.learners import ActorCritic, evaluate
    >>> suite = TaskSuite.make("navigation", n=3)
    >>> stack = ActorCritic.initial(suite, seeds=[0, 1])
    >>> table = evaluate(stack, suite, subsets=[(0, 1), (2,)], episodes=4, seeds=[0, 0])
    >>> table[["policy", "episode_length"]].to_numpy().tolist()
    [[0.0, 30.0], [0.0, 30.0], [1.0, 30.0]]
    """
    met = run_episodes(agent, suite, subsets, episodes, seeds, choose)
    members = [(policy, task) for policy, subset in enumerate(subsets) for task in subset]
    return pd.DataFrame(
        {
            "policy": [policy for policy, _ in members],
            "task": [suite.tasks[task].name for _, task in members],
            "return_mean": met.returns.mean(axis=1),
            "return_stderr": met.returns.std(axis=1, ddof=1) / np.sqrt(episodes),
            "success": met.success.mean(axis=1),
            "episode_length": met.lengths.mean(axis=1),
        }
    )


def run_episodes(
    agent: ActorCritic,
    suite: TaskSuite,
    subsets: Sequence[Sequence[int]],
    episodes: int,
    seeds: Sequence[int],
    choose: str = "sample",
) -> Episodes:
    """Run every policy of a stack for whole episodes, and give each of them; arguments are `evaluate`'s.

    Policies with equal seeds and subsets meet the same starts and draw the same noise: episode e of one can
    be paired with episode e of another. Where tasks are weighted sums of objectives, and the policy does not
    see the task, it acts in the first task of its subset only: the same episodes serve all, see
    `serves_all`.

    Examples
    --------
    >>> from gradex import TaskSuite
    >>> from gradex.learners import ActorCritic, run_episodes
    >>> suite = TaskSuite.make("navigation", n=3)
    >>> same = ActorCritic.initial(suite, seeds=[0]).repeat(2)
    >>> met = run_episodes(same, suite, subsets=[(1,), (1,)], episodes=4, seeds=[0, 0])
    >>> met.returns.shape, bool((met.returns[0] == met.returns[1]).all())
    ((2, 4), True)
    """
    if episodes < 2:
        raise ValueError(f"{episodes} episodes have no standard error: ask for at least 2")
    shared = serves_all(agent, suite)
    acted = [subset[:1] for subset in subsets] if shared else subsets
    together = min(suite.fitting(sum(map(len, acted))) or episodes, episodes)
    pieces = []
    for first in range(0, episodes, together):  # where not all fit into memory
        numbers = range(first, min(first + together, episodes))
        pieces.append(_run(agent, suite, acted, numbers, seeds, choose, shared))
    paid, lengths, success = (np.concatenate(parts, axis=1) for parts in zip(*pieces, strict=True))
    known = np.isfinite(success)
    # A task may report success only where it comes; one that never reports any has none, in any company.
    success = np.where(known.any(axis=1, keepdims=True) & ~known, 0.0, success)
    if not shared:
        return Episodes(paid[..., 0], lengths, success)
    sizes = [len(subset) for subset in subsets]
    returns = [suite.weights[list(subset)] @ own.T for subset, own in zip(subsets, paid, strict=True)]
    rest = (np.repeat(each, sizes, axis=0) for each in (lengths, success))
    return Episodes(np.concatenate(returns), *rest)


def serves_all(agent: ActorCritic, suite: TaskSuite) -> bool:
    """Tell whether episodes of one task serve all, as tasks are sums of objectives that no policy sees.

    Examples
    --------
    >>> from gradex import TaskSuite
    >>> from gradex.learners import ActorCritic
    >>> from gradex.learners.evaluation import serves_all
    >>> suite = TaskSuite.make("cartpole", n=3)
    >>> serves_all(ActorCritic.initial(suite, seeds=[0]), suite)
    False
    """
    return suite.linear and not agent.policy.network.sees_task


def check_patience(suite: TaskSuite, task: int, steps: int, owed: int = 0) -> None:
    """Refuse to wait any longer for episodes of a task that may never end; `owed` steps in all of them."""
    known = 0 if suite.horizon is None else _HORIZONS * (suite.horizon + owed)
    if steps >= max(_PATIENCE, known):
        raise ValueError(
            f"task {suite.tasks[task].name!r} has too few whole episodes after {steps} steps: give its "
            "environment a time limit, for instance gymnasium.wrappers.TimeLimit"
        )


def _run(
    agent: ActorCritic,
    suite: TaskSuite,
    subsets: Sequence[Sequence[int]],
    numbers: range,
    seeds: Sequence[int],
    choose: str,
    by_objective: bool,
) -> tuple[
    Float[np.ndarray, "members episodes k"],
    Float[np.ndarray, "members episodes"],
    Float[np.ndarray, "members episodes"],
]:
    """Run the episodes of these numbers; give returns, of the reward or of each objective, and the rest."""
    with closing(Collector(suite, subsets, len(numbers), seeds, numbers.start)) as collector:
        real = collector.layout.real
        owing = real.copy()
        returns = np.zeros((*real.shape, len(suite.objectives) if by_objective else 1))
        lengths, success = np.zeros(real.shape), np.zeros(real.shape)
        success.fill(np.nan)
        steps = 0
        while owing.any():
            check_patience(suite, int(collector.layout.tasks[owing][0]), steps)
            steps += _CHUNK
            with threads_for(owing.size):
                rollout = collector.collect(agent, _CHUNK, choose)
            paid = rollout.paid if by_objective else rollout.rewards[..., None]
            for t in range(_CHUNK):
                returns += owing[..., None] * paid[t]
                lengths += owing
                if rollout.success is not None and rollout.reported is not None:
                    told = np.where(owing & rollout.reported[t], rollout.success[t], np.nan)
                    success = np.fmax(success, told)
                owing &= ~rollout.ended[t]
    own = returns[real].reshape(-1, len(numbers), returns.shape[-1])
    return own, *(each[real].reshape(-1, len(numbers)) for each in (lengths, success))
