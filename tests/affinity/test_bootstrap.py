from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest

from gradex.affinity import (
    AffinityGraph,
    Bootstrap,
    PairwiseAffinity,
    Partition,
    RandomGrouping,
    sample_subsets,
)

N = 10
TRIPLES = list(combinations(range(N), 3))


def scored(subsets, score, draws=()):
    """Give the score of each subset, of no task by itself."""
    return SimpleNamespace(subsets=subsets, score=score, draws=draws)


def planted(subsets, noise, seed, draws=0):
    """Pairs of one of two groups score 1, others 0, with noise in the scores and more in each draw."""
    rng = np.random.default_rng(seed)
    pairs = [np.mean([i % 2 == j % 2 for i, j in combinations(subset, 2)]) for subset in subsets]
    score = np.array(pairs) + noise * rng.standard_normal(len(subsets))
    return scored(subsets, score, score + noise * rng.standard_normal((draws, len(subsets))))


def test_standard_errors_are_those_of_other_subsets():
    """Half of all subsets: drawing them all with replacement would give the square root of 2 as much."""
    rng = np.random.default_rng(0)
    population = dict(zip(combinations(range(N), 4), rng.standard_normal(210), strict=True))
    matrices, errors = [], []
    for seed in range(60):
        subsets = [list(population)[row] for row in rng.choice(210, 105, replace=False)]
        graph = AffinityGraph.from_scores(scored(subsets, np.array([population[s] for s in subsets])), "mean")
        matrices.append(graph.matrix)
        errors.append(graph.bootstrap(20, seed).stderr)
    between = np.triu_indices(N, 1)
    ratio = np.mean(errors, axis=0)[between].mean() / np.std(matrices, axis=0, ddof=1)[between].mean()
    assert ratio == pytest.approx(1.0, abs=0.12)


def test_what_was_drawn_is_read_only():
    graph = AffinityGraph.from_scores(planted(TRIPLES, 0.1, seed=0, draws=4))
    bootstrap = graph.bootstrap(4)
    partition = graph.partition(k=2, bootstrap=bootstrap)
    for array in (bootstrap.matrices, bootstrap.stderr, partition.resampled, partition.co_assignment):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 5


def test_arrays_of_the_caller_stay_writeable():
    matrices, labels = np.zeros((3, 4, 4)), np.array([0, 0, 1, 1])
    resampled = np.tile(labels, (3, 1))
    Bootstrap(matrices)
    partition = replace(Partition.of(np.eye(4), labels, upper_bound=4.0, status="mine"), resampled=resampled)
    matrices[0], resampled[0], labels[0] = 1, 1, 1
    assert partition.resampled[0].tolist() == partition.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("affinity", ["mean", "pairwise"])
def test_where_all_subsets_were_scored_only_the_scores_are_drawn(affinity):
    scores = planted(TRIPLES, 0.1, seed=0, draws=4)
    bootstrap = AffinityGraph.from_scores(scores, affinity).bootstrap(100)
    assert len(bootstrap) == 4
    same = AffinityGraph.from_scores(scores, affinity)._evidence.affinity.settled(TRIPLES, scores.score, N)
    for matrix, draw in zip(bootstrap.matrices, scores.draws, strict=True):
        np.testing.assert_allclose(matrix, same.matrix(TRIPLES, draw, N), atol=1e-12)
    np.testing.assert_allclose(bootstrap.stderr, np.std(bootstrap.matrices, axis=0, ddof=1))


def test_scores_are_drawn_by_turns_with_the_subsets():
    subsets = sample_subsets(N, 60, 3, 0)
    scores = planted(subsets, 0.0, seed=0)
    graph = AffinityGraph.from_scores(scored(subsets, scores.score, scores.score * np.array([[1.0], [-1.0]])))
    between = graph.bootstrap(5).matrices[:, *np.triu_indices(N, 1)]
    signs = np.sign(np.corrcoef(between)[0])
    np.testing.assert_array_equal(signs, [1, -1, 1, -1, 1])
    assert not np.array_equal(between[0], between[2])


def test_every_pair_stays_covered():
    subsets = [(0, 1, 2), (0, 3, 4), (0, 5, 6), (1, 3, 5), (1, 4, 6), (2, 3, 6), (2, 4, 5)]
    score = np.random.default_rng(0).standard_normal(7)
    graph = AffinityGraph.from_scores(scored(subsets, score), "mean")
    between = np.triu_indices(7, 1)
    for matrix in graph.bootstrap(5).matrices:
        np.testing.assert_allclose(matrix[between], graph.matrix[between])


