"""Which way of sharing policies solves most of Meta-World's MT10? All get the same experience.

PolicyGradEx, Table 3 (first column) and the ablation of the number of groups. Every method sees every task
for the same number of environment steps, and learns from them in equally many updates: each round of PPO
takes a fixed number of minibatches, however many tasks a policy has. All networks train on all ten tasks
halfway. Groups are read off soft modularization, the meta-policy, along its way there; then each group's
policy goes on from it by itself, while the single networks, soft modularization among them, go on with all
tasks, also with a learning rate that falls anew. Networks have about equally many parameters, whole groups of
policies accordingly more.

Groups are random, by similarity of gradients, or by PolicyGradEx; one policy per task tells what no company
at all would give. What is trained is kept in
`runs/downstream-SCALE/`, so that a study can take several sittings; after changing how policies are
trained, remove that folder.
"""

from pathlib import Path

import pandas as pd

from analysis.downstream.reading import interquartile_mean, plot, summary
from analysis.downstream.runs import NETWORKS, Amount, Runs, affinities
from gradex import PPO, TaskSuite

SEEDS = {"smoke": 1, "laptop": 1, "paper": 5}
__all__ = ["SEEDS", "compute", "interquartile_mean", "plot", "summary", "work"]

_AMOUNTS = {
    "smoke": Amount(
        {"tasks": ["reach", "push", "drawer-close"], "horizon": 10},
        PPO(steps=20, copies=1, minibatches=2, epochs=1, standardise="task"),
        layers=4,
        width=8,
        steps_per_task=40,
        numbers=(2,),
        draws=1,
        transitions=64,
        episodes=2,
    ),
    "laptop": Amount(
        {"horizon": 200}, None, 4, 128, 50_000, (2, 3, 4), draws=2, transitions=8192, episodes=50
    ),
    "paper": Amount({}, None, 4, 256, 1_000_000, (2, 3, 4), draws=5, transitions=8192, episodes=50),
}


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Train with every method and measure success.

    Returns
    -------
    DataFrame
        Rows `what="evaluation"`: success and return_mean of method, k (number of groups), draw and task after
        all training, and the group that the task was in. Rows `what="curve"`: the same along training, after
        so many steps of the task. Rows `what="affinity"`: affinity of task and partner, once per pair.
    """
    amount = _AMOUNTS[scale]
    runs = Runs(amount, seed, Path("runs") / f"downstream-{scale}" / f"seed-{seed}")
    tables = []
    for method, network in NETWORKS.items():
        tables += [runs.curve_halfway(method), runs.told([runs.everything], method, network=network)]
    for method, groups, draw in runs.groupings():
        tables.append(runs.told(groups, method, draw))
    tables.append(affinities(runs.estimate.graph_))
    return pd.concat(tables, ignore_index=True).assign(seed=seed)


def work(scale: str) -> float:
    """Count the environment steps of a seed, if no two ways of grouping agree on a group."""
    amount = _AMOUNTS[scale]
    # Networks train twice, before and after; random groups by draw, two more ways, and each task alone.
    trainings = 2 * len(NETWORKS) + len(amount.numbers) * (amount.draws + 2) + 1
    return trainings * amount.steps_per_task * len(TaskSuite.make("mt10", **amount.options))
