"""Ways to group objectives by what they label: ours, and others."""

from functools import partial

import numpy as np
from jaxtyping import Float, Int
from sklearn.cluster import KMeans
from sklearn.linear_model import RidgeCV

from gradex import AffinityGraph, SurrogateEstimator
from gradex.affinity import CorrelationGrouping, fewest_groups
from gradex.preferences import PreferencePairs
from gradex.seeds import child, generator_for

GRADEX, AUTO, COSINE = "gradex", "gradex, k by itself", "gradient cosine"
LABELS, PROBES, RANDOM = "k-means on labels", "k-means on word weights", "random"
#: Strengths of the ridge of word weights, of which each objective takes the one that predicts best.
_RIDGES = np.logspace(0, 4, 9)


def by_labels(pairs: PreferencePairs, k: int, seed: int) -> Int[np.ndarray, " n"]:
    """Group by k-means on the labels themselves, 0 where there is none."""
    return _kmeans(np.nan_to_num(pairs.labels), k, seed)


def by_words(pairs: PreferencePairs, k: int, seed: int) -> Int[np.ndarray, " n"]:
    """Group by k-means on linear rewards: weights of words that tell the labels best, by ridge regression.

    They need no model, only a guess of what labels depend on: here how often each word is in an answer. A
    weight vector counts by its direction.
    """
    counts, weights = _words(pairs), []
    for labels in pairs.labels:
        known = ~np.isnan(labels)
        fitted = RidgeCV(_RIDGES, fit_intercept=False).fit(counts[known], labels[known])
        weights.append(fitted.coef_ / max(np.linalg.norm(fitted.coef_), 1e-12))
    return _kmeans(np.stack(weights), k, seed)


def _words(pairs: PreferencePairs) -> Float[np.ndarray, "N V"]:
    """Count how much more often a word is in the first answer; the answer's length is one count more."""
    most = 1 + int(max(each.tokens.max() for each in (pairs.first, pairs.second)))
    counts = np.zeros((len(pairs), most + 1))
    for sign, answers in ((1, pairs.first), (-1, pairs.second)):
        rows, columns = np.nonzero(answers.counted.numpy())
        np.add.at(counts, (rows, answers.tokens.numpy()[rows, columns]), sign)
        np.add.at(counts, (rows, np.full(len(rows), most)), sign)
    return counts / counts.std(axis=0).clip(min=1e-9)


def _kmeans(rows: Float[np.ndarray, "n d"], k: int, seed: int) -> Int[np.ndarray, " n"]:
    start = child(seed, "k-means") % 2**32
    return KMeans(k, n_init=20, random_state=start).fit(rows).labels_.astype(np.int64)


def cosines(surrogate: SurrogateEstimator) -> Float[np.ndarray, "n n"]:
    """Give the cosine of every two objectives' mean gradients."""
    gradients = surrogate.task_gradients()
    gradients = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    return gradients @ gradients.T


def by_cosine(surrogate: SurrogateEstimator, k: int) -> Int[np.ndarray, " n"]:
    """Group by the cosine of mean gradients, with the same relaxation as ours."""
    return AffinityGraph(cosines(surrogate)).partition(k=k).labels


def by_itself(surrogate: SurrogateEstimator, seed: int) -> Int[np.ndarray, " n"]:
    """Group as `DPOGrouping(k="auto")` does."""
    found = surrogate.interactions()
    graph = AffinityGraph.from_interactions(found)
    group = partial(graph.partition, method=CorrelationGrouping())
    return fewest_groups(found, group, seed=seed)[0].labels


def by_chance(n: int, k: int, seed: int, number: int = 0) -> Int[np.ndarray, " n"]:
    """Deal objectives out to k groups of about equal size."""
    return generator_for(seed, "random groups", number).permutation(np.arange(n) % k)
