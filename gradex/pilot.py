"""A pilot: few independent runs of every task, from which it is told how many more it takes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from sklearn.base import clone

from gradex.seeds import child
from gradex.settings import whole
from gradex.surrogate import Interactions, Samples, SurrogateEstimator
from gradex.trained_policy import TrainedPolicy

#: Steps of a run: about what `MetaPolicy.transitions` takes for 2,048 steps.
_STEPS_OF_A_RUN = 64


@dataclass(frozen=True)
class Pilot:
    """First-order interactions of tasks from few runs, and what these runs took.

    A run is a cluster of episodes, one after the other in one environment: runs are independent of each
    other, the steps of one are not.

    Attributes
    ----------
    interactions : Interactions
        Sum over the snapshots of a training.
    transitions : int
        Per task, of all snapshots together.
    episodes : array [n]
        Begun in each task, in all snapshots together.

    Examples
    --------
    >>> from gradex import MetaPolicy, TaskSuite
    >>> from gradex.pilot import Pilot
    >>> meta = MetaPolicy(TaskSuite.make("navigation", n=3), layers=2, width=8).fit(steps=6_000, snapshots=2)
    >>> pilot = Pilot.along(meta.path_, SurrogateEstimator(20), runs=5, steps=30)
    >>> pilot.transitions, pilot.runs, pilot.episodes  # of 5 runs at each of 2 snapshots
    (300, 5, array([10., 10., 10.]))
    """

    interactions: Interactions
    transitions: int
    episodes: Float[np.ndarray, " n"]

    @property
    def runs(self) -> int:
        """Independent runs of a task at each snapshot; of the task with the fewest."""
        return self.interactions.freedom + 1

    @classmethod
    def of(cls, surrogates: Sequence[SurrogateEstimator]) -> "Pilot":
        """Take what surrogates of the snapshots were fitted to."""
        samples = [surrogate.samples_ for surrogate in surrogates]
        return cls(
            Interactions.joined([surrogate.interactions() for surrogate in surrogates]),
            sum(len(each) if each.tasks is None else len(each) // each.n for each in samples),
            np.sum([_episodes(each) for each in samples], axis=0),
        )

    @classmethod
    def along(
        cls,
        path: Sequence[TrainedPolicy],
        estimator: SurrogateEstimator,
        runs: int = 10,
        steps: int = _STEPS_OF_A_RUN,
        replicate: int = 0,
    ) -> "Pilot":
        """Run every snapshot of a training, and estimate the interactions.

        Parameters
        ----------
        path : sequence of TrainedPolicy
            See `MetaPolicy.path_`.
        estimator : SurrogateEstimator
            Its settings are those of every snapshot's surrogate.
        runs : int
            Independent runs of every task at every snapshot, 4 or more.
        steps : int
            Of each run.
        replicate : int
            Another number gives other runs.
        """
        runs, steps = whole("runs", runs, 4), whole("steps", steps, 1)
        surrogates = []
        for snapshot in path:
            seed = child(snapshot.seed, "pilot", replicate)
            samples = snapshot.transitions(runs * steps, copies=runs, seed=seed)
            surrogates.append(clone(estimator).fit(snapshot, samples))
        return cls.of(surrogates)


def _episodes(samples: Samples) -> Float[np.ndarray, " n"]:
    """Count the episodes of each task; samples that do not tell are one each."""
    names = np.arange(len(samples)) if samples.episodes is None else samples.episodes
    if samples.tasks is None:
        return np.full(samples.n, len(np.unique(names)), dtype=float)
    return np.array([len(np.unique(names[samples.tasks == task])) for task in range(samples.n)], dtype=float)
