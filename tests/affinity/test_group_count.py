from itertools import combinations
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score

from gradex.affinity import AffinityGraph, RandomGrouping, sample_subsets
from gradex.affinity.bootstrap import Bootstrap
from gradex.affinity.group_count import eigengap_path, group_counts, stability_path

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def planted(n, k, noise, seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % k)
    matrix = rng.standard_normal((n, n))
    return (labels[:, None] == labels) + noise * (matrix + matrix.T), labels


def planted_scores(n, k, seed, noise=0.05):
    matrix, labels = planted(n, k, 0.02, seed)
    rng = np.random.default_rng(seed)
    difficulty = rng.standard_normal(n)
    subsets = sample_subsets(n, 8 * n, 4, seed)
    per_task = np.full((len(subsets), n), np.nan)
    for row, subset in enumerate(subsets):
        members = list(subset)
        per_task[row, members] = difficulty[members] + matrix[np.ix_(members, members)].mean(axis=1)
    per_task += 2 * noise * rng.standard_normal(per_task.shape)  # the mean of four has half of it
    return SimpleNamespace(subsets=subsets, score=np.nanmean(per_task, axis=1), per_task=per_task), labels


@pytest.mark.parametrize("k", [2, 3, 4])
def test_stability_finds_planted_groups_from_scores(k):
    scores, labels = planted_scores(12, k, seed=k)
    graph = AffinityGraph.from_scores(scores)
    path = graph.path(6, resamples=6)
    assert (path.criterion, path.k) == ("stability", k)
    assert path.counts == (2, 3, 4, 5, 6)
    assert path.values[k - 2] == pytest.approx(1.0)
    assert (path.values[path.counts.index(k) + 1 :] < 1.0 - path.errors[k - 1]).all()
    assert graph.partition(k=path.k).agreement(labels).nmi == pytest.approx(1.0)


def test_the_error_of_stability_is_that_of_the_jackknife():
    def mean_agreement(each):
        return np.mean([adjusted_mutual_info_score(one, other) for one, other in combinations(each, 2)])

    rng = np.random.default_rng(0)
    noise = rng.normal(size=(6, 9, 9))
    draws = Bootstrap(noise + noise.mT + np.equal.outer(*[np.arange(9) % 3] * 2))
    groups = draws.groups(3)
    left_out = [mean_agreement(np.delete(groups, draw, axis=0)) for draw in range(6)]
    path = stability_path(draws.matrices.mean(axis=0), draws, (3,))
    assert 0.05 < path.values[0] < 0.95
    assert path.values[0] == pytest.approx(mean_agreement(groups))
    assert path.errors[0] == pytest.approx(np.sqrt(5 * np.var(left_out)))
    assert stability_path(draws.matrices[0], Bootstrap(draws.matrices[:2]), (3,)).errors[0] == 0


def test_draws_are_seeded_and_differ():
    scores, _ = planted_scores(10, 3, seed=0, noise=0.5)
    graph = AffinityGraph.from_scores(scores)
    first = graph.path(5, resamples=4)
    np.random.seed(1)  # noqa: NPY002
    np.testing.assert_array_equal(graph.path(5, resamples=4).values, first.values)
    assert not np.array_equal(graph.path(5, resamples=4, seed=1).values, first.values)
    assert ((first.values <= 1.0) & (first.errors >= 0.0)).all()


def test_draws_keep_every_pair_of_tasks():
    """Just enough subsets to cover the pairs: a draw that left out any of them could not be estimated."""
    subsets = [(0, 1, 2), (0, 3, 4), (0, 5, 6), (1, 3, 5), (1, 4, 6), (2, 3, 6), (2, 4, 5)]
    score = np.random.default_rng(0).standard_normal(len(subsets))
    graph = AffinityGraph.from_scores(SimpleNamespace(subsets=subsets, score=score), "mean")
    assert graph.path(3, resamples=3).values == pytest.approx(1.0)  # all draws are the same


@pytest.mark.parametrize("k", [2, 3, 5])
def test_eigengap_finds_planted_groups_from_a_matrix(k):
    matrix, labels = planted(30, k, 0.1, seed=k)
    a = np.random.default_rng(0).standard_normal(30)
    for changed in (matrix, 1e4 * matrix, matrix + a + a[:, None], matrix + 3 * np.eye(30)):
        partition = AffinityGraph(changed).partition(k="auto")
        assert partition.agreement(labels).nmi == pytest.approx(1.0)


def test_eigengap_against_the_definition():
    matrix, _ = planted(9, 3, 0.3, seed=0)
    Q = np.linalg.qr(np.column_stack([np.ones(9), np.eye(9)[:, 1:]]))[0][:, 1:]  # the complement of e
    falling = np.sort(np.linalg.eigvalsh(Q.T @ matrix @ Q))[::-1]
    path = eigengap_path(matrix, group_counts(9, 8))
    np.testing.assert_allclose(path.values, -np.diff(falling) / (falling[0] - falling[-1]))
    assert path.k == path.counts[int(np.argmax(path.values))]


def test_arguments():
    graph = AffinityGraph(planted(9, 3, 0.1, seed=0)[0])
    assert graph.partition(k="auto", method=RandomGrouping()).k == 3
    assert graph.path().counts == tuple(range(2, 9))
    assert group_counts(400, None)[-1] == 20
    assert group_counts(2, None) == (2,)
    with pytest.raises(ValueError, match="k='many' is invalid; give a number of groups from 1 to 9"):
        graph.partition(k="many")
    with pytest.raises(ValueError, match="give exactly one"):
        graph.partition(k="auto", trace_penalty=1.0)
    with pytest.raises(ValueError, match="k=10 groups cannot be made of 9 tasks"):
        graph.path(10)
    with pytest.raises(ValueError, match="k_max=1 leaves no number"):
        graph.path(1)
    scores, _ = planted_scores(8, 2, seed=0)
    with pytest.raises(ValueError, match="draws=1 is too few to tell a spread: give at least 2"):
        AffinityGraph.from_scores(scores).path(3, resamples=1)


def test_plot_marks_the_number_chosen():
    graph = AffinityGraph(planted(12, 3, 0.1, seed=0)[0])
    path = graph.path(6)
    ax = graph.plot_path(path=path)
    chosen = ax.lines[-1]
    assert (chosen.get_xdata()[0], chosen.get_ydata()[0]) == (3, path.values[1])
    assert ax.get_legend().get_texts()[0].get_text() == "chosen: k = 3"
    assert list(path.to_frame().columns) == ["k", "eigengap", "stderr", "chosen"]
    _, given = plt.subplots()
    assert graph.plot_path(given) is given
    plt.close("all")
