from functools import partial
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch

from gradex.affinity import (
    AffinityFactors,
    AffinityGraph,
    MeanAffinity,
    PairwiseAffinity,
    RandomGrouping,
    sample_subsets,
)
from gradex.surrogate import SubsetScores

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def planted(n=9, k=3, noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % k
    noise_matrix = noise * rng.standard_normal((n, n))
    return (labels[:, None] == labels) + noise_matrix + noise_matrix.T, labels


def planted_scores(n=9, k=3, seed=0):
    matrix, labels = planted(n, k, seed=seed)
    subsets = sample_subsets(n, 60, 4, seed)
    difficulty = np.random.default_rng(seed).standard_normal(n)
    per_task = np.full((len(subsets), n), np.nan)
    for row, subset in enumerate(subsets):
        per_task[row, list(subset)] = difficulty[list(subset)] + matrix[np.ix_(subset, subset)].mean(axis=1)
    return SimpleNamespace(subsets=subsets, score=np.nanmean(per_task, axis=1), per_task=per_task), labels


@pytest.mark.parametrize(
    ("matrix", "names", "message"),
    [
        (np.zeros((2, 3)), None, r"shape \(2, 3\) is not square"),
        (np.zeros(4), None, r"shape \(4,\) is not square"),
        ([[1.0]], None, "at least 2"),
        ([[0, np.nan], [np.nan, 0]], None, r"affinity \[0, 1\] is nan"),
        (np.ma.masked_less(planted()[0], 0), None, "affinities are masked in places; every pair needs"),
        ([[0, 1], [1.1, 0]], None, r"give \(U \+ U.T\) / 2"),
        (1e300 * planted()[0], None, "affinities reach 1.*e.300, whose squares overflow; give U / 1e.300"),
        (planted()[0], ["a", "b"], "2 names for 9 tasks"),
        (planted()[0], [*"abcdefgh", "a"], "the name 'a' occurs twice"),
    ],
)
def test_bad_graphs(matrix, names, message):
    with pytest.raises(ValueError, match=message) as error:
        AffinityGraph(matrix, names)
    assert "\n" not in str(error.value)


@pytest.mark.wrong_types
def test_a_set_of_names_has_no_order():
    with pytest.raises(ValueError, match="names are a set, which has no order; give a list"):
        AffinityGraph(planted()[0][:3, :3], {"a", "b", "c"})


@pytest.mark.parametrize("freedom", [0.0, -1.0, np.nan])
def test_bad_degrees_of_freedom(freedom):
    with pytest.raises(ValueError, match=r"freedom=.*: give a number above 0"):
        AffinityGraph(planted()[0], stderr=np.ones((9, 9)), freedom=freedom)


@pytest.mark.wrong_types
@pytest.mark.parametrize("make", [AffinityGraph.from_gradients, AffinityGraph.from_transfers])
def test_masked_arrays_are_refused(make):
    with pytest.raises(ValueError, match="the array is masked in places"):
        make(np.ma.masked_less(planted()[0], 0))


@pytest.mark.wrong_types
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    "make",
    [
        lambda matrix: AffinityGraph(matrix, stderr=abs(matrix)),
        AffinityGraph.from_gradients,
        AffinityGraph.from_transfers,
        AffinityGraph.from_factors,
    ],
)
def test_tensors_serve_as_arrays_do(make, dtype):
    tensor = torch.tensor(planted()[0]).to(dtype).requires_grad_()
    np.testing.assert_array_equal(make(tensor).matrix, make(tensor.detach().double().numpy()).matrix)


def test_affinities_are_real_numbers():
    with pytest.raises(TypeError, match="affinities are complex; give real numbers, such as their real part"):
        AffinityGraph(planted()[0] * (1 + 1j))


@pytest.mark.wrong_types
@pytest.mark.parametrize("k", [2.0, True, [2]])
def test_a_number_of_groups_is_a_whole_one(k):
    for method in (None, RandomGrouping()):
        with pytest.raises(ValueError, match=r"k=.* is no number of groups; give a whole number from 1 to 9"):
            AffinityGraph(planted()[0]).partition(k, method=method)


