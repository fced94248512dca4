"""What episodes paid: bookkeeping over rollouts that cut through them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from gradex.learners.rollouts import Layout, Rollout


class EpisodeReturns:
    """Mean undiscounted return of the episodes that end, by policy and task, and how many succeed."""

    def __init__(self, layout: Layout, tasks: int) -> None:
        self._layout = layout
        self._shape = (len(layout.tasks), tasks)
        self._running = np.zeros(layout.real.shape)
        self._succeeded = np.zeros(layout.real.shape, dtype=bool)
        self._reports_success = False
        self._history: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = []

    def update(self, rollout: Rollout, steps: int) -> None:
        """Take in a rollout; `steps` environment steps have been taken by its end."""
        total, count, successes = (np.zeros(self._shape) for _ in range(3))
        policy = np.broadcast_to(np.arange(self._shape[0])[:, None], self._layout.tasks.shape)
        self._reports_success |= rollout.success is not None
        flags = np.zeros(rollout.ended.shape, dtype=bool) if rollout.success is None else rollout.success
        for reward, flag, ended, real in zip(
            rollout.rewards, flags, rollout.ended, rollout.real, strict=True
        ):
            self._running += reward
            # What a reset says is no deed of the episode that it begins.
            self._succeeded |= flag & real
            if ended.any():
                place = (policy[ended], self._layout.tasks[ended])
                np.add.at(total, place, self._running[ended])
                np.add.at(successes, place, self._succeeded[ended])
                np.add.at(count, place, 1)
                self._running[ended], self._succeeded[ended] = 0, False
        self._history.append((steps, total, count, successes))

    def to_frame(self) -> pd.DataFrame:
        """Give the learning curves: columns steps, policy, task, return_mean, episodes.

        Where the suite reports success there is a column success, the share of episodes that were flagged.
        """
        steps = np.array([entry[0] for entry in self._history])
        total, count, successes = (np.stack([entry[i] for entry in self._history]) for i in (1, 2, 3))
        place = when, policy, task = np.nonzero(count)
        table = pd.DataFrame(
            {
                "steps": steps[when],
                "policy": policy,
                "task": task,
                "return_mean": total[place] / count[place],
                "episodes": count[place].astype(np.int64),
            }
        )
        return table.assign(success=successes[place] / count[place]) if self._reports_success else table


class ReturnScale:
    """Running standard deviation of each policy's discounted returns.

    In its units the critics of all suites learn numbers around one. A policy that comes with a scale keeps
    it: its critic was fitted to it.
    """

    def __init__(self, layout: Layout, discount: float, known: Float[np.ndarray, " policies"]) -> None:
        self._discount, self._known = discount, known
        self._running = np.zeros(layout.real.shape)
        self._count, self._sum, self._square = (np.zeros(len(known)) for _ in range(3))

    def state(self) -> dict[str, Tensor]:
        """Give what has been counted of each policy."""
        return {name: torch.from_numpy(array.copy()) for name, array in self._counted.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a `state`; returns that were running are lost, as their episodes are."""
        for name, array in self._counted.items():
            array[:] = state[name].numpy()

    @property
    def _counted(self) -> dict[str, np.ndarray]:
        return {"count": self._count, "sum": self._sum, "square": self._square}

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
