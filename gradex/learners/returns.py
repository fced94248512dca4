"""What episodes paid: bookkeeping over rollouts that cut through them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from gradex.learners.advantages import discounted_advantages
from gradex.learners.layout import Layout
from gradex.learners.rollouts import Rollout

#: Of learning curves.
_COLUMNS = ("steps", "policy", "task", "return_mean", "episodes", "success", "explained_variance")
#: Weight of the latest rollout in the running moments of returns.
_LATEST = 0.1
#: Deviations smaller than this share of the mean are taken for rounding.
_ROUNDING = 1e-6
#: Least scale of rewards, in units of the largest discounted sum: a random policy's may deviate very little.
_OF_LARGEST = 1 / 30


class EpisodeReturns:
    """Mean undiscounted return of the episodes that end, by policy and task, and how many succeed."""

    def __init__(self, layout: Layout, tasks: int) -> None:
        self._layout, self._shape = layout, (len(layout.tasks), tasks)
        self._running = np.zeros(layout.real.shape)
        self._succeeded = np.zeros(layout.real.shape, dtype=bool)
        self._reports_success, self._explains = np.zeros(self._shape, dtype=bool), False
        self._rows = [np.empty((0, len(_COLUMNS)))]

    def update(
        self,
        rollout: Rollout,
        steps: int,
        explained_variance: Float[np.ndarray, "policies tasks"] | None = None,
    ) -> None:
        """Take in a rollout; `steps` environment steps have been taken by its end."""
        total, count, successes = (np.zeros(self._shape) for _ in range(3))
        policy = np.broadcast_to(np.arange(self._shape[0])[:, None], self._layout.tasks.shape)
        flags = np.zeros(rollout.ended.shape, dtype=bool) if rollout.success is None else rollout.success
        if rollout.reported is not None:
            told = (rollout.reported & rollout.real).any(axis=0)
            self._reports_success[policy[told], self._layout.tasks[told]] = True
        steps_of_all = zip(rollout.rewards, flags, rollout.ended, rollout.real, strict=True)
        for reward, flag, ended, real in steps_of_all:
            self._running += reward
            # What a reset says is no deed of the episode that it begins.
            self._succeeded |= flag & real
            if ended.any():
                place = (policy[ended], self._layout.tasks[ended])
                np.add.at(total, place, self._running[ended])
                np.add.at(successes, place, self._succeeded[ended])
                np.add.at(count, place, 1)
                self._running[ended], self._succeeded[ended] = 0, False
        explained = np.full(self._shape, np.nan) if explained_variance is None else explained_variance
        self._explains |= bool(np.isfinite(explained).any())
        cell = np.nonzero(count)
        each = (total[cell] / count[cell], count[cell], successes[cell] / count[cell], explained[cell])
        self._rows.append(np.column_stack([np.full(len(cell[0]), steps), *cell, *each]))

    def to_frame(self) -> pd.DataFrame:
        """Give the learning curves: columns steps, policy, task, return_mean, episodes.

        Where the suite reports success there is a column success, the share of episodes that were flagged,
        nan for tasks that report none; where a critic was asked, a column explained_variance, see
        `TaskReturns`.
        """
        table = pd.DataFrame(np.concatenate(self._rows), columns=_COLUMNS)
        table = table.astype(dict.fromkeys(("steps", "policy", "task", "episodes"), np.int64))
        table["success"] = table.success.where(self._reports_success[table.policy, table.task])
        if not self._reports_success.any():
            table = table.drop(columns="success")
        if not self._explains:
            table = table.drop(columns="explained_variance")
        return table

    def state(self) -> dict[str, Tensor]:
        """Give the curves, and what there is of the episodes that run."""
        told = {"running": self._running, "succeeded": self._succeeded, "curve": np.concatenate(self._rows)}
        told |= {
            "reports": self._reports_success,
            "known": np.array([self._reports_success.any(), self._explains]),
        }
        return {name: torch.from_numpy(array.copy()) for name, array in told.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a `state`."""
        any_reports, self._explains = state["known"].tolist()
        # Trainings from before tasks were told apart know only whether any reports success.
        self._reports_success[:] = state["reports"].numpy() if "reports" in state else any_reports
        self._rows = [state["curve"].numpy()]
        self._running[:], self._succeeded[:] = state["running"].numpy(), state["succeeded"].numpy()


