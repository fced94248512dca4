from itertools import combinations

import numpy as np
import pytest

from gradex.affinity import affinities, sample_subsets
from gradex.affinity.affinities import MeanAffinity, PairwiseAffinity
from gradex.affinity.affinity import with_additive_diagonal, without_additive_part
from gradex.affinity.groupings import SemidefiniteGrouping

FREE_OF_DIFFICULTY = [
    PairwiseAffinity(),
    PairwiseAffinity(normalise=None),
    PairwiseAffinity(ridge=0.3),
    PairwiseAffinity(ridge=0.3, normalise=None),
]
ALL = [MeanAffinity(), *FREE_OF_DIFFICULTY]


def name(affinity):
    return type(affinity).__name__ + "-".join(map(str, vars(affinity).values()))


def problem(seed, n=8, k=3, size=3, count=40, noise=0.3):
    """Subsets, scores with planted groups and difficulties, and the planted labels."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % k)
    pairs = (labels[:, None] == labels) + noise * rng.standard_normal((n, n))
    subsets = sample_subsets(n, count, size, seed)
    score = np.array([np.mean([pairs[i, j] for i, j in combinations(subset, 2)]) for subset in subsets])
    return subsets, score, labels


def groups(affinity, subsets, score, n=8, k=3):
    return set(SemidefiniteGrouping().partition(affinity.matrix(subsets, score, n), k).groups)


# Slow and obvious versions.


def mean_oracle(subsets, score, n):
    matrix = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            matrix[i, j] = np.mean(
                [s for subset, s in zip(subsets, score, strict=True) if i in subset and j in subset]
            )
    return matrix


def additive_diagonal_oracle(matrix):
    n = len(matrix)
    pairs = list(combinations(range(n), 2))
    design = np.zeros((len(pairs), n))
    for row, pair in enumerate(pairs):
        design[row, list(pair)] = 1
    b = np.linalg.lstsq(design, np.array([matrix[pair] for pair in pairs]))[0]
    matrix = matrix.copy()
    matrix[np.diag_indices(n)] = 2 * b
    return matrix


def designs(subsets, n):
    pairs = list(combinations(range(n), 2))
    single = np.array([[(i in subset) / len(subset) for i in range(n)] for subset in subsets])
    pair = np.zeros((len(subsets), len(pairs)))
    for row, subset in enumerate(subsets):
        for column, (i, j) in enumerate(pairs):
            if i in subset and j in subset:
                pair[row, column] = 1 / (len(subset) * (len(subset) - 1) / 2)
    return single, pair


def pairwise_oracle(subsets, score, n, ridge):
    single, pair = designs(subsets, n)
    mu = ridge * (pair**2).sum() / len(subsets)
    rows = np.block([[single, pair], [np.zeros((pair.shape[1], n)), np.sqrt(mu) * np.eye(pair.shape[1])]])
    solution = np.linalg.lstsq(rows, np.r_[score, np.zeros(pair.shape[1])])[0]
    matrix = np.zeros((n, n))
    matrix[np.triu_indices(n, 1)] = solution[n:]
    return matrix + matrix.T


def mixed_subsets(seed, n=7):
    rng = np.random.default_rng(seed)
    subsets = sample_subsets(n, 12, 3, seed) + sample_subsets(n, 9, 4, seed) + [(0, 5), (2,), (1, 3, 4, 5, 6)]
    return subsets, rng.standard_normal(len(subsets))


@pytest.mark.parametrize("seed", range(3))
def test_against_slow_versions_with_subsets_of_mixed_size(seed):
    n = 7
    subsets, score = mixed_subsets(seed, n)
    mean = mean_oracle(subsets, score, n)
    np.testing.assert_allclose(MeanAffinity().matrix(subsets, score, n), mean, atol=1e-12)
    np.testing.assert_allclose(with_additive_diagonal(mean), additive_diagonal_oracle(mean), atol=1e-12)
    for ridge in (0.01, 1.0):
        raw = pairwise_oracle(subsets, score, n, ridge)
        np.testing.assert_allclose(
            PairwiseAffinity(ridge, normalise=None).matrix(subsets, score, n), raw, atol=1e-10
        )
        np.testing.assert_allclose(
            PairwiseAffinity(ridge).matrix(subsets, score, n), normalised_oracle(raw), atol=1e-10
        )


def test_gcv_minimises_the_textbook_criterion():
    n = 8
    subsets, score, _ = problem(0)
    score = score + 0.1 * np.random.default_rng(0).standard_normal(len(score))
    single, pair = designs(subsets, n)
    m = len(subsets)
    design = np.hstack([single, pair])
    errors = []
    for ridge in PairwiseAffinity.strengths:
        penalty = np.diag(np.r_[np.zeros(n), np.full(pair.shape[1], ridge * (pair**2).sum() / m)])
        hat = design @ np.linalg.solve(design.T @ design + penalty, design.T)
        residual = score - hat @ score
        errors.append(residual @ residual / np.trace(np.eye(m) - hat) ** 2)
    chosen = float(PairwiseAffinity.strengths[np.argmin(errors)])
    assert 1e-3 < chosen < 1e2  # not at an end, where many a rule would agree
    np.testing.assert_allclose(
        PairwiseAffinity().matrix(subsets, score, n),
        PairwiseAffinity(chosen).matrix(subsets, score, n),
        atol=1e-12,
    )


def test_iterative_solution_equals_the_dense_one(monkeypatch):
    subsets, score, _ = problem(0, n=30, k=4, size=5, count=200, noise=1.0)
    dense = PairwiseAffinity(0.3, normalise=None).matrix(subsets, score, 30)
    monkeypatch.setattr(affinities, "_DENSE_RANK", 0)
    iterative = PairwiseAffinity(0.3, normalise=None).matrix(subsets, score, 30)
    np.testing.assert_allclose(iterative, dense, atol=1e-7 * np.abs(dense).max())
    chosen = PairwiseAffinity(normalise=None).matrix(subsets, score, 30)
    assert np.corrcoef(chosen.ravel(), dense.ravel())[0, 1] > 0.9  # its trace is an estimate


def test_pairwise_is_centred_for_subsets_of_one_size():
    subsets, score, _ = problem(0)
    matrix = PairwiseAffinity(normalise=None).matrix(subsets, score, 8)
    np.testing.assert_allclose(matrix.sum(axis=1), 0, atol=1e-10)
    np.testing.assert_allclose(additive_diagonal_oracle(matrix), matrix, atol=1e-10)


@pytest.mark.parametrize("affinity", ALL, ids=name)
@pytest.mark.parametrize("seed", range(3))
def test_permuting_tasks_permutes_the_matrix_and_the_groups(affinity, seed):
    subsets, score, _ = problem(seed)
    order = np.random.default_rng(seed).permutation(8)
    permuted = [tuple(int(np.flatnonzero(order == i)[0]) for i in subset) for subset in subsets]
    matrix, moved = affinity.matrix(subsets, score, 8), affinity.matrix(permuted, score, 8)
    np.testing.assert_allclose(moved, matrix[np.ix_(order, order)], atol=1e-10)
    back = {tuple(sorted(int(order[i]) for i in group)) for group in groups(affinity, permuted, score)}
    assert back == groups(affinity, subsets, score)


@pytest.mark.parametrize("affinity", ALL, ids=name)
@pytest.mark.parametrize("seed", range(3))
def test_scale_and_constant_of_the_scores_leave_the_groups(affinity, seed):
    subsets, score, _ = problem(seed)
    expected = groups(affinity, subsets, score)
    for changed in (1e-14 * score, 1e-6 * score, 1e4 * score, 1e14 * score, score + 50.0, 3.0 * score - 7.0):
        assert groups(affinity, subsets, changed) == expected


@pytest.mark.parametrize("affinity", FREE_OF_DIFFICULTY, ids=name)
@pytest.mark.parametrize("seed", range(3))
def test_difficulty_of_tasks_leaves_matrix_and_groups(affinity, seed):
    subsets, score, _ = problem(seed)
    difficulty = 20 * np.random.default_rng(seed).standard_normal(8)
    harder = score + np.array([difficulty[list(subset)].mean() for subset in subsets])
    np.testing.assert_allclose(
        affinity.matrix(subsets, harder, 8), affinity.matrix(subsets, score, 8), atol=1e-10
    )
    assert groups(affinity, subsets, harder) == groups(affinity, subsets, score)


def test_difficulty_of_tasks_moves_the_groups_of_the_papers_mean():
    """The diagonal of Eq. (5) does not continue its additive part; over all subsets the additive one does."""
    subsets, score, labels = problem(0, count=56)
    difficulty = 20 * np.random.default_rng(0).standard_normal(8)
    harder = score + np.array([difficulty[list(subset)].mean() for subset in subsets])
    planted = {tuple(np.flatnonzero(labels == c).tolist()) for c in range(3)}
    for scores in (score, harder):
        additive = with_additive_diagonal(MeanAffinity().matrix(subsets, scores, 8))
        assert set(SemidefiniteGrouping().partition(additive, 3).groups) == planted
    assert groups(MeanAffinity(), subsets, harder) != groups(MeanAffinity(), subsets, score)


@pytest.mark.parametrize("affinity", FREE_OF_DIFFICULTY, ids=name)
def test_scores_without_interaction_give_exactly_zero(affinity):
    subsets, _, _ = problem(0)
    difficulty = np.random.default_rng(0).standard_normal(8)
    score = np.array([difficulty[list(subset)].mean() for subset in subsets])
    assert not affinity.matrix(subsets, score, 8).any()
    # Three tasks in pairs: repeated subsets leave noise, but no interaction that could be told from
    # difficulty.
    noise = np.random.default_rng(0).standard_normal(9)
    assert not PairwiseAffinity().matrix([(0, 1), (0, 2), (1, 2)] * 3, noise, 3).any()


@pytest.mark.parametrize("affinity", FREE_OF_DIFFICULTY, ids=name)
def test_two_tasks_have_the_affinity_of_company_against_being_alone(affinity):
    assert not affinity.matrix([(0, 1)], np.array([3.0]), 2).any()
    assert not affinity.matrix([(0, 1)], np.array([[3.0, -1.0]]), 2).any()
    subsets, nan = [(0,), (1,), (0, 1)], np.nan
    for gain in (0.5, -0.5):
        by_task = np.array([[2.0, nan], [nan, 7.0], [2.0 + gain, 7.0 + gain]])
        for score in (by_task, np.nanmean(by_task, axis=1)):
            matrix = affinity.matrix(subsets, score, 2)
            assert np.sign(matrix[0, 1]) == np.sign(gain)
            np.testing.assert_array_equal(np.diag(matrix), 0)


@pytest.mark.parametrize("affinity", FREE_OF_DIFFICULTY, ids=name)
def test_tasks_that_do_not_react_have_no_affinity(affinity):
    """Large scores whose differences are nothing but rounding, beside tasks that do react."""
    n, subsets = 6, sample_subsets(6, 40, 3, seed=0)
    rng = np.random.default_rng(0)
    by_task = np.full((len(subsets), n), np.nan)
    for row, subset in enumerate(subsets):
        by_task[row, list(subset)] = 1e3 / 3 + 1e-13 * rng.standard_normal(3)
    assert not affinity.matrix(subsets, by_task, n).any()
    assert not affinity.matrix(subsets, np.nanmean(by_task, axis=1), n).any()
    for row, subset in enumerate(subsets):
        for task in {0, 1, 2, 3} & set(subset):
            by_task[row, task] += sum(1 if other % 2 == task % 2 else -1 for other in subset if other < 4)
    assert np.isfinite(affinity.matrix(subsets, by_task, n)).all()
    c = np.zeros((n, n))
    c[:4, :4] = rng.standard_normal((4, 4))
    c[4:, 4:] = 1e-15
    found = affinities.normalised(without_additive_part(c + c.T), np.ones(4))
    assert np.isfinite(found).all() and np.abs(found).max() < n


def test_bad_input():
    subsets, score, _ = problem(0)
    with pytest.raises(
        ValueError,
        match=r"9 pairs of tasks are in no subset: \(0, 3\), \(0, 4\), \(0, 5\), \.\.\.; score more",
    ):
        MeanAffinity().matrix([(0, 1, 2), (3, 4, 5)], np.zeros(2), 6)
    with pytest.raises(ValueError, match="40 subsets need one score each; got 39"):
        PairwiseAffinity().matrix(subsets, score[:-1], 8)
    with pytest.raises(ValueError, match="score of subset 3 is nan"):
        PairwiseAffinity().matrix(subsets, np.where(np.arange(40) == 3, np.nan, score), 8)
    with pytest.raises(ValueError, match="normalise='row' is unknown; give 'task' or None"):
        PairwiseAffinity(normalise="row")
    for ridge in (0.0, -1.0, np.inf, np.nan, "loo"):
        with pytest.raises(ValueError, match="positive number or 'gcv'"):
            PairwiseAffinity(ridge)


def normalised_oracle(matrix):
    """Each interaction over the geometric mean of how large those of its two tasks are."""
    n = len(matrix)
    b = np.diag(additive_diagonal_oracle(matrix)) / 2
    interactions = np.array(
        [[0 if i == j else matrix[i, j] - b[i] - b[j] for j in range(n)] for i in range(n)]
    )
    size = [np.sqrt(np.mean([interactions[i, j] ** 2 for j in range(n) if j != i])) for i in range(n)]
    scaled = [[interactions[i, j] / np.sqrt(size[i] * size[j]) for j in range(n)] for i in range(n)]
    return additive_diagonal_oracle(np.array(scaled))


def by_task_of(subsets, n, seed):
    score = np.full((len(subsets), n), np.nan)
    rng = np.random.default_rng(seed)
    for row, subset in enumerate(subsets):
        score[row, list(subset)] = rng.standard_normal(len(subset))
    return score


@pytest.mark.parametrize("ridge", [0.3, "gcv"])
def test_normalised_matches_the_formula_whatever_the_scores(ridge):
    subsets, score, _ = problem(3)
    for given in (score, by_task_of(subsets, 8, seed=0)):
        raw = PairwiseAffinity(ridge, normalise=None).matrix(subsets, given, 8)
        found = PairwiseAffinity(ridge).matrix(subsets, given, 8)
        np.testing.assert_allclose(found, normalised_oracle(raw), atol=1e-12)


def test_normalised_affinities_have_no_unit():
    subsets, score, _ = problem(4)
    affinity = PairwiseAffinity()
    np.testing.assert_allclose(
        affinity.matrix(subsets, 1e-6 * score, 8), affinity.matrix(subsets, score, 8), rtol=1e-6, atol=1e-9
    )


def test_a_task_that_reacts_little_is_grouped_by_its_kind_once_normalised():
    """Strong tasks of the other kind that it likes by accident would outweigh its own."""
    right = {True: 0, False: 0}
    for seed in range(10):
        rng = np.random.default_rng(seed)
        labels = rng.permutation(np.arange(10) % 2)
        strength = np.geomspace(1, 0.05, 10)
        kind = np.where(labels[:, None] == labels, 1.0, -1.0)
        noise = rng.standard_normal((10, 10))
        pairs = np.outer(strength, strength) * (kind + 0.5 * (noise + noise.T))
        subsets = list(combinations(range(10), 3))
        score = np.array([np.mean([pairs[pair] for pair in combinations(subset, 2)]) for subset in subsets])
        planted = {tuple(np.flatnonzero(labels == label)) for label in (0, 1)}
        for normalise in (None, "task"):
            affinity = PairwiseAffinity(normalise=normalise)
            right[normalise is not None] += groups(affinity, subsets, score, n=10, k=2) == planted
    assert right[True] >= right[False] + 3, right


def test_a_settled_affinity_is_normalised_as_it_was():
    subsets = list(combinations(range(6), 3))
    score = by_task_of(subsets, 6, seed=0)
    for normalise in (None, "task"):
        settled = PairwiseAffinity(normalise=normalise).settled(subsets, score, 6)
        assert settled.ridge != "gcv" and settled.normalise == normalise