def test_draws_are_seeded():
    graph = AffinityGraph.from_scores(planted(sample_subsets(N, 60, 3, 0), 0.5, seed=0, draws=3))
    first = graph.bootstrap(6).matrices
    np.random.seed(1)  # noqa: NPY002
    np.testing.assert_array_equal(graph.bootstrap(6).matrices, first)
    assert not np.array_equal(graph.bootstrap(6, seed=1).matrices, first)


def test_a_settled_ridge_is_the_one_that_was_chosen():
    scores = planted(TRIPLES, 0.5, seed=0)
    chosen, given = PairwiseAffinity(), PairwiseAffinity(0.7)
    settled = chosen.settled(TRIPLES, scores.score, N)
    assert settled.ridge == pytest.approx(min(chosen.strengths, key=lambda s: abs(s - settled.ridge)))
    matrices = (affinity.matrix(TRIPLES, scores.score, N) for affinity in (settled, chosen))
    np.testing.assert_allclose(*matrices, atol=1e-12)
    assert given.settled(TRIPLES, scores.score, N).ridge == pytest.approx(0.7)
    assert chosen.settled(TRIPLES, np.ones(len(TRIPLES)), N) is chosen


def test_a_partition_knows_how_stable_it_is():
    sure = AffinityGraph.from_scores(planted(TRIPLES, 0.1, seed=0, draws=20))
    partition = sure.partition(k=2, bootstrap=sure.bootstrap())
    np.testing.assert_array_equal(partition.co_assignment, partition.labels[:, None] == partition.labels)
    assert partition.stability == pytest.approx(1.0)
    assert partition.verdict == "stable: the same groups in 100% of 20 resamplings"
    assert partition.verdict in repr(partition)

    noise = scored(TRIPLES, np.zeros(120), np.random.default_rng(1).standard_normal((20, 120)))
    noise.score = np.random.default_rng(0).standard_normal(120)
    unsure = AffinityGraph.from_scores(noise)
    partition = unsure.partition(k=3, bootstrap=unsure.bootstrap())
    assert ((partition.co_assignment > 0) & (partition.co_assignment < 1)).any()
    assert abs(partition.stability) < 0.3
    assert partition.verdict.startswith("unstable: resampled episodes and subsets give other groups")

    plain = sure.partition(k=2)
    assert (plain.co_assignment, plain.stability, plain.verdict) == (None, None, None)


def test_draws_are_grouped_by_the_same_method():
    graph = AffinityGraph.from_scores(planted(sample_subsets(N, 60, 3, 0), 1.0, seed=0))
    bootstrap, method = graph.bootstrap(4), RandomGrouping(seed=3)
    partition = graph.partition(k=3, method=method, bootstrap=bootstrap)
    expected = [method.partition(matrix, 3).labels for matrix in bootstrap.matrices]
    np.testing.assert_array_equal(partition.resampled, expected)
    by_price = graph.partition(trace_penalty=0.1, bootstrap=bootstrap)
    assert (by_price.resampled.max(axis=1) + 1 == by_price.k).all()


def test_what_cannot_be_drawn_again_is_refused():
    once = AffinityGraph.from_scores(planted(TRIPLES, 0.1, seed=0))
    drawn = AffinityGraph.from_scores(planted(TRIPLES, 0.1, seed=0, draws=2))
    with pytest.raises(ValueError, match="a graph from a matrix has nothing to draw again; estimate it with"):
        AffinityGraph(once.matrix).bootstrap()
    with pytest.raises(ValueError, match="all 120 subsets of their sizes were scored, once: nothing can be"):
        once.bootstrap()
    by_task = SimpleNamespace(**vars(planted(TRIPLES, 0.1, seed=0, draws=2)), per_task=np.zeros((120, N)))
    with pytest.raises(ValueError, match=r"draws of shape \(2, 120\) do not .*: give \[draws, 120, 10\]"):
        AffinityGraph.from_scores(by_task).bootstrap()
    with pytest.raises(ValueError, match="draws=1 is too few to tell a spread: give at least 2"):
        drawn.bootstrap(1)
    with pytest.raises(ValueError, match="a bootstrap of 3 tasks does not fit 10; take the graph's own"):
        once.partition(k=2, bootstrap=Bootstrap(np.zeros((2, 3, 3))))
    assert once.path().criterion == "eigengap"
    assert drawn.path().criterion == "stability"


@pytest.mark.wrong_types
def test_draws_that_are_no_affinities_are_refused():
    with pytest.raises(ValueError, match=r"matrices have the shape \(3, 3\): give \[draws, n, n\]"):
        Bootstrap(np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"give \(U \+ U.T\) / 2"):
        Bootstrap(np.triu(np.ones((2, 3, 3))))
