"""From a meta-policy to affinities: steps that serve all tasks against steps of each task's own.

Tasks of navigation and of highway by objective differ in reward only, so that one set of steps tells of all.
"""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from analysis.speed.comparison import Comparison
from analysis.speed.peers import installed
from gradex import AffinityGraph, MetaPolicy, SurrogateEstimator, TaskSuite
from gradex.affinity import sample_subsets

#: What is left out without a package.
WITHOUT = {"envpool": "sharing on highway"}

#: Environment steps of the meta-policy (None is what is recommended), steps for each task, times measured.
_AMOUNTS = {"smoke": (2_000, 64, 1), "laptop": (None, 2048, 3), "paper": (None, 2048, 3)}
_SUITES: dict[str, dict[str, Any]] = {"navigation": {"n": 12}, "highway": {"n": 10, "vary": "objective"}}


def compare(scale: str) -> Iterator[Comparison]:
    """Collect steps, take gradients and score 200 subsets of three, both ways in turn."""
    meta_steps, steps, times = _AMOUNTS[scale]
    for family, options in _SUITES.items():
        if family == "highway" and not installed("envpool"):
            continue
        suite = TaskSuite.make(family, seed=0, **options)
        meta = MetaPolicy(suite, seed=0).fit(meta_steps)
        seconds: dict[str, list[float]] = {"auto": [], "none": []}
        affinities: dict[str, list[np.ndarray]] = {"auto": [], "none": []}
        for number in range(times + 1):
            for sharing, taken in seconds.items():
                start = time.perf_counter()
                affinities[sharing].append(_affinities(meta, steps, number, sharing))
                taken.append(time.perf_counter() - start)
        ours, own = (float(np.median(each[1:])) for each in seconds.values())  # the first time warms up
        shared, apart = (spearmanr(*each[:2]).statistic for each in affinities.values())
        yield Comparison(
            family,
            "steps of each task's own",
            f"{len(suite)} tasks, {steps:,} steps for each, 200 subsets of 3; median of {times}",
            ours,
            own,
            "s",
            f"two estimates correlate by {shared:.3f} against {apart:.3f}",
        )


def _affinities(meta: MetaPolicy, steps: int, seed: int, sharing: str) -> np.ndarray:
    surrogate = SurrogateEstimator(seed=0).fit(meta, meta.transitions(steps, seed=seed, sharing=sharing))
    subsets = sample_subsets(len(meta.suite), 200, 3, seed=0)
    graph = AffinityGraph.from_scores(surrogate.scores(subsets))
    return graph.matrix[np.triu_indices(len(graph), 1)]