def test_rounding_asymmetry_is_removed_and_the_matrix_is_the_graphs_own():
    matrix = np.array([[0.0, 1.0, 2.0], [1.0 + 1e-12, 0.0, 3.0], [2.0, 3.0, 0.0]])
    graph = AffinityGraph(matrix)
    matrix[0, 1] = 9.0
    np.testing.assert_array_equal(graph.matrix, graph.matrix.T)
    assert graph.matrix[0, 1] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="read-only"):
        graph.matrix[0, 1] = 0.0
    assert graph.names == ("task 0", "task 1", "task 2")
    assert len(graph) == 3


def test_a_table_brings_its_names_along():
    matrix = planted()[0][:3, :3]
    table = pd.DataFrame(matrix, list("abc"), list("abc"))
    assert AffinityGraph(table).names == ("a", "b", "c")
    assert AffinityGraph(AffinityGraph(table).to_frame(), "xyz").names == ("x", "y", "z")
    assert AffinityGraph(pd.DataFrame(matrix)).names == ("task 0", "task 1", "task 2")
    part = pd.DataFrame(planted()[0]).iloc[3:5, 3:5]
    assert AffinityGraph(part).names == ("3", "4")
    with pytest.raises(ValueError, match=r"not named as its rows; give table\[table.index\]"):
        AffinityGraph(table[list("cba")])


def test_planted_groups_from_scores_of_tasks_or_of_subsets():
    scores, labels = planted_scores()
    for given in (scores, SimpleNamespace(subsets=scores.subsets, score=scores.score)):
        partition = AffinityGraph.from_scores(given).partition(k=3)
        assert partition.agreement(labels) == pytest.approx((1.0, 1.0))
        assert partition.gap < 1e-4


def test_affinities_by_name_or_object():
    scores, _ = planted_scores()
    by_name = AffinityGraph.from_scores(scores, "mean", names=list("abcdefghi"))
    assert by_name.names == tuple("abcdefghi")
    np.testing.assert_array_equal(by_name.matrix, AffinityGraph.from_scores(scores, MeanAffinity()).matrix)
    raw = AffinityGraph.from_scores(scores, PairwiseAffinity(normalise=None))
    assert not np.allclose(raw.matrix, AffinityGraph.from_scores(scores, "pairwise").matrix)
    for gone in ("pairwize", "interaction", "transfer", "normalised"):
        with pytest.raises(ValueError, match=f"affinity='{gone}' is unknown; did you mean"):
            AffinityGraph.from_scores(scores, gone)


def test_one_score_a_subset_will_do():
    scores, _ = planted_scores()
    bare = SimpleNamespace(subsets=scores.subsets, score=scores.score)
    for affinity in (MeanAffinity(), PairwiseAffinity()):
        graph = AffinityGraph.from_scores(bare, affinity)
        alone = affinity.matrix(scores.subsets, scores.score, 9)
        np.testing.assert_allclose(graph.matrix, alone, rtol=1e-12)
        bare.draws = scores.score + 0.01 * np.random.default_rng(0).standard_normal((3, len(scores.score)))
        assert graph.bootstrap(3).stderr.max() > 0


@pytest.mark.wrong_types
@pytest.mark.parametrize("name", ["score", "per_task", "draws"])
def test_scores_may_be_tensors_that_require_a_gradient(name):
    scores, _ = planted_scores()
    scores.draws = scores.per_task + np.linspace(-0.1, 0.1, 3)[:, None, None]
    if name == "score":
        del scores.per_task, scores.draws
    expected = AffinityGraph.from_scores(SimpleNamespace(**vars(scores)))
    setattr(scores, name, torch.tensor(getattr(scores, name), requires_grad=True))
    found = AffinityGraph.from_scores(scores)
    np.testing.assert_array_equal(found.matrix, expected.matrix)
    np.testing.assert_array_equal(found.bootstrap(3).matrices, expected.bootstrap(3).matrices)


def test_scores_without_interaction_cannot_be_grouped():
    scores, _ = planted_scores()
    difficulty = np.arange(9.0)
    scores.per_task[:] = np.where(np.isnan(scores.per_task), np.nan, difficulty)
    graph = AffinityGraph.from_scores(scores)
    with pytest.raises(ValueError, match="all 9 tasks have the same affinity 0; no grouping is better"):
        graph.partition(k=2)


