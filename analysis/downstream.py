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

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.along import similarity_along
from analysis.study import plain
from analysis.trained import kept
from gradex import PPO, AffinityGraph, MetaPolicy, PolicyGradEx, TaskSuite
from gradex.affinity import RandomGrouping
from gradex.policies import matched_width

SEEDS = {"smoke": 1, "laptop": 1, "paper": 5}


@dataclass(frozen=True)
class _Amount:
    """How much is trained and measured.

    Attributes
    ----------
    options : dict
        Of the suite.
    learner : PPO, optional
        By default what is recommended for the suite.
    layers, width : int
        Of soft modularization; the other networks get the width at which they have as many parameters.
    steps_per_task : int
        Before the groups part, and again after.
    numbers : tuple of int
        Of groups.
    draws : int
        Random groupings.
    transitions, episodes : int
        Per task: for the surrogate, and to measure success.
    """

    options: dict[str, Any]
    learner: PPO | None
    layers: int
    width: int
    steps_per_task: int
    numbers: tuple[int, ...]
    draws: int
    transitions: int
    episodes: int


_AMOUNTS = {
    "smoke": _Amount(
        {"tasks": ["reach", "push", "drawer-close", "window-open"], "horizon": 20},
        PPO(steps=20, copies=2, minibatches=4, epochs=1, standardise="task"),
        layers=4,
        width=8,
        steps_per_task=80,
        numbers=(2,),
        draws=1,
        transitions=64,
        episodes=2,
    ),
    "laptop": _Amount(
        {"horizon": 200}, None, 4, 128, 50_000, (2, 3, 4), draws=2, transitions=8192, episodes=50
    ),
    "paper": _Amount({}, None, 4, 256, 1_000_000, (2, 3, 4), draws=5, transitions=8192, episodes=50),
}
_ONE = "soft modularization"
_SHARED = "soft_modularization"
_NETWORKS = {
    _ONE: _SHARED,
    "multi-task MLP": "one_hot_mlp",
    "multi-head MLP": "multi_head",
    "PaCo": "paco",
    "CARE": "care",
}
_GROUPINGS = ("random groups", "gradient-similarity groups", "PolicyGradEx groups")
_EACH = "one policy per task"
#: Points of a learning curve.
_POINTS = 10
_RESAMPLINGS = 2000


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
    runs = _Runs(amount, seed, Path("runs") / f"downstream-{scale}" / f"seed-{seed}")
    tables = []
    for method, network in _NETWORKS.items():
        tables += [runs.curve_halfway(method), runs.told([runs.everything], method, network=network)]
    for method, groups, draw in runs.groupings():
        tables.append(runs.told(groups, method, draw))
    tables.append(_affinities(runs.estimate.graph_))
    return pd.concat(tables, ignore_index=True).assign(seed=seed)


def work(scale: str) -> float:
    """Count the environment steps of a seed, if no two ways of grouping agree on a group."""
    amount = _AMOUNTS[scale]
    # Networks train twice, before and after; random groups by draw, two more ways, and each task alone.
    trainings = 2 * len(_NETWORKS) + len(amount.numbers) * (amount.draws + 2) + 1
    return trainings * amount.steps_per_task * len(TaskSuite.make("mt10", **amount.options))


