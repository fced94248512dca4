"""How much of Meta-World do policies solve on a laptop: all of MT10 by PPO, single tasks by SAC.

One policy with a head for each task learns the ten tasks of MT10 by PPO. Three of them are learned by soft
actor-critics of their own, side by side in one stack. At points along the way each policy runs whole episodes
from starts and goals that it was not trained on, and draws its actions; an episode succeeds if it is flagged
at any step.

Each training of a seed is kept in `runs/metaworld-SCALE/seed-SEED/` as the table that it gave;
after changing how policies are trained, remove that folder.
"""

import shutil
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.provenance import note_of
from analysis.study import confidence_interval, kept_for, kept_table, plain
from gradex import PPO, SAC, MetaPolicy, TaskSuite
from gradex.learners import Learner

SEEDS = {"smoke": 1, "laptop": 2, "paper": 5}
#: Points of a learning curve.
_POINTS = 4


@dataclass(frozen=True)
class _Training:
    """What learns what, and how much.

    Attributes
    ----------
    options : dict
        Of the suite.
    learner : str or Learner
    network : str
        An "mlp" learns every task by itself, any other network all together.
    layers, width : int
    steps_per_task : int
    episodes : int
        Per task, to measure success.
    """

    options: dict[str, Any]
    learner: str | Learner
    network: str
    layers: int
    width: int
    steps_per_task: int
    episodes: int = 50

    def table(self, seed: int, path: Path) -> pd.DataFrame:
        """Train, or go on with what was cut off, and measure every task at several points along the way.

        Meanwhile the training is kept beside `path`, where the table will be.
        """
        suite = TaskSuite.make("mt10", **self.options)
        policy = MetaPolicy(suite, self.network, self.learner, seed, self.layers, self.width)
        everything = range(len(suite))
        subsets = [[task] for task in everything] if self.network == "mlp" else [everything]
        start = time.perf_counter()
        steps = self.steps_per_task * len(suite)
        trained = policy.fit_each(subsets, steps, _POINTS, folder=path.with_suffix(""))
        seconds = note_of(path).seconds + time.perf_counter() - start
        tables = []
        for subset, snapshots in zip(subsets, trained, strict=True):
            for number, snapshot in enumerate(snapshots, start=1):
                measured = snapshot.evaluate(self.episodes, subset=subset)
                part = number / _POINTS
                spent = {"steps_per_task": part * self.steps_per_task, "training_seconds": part * seconds}
                tables.append(measured[["task", "success", "return_mean"]].assign(**spent))
        return pd.concat(tables, ignore_index=True).assign(episodes=self.episodes)


_TOGETHER, _ALONE = "PPO, ten tasks together", "SAC, each task alone"
_SINGLE = ["reach", "drawer-close", "window-close"]
_LAPTOP = {
    _TOGETHER: _Training({"horizon": 200}, "ppo", "multi_head", 3, 256, steps_per_task=600_000),
    _ALONE: _Training(
        {"horizon": 200, "tasks": _SINGLE},
        SAC(updates=4, start=1000, reward_scale=10.0),
        "mlp",
        layers=3,
        width=128,
        steps_per_task=200_000,
    ),
}
_SMOKE = {
    _TOGETHER: _Training(
        {"horizon": 20, "n": 3},
        PPO(steps=20, copies=2, minibatches=2, epochs=1, standardise="task"),
        "multi_head",
        layers=3,
        width=8,
        steps_per_task=160,
        episodes=3,
    ),
    _ALONE: _Training(
        {"horizon": 20, "tasks": _SINGLE[:2]},
        SAC(copies=2, updates=1, batch=8, start=20),
        "mlp",
        layers=3,
        width=8,
        steps_per_task=80,
        episodes=3,
    ),
}
_PAPER = {
    _TOGETHER: replace(_LAPTOP[_TOGETHER], options={}, width=400, steps_per_task=2_000_000),
    _ALONE: replace(_LAPTOP[_ALONE], options={}, width=400, steps_per_task=2_000_000),
}
_TRAININGS = {"smoke": _SMOKE, "laptop": _LAPTOP, "paper": _PAPER}


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give one row per learner, task and point of its learning curve.

    Columns learner, task, steps_per_task, training_seconds (from the start, over all tasks and policies of
    this learner together, without measuring, as if all steps took equally long), success, return_mean,
    episodes, seed.
    """
    folder = kept_for(Path("runs") / f"metaworld-{scale}" / f"seed-{seed}", _TRAININGS[scale])
    tables = []
    for learner, training in _TRAININGS[scale].items():
        name = learner.split(",")[0].lower()
        path = folder / f"{name}-{training.steps_per_task}.csv"
        table = kept_table(path, partial(training.table, seed, path))
        shutil.rmtree(path.with_suffix(""), ignore_errors=True)
        tables.append(table.assign(learner=learner))
    return pd.concat(tables, ignore_index=True).assign(seed=seed)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give success by learner and task, mean over seeds with 95 % intervals, and how long training took."""
    rows = []
    for (learner, steps), part in table.groupby(["learner", "steps_per_task"], sort=False):
        minutes = part.groupby("seed").training_seconds.first().mean() / 60
        told = {"learner": learner, "steps_per_task": steps, "minutes": minutes, "seeds": part.seed.nunique()}
        by_task = part.groupby("task", sort=False)
        for name, each in (("all", part), *by_task):
            rates = each.groupby("seed").success.mean().to_numpy()
            low, high = np.clip(confidence_interval(rates), 0, 1)
            rows.append({**told, "task": name, "success": rates.mean(), "low": low, "high": high})
    return pd.DataFrame(rows)


@matplotlib.rc_context({"font.size": 8, "axes.titlesize": 9})
def plot(table: pd.DataFrame) -> Figure:
    """Draw what PPO solves of all tasks along training, task by task, and what SAC solves alone."""
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    together, alone = (table[table.learner == learner] for learner in (_TOGETHER, _ALONE))
    (left, right) = figure.subplots(1, 2, sharey=True)
    _draw_curves(left, together)
    _draw_curves(right, alone)
    left.set(title=_TOGETHER, ylabel="success", ylim=(-0.03, 1.03))
    right.set(title=_ALONE)
    return figure


def _draw_curves(ax: Axes, table: pd.DataFrame) -> None:
    """Draw the mean over seeds of each task, and of all tasks."""
    for task, part in table.groupby("task", sort=False):
        mean = part.groupby("steps_per_task").success.mean()
        ax.plot(mean.index / 1000, mean, ".-", linewidth=1, label=task.removesuffix("-v3"))
    mean = table.groupby("steps_per_task").success.mean()
    ax.plot(mean.index / 1000, mean, color="black", linewidth=2.5, label="mean over tasks")
    ax.set(xlabel="environment steps of each task, thousands", xlim=(0, None))
    ax.legend(frameon=False, fontsize="x-small", ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    plain(ax)
