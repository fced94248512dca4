"""What a long training goes on from when it was cut off."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from gradex.learners.actor_critic import ActorCritic
from gradex.learners.learner import Learner
from gradex.seeds import child
from gradex.store import Store, not_finite, write_table
from gradex.tasks import TaskSuite

#: How the learning curve's columns are named among the tensors.
_CURVE = "curve."


class Continuation:
    """What a training goes on from, and where it leaves what a later one goes on from.

    `training.safetensors` holds its tensors and its learning curve, `curve.csv` is the learning curve for
    people.

    Parameters
    ----------
    folder : path or None
        Nothing is kept without one.
    configuration : callable
        Gives the training's; see `configuration`.
    rounds, per_round : int
        Of this training; environment steps of a round.
    every : int
        Environment steps between two visits to the folder.

    Attributes
    ----------
    begun : int
        Rounds that are behind us.
    state : dict or None
        What was kept at the last visit.
    """

    def __init__(
        self,
        folder: str | Path | None,
        configuration: Callable[[], Mapping[str, Any]],
        rounds: int,
        per_round: int,
        every: int,
    ) -> None:
        if every < 1:
            raise ValueError(f"cannot save every {every} environment steps: choose 1 or more")
        self._rounds, self._per_round, self._every = rounds, per_round, every
        self._store = None if folder is None else Store.open(folder, "training", configuration())
        self.state: dict[str, Tensor] | None = None
        self._earlier: pd.DataFrame | None = None
        self.begun = 0
        if self._store is not None and (found := self._store.read("training")) is not None:
            self.state, told = found
            # A file of tensors keeps no order.
            columns = {name: self.state.pop(f"{_CURVE}{name}").numpy() for name in told["columns"]}
            self._earlier, self.begun = pd.DataFrame(columns), told["rounds"]
            if (name := not_finite(self.state)) is not None:
                raise ValueError(
                    f"cannot go on from {str(folder)!r}, its {name} is not finite: choose another folder"
                )
        if self.begun > rounds:
            raise ValueError(
                f"{str(folder)!r} holds {self.begun * per_round} environment steps of training, more than "
                f"the {rounds * per_round} asked for: choose another folder, or more steps"
            )

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.begun == self._rounds

    def seeds(self, seeds: Sequence[int]) -> list[int]:
        """Give seeds for what begins anew: simulators, actions, minibatches."""
        if self.begun == 0:
            return list(seeds)
        return [child(seed, "going on", self.begun) for seed in seeds]

    def due(self, done: int) -> bool:
        """Tell whether to keep everything after `done` rounds."""
        return done == self._rounds or done * self._per_round % self._every < self._per_round

    def visit(
        self, done: int, state: Callable[[], Mapping[str, Tensor]], curve: Callable[[], pd.DataFrame]
    ) -> None:
        """Keep everything after `done` rounds, if that is due; the curve holds the rounds since `begun`."""
        if self._store is None or not self.due(done):
            return
        whole = self.whole(curve())
        # The curve for people first: alone it does no harm.
        write_table(self._store.path / "curve.csv", whole)
        columns = {f"{_CURVE}{name}": torch.from_numpy(whole[name].to_numpy().copy()) for name in whole}
        self._store.write("training", {**state(), **columns}, {"rounds": done, "columns": list(whole)})

    def whole(self, curve: pd.DataFrame | None = None) -> pd.DataFrame:
        """Put a learning curve behind that of the rounds before."""
        return pd.concat([part for part in (self._earlier, curve) if part is not None], ignore_index=True)


def configuration(
    learner: Learner,
    agent: ActorCritic,
    suite: TaskSuite,
    subsets: Sequence[Sequence[int]],
    seeds: Sequence[int],
    **more: Any,
) -> dict[str, Any]:
    """Say in JSON types what makes two trainings the same.

    A learner whose settings change along a training says in `more` how long it is.
    """
    return {
        "learner": learner.config,
        "suite": suite.config,
        "subsets": [[int(task) for task in subset] for subset in subsets],
        "seeds": [int(seed) for seed in seeds],
        "networks": f"{agent.policy}, {agent.critic}",
        "start": agent.fingerprint,
        **more,
    }