@dataclass(frozen=True)
class _Runs:
    """The trainings of one seed, each of which is kept."""

    amount: _Amount
    seed: int
    folder: Path

    @cached_property
    def suite(self) -> TaskSuite:
        return TaskSuite.make("mt10", **self.amount.options)

    def _policy(self, network: str) -> MetaPolicy:
        """Give an untrained policy of the same size as all others."""
        suite, amount = self.suite, self.amount
        shapes = (suite.observation_space.shape[0], 4, len(suite), amount.layers)
        shared = MetaPolicy(suite, _SHARED, layers=amount.layers, width=amount.width).initial([0])
        width = matched_width(network, *shapes, shared.policy.network.size)
        return MetaPolicy(suite, network, amount.learner or "ppo", self.seed, amount.layers, width)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}-{self.amount.steps_per_task}.safetensors"

    def halfway(self, network: str) -> MetaPolicy:
        """Train a network on all tasks."""
        steps = self.amount.steps_per_task * len(self.suite)
        return kept(
            self._file(network),
            self._policy(network),
            lambda policy, folder: policy.fit(steps, folder=folder),
        )

    def trained(self, tasks: Sequence[int], network: str = _SHARED) -> MetaPolicy:
        """Train on from there, on these tasks."""
        steps = self.amount.steps_per_task * len(tasks)
        path = self._file("-".join(map(str, [network, *tasks])))
        return kept(path, self.halfway(network), lambda half, folder: half.adapt(tasks, steps, folder=folder))

    @property
    def everything(self) -> tuple[int, ...]:
        """All tasks, as one group."""
        return tuple(range(len(self.suite)))

    @cached_property
    def estimate(self) -> PolicyGradEx:
        """Read affinities off the meta-policy's training."""
        return PolicyGradEx(
            k=min(self.amount.numbers),
            projection="khatri-rao",
            steps_per_task=self.amount.transitions,
            group_steps=0,
            bootstrap=0,
            seed=self.seed,
        ).fit(self.suite, self.halfway(_SHARED))

    def groupings(self) -> list[tuple[str, tuple[tuple[int, ...], ...], int]]:
        """Give method, groups and draw."""
        amount, run = self.amount, self.estimate
        alone = tuple((task,) for task in self.everything)
        found: list[tuple[str, tuple[tuple[int, ...], ...], int]] = []
        similar = similarity_along(run.surrogates_)
        random, by_gradient, ours = _GROUPINGS
        for k in amount.numbers:
            for draw in range(amount.draws):
                rival = RandomGrouping(self.seed * amount.draws + draw)
                found.append((random, run.graph_.partition(k=k, method=rival).groups, draw))
            found.append((by_gradient, similar.partition(k=k).groups, 0))
            found.append((ours, run.graph_.partition(k=k).groups, 0))
        return [*found, (_EACH, alone, 0)]

    def told(
        self, groups: Sequence[Sequence[int]], method: str, draw: int = 0, network: str = _SHARED
    ) -> pd.DataFrame:
        """Measure the policies of groups, each on its own tasks."""
        tables = []
        for number, tasks in enumerate(groups):
            policy = self.trained(tasks, network)
            measured = policy.evaluate(self.amount.episodes, subset=tasks)
            reached = measured[["task", "success", "return_mean"]]
            told = {"what": "evaluation", "group": number, "episodes": self.amount.episodes}
            curve = self._curve(policy, len(tasks), begun=self.amount.steps_per_task)
            tables += [reached.assign(**told), curve.assign(group=number)]
        return pd.concat(tables, ignore_index=True).assign(method=method, k=len(groups), draw=draw)

    def curve_halfway(self, method: str) -> pd.DataFrame:
        """Tell how a single network learned before groups part."""
        curve = self._curve(self.halfway(_NETWORKS[method]), len(self.suite))
        return curve.assign(group=0, method=method, k=1, draw=0)

    def _curve(self, policy: MetaPolicy, tasks: int, begun: int = 0) -> pd.DataFrame:
        """Average a learning curve over pieces of the training, by task."""
        own, history = self.amount.steps_per_task, policy.history_
        piece = np.ceil(history.steps / tasks / own * _POINTS).clip(upper=_POINTS)
        sums = pd.DataFrame({name: history[name] * history.episodes for name in ("success", "return_mean")})
        sums = sums.assign(piece=piece, task=history.task, episodes=history.episodes)
        sums = sums.groupby(["piece", "task"]).sum()
        means = sums[["success", "return_mean"]].div(sums.episodes, axis=0).reset_index()
        names = {number: task.name for number, task in enumerate(self.suite.tasks)}
        steps = begun + means.piece * own / _POINTS
        return means.assign(task=means.task.map(names), steps=steps, what="curve").drop(columns="piece")


