"""What k policies that PPO trains are worth to many preferences, at equal environment steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import moocore
import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from analysis.many_objectives.exact import RANDOM, TRANSITIONS, WEIGHTS, affinities_of, by_weights
from gradex import MetaPolicy, PreferenceGrouping, TaskSuite
from gradex.affinity import KernelKMeans
from gradex.cross_evaluation import cross_evaluate
from gradex.path_objectives import single_objectives
from gradex.seeds import child, generator_for

TOGETHER, ALONE, CONDITIONED = "one for all", "one per preference", "one, conditioned on the preference"


@dataclass(frozen=True)
class _Case:
    """A suite, how many policies it gets, and environment steps before and after they part."""

    name: str
    k: int
    meta_steps: int
    steps: int


_SUITES = {
    "deep-sea treasure": _Case("mo-deep-sea-treasure", 3, 100_000, 300_000),
    "fruit tree": _Case("mo-fruit-tree", 5, 100_000, 300_000),
    "lunar lander": _Case("mo-lunar-lander", 5, 300_000, 900_000),
    "reacher": _Case("mo-reacher", 4, 100_000, 600_000),
}
_SMOKE = {"deep-sea treasure": _Case("mo-deep-sea-treasure", 2, 2_000, 2_000)}
#: Preferences; one policy for each is trained of so few at most.
_TASKS, _ALONE = {"smoke": 8, "laptop": 100, "paper": 1000}, 24
_EPISODES = {"smoke": 4, "laptop": 100, "paper": 200}


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give one row per suite and method.

    All policies go on from one policy for the mean preference, which has not settled yet, for the same
    environment steps in all, each of k for its share. The conditioned policy sees the preference, and trains
    from fresh weights for all of these steps, on the first preferences; so does one per preference.

    Returns
    -------
    DataFrame
        suite, method, policies; utility (expected, with the policy of its own group), best (with the best of
        the policies for each preference); hypervolume, igd_plus and utility_loss of the policies' values,
        nan of the conditioned policy; reference (of the hypervolume), steps, seed.
    """
    rows = []
    for title, case in (_SMOKE if scale == "smoke" else _SUITES).items():
        suite = TaskSuite.make(case.name, n=_TASKS[scale], seed=seed)
        values, labels, conditioned = _trained(suite, case, seed, scale)
        weights = suite.weights
        front = np.concatenate(list(values.values()))
        reference = front.min(axis=0)
        for method, own in values.items():
            told = {"suite": title, "method": method, "policies": len(own), "steps": case.steps, "seed": seed}
            of = weights[: len(own)] if method == ALONE else weights
            utility = float((of * own[labels[method]]).sum(axis=1).mean())
            rows.append(told | {"utility": utility, **_indicators(of, own, front, reference)})
        paid = {"utility": conditioned, "best": conditioned, "policies": 1, "steps": case.steps}
        rows.append({"suite": title, "method": CONDITIONED, "seed": seed, **paid})
    return pd.DataFrame(rows)


def _trained(
    suite: TaskSuite, case: _Case, seed: int, scale: str
) -> tuple[dict[str, Float[np.ndarray, "policies K"]], dict[str, Int[np.ndarray, " n"]], float]:
    """Train all ways; give the values of their policies, who has which, and the conditioned one's utility."""
    amounts: dict[str, Any] = {"steps_per_task": TRANSITIONS[scale], "meta_steps": case.meta_steps}
    grouping = PreferenceGrouping(k=case.k, **amounts, group_steps=0, bootstrap=0, seed=seed).fit(suite)
    start, n, episodes = grouping.start_, len(suite), _EPISODES[scale]
    affinities = affinities_of(grouping).items()
    labels = {method: KernelKMeans(seed).partition(each, case.k).labels for method, each in affinities}
    labels |= {
        WEIGHTS: by_weights(suite.weights, case.k, seed),
        RANDOM: generator_for(seed, "random groups").permutation(np.arange(n) % case.k),
        TOGETHER: np.zeros(n, dtype=np.int64),
        ALONE: np.arange(min(n, _ALONE)),
    }
    values = _values(start, {method: _groups(own) for method, own in labels.items()}, case, episodes, seed)
    aware = TaskSuite.make(case.name, weights=suite.weights, scale=suite.scale.tolist(), conditioned=True)
    few = aware[: min(n, _ALONE)]
    policy = MetaPolicy(few, seed=seed).fit(start.steps + case.steps, snapshots=1)
    table = policy.evaluate(episodes, suite=aware)
    return values, labels, float(table.return_mean.mean())


def _groups(labels: Int[np.ndarray, " n"]) -> list[tuple[int, ...]]:
    return [tuple(np.flatnonzero(labels == label).tolist()) for label in range(labels.max() + 1)]


def _values(
    start: MetaPolicy, groups: Mapping[str, Sequence[tuple[int, ...]]], case: _Case, episodes: int, seed: int
) -> dict[str, Float[np.ndarray, "policies K"]]:
    """Train each method's policies, and give their mean returns in each objective.

    Policies with the same number of steps train in one stack, those of equal groups once.
    """
    values: dict[str, Float[np.ndarray, "policies K"]] = {}
    for count in {len(own) for own in groups.values()}:
        methods = {method: own for method, own in groups.items() if len(own) == count}
        subsets = sorted({subset for own in methods.values() for subset in own})
        policies = start.adapt_each(subsets, case.steps // count * len(subsets))
        objectives = [policy.on(single_objectives(policy.suite)) for policy in policies]
        found = cross_evaluate(objectives, episodes, child(seed, "values of objectives")).mean
        values |= {method: found[[subsets.index(each) for each in own]] for method, own in methods.items()}
    return {method: values[method] for method in groups}


def _indicators(
    weights: Float[np.ndarray, "n K"],
    values: Float[np.ndarray, "policies K"],
    front: Float[np.ndarray, "all K"],
    reference: Float[np.ndarray, " K"],
) -> Mapping[str, float | str]:
    """Judge a set of policies, as MORL-Baselines defines it (Felten et al. 2023, NeurIPS Datasets).

    Parameters
    ----------
    front : array [all, K]
        Values of all policies of all methods, the best of which stand for what can be had.
    reference : array [K]
        Of the hypervolume.
    """
    best = (weights @ values.T).max(axis=1)
    return {
        "best": float(best.mean()),
        # moocore asks for costs.
        "hypervolume": float(moocore.hypervolume(-values, ref=-reference)),
        "igd_plus": float(moocore.igd_plus(-values, ref=-front)),
        "utility_loss": float(((weights @ front.T).max(axis=1) - best).max()),
        "reference": " ".join(f"{number:.3g}" for number in reference),
    }
