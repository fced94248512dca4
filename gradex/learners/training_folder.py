"""The folder of a long training: it appears whole or not at all, and a cut-off training goes on in it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gradex.files import writing_to, written_whole
from gradex.learners import checkpoint
from gradex.learners.actor_critic import ActorCritic
from gradex.learners.learner import Learner
from gradex.streams import derive
from gradex.tasks import TaskSuite

_FORMAT = "gradex.training/2"
#: How the learning curve's columns are named among the tensors.
_CURVE = "curve."
_COLUMNS = (
    "steps", "policy", "task", "inner_steps", "return_mean", "episodes", "success", "explained_variance",
)  # fmt: skip


@dataclass(frozen=True)
class TrainingFolder:
    """Where a training keeps what it needs to go on.

    `training.safetensors` holds its tensors, its learning curve and, in the header, its configuration;
    `curve.csv` is the learning curve for people.

    Attributes
    ----------
    path : Path
    configuration : dict
        In JSON types. A training of another configuration is not gone on with.
    """

    path: Path
    configuration: dict[str, Any]

    @classmethod
    def open(cls, path: str | Path, configuration: Mapping[str, Any]) -> "TrainingFolder":
        """Make the folder if it is not there."""
        path = Path(path)
        with writing_to(path):
            path.mkdir(parents=True, exist_ok=True)
        return cls(path, json.loads(json.dumps(configuration)))

    @property
    def _file(self) -> Path:
        return self.path / "training.safetensors"

    def save(self, tensors: Mapping[str, Tensor], curve: pd.DataFrame) -> None:
        """Write everything; a training that dies meanwhile leaves what was there before."""
        columns = {f"{_CURVE}{name}": torch.from_numpy(curve[name].to_numpy().copy()) for name in curve}
        with writing_to(self.path):
            # The curve first: alone it does no harm.
            with written_whole(self.path / "curve.csv") as temporary:
                curve.to_csv(temporary, index=False)
            with written_whole(self._file) as temporary:
                checkpoint.write(temporary, {**tensors, **columns}, _FORMAT, self.configuration)

    def load(self) -> tuple[dict[str, Tensor], pd.DataFrame] | None:
        """Read what was saved last, if anything was.

        Raises
        ------
        ValueError
            If it was saved by a training of another configuration, or the file is damaged.
        """
        if not self._file.exists():
            return None
        try:
            tensors, kind, found = checkpoint.read(self._file)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"cannot go on from {str(self._file)!r}: {error}; choose another folder"
            ) from None
        if kind != _FORMAT:
            raise ValueError(
                f"cannot go on from {str(self._file)!r}: its format is {kind!r}, not that of this version; "
                "choose another folder"
            )
        differing = [name for name in self.configuration if found.get(name) != self.configuration[name]]
        if differing:
            raise ValueError(
                f"{str(self.path)!r} holds another training, its {', '.join(differing)} differ: "
                "choose another folder"
            )
        state = {name: tensor for name, tensor in tensors.items() if not name.startswith(_CURVE)}
        if (name := checkpoint.not_finite(state)) is not None:
            raise ValueError(
                f"cannot go on from {str(self._file)!r}: its {name} is not finite; choose another folder"
            )
        columns = {
            name.removeprefix(_CURVE): tensors.pop(name)
            for name in sorted(tensors)
            if name.startswith(_CURVE)
        }
        # A file keeps no order; some suites do not tell of success, and some learners have no critic.
        kept = {name: np.asarray(columns[name]) for name in _COLUMNS if name in columns}
        return tensors, pd.DataFrame(kept)


class Continuation:
    """What a training goes on from, and where it leaves what a later one goes on from.

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
        self._folder = None if folder is None else TrainingFolder.open(folder, configuration())
        self.state: dict[str, Tensor] | None = None
        self._earlier: pd.DataFrame | None = None
        self.begun = 0
        if self._folder is not None and (found := self._folder.load()) is not None:
            self.state, self._earlier = found
            self.begun = int(self.state["rounds"])
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
        return (derive(np.asarray(seeds, dtype=np.int64), self.begun) % 2**31).tolist()

    def due(self, done: int) -> bool:
        """Tell whether to keep everything after `done` rounds."""
        return done == self._rounds or done * self._per_round % self._every < self._per_round

    def visit(
        self, done: int, state: Callable[[], Mapping[str, Tensor]], curve: Callable[[], pd.DataFrame]
    ) -> None:
        """Keep everything after `done` rounds, if that is due; the curve holds the rounds since `begun`."""
        if self._folder is not None and self.due(done):
            self._folder.save({"rounds": torch.tensor(done), **state()}, self.whole(curve()))

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
        "start": checkpoint.agent_fingerprint(agent),
        **more,
    }
