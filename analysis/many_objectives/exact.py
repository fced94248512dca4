"""Groups of preferences by what the best policies of their mean weights are worth, exactly."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.cluster import KMeans

from analysis.many_objectives.treasures import register
from analysis.tabular import TabularProblem, tabulate
from gradex import PreferenceGrouping, TaskSuite
from gradex.affinity import AffinityFactors, AffinityGraph, KernelKMeans
from gradex.affinity.affinities import normalised
from gradex.affinity.affinity import with_additive_diagonal
from gradex.seeds import child, generator_for

KERNEL, TRANSFER, PAIRWISE, WEIGHTS, COSINE, RANDOM, BEST = (
    "kernel",
    "transfer",
    "pairwise",
    "k-means on weights",
    "gradient cosine",
    "random",
    "best found",
)
_SUITES = {
    "deep-sea treasure": "mo-deep-sea-treasure",
    "concave": "mo-deep-sea-treasure-concave",
    "four dead objectives": "mo-dead-treasure-v0",
    "three copies of one": "mo-copied-treasure-v0",
    "fruit tree": "mo-fruit-tree",
    "resource gathering": "mo-resource-gathering",
}
_CHOSEN = {"smoke": ("deep-sea treasure",), "laptop": tuple(_SUITES), "paper": tuple(_SUITES)}
_COUNTS = {"smoke": (3,), "laptop": (2, 3, 5), "paper": (2, 3, 5, 8)}
_TASKS = {"smoke": 12, "laptop": 200, "paper": 1000}
_META_STEPS = {"smoke": 2_000, "laptop": 100_000, "paper": 400_000}
#: Of an estimate, for each objective.
TRANSITIONS = {"smoke": 256, "laptop": 8192, "paper": 8192}
#: Random starts of the search for the best groups, beside those of all methods, and its moves of all
#: preferences.
_STARTS, _MOVES = 10, 20
#: Below this much to gain over one policy, a share of it is noise.
_NOTHING = 1e-6

Labels = Int[np.ndarray, " n"]


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give one row per suite, k and method: the share of the gap that k policies close.

    The gap lies between one policy, the best for the mean preference, and the best policy of each preference.
    Groups have the best policies for their mean weights; nothing but the groups depends on any training.

    Returns
    -------
    DataFrame
        suite, k, method, share (with the groups' own policies), reassigned (with the best of these policies
        for each preference), gap, p_value, seed.
    """
    register()
    tables = [rows_of(title, _SUITES[title], tabulate, seed, scale) for title in _CHOSEN[scale]]
    return pd.concat(tables, ignore_index=True)


def rows_of(
    title: str, name: str, tabulated: Callable[[TaskSuite], TabularProblem], seed: int, scale: str
) -> pd.DataFrame:
    """Give the rows of one suite, of which the best policies are known by its table."""
    rows = []
    suite = TaskSuite.make(name, n=_TASKS[scale], seed=seed)
    problem, weights = tabulated(suite), suite.weights
    one, each = (
        _utility(weights, problem.values(of)) for of in (weights.mean(axis=0, keepdims=True), weights)
    )
    amounts: dict[str, Any] = {"steps_per_task": TRANSITIONS[scale], "meta_steps": _META_STEPS[scale]}
    grouping = PreferenceGrouping(k=2, **amounts, group_steps=0, bootstrap=0, seed=seed)
    grouping = grouping.fit(suite)
    affinities = affinities_of(grouping)
    for k in _COUNTS[scale]:
        for method, labels in _groupings(weights, affinities, problem, k, seed):
            values = problem.values(_means(weights, labels))
            worth = {
                "share": float((weights * values[labels]).sum(axis=1).mean()),
                "reassigned": float((weights @ values.T).max(axis=1).mean()),
            }
            closed = {name: (value - one) / max(each - one, _NOTHING) for name, value in worth.items()}
            told = {"suite": title, "k": k, "method": method, **closed}
            rows.append(told | {"gap": each - one, "p_value": grouping.p_value_, "seed": seed})
    return pd.DataFrame(rows)


def _utility(weights: Float[np.ndarray, "n K"], values: Float[np.ndarray, "m K"]) -> float:
    """Give the mean utility where each preference has the best of these policies."""
    return float((weights @ values.T).max(axis=1).mean())


def affinities_of(grouping: PreferenceGrouping) -> dict[str, AffinityFactors | Float[np.ndarray, "n n"]]:
    """Give what each method takes from the same surrogates, which all are clustered in the same way."""
    rows, found = grouping.factors_.rows, grouping.objectives_
    transfers = found.transfers(found.mixtures(grouping.suite_.weights))
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return {
        KERNEL: grouping.factors_,
        TRANSFER: AffinityGraph.from_transfers(transfers).matrix,
        PAIRWISE: _pairwise(transfers),
        COSINE: AffinityFactors(rows / np.maximum(lengths, 1e-12 * lengths.max())),
    }


def _pairwise(transfers: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Read transfers as `PairwiseAffinity` reads scores.

    What a preference gains by itself is left out, and so is what is additive; the rest is in units of how
    much each preference reacts.
    """
    return with_additive_diagonal(normalised((transfers + transfers.T) / 2, transfers.ravel()))


def _groupings(
    weights: Float[np.ndarray, "n K"],
    affinities: Mapping[str, AffinityFactors | Float[np.ndarray, "n n"]],
    problem: TabularProblem,
    k: int,
    seed: int,
) -> Iterator[tuple[str, Labels]]:
    """Give the groups of each method."""
    found = {method: KernelKMeans(seed).partition(each, k).labels for method, each in affinities.items()}
    found[WEIGHTS] = by_weights(weights, k, seed)
    found[RANDOM] = generator_for(seed, "random groups").permutation(np.arange(len(weights)) % k)
    yield from found.items()
    yield BEST, _best(weights, problem, k, seed, [*found.values()])


def by_weights(weights: Float[np.ndarray, "n K"], k: int, seed: int) -> Labels:
    """Group preferences by k-means on their weights, the rival that needs no policy."""
    start = child(seed, "k-means on weights") % 2**32  # the largest that scikit-learn takes
    return KMeans(k, n_init=10, random_state=start).fit(weights).labels_


def _best(
    weights: Float[np.ndarray, "n K"],
    problem: TabularProblem,
    k: int,
    seed: int,
    known: Sequence[Labels] = (),
) -> Labels:
    """Search for the best groups by Lloyd's algorithm with the exact policies, from known and random ones."""
    rng = generator_for(seed, "best groups")
    drawn = [rng.permutation(np.arange(len(weights)) % k) for _ in range(_STARTS)]
    best, most = drawn[0], -np.inf
    for start in (*known, *drawn):
        labels = start
        for _ in range(_MOVES):
            values = problem.values(_means(weights, labels))
            utility = float((weights * values[labels]).sum(axis=1).mean())
            if utility > most:
                best, most = labels, utility
            moved = np.unique((weights @ values.T).argmax(axis=1), return_inverse=True)[1]
            if (moved == labels).all():
                break
            labels = moved
    return best


def _means(weights: Float[np.ndarray, "n K"], labels: Labels) -> Float[np.ndarray, "k K"]:
    return np.stack([weights[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