@pytest.mark.parametrize("alike", [np.ones((3, 3)) + np.diag([1, 2, 3]), AffinityFactors(np.ones((3, 2)))])
def test_tasks_that_are_all_alike_are_one_group(alike):
    graph = AffinityGraph(alike)
    assert graph.alike and graph.partition(k=1).groups == ((0, 1, 2),)
    for ask in (partial(graph.partition, k=2), partial(graph.partition, k="auto"), graph.path):
        with pytest.raises(
            ValueError, match=r"all 3 tasks have the same .*no grouping is better.*: take k=1"
        ):
            ask()
    assert not AffinityGraph([[0, 1], [1, 0]]).alike
    graph.plot_network(graph.plot().figure.add_subplot()).figure.canvas.draw()


def test_gradients():
    gradients = np.array([[1.0, 0.0], [2.0, 0.1], [0.0, 5.0], [-0.1, 1.0]])
    graph = AffinityGraph.from_gradients(gradients, ["a", "b", "c", "d"])
    for i in range(4):
        for j in range(4):
            cosine = (
                gradients[i]
                @ gradients[j]
                / np.sqrt(gradients[i] @ gradients[i] * (gradients[j] @ gradients[j]))
            )
            assert graph.matrix[i, j] == pytest.approx(cosine)
    assert graph.partition(k=2).groups == ((0, 1), (2, 3))
    with pytest.raises(ValueError, match="gradient of task 1 has norm 0"):
        AffinityGraph.from_gradients(np.array([[1.0, 2.0], [0.0, 0.0]]))


def test_partition_arguments():
    graph = AffinityGraph(planted()[0])
    assert graph.partition(3).k == 3
    assert graph.partition(trace_penalty=0.9).groups == graph.partition(k=3).groups
    assert graph.partition(k=3, method=RandomGrouping(1)).status == "random"
    for arguments in ({}, {"k": 3, "trace_penalty": 1.0}):
        with pytest.raises(ValueError, match="give exactly one"):
            graph.partition(**arguments)
    for k in (0, 10):
        with pytest.raises(ValueError, match=f"k={k} groups .* from 1 to 9"):
            graph.partition(k=k)
    with pytest.raises(ValueError, match="SemidefiniteGrouping only; give k"):
        graph.partition(trace_penalty=1.0, method=RandomGrouping(1))


def test_exports():
    graph = AffinityGraph(planted()[0], list("abcdefghi"))
    frame = graph.to_frame()
    np.testing.assert_array_equal(frame.to_numpy(), graph.matrix)
    assert list(frame.index) == list(frame.columns) == list("abcdefghi")
    network = graph.to_networkx()
    assert network.number_of_edges() == 36
    assert network["b"]["e"]["weight"] == graph.matrix[1, 4]
    assert repr(graph) == "AffinityGraph(9 tasks: a, b, c, d, e, f, ...)"
    assert all(name in graph._repr_html_() for name in ("9 tasks", "<img alt=", "<th>a</th>"))


def test_heatmap_shows_groups_together_and_greys_the_diagonal():
    graph = AffinityGraph(planted()[0], list("abcdefghi"))
    ax = graph.plot(partition=graph.partition(k=3))
    assert [label.get_text() for label in ax.get_xticklabels()] == list("adgbehcfi")
    cells = ax.collections[0].get_array().reshape(9, 9)
    np.testing.assert_array_equal(np.ma.getmaskarray(cells), np.eye(9, dtype=bool))
    order = [0, 3, 6, 1, 4, 7, 2, 5, 8]
    np.testing.assert_array_equal(
        cells.compressed(), graph.matrix[np.ix_(order, order)][~np.eye(9, dtype=bool)]
    )
    separators = ax.collections[1].get_segments()
    assert [segment[0][1] for segment in separators] == [3, 6]
    _, given = plt.subplots()
    assert graph.plot(given) is given