@dataclass(frozen=True, eq=False)
class TaskReturns:
    """What a rollout tells of the returns of each policy in each task, and how well a critic knew them.

    Mean and variance are of the returns of all steps, targets of the critic; nan for tasks that are not the
    policy's. The explained variance is the share that the critic explained before it learned from the
    rollout, 1 - Var(return - value) / Var(return): 1 is perfect, 0 no better than a constant, and below 0
    worse; nan where all returns are equal.
    """

    mean: Float[np.ndarray, "policies tasks"]
    variance: Float[np.ndarray, "policies tasks"]
    explained_variance: Float[np.ndarray, "policies tasks"]

    @classmethod
    def of(
        cls,
        rollout: Rollout,
        values: Float[np.ndarray, "times policies environments"],
        discount: float,
        n: int,
    ) -> "TaskReturns":
        """Sum up the discounted returns of a rollout, in each of n tasks.

        An episode that is cut off, by a time limit or by the end of the rollout, is continued by the value of
        its last observation, in units of reward: the critic values tasks that go on.
        """
        flags = rollout.terminated, rollout.ended
        returns = values[:-1] + discounted_advantages(rollout.rewards, values, *flags, discount, 1.0)
        policies = len(rollout.tasks)
        cells = (np.arange(policies)[:, None] * n + rollout.tasks)[None].repeat(len(returns), axis=0)
        own = cells[rollout.real]
        count = np.bincount(own, minlength=policies * n).astype(np.float64)

        def moments(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            """Give the mean and the variance of each cell; what is only rounding is no variance."""
            chosen = numbers[rollout.real]
            with np.errstate(invalid="ignore"):  # 0 / 0 where a policy has no such task
                mean = np.bincount(own, chosen, minlength=policies * n) / count
                squares = np.bincount(own, (chosen - mean[own]) ** 2, minlength=policies * n) / count
            return mean, np.where(squares > (_ROUNDING * mean) ** 2, squares, 0 * squares)

        mean, variance = moments(returns)
        _, missed = moments(returns - values[:-1])
        explained = 1 - np.divide(missed, variance, out=np.full_like(variance, np.nan), where=variance > 0)
        return cls(*(array.reshape(policies, n) for array in (mean, variance, explained)))

    @classmethod
    def joined(cls, each: Sequence["TaskReturns"]) -> "TaskReturns":
        """Take column k of the k-th of these."""
        names = ("mean", "variance", "explained_variance")
        own = ([getattr(one, name)[:, k] for k, one in enumerate(each)] for name in names)
        return cls(*(np.stack(columns, axis=1) for columns in own))

    def scale(
        self,
        mean: Float[np.ndarray, "policies tasks"],
        scale: Float[np.ndarray, "policies tasks"],
    ) -> tuple[Float[np.ndarray, "policies tasks"], Float[np.ndarray, "policies tasks"]]:
        """Take these returns into a running mean and standard deviation of earlier ones.

        The latest rollout counts a tenth, those before it a tenth of the rest, and so on: returns grow by
        orders of magnitude along a training, and a critic is to resolve those of now. Where nothing is known
        (a scale of 0) the rollout's own are taken, and where nothing varies the scale is the size of the
        mean, or 1.
        """
        new = np.isfinite(self.mean)
        share = np.where(scale > 0, _LATEST, 1.0)
        moved = np.where(new, self.mean - mean, 0.0)
        square = scale**2 + share * (np.where(new, self.variance, 0.0) - scale**2)
        square += share * (1 - share) * moved**2
        mean = mean + share * moved
        return mean, np.where(new, _size(mean, np.sqrt(square)), scale)


class RunningReturns:
    """What the rewards of each policy in each task are divided by, so that units do not matter.

    It is the standard deviation of their discounted sums, but at least a thirtieth of the largest, which
    bounds what a critic has to learn (Lee et al. 2025, arXiv 2502.15280, bound it too). For learners that
    see an episode step by step: at each step it takes Σ γᵏ r over the steps that are behind, not those that
    follow, as reward normalisation usually does. A task that comes with a scale keeps it, as its critic was
    fitted to it, and so does every task from the first update on (`keep`), unless its sums outgrow it: the
    unit of values is not to change while a critic learns them. In `known`, scales to begin with, 0 is none.
    """

    _KEPT = ("running", "count", "mean", "square", "largest", "known")

    def __init__(self, layout: Layout, discount: float, known: Float[np.ndarray, "policies tasks"]) -> None:
        self._discount, self._known = discount, known.copy()
        self._cells = np.arange(len(known))[:, None] * known.shape[1] + layout.tasks
        self._running = np.zeros(layout.real.shape)
        self._count, self._mean, self._square, self._largest = (np.zeros(known.size) for _ in range(4))

    def state(self) -> dict[str, Tensor]:
        """Give what has been counted, the sums that run, and the scales that are kept."""
        return {name: torch.from_numpy(getattr(self, f"_{name}").copy()) for name in self._KEPT}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a `state`."""
        for name in self._KEPT:
            getattr(self, f"_{name}")[:] = state[name].numpy()

    def update(self, rollout: Rollout) -> None:
        """Take in a rollout."""
        for reward, ended, real in zip(rollout.rewards, rollout.ended, rollout.real, strict=True):
            self._running = self._discount * self._running + reward
            self._take(self._cells[real], self._running[real])
            self._running[ended] = 0

    @property
    def scale(self) -> Float[np.ndarray, "policies tasks"]:
        """The scales of now; 0 for tasks that are not the policy's."""
        seen = self._count > 0
        deviation = np.sqrt(np.divide(self._square, self._count, out=np.zeros_like(self._mean), where=seen))
        settled = (self._known > 0) | ~self._in_tasks(seen)
        scale = np.where(settled, self._known, self._in_tasks(_size(self._mean, deviation)))
        return np.maximum(scale, _OF_LARGEST * self._in_tasks(self._largest))

    def keep(self) -> None:
        """Keep the scales of now, of all tasks that have paid anything yet."""
        self._known = np.where(self._in_tasks(self._largest > 0), self.scale, self._known)

    def _in_tasks(self, cells: np.ndarray) -> Shaped[np.ndarray, "policies tasks"]:
        return cells.reshape(self._known.shape)

    def _take(self, cells: Int[np.ndarray, " new"], numbers: Float[np.ndarray, " new"]) -> None:
        """Join the moments of new numbers to those before (Chan, Golub and LeVeque 1983)."""
        size = len(self._count)
        new = np.bincount(cells, minlength=size)
        total = np.maximum(self._count + new, 1)
        mean = np.bincount(cells, numbers, size) / np.maximum(new, 1)
        shift = mean - self._mean
        self._square += np.bincount(cells, (numbers - mean[cells]) ** 2, size)
        self._square += shift**2 * self._count * new / total
        self._mean += shift * new / total
        self._count += new
        np.maximum.at(self._largest, cells, np.abs(numbers))


def _size(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Give the deviation, or where that is rounding the size of the mean, or 1 where all is 0."""
    flat = np.where(mean != 0, np.abs(mean), 1.0)
    return np.where(deviation > _ROUNDING * np.abs(mean), deviation, flat)
