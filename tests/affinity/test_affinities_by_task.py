"""Affinities from tasks' own scores."""

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest

from gradex.affinity import AffinityGraph, affinities, sample_subsets
from gradex.affinity.affinities import MeanAffinity, PairwiseAffinity
from gradex.affinity.groupings import SemidefiniteGrouping


class Scores:
    """What a surrogate would say of tasks that help those of their own group."""

    def __init__(self, n, k, subsets, seed=0, noise=0.0):
        rng = np.random.default_rng(seed)
        self.labels = rng.permutation(np.arange(n) % k)
        self.pairs = (self.labels[:, None] == self.labels) + noise * rng.standard_normal((n, n))
        self.pairs = (self.pairs + self.pairs.T) / 2
        self.subsets = subsets
        self.per_task = np.full((len(subsets), n), np.nan)
        difficulty = 10 * rng.standard_normal(n)
        for row, subset in enumerate(subsets):
            for i in subset:
                others = [self.pairs[i, j] for j in subset if j != i]
                self.per_task[row, i] = difficulty[i] + np.mean(others)
        self.score = np.nanmean(self.per_task, axis=1)


def oracle(subsets, per_task, n, strength):
    """Normal equations of difficulties and pairs, row by row."""
    pairs = list(combinations(range(n), 2))
    rows, target = [], []
    for subset, scores in zip(subsets, per_task, strict=True):
        for i in subset:
            own = np.zeros(n + len(pairs))
            own[i] = 1
            for j in subset:
                if j != i:
                    own[n + pairs.index((min(i, j), max(i, j)))] = 1 / (len(subset) - 1)
            rows.append(own)
            target.append(scores[i])
    design = np.array(rows)
    unit = (design[:, n:] ** 2).sum() / len(design)
    penalty = np.diag(np.r_[np.zeros(n), np.full(len(pairs), strength * unit)])
    solution = np.linalg.solve(design.T @ design + penalty, design.T @ np.array(target))
    matrix = np.zeros((n, n))
    for pair, value in zip(pairs, solution[n:], strict=True):
        matrix[pair] = matrix[pair[::-1]] = value
    sums = np.zeros((len(pairs), n))
    for row, pair in enumerate(pairs):
        sums[row, list(pair)] = 1
    return matrix + np.diag(2 * np.linalg.lstsq(sums, solution[n:])[0])


@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_agrees_with_the_normal_equations(strength):
    mixed = [*sample_subsets(8, 30, 3, seed=0), *sample_subsets(8, 20, 5, seed=0), (2,)]
    scores = Scores(8, 3, [subset for subset in mixed if len(subset) > 1], noise=0.5)
    found = PairwiseAffinity(strength, normalise=None).matrix(scores.subsets, scores.per_task, 8)
    np.testing.assert_allclose(found, oracle(scores.subsets, scores.per_task, 8, strength), atol=1e-9)


def test_iterative_solution_equals_the_dense_one(monkeypatch):
    scores = Scores(20, 4, sample_subsets(20, None, 5, seed=0), noise=1.0)
    dense = PairwiseAffinity(0.1, normalise=None).matrix(scores.subsets, scores.per_task, 20)
    monkeypatch.setattr(affinities, "_DENSE_RANK", 0)
    iterative = PairwiseAffinity(0.1, normalise=None).matrix(scores.subsets, scores.per_task, 20)
    np.testing.assert_allclose(iterative, dense, atol=1e-7 * np.abs(dense).max())


def test_a_subset_of_one_tells_how_hard_it_is_and_no_more():
    scores = Scores(8, 2, sample_subsets(8, 40, 3, seed=0))
    alone = np.full((1, 8), np.nan)
    alone[0, 3] = 7.0
    matrix = PairwiseAffinity(1e-3, normalise=None).matrix(
        [*scores.subsets, (3,)], np.r_[scores.per_task, alone], 8
    )
    assert np.isfinite(matrix).all()


