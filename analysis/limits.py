"""What limits groups on MT10: the meta-policy, noise of the estimate or of training, or how little is to win.

One meta-policy with soft modularization trains on all tasks. Early and late along its training, groups are
read off it twice, from different episodes and subsets. From either point each task then trains on in three
companies (all tasks, its PolicyGradEx group, a random group), for equally many steps and updates, and more
than once, with other random numbers. So the difference that company makes stands beside the one that chance
makes; and the best company that could have been chosen in hindsight, by another run than the one that is
counted, beside both.

What is trained is kept in `runs/limits-SCALE/`; after changing how policies are trained, remove that folder.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from analysis.provenance import noted
from analysis.study import kept_for, kept_table, plain
from gradex import PPO, AffinityGraph, MetaPolicy, PolicyGradEx, SurrogateEstimator, TaskSuite
from gradex.affinity import RandomGrouping
from gradex.seeds import child

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
    width : int
        Of soft modularization.
    points : tuple of int
        Steps per task of the meta-policy at which groups are read off it; the first divides the others.
    steps_per_task : int
        From there on.
    k, replicates : int
        Groups, and trainings of each company.
    transitions, episodes : int
        Per task: for the surrogate, and to measure success.
    """

    options: dict[str, Any]
    learner: PPO | None
    width: int
    points: tuple[int, ...]
    steps_per_task: int
    k: int = 3
    replicates: int = 2
    transitions: int = 2048
    episodes: int = 50


