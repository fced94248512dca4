"""Whether planted groups of preferences are found."""

from typing import Any

import pandas as pd
from sklearn.metrics import normalized_mutual_info_score

from analysis.many_objectives.exact import KERNEL, TRANSITIONS, WEIGHTS, affinities_of, by_weights
from gradex import PreferenceGrouping, TaskSuite
from gradex.affinity import KernelKMeans

_SUITES = {
    "deep-sea treasure": ("mo-deep-sea-treasure", 3, 50_000),
    "lunar lander": ("mo-lunar-lander", 4, 100_000),
}
_SMOKE = {"deep-sea treasure": ("mo-deep-sea-treasure", 2, 2_000)}
_TASKS = {"smoke": 40, "laptop": 200, "paper": 1000}


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give one row per suite and method.

    Returns
    -------
    DataFrame
        suite, k, method, nmi (with the planted groups), stability, seed.
    """
    rows = []
    for title, (name, k, steps) in (_SMOKE if scale == "smoke" else _SUITES).items():
        suite = TaskSuite.make(name, n=_TASKS[scale], groups=k, seed=seed)
        amounts: dict[str, Any] = {"steps_per_task": TRANSITIONS[scale], "meta_steps": steps, "bootstrap": 10}
        grouping = PreferenceGrouping(k=k, **amounts, group_steps=0, seed=seed)
        found = grouping.fit(suite)
        affinities = affinities_of(found).items()
        by_method = {method: KernelKMeans(seed).partition(each, k).labels for method, each in affinities}
        by_method |= {WEIGHTS: by_weights(suite.weights, k, seed)}
        for method, labels in by_method.items():
            nmi = normalized_mutual_info_score(suite.labels, labels)
            told = {"suite": title, "k": k, "method": method, "nmi": nmi, "seed": seed}
            rows.append(told | {"stability": found.partition_.stability if method == KERNEL else None})
    return pd.DataFrame(rows)
