"""The folder of a long training: it appears whole or not at all, and a cut-off training goes on in it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gradex.files import writing_to, written_whole
from gradex.learners.actor_critic import ActorCritic
from gradex.learners.learner import Learner
from gradex.tasks import TaskSuite

_FORMAT = "gradex.training/1"
#: How the learning curve's columns are named among the tensors.
_CURVE = "curve."


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
        header = {"format": _FORMAT, "configuration": json.dumps(self.configuration)}
        everything = {name: tensor.contiguous() for name, tensor in tensors.items()} | columns
        # The curve first: alone it does no harm.
        with written_whole(self.path / "curve.csv") as temporary:
            curve.to_csv(temporary, index=False)
        with written_whole(self._file) as temporary:
            save_file(everything, temporary, metadata=header)

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
            with safe_open(str(self._file), framework="pt") as file:
                found = json.loads(file.metadata()["configuration"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except (OSError, SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(
                f"cannot go on from {str(self._file)!r}: {error}; choose another folder"
            ) from None
        differing = [name for name in self.configuration if found.get(name) != self.configuration[name]]
        if differing:
            raise ValueError(
                f"{str(self.path)!r} holds another training, its {', '.join(differing)} differ: "
                "choose another folder"
            )
        columns = {
            name.removeprefix(_CURVE): tensors.pop(name)
            for name in sorted(tensors)
            if name.startswith(_CURVE)
        }
        # A file keeps no order; success is told by some suites only.
        order = ["steps", "policy", "task", "return_mean", "episodes", "success"]
        kept = {name: np.asarray(columns[name]) for name in order if name in columns}
        return tensors, pd.DataFrame(kept)


def configuration(
    learner: Learner,
    agent: ActorCritic,
    suite: TaskSuite,
    subsets: Sequence[Sequence[int]],
    seeds: Sequence[int],
    learning_rates: Sequence[float],
) -> dict[str, Any]:
    """Say in JSON types what makes two trainings the same, however long they are."""
    rows = [agent.actors, agent.critics, agent.return_scale, *agent.more.values()]
    digest = hashlib.sha256(b"".join(tensor.cpu().contiguous().numpy().tobytes() for tensor in rows))
    return {
        "learner": learner.config,
        "suite": suite.config,
        "subsets": [[int(task) for task in subset] for subset in subsets],
        "seeds": [int(seed) for seed in seeds],
        "learning_rates": [float(rate) for rate in learning_rates],
        "networks": f"{agent.policy}, {agent.critic}",
        "start": digest.hexdigest(),
    }