_AMOUNTS = {
    "smoke": _Amount(
        {"tasks": ["reach", "push", "drawer-close"], "horizon": 10},
        PPO(steps=20, copies=1, minibatches=2, epochs=1, standardise="task"),
        width=8,
        points=(20, 40),
        steps_per_task=20,
        k=2,
        transitions=64,
        episodes=2,
    ),
    "laptop": _Amount({"horizon": 200}, None, 128, (32_000, 96_000), 32_000),
    "paper": _Amount({}, None, 256, (500_000, 1_000_000), 1_000_000, replicates=3),
}
_TOGETHER, _OURS, _RANDOM = COMPANIES = ("all tasks together", "PolicyGradEx groups", "random groups")
_HINDSIGHT = "best in hindsight"


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Train in company, and estimate twice.

    Returns
    -------
    DataFrame
        Rows `what="meta"`: success by task of the meta-policy at a `point` of its training (steps per task).
        Rows `what="trained"`: success by task after training on from there, by company and replicate.
        Rows `what="estimates"`: how much two estimates at that point agree, as adjusted mutual information of
        their groups (`agreement`) and rank correlation of their affinities (`rank`).
    """
    folder = kept_for(Path("runs") / f"limits-{scale}" / f"seed-{seed}", _AMOUNTS[scale])
    runs = _Runs(_AMOUNTS[scale], seed, folder)
    return pd.concat(map(runs.told, runs.amount.points), ignore_index=True).assign(seed=seed)


@dataclass(frozen=True)
class _Runs:
    """The trainings of one seed."""

    amount: _Amount
    seed: int
    folder: Path

    @cached_property
    def metas(self) -> dict[int, MetaPolicy]:
        """Train the meta-policy and keep it at every point."""
        first, *_, last = self.amount.points
        paths = {point: self.folder / f"meta-{point}.safetensors" for point in range(first, last + 1, first)}
        if not all(path.exists() for path in paths.values()):
            suite = TaskSuite.make("mt10", **self.amount.options)
            learner = self.amount.learner or "ppo"
            fresh = MetaPolicy(suite, "soft_modularization", learner, self.seed, 4, self.amount.width)
            folder = self.folder / f"meta-{last}"
            with noted(paths[last]):
                everything, steps = [range(len(suite))], last * len(suite)
                [along] = fresh.fit_each(everything, steps, len(paths), folder=folder)
                for policy, path in zip(along, paths.values(), strict=True):
                    policy.save(path)
            shutil.rmtree(folder)
        return {point: MetaPolicy.load(paths[point]) for point in self.amount.points}

    def told(self, point: int) -> pd.DataFrame:
        """Measure all that follows from one point."""
        meta, amount = self.metas[point], self.amount
        first, second = (self._affinities(meta, seed) for seed in (2 * self.seed, 2 * self.seed + 1))
        one, other = (graph.matrix[np.triu_indices(len(graph), 1)] for graph in (first, second))
        ours = first.partition(k=amount.k)
        groups = {
            _TOGETHER: [range(len(meta.suite))],
            _OURS: ours.groups,
            _RANDOM: first.partition(k=amount.k, method=RandomGrouping(self.seed)).groups,
        }
        estimates = {
            "agreement": ours.agreement(second.partition(k=amount.k).labels).ami,
            "rank": spearmanr(one, other).statistic,
        }
        tables = [self._measured(meta, range(len(meta.suite))).assign(what="meta")]
        for company, parts in groups.items():
            for replicate in range(amount.replicates):
                name = f"{point}-{amount.steps_per_task}-{company.split()[0].lower()}-{replicate}.csv"
                table = kept_table(self.folder / name, partial(self._trained, meta, parts, replicate))
                tables.append(table.assign(what="trained", company=company, replicate=replicate))
        tables.append(pd.DataFrame([{"what": "estimates", **estimates}]))
        return pd.concat(tables, ignore_index=True).assign(point=point)

    def _affinities(self, meta: MetaPolicy, seed: int) -> AffinityGraph:
        """Estimate from episodes and subsets of this seed.

        At this point alone, not along the path to it: what is asked is what can be seen from there.
        """
        subsets = PolicyGradEx(self.amount.k, seed=seed).check(meta.suite)
        transitions = meta.transitions(self.amount.transitions, seed=child(seed, "estimate"))
        surrogate = SurrogateEstimator(projection="khatri-rao", seed=seed).fit(meta, transitions)
        return AffinityGraph.from_scores(surrogate.scores(subsets))

    def _trained(self, meta: MetaPolicy, groups: Sequence[Sequence[int]], replicate: int) -> pd.DataFrame:
        """Train every group on, and measure it on its tasks."""
        steps = self.amount.steps_per_task * len(meta.suite)
        # From 1 upwards: with the seed of the meta-policy its own random numbers would come again.
        seeds = [1 + self.seed * self.amount.replicates + replicate] * len(groups)
        policies = meta.adapt_each(groups, steps, seeds)
        tables = [
            self._measured(policy, group).assign(group=number)
            for number, (policy, group) in enumerate(zip(policies, groups, strict=True))
        ]
        return pd.concat(tables, ignore_index=True)

    def _measured(self, policy: MetaPolicy, tasks: Sequence[int]) -> pd.DataFrame:
        return policy.evaluate(self.amount.episodes, subset=tasks)[["task", "success"]]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give by point of the meta-policy what company and what chance make of success.

    Returns
    -------
    DataFrame
        Columns point, meta (success of the meta-policy itself), agreement, rank (of two estimates), company,
        success (mean over tasks, replicates and seeds), chance (standard deviation of that mean over tasks
        between replicates), chance_task (the same of a single task), runs. In hindsight each task gets the
        company that was best for it in one replicate, and counts as it did there in the others.
    """
    rows = []
    for point, part in table.groupby("point"):
        estimates = part[part.what == "estimates"]
        told = {
            "point": point,
            "meta": part[part.what == "meta"].success.mean(),
            "agreement": estimates.agreement.mean(),
            "rank": estimates["rank"].mean(),
        }
        trained = part[part.what == "trained"]
        for company, own in trained.groupby("company", sort=False):
            rates = own.pivot_table(index=["seed", "replicate"], columns="task", values="success")
            spread = rates.groupby("seed").var()
            chance = rates.mean(axis=1).groupby("seed").var().mean() ** 0.5
            chances = {"chance": chance, "chance_task": spread.to_numpy().mean() ** 0.5}
            rows.append({**told, "company": company, "success": rates.to_numpy().mean(), **chances,
                         "runs": len(rates)})  # fmt: skip
        best = hindsight(trained)
        rows.append({**told, "company": _HINDSIGHT, "success": best.mean(), "runs": len(best)})
    return pd.DataFrame(rows)


