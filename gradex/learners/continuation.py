"""What a long training goes on from when it was cut off."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from gradex.store import Store, not_finite, write_table

#: Tensors with this in their name may hold numbers that are not finite: unknown ones.
_UNKNOWN = "curve"
_REMEDY = "choose another folder, or remove it"


class Continuation:
    """What a training goes on from, and where it leaves what a later one goes on from.

    `training.safetensors` holds its tensors, `curve.csv` is the learning curve for people. Without a folder
    nothing is kept. `identity` gives in JSON types what makes two trainings the same; `per_round` and `every`
    are environment steps, of a round and between two visits to the folder. At the last visit `begun` rounds
    were done and `state` was kept.
    """

    def __init__(
        self,
        folder: str | Path | None,
        identity: Callable[[], Mapping[str, Any]],
        rounds: int,
        per_round: int,
        every: int,
    ) -> None:
        if every < 1:
            raise ValueError(f"checkpoint_steps={every} is too few: give at least 1")
        self._rounds, self._per_round, self._every = rounds, per_round, every
        self._store = None if folder is None else Store.open(folder, "training", identity())
        self.state: dict[str, Tensor] | None = None
        self.begun = 0
        if self._store is not None and (found := self._store.read("training", _REMEDY)) is not None:
            self.state, told = found
            self.begun = told["rounds"]
            known = {name: each for name, each in self.state.items() if _UNKNOWN not in name}
            if (name := not_finite(known)) is not None:
                raise ValueError(
                    f"cannot go on from {str(folder)!r}, its {name} is not finite: choose another folder"
                )
        if self.begun > rounds:
            raise ValueError(
                f"{str(folder)!r} holds {self.begun * per_round} environment steps of training, more than "
                f"the {rounds * per_round} asked for: choose another folder, or more steps"
            )

    def due(self, done: int) -> bool:
        """Tell whether to keep everything after `done` rounds."""
        return done == self._rounds or done * self._per_round % self._every < self._per_round

    def visit(
        self, done: int, state: Callable[[], Mapping[str, Tensor]], curve: Callable[[], pd.DataFrame]
    ) -> None:
        """Keep everything after `done` rounds, if that is due."""
        if self._store is None or not self.due(done):
            return
        # The curve for people first: alone it does no harm.
        write_table(self._store.path / "curve.csv", curve())
        self._store.write("training", state(), {"rounds": done})
