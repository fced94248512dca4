"""What grouping tasks that conflict costs: forced conflict against other groups, by real training.

Reversed motors and goals on opposite sides are put into one group on purpose. Every task is then trained in
that company, in the company of its like, in random company, and alone, each time from the same meta-policy
for the same number of environment steps per task.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.study import dots_by_method, mean_with_interval
from analysis.trained import learner
from gradex import GroundTruth, MetaPolicy, TaskSuite
from gradex.seeds import generator_for

SEEDS = {"smoke": 2, "laptop": 5, "paper": 10}
_SUITES: dict[str, tuple[str, dict[str, Any]]] = {
    "navigation, opposite goals": ("navigation", {"n": 12, "groups": 2}),
    "reversed CartPole": ("cartpole", {"n": 10, "reversed": "half"}),
}
#: Environment steps of the meta-policy (None is what is recommended), and of training after it, per task.
_STEPS = {"smoke": (2_000, 256), "laptop": (None, 16_384), "paper": (None, 100_000)}
_METHODS = ("conflicting pairs", "random pairs", "pairs of a kind", "alone")
_EPISODES = {"smoke": 4, "laptop": 32, "paper": 32}


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give one row per suite and method: suite, seed, method, return_mean (over tasks)."""
    rows = []
    meta_steps, steps = _STEPS[scale]
    for title, (family, options) in _SUITES.items():
        suite = TaskSuite.make(family, seed=seed, **options)
        meta = MetaPolicy(suite, learner=learner(scale), seed=seed).fit(meta_steps)
        pairs = _pairs(suite, generator_for(seed, "pairs"))
        subsets = list(dict.fromkeys(pair for chosen in pairs.values() for pair in chosen))
        truth = GroundTruth(steps, replicates=1, episodes=_EPISODES[scale], seed=seed).fit(meta, subsets)
        scores = truth.scores().per_task
        for method, chosen in pairs.items():
            earned = scores[[subsets.index(pair) for pair in chosen]]
            # Every task counts the same, in however many of the pairs it is.
            value = np.nanmean(np.nanmean(earned, axis=0))
            rows.append({"suite": title, "seed": seed, "method": method, "return_mean": float(value)})
    return pd.DataFrame(rows)


def _pairs(suite: TaskSuite, rng: np.random.Generator) -> dict[str, list[tuple[int, ...]]]:
    """Pair every task with one it conflicts with, with one of its kind, with any other, and with none."""
    labels = suite.labels
    assert labels is not None  # for the type checker
    n = len(suite)

    def partner(task: int, among: np.ndarray) -> tuple[int, ...]:
        return tuple(sorted((task, int(rng.choice(among)))))

    others = [np.delete(np.arange(n), task) for task in range(n)]
    return {
        "conflicting pairs": [partner(task, np.flatnonzero(labels != labels[task])) for task in range(n)],
        "random pairs": [partner(task, others[task]) for task in range(n)],
        "pairs of a kind": [
            partner(task, others[task][labels[others[task]] == labels[task]]) for task in range(n)
        ],
        "alone": [(task,) for task in range(n)],
    }


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give mean returns and drops below random pairs and below tasks alone, paired, with 95 % intervals."""
    rows = []
    for suite, part in table.groupby("suite", sort=False):
        wide = part.pivot(index="seed", columns="method", values="return_mean")
        for method in _METHODS:
            row: dict[str, Any] = {"suite": suite, "method": method}
            for name, values in (
                ("return", wide[method]),
                ("below_random", wide["random pairs"] - wide[method]),
                ("below_alone", wide["alone"] - wide[method]),
            ):
                row |= mean_with_interval(name, values)
            rows.append(row | {"seeds": len(wide)})
    return pd.DataFrame(rows)


def plot(table: pd.DataFrame) -> Figure:
    """Draw the mean return in each kind of company, one dot per seed."""
    return dots_by_method(table, "return_mean", _METHODS, "return, mean over tasks")