def hindsight(trained: pd.DataFrame) -> np.ndarray:
    """Give the success of the best company of each task, chosen by one replicate and counted in the others.

    Companies that are equally good share the task.

    Parameters
    ----------
    trained : DataFrame
        Columns seed, replicate, company, task, success.

    Returns
    -------
    array [seeds times replicates]
        Mean over tasks, by the replicate that chooses.
    """
    means = []
    for _, own in trained.groupby("seed"):
        rates = own.pivot_table(index=["replicate", "task"], columns="company", values="success")
        for replicate in sorted(set(own.replicate)):
            chooses = rates.loc[replicate]
            best = chooses.eq(chooses.max(axis=1), axis=0)
            others = rates.drop(index=replicate, level="replicate").groupby(level="task").mean()
            means.append(others.where(best).mean(axis=1).mean())
    return np.array(means)


@matplotlib.rc_context({"font.size": 8, "axes.titlesize": 9})
def plot(table: pd.DataFrame) -> Figure:
    """Draw success by company and point, and by task for the last point."""
    told = summary(table)
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    _draw_means(left, told, table)
    _draw_tasks(right, table[table.point == table.point.max()])
    return figure


def _draw_means(ax: Axes, told: pd.DataFrame, table: pd.DataFrame) -> None:
    """Draw a dot per run and a line at their mean, company by company."""
    points = sorted(set(told.point))
    shades = [str(shade) for shade in np.linspace(0.6, 0.0, len(points))]
    companies = [*COMPANIES, _HINDSIGHT]
    runs = table[table.what == "trained"].groupby(["point", "company", "seed", "replicate"]).success.mean()
    for row, company in enumerate(companies):
        for number, point in enumerate(points):
            place = row + 0.2 * (number - (len(points) - 1) / 2)
            mean = told[(told.point == point) & (told.company == company)].success
            label = f"from {point / 1000:g} thousand steps per task" if row == 0 else None
            ax.plot(mean, [place], "D", color=shades[number], markersize=5, label=label, zorder=2)
            if company in COMPANIES:
                each = runs[point, company]
                ax.plot(each, [place] * len(each), "o", color=shades[number], markersize=3, alpha=0.5)
    ax.set(yticks=range(len(companies)), yticklabels=companies, xlabel="success, mean over tasks")
    ax.set_title("mean of the trainings, and each of them")
    _below(ax)
    ax.invert_yaxis()
    plain(ax)


def _draw_tasks(ax: Axes, table: pd.DataFrame) -> None:
    """Draw every training of every task, to show company beside chance."""
    trained = table[table.what == "trained"]
    tasks = list(dict.fromkeys(trained.task))
    for shift, company in enumerate(COMPANIES):
        own = trained[trained.company == company]
        places = [tasks.index(task) + 0.22 * (shift - 1) for task in own.task]
        ax.plot(own.success, places, "o", markersize=3, alpha=0.7, clip_on=False, label=company)
    names = [task.removesuffix("-v3") for task in tasks]
    ax.set(yticks=range(len(tasks)), yticklabels=names, xlabel="success, a dot for each training")
    ax.set(xlim=(-0.03, 1.03), title=f"from {table.point.max() / 1000:g} thousand steps per task")
    _below(ax, columns=len(COMPANIES))
    ax.invert_yaxis()
    plain(ax)


def _below(ax: Axes, columns: int = 1) -> None:
    """Put the legend where no dots are."""
    ax.legend(
        frameon=False, fontsize="x-small", ncols=columns, loc="upper center", bbox_to_anchor=(0.5, -0.2)
    )
