"""The groups that README's example finds: affinities of ten cart-poles, half of them reversed, as a picture.

One seed, all defaults, no group's policy trained. Whether planted groups are found is asked by `planted` and
`abstention`.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from gradex import AffinityGraph, PolicyGradEx, TaskSuite
from gradex.affinity import Partition

SEEDS = {"smoke": 1, "laptop": 1, "paper": 1}
_AMOUNTS: dict[str, dict[str, Any]] = {
    "smoke": {"meta_steps": 2048, "steps_per_task": 64, "snapshots": 2, "projection_dim": 16, "bootstrap": 2},
    "laptop": {},
    "paper": {},
}


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give a row for each ordered pair of tasks.

    Returns
    -------
    DataFrame
        seed, task, kind (planted group of the task), group (as found), partner, affinity, and verdict.
    """
    suite = TaskSuite.make("cartpole", n=10, reversed="half", seed=seed)
    run = PolicyGradEx(group_steps=0, seed=seed, **_AMOUNTS[scale]).fit(suite)
    assert suite.labels is not None  # for the type checker
    names = [task.name for task in suite.tasks]
    pairs = pd.DataFrame(run.graph_.matrix, names, names).rename_axis("task").rename_axis(columns="partner")
    table = pairs.stack().rename("affinity").reset_index()
    labels = {"kind": suite.labels, "group": run.labels_}
    for place, (name, values) in enumerate(labels.items(), start=1):
        table.insert(place, name, np.repeat(values, len(suite)))
    return table.assign(seed=seed, verdict=run.verdict_)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give the members of each group, how many kinds are in it, and the verdict."""
    members = table.drop_duplicates(["seed", "task"])
    rows = members.groupby(["seed", "group"], sort=True)
    found = rows.agg(tasks=("task", ", ".join), kinds=("kind", "nunique"), verdict=("verdict", "first"))
    return found.reset_index()


def plot(table: pd.DataFrame) -> Figure:
    """Draw affinities as a heatmap, and the strongest as a network, by the groups that were found."""
    own = table[table.seed == table.seed.min()]
    order = list(dict.fromkeys(own.task))
    matrix = own.pivot(index="task", columns="partner", values="affinity").loc[order, order]
    graph = AffinityGraph(matrix.to_numpy(), order)
    labels = own.drop_duplicates("task").group.to_numpy()
    groups = Partition.of(graph.matrix, labels, upper_bound=np.inf, status="as found")
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.1, 1])
    graph.plot(left, groups)
    graph.plot_network(right, groups)
    return figure