def test_heatmap_shows_co_assignment_above_the_diagonal():
    scores, _ = planted_scores()
    graph = AffinityGraph.from_scores(scores)
    partition = graph.partition(k=3, bootstrap=graph.bootstrap(5))
    ax = graph.plot(partition=partition)
    order = np.argsort(partition.labels, kind="stable")
    above, below = (mesh.get_array().reshape(9, 9) for mesh in ax.collections[:2])
    upper = np.triu(np.ones((9, 9), dtype=bool), 1)
    np.testing.assert_array_equal(np.ma.getmaskarray(above), ~upper)
    np.testing.assert_array_equal(np.ma.getmaskarray(below), ~upper.T)
    np.testing.assert_array_equal(above[upper], partition.co_assignment[np.ix_(order, order)][upper])
    np.testing.assert_array_equal(below[upper.T], graph.matrix[np.ix_(order, order)][upper.T])
    bars = [bar.get_ylabel() for bar in ax.child_axes]
    assert sorted(bars) == ["affinity", "how often together"]
    ax.figure.canvas.draw()
    assert graph.plot(plt.subplots()[1], partition).figure is not ax.figure


def test_network_names_and_colours_the_groups():
    graph = AffinityGraph(planted()[0], list("abcdefghi"))
    partition = graph.partition(k=3)
    ax = graph.plot_network(partition=partition)
    assert [text.get_text() for text in ax.texts] == list("abcdefghi")
    nodes = ax.collections[-1]
    colours = nodes.get_facecolors()
    same_colour = (colours[:, None] == colours).all(axis=-1)
    np.testing.assert_array_equal(same_colour, partition.labels[:, None] == partition.labels)
    again = graph.plot_network(partition=partition).collections[-1]
    np.testing.assert_array_equal(nodes.get_offsets(), again.get_offsets())
    _, given = plt.subplots()
    assert graph.plot_network(given) is given


@pytest.mark.parametrize("n", [2, 3, 50])
@pytest.mark.parametrize("shift", [-10.0, 0.0, 10.0])
def test_pictures_of_any_size(n, shift):
    graph = AffinityGraph(planted(n, 2, seed=n)[0] + shift)
    partition = graph.partition(k=2, method=RandomGrouping())
    for ax in (
        graph.plot(),
        graph.plot_network(),
        graph.plot(partition=partition),
        graph.plot_network(partition=partition),
    ):
        ax.figure.canvas.draw()


def test_the_interaction_is_what_single_tasks_do_not_explain():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((7, 7))
    matrix = matrix + matrix.T
    rest = AffinityGraph(matrix, "abcdefg").interaction()
    assert rest.names == tuple("abcdefg")
    np.testing.assert_allclose(rest.matrix.sum(axis=1), 0, atol=1e-12)  # the residual of least squares
    easy = rng.standard_normal(7)
    same = AffinityGraph(matrix + easy[:, None] + easy + np.diag(easy)).interaction()
    np.testing.assert_allclose(same.matrix, rest.matrix, atol=1e-12)
    assert (np.diag(rest.matrix) == 0).all()


def test_the_unit_of_a_task_decides_nothing_once_scores_are_standardised():
    """Noise of a task that is paid in thousands would drown what the others say."""
    rng = np.random.default_rng(1)
    subsets = (*((task,) for task in range(8)), *sample_subsets(8, 100, 3, 0))
    labels = np.arange(8) % 2
    affinities = np.where(labels[:, None] == labels, 1.0, -1.0)
    per_task = np.full((len(subsets), 8), np.nan)
    for row, subset in enumerate(subsets):
        for task in subset:
            others = [other for other in subset if other != task] or [task]
            per_task[row, task] = affinities[task, others].mean() + 0.7 * rng.normal()
    alike = SubsetScores(subsets, per_task, np.nanmean(per_task, axis=1)).standardised()
    paid = per_task * np.array([1000.0, *[1.0] * 7])
    other = SubsetScores(subsets, paid, np.nanmean(paid, axis=1))
    found = AffinityGraph.from_scores(other.standardised())
    np.testing.assert_allclose(found.matrix, AffinityGraph.from_scores(alike).matrix, rtol=1e-6, atol=1e-9)
    assert found.partition(k=2).agreement(labels).nmi == 1
    assert AffinityGraph.from_scores(other).partition(k=2).agreement(labels).nmi < 1
