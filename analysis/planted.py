"""Are planted groups found? Normalised mutual information with the plan, by affinity, over seeds.

All but one affinity read the default's scores: held out, regularised, and taken along the path of
meta-training. "To the letter" is Algorithm 1 as printed, at the meta-policy alone but from as many
transitions, read by Eq. (5). Gradients are compared along the path, too. K-means reads the parameters of the
tasks, which no other method sees.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.along import similarity_along
from analysis.study import confidence_interval, dots_by_method
from analysis.trained import amounts
from gradex import AffinityGraph, PolicyGradEx, SurrogateEstimator, TaskSuite
from gradex.affinity import KMeansGrouping, RandomGrouping
from gradex.tasks import parameter_matrix

SEEDS = {"smoke": 1, "laptop": 20, "paper": 20}
#: Suite, its options, and its number of planted groups.
_SUITES: dict[str, tuple[dict[str, Any], int]] = {
    "navigation": ({"n": 12}, 3),
    "cartpole": ({"n": 10, "reversed": "half"}, 2),
    "highway": ({"n": 10, "vary": "objective"}, 2),
}
_CHOSEN = {"smoke": ("navigation", "cartpole"), "laptop": tuple(_SUITES), "paper": tuple(_SUITES)}
#: Environment steps of the meta-policy; None is what is recommended for the suite.
_META_STEPS = {"smoke": 2_000, "laptop": None, "paper": None}
_TITLES = {"navigation": "navigation", "cartpole": "reversed CartPole", "highway": "highway by objective"}
_METHODS = (
    "pairwise (default)",
    "Eq. (5)",
    "to the letter",
    "gradient similarity",
    "k-means on task parameters",
    "random",
)
#: What the figure says in place of a name.
_SAID = {"to the letter": "Algorithm 1 as printed"}


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give one row per suite and method: suite, seed, method, nmi, ami."""
    rows = []
    own = amounts(scale, meta_steps=_META_STEPS[scale], group_steps=0)
    for family in _CHOSEN[scale]:
        options, k = _SUITES[family]
        suite = TaskSuite.make(family, seed=seed, **options)
        run = PolicyGradEx(k=k, bootstrap=0, seed=seed, **own).fit(suite)
        scores, planted = run.scores_.together(), suite.labels
        assert planted is not None  # for the type checker
        letter = SurrogateEstimator.literal(run.projection_dim, seed)
        letter.fit(run.meta_, run.meta_.transitions(run.steps_per_task))
        graphs = {
            "pairwise (default)": run.graph_,
            "Eq. (5)": AffinityGraph.from_scores(scores, "mean"),
            "to the letter": AffinityGraph.from_scores(letter.scores(scores.subsets), "mean"),
            "gradient similarity": similarity_along(run.surrogates_),
        }
        found = {method: graph.partition(k=k) for method, graph in graphs.items()}
        known = KMeansGrouping(parameter_matrix(suite.tasks), seed)
        found["k-means on task parameters"] = run.graph_.partition(k=k, method=known)
        found["random"] = run.graph_.partition(k=k, method=RandomGrouping(seed))
        for method, partition in found.items():
            agreement = partition.agreement(planted)
            rows.append(
                {
                    "suite": _TITLES[family],
                    "seed": seed,
                    "method": method,
                    "nmi": agreement.nmi,
                    "ami": agreement.ami,
                }
            )
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give mean, 95 % interval over seeds and the number of seeds with a perfect answer."""
    rows = []
    for (suite, method), group in table.groupby(["suite", "method"], sort=False):
        low, high = confidence_interval(group.nmi.to_numpy())
        rows.append(
            {
                "suite": suite,
                "method": method,
                "nmi": group.nmi.mean(),
                "low": low,
                "high": high,
                "ami": group.ami.mean(),
                "perfect": int(np.isclose(group.nmi, 1).sum()),
                "seeds": len(group),
            }
        )
    return pd.DataFrame(rows)


def plot(table: pd.DataFrame) -> Figure:
    """Draw the agreement of every method, one dot per seed."""
    return dots_by_method(table, "nmi", _METHODS, "NMI with the planted groups", (0.0, 1.0), _SAID)
