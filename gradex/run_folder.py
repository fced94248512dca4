"""The folder of one run of `gradex group` or `gradex plan`, in which a cut-off run goes on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gradex.affinity import AffinityGraph, Partition
from gradex.grouping import PolicyGradEx
from gradex.plan import Plan
from gradex.preference_grouping import PreferenceGrouping
from gradex.store import UNFINISHED, Store, write_json, write_table, write_text, written_whole

_REMEDY = "choose another folder with --out"
#: What the command has said at the end.
_SAID = "report.txt"


def open_run(path: Path, configuration: Mapping[str, Any], force: bool = False) -> Path:
    """Make the folder, or go on in one that was left by the same command; give the file of the meta-policy.

    The same command is one of the same configuration. A ValueError refuses a folder that holds another run,
    unless this is removed by `force`, or anything else.
    """
    if force:
        Store.remove(path, "run", _REMEDY)
    names = {file.name for file in path.iterdir()} if path.is_dir() else set()
    if "config.json" not in names and not all(name.startswith(UNFINISHED) for name in names):
        raise ValueError(f"{str(path)!r} already holds something else: {_REMEDY}")
    return Store.open(path, "run", configuration, _REMEDY).file("meta")


def said_before(path: Path, last: str, as_json: bool) -> str | None:
    """Give what the run in this folder has said, or None if it is not finished.

    A run is finished where the file `last` stands, which holds the same as one JSON object. A ValueError
    refuses one that is finished, but left no words.
    """
    if not (path / last).exists():
        return None
    try:
        told = json.dumps(json.loads((path / last).read_bytes()))
        said = told if as_json else (path / _SAID).read_text(encoding="utf-8")
    except (OSError, ValueError):
        said = ""
    if not said:
        raise ValueError(f"{str(path)!r} holds a damaged run: make it anew with --force")
    return said


def write_results(
    path: Path,
    grouping: PolicyGradEx | PreferenceGrouping,
    report: Mapping[str, Any],
    evaluation: pd.DataFrame,
    said: str,
) -> None:
    """Write the results of a run; groups.json comes last, so that it stands for a finished run."""
    write_table(path / "evaluation.csv", evaluation)
    if (comparison := grouping.comparison_) is not None:
        table = comparison.table.merge(comparison.differences, how="left", on=["arm", "task"])
        write_table(path / "comparison.csv", table)
    groups = {f"group {number}": policy for number, policy in enumerate(grouping.policies_)}
    policies = {"meta": grouping.meta_, **groups}  # those of the groups go on from it
    curves = [policy.history_.assign(policy=name) for name, policy in policies.items()]
    write_table(path / "learning_curves.csv", pd.concat(curves))
    if isinstance(grouping, PreferenceGrouping):
        _write_preferences(path, grouping)
    else:
        _write_affinities(path, grouping)
    for number, policy in enumerate(grouping.policies_):
        policy.save(path / f"group-{number}.safetensors")
    write_text(path / _SAID, said)
    write_json(path / "groups.json", report)


def _write_preferences(path: Path, grouping: PreferenceGrouping) -> None:
    """Write who shares a policy; affinities of a thousand would be a million numbers."""
    write_table(path / "preferences.csv", grouping.suite_.to_frame().assign(group=grouping.labels_))
    write_table(path / "covered.csv", grouping.covered())
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    grouping.plot(figure.subplots())
    with written_whole(path / "preferences.png") as temporary:
        figure.savefig(temporary, dpi=150)


def _write_affinities(path: Path, grouping: PolicyGradEx) -> None:
    affinities, interactions = grouping.graph_.to_frame(), grouping.interactions_
    tables = {
        "affinity": affinities,
        "interaction": interactions.to_frame(),
        "interaction_stderr": pd.DataFrame(interactions.stderr, affinities.index, affinities.columns),
    }
    if grouping.bootstrap_ is not None:
        together = grouping.partition_.co_assignment
        tables["co_assignment"] = pd.DataFrame(together, affinities.index, affinities.columns)
        if grouping.k != "auto":  # else interactions are what was clustered, and drawn
            stderr = grouping.bootstrap_.stderr
            tables["affinity_stderr"] = pd.DataFrame(stderr, affinities.index, affinities.columns)
    for name, table in tables.items():
        write_table(path / f"{name}.csv", table, index=True)
    with written_whole(path / "affinity.png") as temporary:
        # Long names of tasks reach beyond what the layout sets aside for them.
        draw(grouping.graph_, grouping.partition_).savefig(temporary, dpi=150, bbox_inches="tight")


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan; plan.json comes last, so that it stands for a finished run."""
    write_table(path / "noise_scale.csv", plan.noise_scale)
    if not plan.curve.empty:
        figure = Figure(figsize=(4.8, 3.2), layout="constrained")
        FigureCanvasAgg(figure)
        plan.plot(figure.subplots())
        with written_whole(path / "plan.png") as temporary:
            figure.savefig(temporary, dpi=150)
    write_text(path / _SAID, str(plan))
    write_json(path / "plan.json", plan.to_dict())


def draw(graph: AffinityGraph, partition: Partition) -> Figure:
    """Draw the affinities ordered by group, beside the graph that they make."""
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    heatmap, network = figure.subplots(1, 2)
    graph.plot(heatmap, partition)
    graph.plot_network(network, partition)
    return figure
