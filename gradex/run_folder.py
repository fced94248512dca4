"""The folder of one run of `gradex group`: files appear whole or not at all, and a cut-off run goes on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gradex.affinity import AffinityGraph, Partition
from gradex.files import UNFINISHED, writing_to, written_whole
from gradex.grouping import PolicyGradEx


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps its configuration, its policies and its results.

    Attributes
    ----------
    path : Path
    """

    path: Path

    @classmethod
    def open(cls, path: Path, configuration: Mapping[str, Any]) -> "RunFolder":
        """Make the folder, or go on in one that was left by the same command.

        Raises
        ------
        ValueError
            If the folder holds a finished run or anything else, or cannot be written.
        """
        text = json.dumps(configuration, indent=2, default=repr) + "\n"
        if (path / "groups.json").exists():
            raise ValueError(f"{str(path)!r} already holds a finished run: choose another folder with --out")
        with writing_to(path, "choose another folder with --out"):
            if path.exists() and any(not file.name.startswith(UNFINISHED) for file in path.iterdir()):
                ours = path / "config.json"
                if not ours.exists() or ours.read_text() != text:
                    raise ValueError(
                        f"{str(path)!r} already holds something else: choose another folder with --out"
                    )
            path.mkdir(parents=True, exist_ok=True)
            _write(path / "config.json", text)
        return cls(path)

    @property
    def checkpoint(self) -> Path:
        """File of the meta-policy."""
        return self.path / "meta.safetensors"

    def finish(self, grouping: PolicyGradEx, report: Mapping[str, Any], evaluation: pd.DataFrame) -> None:
        """Write the results; groups.json comes last, so that it stands for a finished run."""
        _write(self.path / "evaluation.csv", evaluation.to_csv(index=False))
        _write(self.path / "learning_curves.csv", _learning_curves(grouping).to_csv(index=False))
        affinities = grouping.graph_.to_frame()
        _write(self.path / "affinity.csv", affinities.to_csv())
        if grouping.bootstrap_ is not None:
            for name, matrix in (
                ("affinity_stderr", grouping.bootstrap_.stderr),
                ("co_assignment", grouping.partition_.co_assignment),
            ):
                table = pd.DataFrame(matrix, affinities.index, affinities.columns)
                _write(self.path / f"{name}.csv", table.to_csv())
        with written_whole(self.path / "affinity.png") as temporary:
            # Long names of tasks reach beyond what the layout sets aside for them.
            picture = draw(grouping.graph_, grouping.partition_)
            picture.savefig(temporary, dpi=150, bbox_inches="tight")
        for number, policy in enumerate(grouping.policies_):
            policy.save(self.path / f"group-{number}.safetensors")
        _write(self.path / "groups.json", json.dumps(report, indent=2) + "\n")


def _learning_curves(grouping: PolicyGradEx) -> pd.DataFrame:
    """Put the curve of the meta-policy above those of the groups' policies, which go on from it."""
    groups = {f"group {number}": policy for number, policy in enumerate(grouping.policies_)}
    curves = {"meta": grouping.meta_, **groups}
    return pd.concat([policy.history_.assign(policy=name) for name, policy in curves.items()])


def draw(graph: AffinityGraph, partition: Partition) -> Figure:
    """Draw the affinities ordered by group, beside the graph that they make."""
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    heatmap, network = figure.subplots(1, 2)
    graph.plot(heatmap, partition)
    graph.plot_network(network, partition)
    return figure


def _write(path: Path, text: str) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(text)