def _affinities(graph: AffinityGraph) -> pd.DataFrame:
    one, other = np.triu_indices(len(graph), 1)
    names = np.array(graph.names)
    pairs = {"task": names[one], "partner": names[other], "affinity": graph.matrix[one, other]}
    return pd.DataFrame(pairs).assign(what="affinity")


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give success by method and number of groups: mean, interquartile mean, and their 95 % intervals.

    The interquartile mean over tasks and runs is that of Agarwal et al. (2021, NeurIPS): the middle half of
    what tasks reach. Intervals come from drawing runs again (seeds, and draws of random groups) and the
    evaluation's episodes. With one run they hold for these very policies; with two or three they are too
    narrow where seeds differ, as drawing so few again gives hardly anything beyond them.
    """
    evaluated = table[table.what == "evaluation"]
    rng = np.random.default_rng(0)
    rows = []
    for (method, k), part in evaluated.groupby(["method", "k"], sort=False):
        by_run = part.pivot_table(index=["seed", "draw"], columns="task", values="success")
        rates = by_run.to_numpy()
        by_seed = rates.reshape(by_run.index.unique("seed").size, -1, rates.shape[1])
        drawn = _resampled(by_seed, int(part.episodes.iloc[0]), rng)
        row: dict[str, Any] = {"method": method, "k": int(k), "runs": len(rates)}
        for name, statistic in (("success", np.mean), ("iqm", interquartile_mean)):
            low, high = np.percentile([statistic(each) for each in drawn], [2.5, 97.5])
            row |= {name: statistic(rates), f"{name}_low": low, f"{name}_high": high}
        solved = part.groupby("task", sort=False).success.mean()
        rows.append(row | {"solved": int((solved > 0.5).sum())})
    return pd.DataFrame(rows)


def interquartile_mean(values: Float[np.ndarray, "..."]) -> float:
    """Give the mean of the middle half, in which values at its ends count in part.

    So it does not depend on how often all of them come.
    """
    ordered = np.sort(values, axis=None)
    edges = np.arange(ordered.size + 1).clip(ordered.size / 4, 3 * ordered.size / 4)
    return float(ordered @ np.diff(edges) / (ordered.size / 2))


def _resampled(
    rates: Float[np.ndarray, "seeds draws tasks"], episodes: int, rng: np.random.Generator
) -> Float[np.ndarray, "resamplings runs tasks"]:
    """Draw seeds, draws of groups within them, and episodes again; draws of a seed share its meta-policy."""
    seeds, draws, tasks = rates.shape
    chosen = rng.integers(seeds, size=(_RESAMPLINGS, seeds, 1))
    own = rng.integers(draws, size=(_RESAMPLINGS, seeds, draws))
    return rng.binomial(episodes, rates[chosen, own].reshape(_RESAMPLINGS, -1, tasks)) / episodes


@matplotlib.rc_context({"font.size": 8, "axes.titlesize": 9})
def plot(table: pd.DataFrame) -> Figure:
    """Draw learning curves, success by method, success by number of groups, and by task."""
    told = summary(table)
    figure = Figure(figsize=(7.2, 6.2), layout="constrained")
    (curves, bars), (numbers, tasks) = figure.subplots(2, 2)
    _draw_curves(curves, table)
    _draw_methods(bars, told, table)
    _draw_numbers(numbers, told)
    _draw_tasks(tasks, table)
    return figure


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """Keep of each way of grouping the number of groups that the paper takes, or the nearest."""
    several = sorted(set(table.k[table.method.isin(_GROUPINGS)]))
    middle = min(several, key=lambda k: abs(k - 3))
    return table[table.k.isin((1, middle)) | (table.method == _EACH)]


def _color(method: str) -> str:
    return f"C{[*_NETWORKS, *_GROUPINGS, _EACH].index(method)}"


def _draw_curves(ax: Axes, table: pd.DataFrame) -> None:
    curves = _shown(table[table.what == "curve"])
    for method, part in curves.groupby("method", sort=False):
        mean = part.groupby("steps").success.mean()
        ax.plot(mean.index / 1000, mean, color=_color(method), label=method, linewidth=1.2)
    ax.set(
        xlabel="steps for each task, thousands",
        ylabel="success in training",
        ylim=(0, 1),
        title="colours as on the right",
    )
    plain(ax)


def _draw_methods(ax: Axes, told: pd.DataFrame, table: pd.DataFrame) -> None:
    """Draw the mean of each method over its interval, and a small dot for each seed."""
    evaluated = table[table.what == "evaluation"]
    seeds = evaluated.groupby(["method", "k", "seed"]).success.mean()
    shown = _shown(told).iloc[::-1].reset_index(drop=True)
    for place, row in shown.iterrows():
        each = seeds[row.method, row.k]
        ax.plot(each, [place - 0.25] * len(each), ".", color="0.6", markersize=3)
        ax.plot([row.success_low, row.success_high], [place, place], color=_color(row.method))
        ax.plot(row.success, place, "o", color=_color(row.method), markersize=4)
    labels = [
        f"{row.k} {row.method}" if row.method in _GROUPINGS else row.method for row in shown.itertuples()
    ]
    ax.set_yticks(range(len(shown)), labels)
    ax.set(xlabel="success, mean over tasks", xlim=(0, 1))
    plain(ax)


def _draw_numbers(ax: Axes, told: pd.DataFrame) -> None:
    one = told[told.method == _ONE]
    for shift, method in enumerate(_GROUPINGS):
        part = pd.concat([one, told[told.method == method]])
        errors = np.abs(part[["success_low", "success_high"]].to_numpy().T - part.success.to_numpy())
        # Side by side, or the intervals would hide each other.
        ax.errorbar(part.k + 0.06 * (shift - 1), part.success, errors, color=_color(method), marker="o",
                    markersize=4, linewidth=1.2, label=method)  # fmt: skip
    (alone,) = told[told.method == _EACH].success
    ax.axhline(alone, color=_color(_EACH), linestyle="--", linewidth=1, label=_EACH)
    numbers = sorted(set(told.k[told.method != _EACH]))
    ax.set(xlabel="number of groups", ylabel="success, mean over tasks", ylim=(0, 1), xticks=numbers)
    ax.legend(frameon=False, fontsize="x-small")
    plain(ax)


def _draw_tasks(ax: Axes, table: pd.DataFrame) -> None:
    evaluated = _shown(table[table.what == "evaluation"])
    rates = evaluated.pivot_table(index="method", columns="task", values="success", sort=False)
    image = ax.imshow(rates, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    ax.set_yticks(range(len(rates)), rates.index)
    names = [name.removesuffix("-v3") for name in rates.columns]
    ax.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor")
    ax.figure.colorbar(image, ax=ax, label="success", shrink=0.8)
