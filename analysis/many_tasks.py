"""A hundred and three hundred tasks: are planted groups found, and how long does it take? By stage."""

import time

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.study import confidence_interval
from gradex import MetaPolicy, PolicyGradEx, TaskSuite
from gradex.learners import PPO

SEEDS = {"smoke": 1, "laptop": 3, "paper": 5}
#: Tasks and planted groups of the navigation suites.
_SUITES = {
    "smoke": ((12, 3),),
    "laptop": ((100, 5), (100, 10), (300, 10)),
    "paper": ((100, 5), (100, 10), (300, 5), (300, 10), (1000, 10)),
}
#: One environment per task: so many tasks make a rollout long enough, and the steps go into more of them.
_LEARNER = PPO(copies=1)
_META_STEPS_PER_TASK = {"smoke": 128, "laptop": 4096, "paper": 4096}
#: Transitions per task, fewer where there would be more than so many: a task needs fewer in a larger group.
_STEPS_PER_TASK, _TRANSITIONS = {"smoke": 256, "laptop": 8192, "paper": 8192}, 450_000
#: Tasks in a subset; the sampler chooses how many subsets.
_SUBSET_SIZE = 20
_STAGES = ("transitions", "gradients", "subset scores", "clustering", "other")


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give one row per suite: n, groups, seed, how well it went, and the seconds of every stage.

    Columns nmi, ami and gap are for the planted number of groups, k_auto is the one that
    `AffinityGraph.path` chooses; "other" seconds hold that choice and the draw of subsets, "total" excludes
    the meta-policy.
    """
    rows = []
    for n, groups in _SUITES[scale]:
        suite = TaskSuite.make("navigation", n=n, groups=groups, seed=seed)
        start = time.perf_counter()
        meta = MetaPolicy(suite, learner=_LEARNER, seed=seed).fit(_META_STEPS_PER_TASK[scale] * n)
        trained = time.perf_counter()
        run = PolicyGradEx(
            k=groups,
            subsets=None,
            subset_size=min(_SUBSET_SIZE, n // 4),
            projection="khatri-rao",
            projection_dim=100,
            folds=2,
            steps_per_task=min(_STEPS_PER_TASK[scale], _TRANSITIONS // n),
            group_steps=0,
            bootstrap=0,
            seed=seed,
        ).fit(suite, meta)
        done = time.perf_counter()
        planted = suite.labels
        assert planted is not None  # for the type checker
        agreement = run.partition_.agreement(planted)
        seconds = {stage: run.seconds_[stage] for stage in _STAGES[:-1]}
        seconds["other"] = done - trained - sum(seconds.values())
        rows.append(
            {
                "n": n,
                "groups": groups,
                "seed": seed,
                "nmi": agreement.nmi,
                "ami": agreement.ami,
                "gap": run.partition_.gap,
                "k_auto": run.graph_.path().k,
                "m": len(run.scores_.subsets),
                "subset_size": run.subset_size,
                "meta-policy": trained - start,
                **seconds,
                "total": done - trained,
            }
        )
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give means over seeds, with 95 % intervals of agreement and time, and the worst seed."""
    rows = []
    for (n, groups), part in table.groupby(["n", "groups"], sort=False):
        low, high = confidence_interval(part.nmi.to_numpy())
        least, most = confidence_interval(part.total.to_numpy())
        rows.append(
            {
                "n": n,
                "groups": groups,
                "m": part.m.mean(),
                "nmi": part.nmi.mean(),
                "low": low,
                "high": high,
                "worst": part.nmi.min(),
                "ami": part.ami.mean(),
                "gap": part.gap.max(),
                "seconds": part.total.mean(),
                "seconds_low": least,
                "seconds_high": most,
                "meta_seconds": part["meta-policy"].mean(),
                "k_auto": " ".join(map(str, part.k_auto)),
                "seeds": len(part),
            }
        )
    return pd.DataFrame(rows)


def plot(table: pd.DataFrame) -> Figure:
    """Draw agreement with the plan, a dot per seed, and the mean seconds after meta-training by stage."""
    suites = list(dict.fromkeys(zip(table.n, table.groups, strict=True)))
    parts = [table[(table.n == n) & (table.groups == groups)] for n, groups in suites]
    figure = Figure(figsize=(9.0, 1.4 + 0.5 * len(suites)), layout="constrained")
    agreement, seconds = figure.subplots(1, 2, sharey=True, width_ratios=(0.8, 1))
    for row, part in enumerate(parts):
        values = part.nmi.to_numpy()
        agreement.scatter(values, row + np.linspace(-0.2, 0.2, len(values)), s=10, color="0.6", zorder=1)
        interval = np.clip(confidence_interval(values), 0, 1)
        agreement.plot(interval, [row, row], color="C0", linewidth=2, solid_capstyle="butt", zorder=2)
        agreement.scatter(values.mean(), row, s=36, color="C0", zorder=3)
    agreement.set(
        xlabel="NMI with the planted groups",
        xlim=(-0.04, 1.04),
        yticks=range(len(suites)),
        yticklabels=[f"{n} tasks, {groups} groups" for n, groups in suites],
    )
    left = np.zeros(len(parts))
    for stage in _STAGES:
        width = np.array([part[stage].mean() for part in parts])
        seconds.barh(range(len(parts)), width, 0.6, left, edgecolor="white", linewidth=0.5, label=stage)
        left += width
    for row, part in enumerate(parts):
        total = confidence_interval(part.total.to_numpy())
        label = None if row else "95 % interval"
        seconds.plot(total, [row, row], color="0.2", linewidth=1, label=label)
    seconds.set(xlabel="seconds after meta-training, mean over seeds")
    (interval, *bars), (told, *stages) = seconds.get_legend_handles_labels()
    handles, labels = [*bars, interval], [*stages, told]
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    for ax in (agreement, seconds):
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.grid(axis="x", color="0.9")
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    agreement.invert_yaxis()
    return figure