def test_where_all_pairs_are_determined_they_are_found():
    scores = Scores(12, 3, sample_subsets(12, 91, 4, seed=1), noise=0.3)
    matrix = PairwiseAffinity(1e-9, normalise=None).matrix(scores.subsets, scores.per_task, 12)
    off = ~np.eye(12, dtype=bool)
    # What is common to all pairs cannot be told from difficulty.
    found, planted = (pairs[off] - pairs[off].mean() for pairs in (matrix, scores.pairs))
    np.testing.assert_allclose(found, planted, atol=1e-4)


def test_finds_groups_in_fewer_subsets_than_the_mean_scores_would_need():
    scores = Scores(60, 5, sample_subsets(60, 120, 10, seed=0), noise=0.3)
    means = SimpleNamespace(subsets=scores.subsets, score=scores.score)
    for normalise in (None, "task"):
        affinity = PairwiseAffinity(normalise=normalise)
        of_tasks, of_subsets = (AffinityGraph.from_scores(each, affinity) for each in (scores, means))
        assert of_tasks.partition(k=5).agreement(scores.labels).nmi == 1
        assert of_subsets.partition(k=5).agreement(scores.labels).nmi < 0.5


def test_difficulty_and_the_order_of_tasks_do_not_matter():
    scores = Scores(10, 2, sample_subsets(10, 60, 4, seed=0), noise=0.5)
    harder = scores.per_task + 100 * np.random.default_rng(1).standard_normal(10)
    matrix = PairwiseAffinity(0.1, normalise=None).matrix(scores.subsets, scores.per_task, 10)
    np.testing.assert_allclose(
        PairwiseAffinity(0.1, normalise=None).matrix(scores.subsets, harder, 10), matrix, atol=1e-9
    )
    order = np.random.default_rng(2).permutation(10)
    place = np.argsort(order)
    moved = [tuple(int(place[i]) for i in subset) for subset in scores.subsets]
    np.testing.assert_allclose(
        PairwiseAffinity(0.1, normalise=None).matrix(moved, scores.per_task[:, order], 10),
        matrix[np.ix_(order, order)],
        atol=1e-9,
    )
    labels = SemidefiniteGrouping().partition(matrix, 2)
    assert labels.agreement(scores.labels).nmi == 1


def test_can_be_drawn_again():
    scores = Scores(20, 4, sample_subsets(20, None, 5, seed=0), noise=0.1)
    graph = AffinityGraph.from_scores(scores)
    draws = graph.bootstrap(draws=4)
    assert draws.matrices.shape == (4, 20, 20)
    assert graph.path(k_max=6, resamples=4).k == 4


def test_bad_scores_are_told():
    scores = Scores(8, 2, sample_subsets(8, 40, 3, seed=0))
    with pytest.raises(ValueError, match="one score for each of 8 tasks"):
        PairwiseAffinity().matrix(scores.subsets, scores.per_task[:, :7], 8)
    with pytest.raises(ValueError, match="need one score each"):
        MeanAffinity().matrix(scores.subsets, scores.per_task, 8)
    wrong = scores.per_task.copy()
    wrong[5, scores.subsets[5][1]] = np.inf
    with pytest.raises(ValueError, match="score of subset 5 is inf"):
        PairwiseAffinity().matrix(scores.subsets, wrong, 8)


def test_where_all_subsets_were_scored_tasks_scores_are_drawn():
    scores = Scores(8, 2, list(combinations(range(8), 3)), noise=0.1)
    scores.draws = scores.per_task + 0.1 * np.random.default_rng(0).standard_normal((5, 56, 8))
    graph = AffinityGraph.from_scores(scores)
    bootstrap, settled = (
        graph.bootstrap(),
        graph._evidence.affinity.settled(scores.subsets, scores.per_task, 8),
    )
    assert len(bootstrap) == 5
    for matrix, draw in zip(bootstrap.matrices, scores.draws, strict=True):
        np.testing.assert_allclose(matrix, settled.matrix(scores.subsets, draw, 8), atol=1e-12)
