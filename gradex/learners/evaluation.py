"""What a policy earns: whole episodes, task by task."""

from collections.abc import Sequence
from contextlib import closing

import numpy as np
import pandas as pd

from gradex.learners.actor_critic import ActorCritic
from gradex.learners.rollouts import Collector
from gradex.tasks import TaskSuite
from gradex.threads import threads_for

#: Steps between two looks at which environments still owe an episode.
_CHUNK = 64
#: Steps after which every episode should have ended, where the suite does not know its horizon.
_PATIENCE = 64_000


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
    if episodes < 2:
        raise ValueError(f"{episodes} episodes have no standard error: ask for at least 2")
    members = [(policy, task) for policy, subset in enumerate(subsets) for task in subset]
    together = min(suite.fitting(len(members)) or episodes, episodes)
    pieces = []
    for first in range(0, episodes, together):  # where not all fit into memory
        numbers = range(first, min(first + together, episodes))
        pieces.append(_episodes(agent, suite, subsets, numbers, seeds, choose))
    paid, lengths, success = (np.concatenate(parts, axis=1) for parts in zip(*pieces, strict=True))
    return pd.DataFrame(
        {
            "policy": [policy for policy, _ in members],
            "task": [suite.tasks[task].name for _, task in members],
            "return_mean": paid.mean(axis=1),
            "return_stderr": paid.std(axis=1, ddof=1) / np.sqrt(episodes),
            "success": success.mean(axis=1),
            "episode_length": lengths.mean(axis=1),
        }
    )


def _episodes(
    agent: ActorCritic,
    suite: TaskSuite,
    subsets: Sequence[Sequence[int]],
    numbers: range,
    seeds: Sequence[int],
    choose: str,
) -> list[np.ndarray]:
    """Give return, length and success of the episodes of these numbers, [policy and task, episodes].

    Success is nan where the suite reports none.
    """
    with closing(Collector(suite, subsets, len(numbers), seeds, numbers.start)) as collector:
        real = collector.layout.real
        owing = real.copy()
        returns, lengths, success = (np.zeros(real.shape) for _ in range(3))
        success.fill(np.nan)
        steps = 0
        while owing.any():
            if suite.horizon is None and steps >= _PATIENCE:
                task = suite.tasks[int(collector.layout.tasks[owing][0])].name
                raise ValueError(
                    f"an episode of task {task!r} has not ended after {steps} steps: give its environment a "
                    "time limit, for instance gymnasium.wrappers.TimeLimit"
                )
            steps += _CHUNK
            with threads_for(owing.size):
                rollout = collector.collect(agent, _CHUNK, choose)
            for t in range(_CHUNK):
                returns += owing * rollout.rewards[t]
                lengths += owing
                if rollout.success is not None:
                    success = np.fmax(success, owing & rollout.success[t])
                owing &= ~rollout.ended[t]
    return [each[real].reshape(-1, len(numbers)) for each in (returns, lengths, success)]
