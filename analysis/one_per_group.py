"""One policy per group against one policy for all, at equal environment steps.

EM clustering trains and groups at once: the episodes by which it groups count as steps. K-means reads the
parameters of the tasks, which the other methods do not see.
"""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.along import similarity_along
from analysis.study import confidence_interval, dots_by_method, mean_with_interval
from analysis.trained import amounts
from gradex import PolicyGradEx, TaskSuite
from gradex.affinity import KMeansGrouping, RandomGrouping
from gradex.expectation_maximization import EMClustering
from gradex.tasks import parameter_matrix

SEEDS = {"smoke": 1, "laptop": 10, "paper": 20}
#: Suite, its options, and its number of planted groups.
_SUITES: dict[str, tuple[dict[str, Any], int]] = {
    "navigation": ({"n": 12}, 3),
    "cartpole": ({"n": 10, "reversed": "half"}, 2),
}
#: Environment steps of the meta-policy (None is what is recommended for the suite), and those that every
#: method gets to go on from it.
_STEPS = {"smoke": (2_000, 4_000), "laptop": (None, 400_000), "paper": (None, 1_000_000)}
#: M-steps of EM clustering, and episodes of each policy in each task in the E-steps between them. Of (4, 4),
#: (8, 4) and (12, 2) only the last found the planted groups of both suites on all of seeds 100 to 102.
_EM = {"smoke": (2, 2), "laptop": (12, 2), "paper": (12, 2)}
_TITLES = {"navigation": "navigation", "cartpole": "reversed CartPole"}
_METHODS = (
    "one policy for all",
    "random groups",
    "k-means on task parameters",
    "EM clustering",
    "gradient-similarity groups",
    "PolicyGradEx groups",
    "one policy per task",
)
_EPISODES = {"smoke": 4, "laptop": 32, "paper": 32}


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give one row per suite, method and task: suite, seed, method, task, return_mean, success.

    Every method goes on from the same meta-policy, for the same number of environment steps in total, every
    task with the same share of them; all policies of all methods but EM clustering train in one stack.
    """
    tables = []
    meta_steps, steps = _STEPS[scale]
    own = amounts(scale, meta_steps=meta_steps, group_steps=0)
    rounds, episodes = _EM[scale]
    for family, (options, k) in _SUITES.items():
        suite = TaskSuite.make(family, seed=seed, **options)
        run = PolicyGradEx(k=k, bootstrap=0, seed=seed, **own).fit(suite)
        similar = similarity_along(run.surrogates_)
        known = KMeansGrouping(parameter_matrix(suite.tasks), seed)
        groups = {
            "one policy for all": (tuple(range(len(suite))),),
            "random groups": run.graph_.partition(k=k, method=RandomGrouping(seed)).groups,
            "k-means on task parameters": run.graph_.partition(k=k, method=known).groups,
            "gradient-similarity groups": similar.partition(k=k).groups,
            "PolicyGradEx groups": run.groups_,
            "one policy per task": tuple((task,) for task in range(len(suite))),
        }
        members = [(method, subset) for method, parts in groups.items() for subset in parts]
        policies = run.meta_.adapt_each([subset for _, subset in members], steps * len(groups))
        em = EMClustering(k, rounds, episodes, seed).fit(run.meta_, steps)
        members += [("EM clustering", group) for group in em.groups_]
        for (method, subset), policy in zip(members, [*policies, *em.policies_], strict=True):
            table = policy.evaluate(_EPISODES[scale], subset=subset)[["task", "return_mean", "success"]]
            tables.append(table.assign(suite=_TITLES[family], seed=seed, method=method))
    columns = ["suite", "seed", "method", "task", "return_mean", "success"]
    return pd.concat(tables, ignore_index=True)[columns]


def _by_seed(table: pd.DataFrame) -> pd.DataFrame:
    return table.groupby(["suite", "method", "seed"], sort=False).return_mean.mean().reset_index()


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give each method's mean return, and its gain over one policy for all, paired by seed."""
    rows = []
    for suite, part in _by_seed(table).groupby("suite", sort=False):
        wide = part.pivot(index="seed", columns="method", values="return_mean")
        for method in [each for each in _METHODS if each in wide]:
            low, high = confidence_interval(wide[method].to_numpy())
            told = {"suite": suite, "method": method, "return": wide[method].mean(), "low": low, "high": high}
            gain = mean_with_interval("gain", wide[method] - wide[_METHODS[0]])
            rows.append({**told, **gain, "seeds": len(wide)})
    return pd.DataFrame(rows)


def plot(table: pd.DataFrame) -> Figure:
    """Draw the mean return of every method over the tasks, one dot per seed."""
    return dots_by_method(_by_seed(table), "return_mean", _METHODS, "return, mean over tasks")
