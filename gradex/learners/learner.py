"""What every learner does: it moves the parameters of a stack of policies, and shows what they learn from."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from gradex.learners.actor_critic import ActorCritic
from gradex.settings import plain_fields
from gradex.tasks import TaskSuite


class Learner(ABC):
    """A way to train policies. Concrete learners are frozen dataclasses of their settings, with a name.

    Examples
    --------
    >>> from gradex import TaskSuite
    >>> from gradex.learners import PPO, Learner
    >>> isinstance(PPO(), Learner)
    True
    >>> suite = TaskSuite.make("navigation", n=3)
    >>> PPO().rounds(suite, subsets=[(0, 1), (0, 2)], steps=10_000)
    3
    """

    name: ClassVar[str]

    def __post_init__(self) -> None:
        """Make the settings plain Python values, or refuse them by name."""
        plain_fields(self)

    def initial(
        self, suite: TaskSuite, seeds: Sequence[int], layers: int = 4, width: int = 64, network: str = "mlp"
    ) -> ActorCritic:
        """Make one fresh policy per seed, with whatever else this learner trains."""
        return ActorCritic.initial(suite, seeds, layers, width, network)

    @abstractmethod
    def round_steps(self, suite: TaskSuite, subsets: Sequence[Sequence[int]]) -> int:
        """Count the environment steps of one round of all policies: to act, and to learn from it."""

    @abstractmethod
    def environments(self, tasks: int) -> int:
        """Count the environments that a policy with this many tasks acts in at the same time."""

    def rounds(self, suite: TaskSuite, subsets: Sequence[Sequence[int]], steps: int) -> int:
        """Count the rounds that take at least `steps` environment steps."""
        return -(-steps // self.round_steps(suite, subsets))

    @abstractmethod
    def train(
        self,
        agent: ActorCritic,
        suite: TaskSuite,
        subsets: Sequence[Sequence[int]],
        steps: int,
        seeds: Sequence[int],
        description: str | None = None,
        observe: Callable[[int, ActorCritic], object] | None = None,
        folder: str | Path | None = None,
        checkpoint_steps: int = 100_000,
    ) -> tuple[ActorCritic, pd.DataFrame]:
        """Train policy p of the stack on the tasks `subsets[p]`, all policies together.

        Updates are made on a CUDA device if there is one; what is given back is on the CPU.

        Parameters
        ----------
        agent : ActorCritic
        suite : TaskSuite
        subsets : sequence of sequences of int
            Task indices of each policy; they may differ in number.
        steps : int
            Environment steps in total, over all policies; rounded up to whole rounds.
        seeds : sequence of int
            One for each policy. A policy trains to the same parameters in any company.
        description : str, optional
            Of the progress bar; None draws none.
        observe : callable, optional
            Called after every round with the environment steps taken so far and the stack, which is its to
            keep.
        folder : path, optional
            Where to keep the training. A later call with the same arguments goes on from there. MAML, whose
            simulators begin anew with every meta-batch, then ends with the same bits as if it had not been
            cut off. PPO and SAC act in simulators whose state is not kept: these begin new episodes with new
            random numbers, and the training ends elsewhere.
        checkpoint_steps : int
            Environment steps between two visits to the folder.

        Returns
        -------
        ActorCritic
        pandas.DataFrame
            Columns steps, policy, task, return_mean, episodes, and success where the suite reports it: the
            episodes that ended in each round.
        """

    @property
    def config(self) -> dict[str, Any]:
        """Name and settings in plain JSON types; `gradex.learners.named.learner_from` reads it."""
        return {"name": self.name, **asdict(self)}  # type: ignore[call-overload]


def check_positive(setting: str, value: float) -> None:
    """Refuse a setting that is not above zero.

    Raises
    ------
    ValueError
        Naming it.
    """
    if not value > 0:
        raise ValueError(f"{setting} is {value}: it must be positive")
