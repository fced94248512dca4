"""What episodes paid: bookkeeping over rollouts that cut through them."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from gradex.learners.rollouts import Layout, Rollout


class EpisodeReturns:
    """Mean undiscounted return of the episodes that end, by policy and task."""

    def __init__(self, layout: Layout, tasks: int) -> None:
        self._layout = layout
        self._shape = (len(layout.tasks), tasks)
        self._running = np.zeros(layout.real.shape)
        self._history: list[tuple[int, np.ndarray, np.ndarray]] = []

    def update(self, rollout: Rollout, steps: int) -> None:
        """Take in a rollout; `steps` environment steps have been taken by its end."""
        total, count = np.zeros(self._shape), np.zeros(self._shape, dtype=np.int64)
        policy = np.broadcast_to(np.arange(self._shape[0])[:, None], self._layout.tasks.shape)
        for reward, ended in zip(rollout.rewards, rollout.ended, strict=True):
            self._running += reward
            if ended.any():
                place = (policy[ended], self._layout.tasks[ended])
                np.add.at(total, place, self._running[ended])
                np.add.at(count, place, 1)
                self._running[ended] = 0
        self._history.append((steps, total, count))

    def to_frame(self) -> pd.DataFrame:
        """Give the learning curves: columns steps, policy, task, return_mean, episodes."""
        steps = np.array([entry[0] for entry in self._history])
        total, count = (np.stack([entry[i] for entry in self._history]) for i in (1, 2))
        when, policy, task = np.nonzero(count)
        number = count[when, policy, task]
        return pd.DataFrame(
            {
                "steps": steps[when],
                "policy": policy,
                "task": task,
                "return_mean": total[when, policy, task] / number,
                "episodes": number,
            }
        )


class ReturnScale:
    """Running standard deviation of each policy's discounted returns.

    In its units the critics of all suites learn numbers around one. A policy that comes with a scale keeps
    it: its critic was fitted to it.
    """

    def __init__(self, layout: Layout, discount: float, known: Float[np.ndarray, " policies"]) -> None:
        self._discount, self._known = discount, known
        self._running = np.zeros(layout.real.shape)
        self._count, self._sum, self._square = (np.zeros(len(known)) for _ in range(3))

    def update(self, rollout: Rollout) -> Float[np.ndarray, " policies"]:
        """Take in a rollout and give the scale of each policy."""
        for reward, ended, real in zip(rollout.rewards, rollout.ended, rollout.real, strict=True):
            self._running = self._discount * self._running + reward
            self._count += real.sum(axis=1)
            self._sum += (self._running * real).sum(axis=1)
            self._square += (self._running**2 * real).sum(axis=1)
            self._running[ended] = 0
        mean = self._sum / self._count
        deviation = np.sqrt(np.maximum(self._square / self._count - mean**2, 0))
        estimate = np.where(deviation > 1e-8, deviation, 1.0)
        return np.where(self._known > 0, self._known, estimate)
