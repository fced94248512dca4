"""Forest plots: which pairs are drawn, where, with which intervals and in which colours."""

from collections.abc import Iterator
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from scipy import stats

from gradex.affinity import AffinityGraph, AffinityMatrix
from gradex.surrogate import Interactions

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def uncertain(n: int, freedom: float = np.inf) -> AffinityGraph:
    rng = np.random.default_rng(n)
    matrix, stderr = rng.normal(size=(n, n)), rng.uniform(0.1, 1.0, size=(n, n))
    return AffinityGraph(matrix + matrix.T, None, stderr + stderr.T, freedom)


def drawn(ax: Axes) -> dict[str, tuple[float, float, float, str | None]]:
    """Give of each pair, by its label, the low end, the value, the high end and the kind."""
    names = [label.get_text() for label in ax.get_yticklabels()]
    found = {}
    for container in ax.containers:
        assert isinstance(container, ErrorbarContainer)
        points, _, (bars,) = container.lines
        kind = None if str(container.get_label()).startswith("_") else str(container.get_label())
        for x, y, bar in zip(*points.get_data(), bars.get_segments(), strict=True):
            found[names[round(y)]] = (bar[0][0], x, bar[1][0], kind)
    return found


def test_each_pair_has_its_interval_by_students_t() -> None:
    graph = uncertain(5, freedom=7)
    found = drawn(graph.plot_pairs(level=0.9))
    t = stats.t.ppf(0.95, 7)
    for i, j in combinations(range(5), 2):
        value, error = graph.matrix[i, j], t * graph.stderr[i, j]
        low, middle, high, kind = found.pop(f"task {i}  ·  task {j}")
        assert (low, middle, high) == pytest.approx((value - error, value, value + error))
        assert kind is None
    assert not found


def test_pairs_stand_in_order_and_tell_what_the_axis_is() -> None:
    ax = uncertain(6).plot_pairs()
    values = [drawn(ax)[label.get_text()][1] for label in ax.get_yticklabels()]
    assert values == sorted(values)
    assert ax.get_xlabel() == "affinity, with 95 % intervals"
    assert ax.get_title(loc="left") == ""
    ax.figure.canvas.draw()
    _, given = plt.subplots()
    assert uncertain(6).plot_pairs(given) is given


def test_groups_colour_the_pairs() -> None:
    graph = uncertain(6)
    partition = graph.partition(k=2)
    ax = graph.plot_pairs(partition=partition)
    found = drawn(ax)
    for i, j in combinations(range(6), 2):
        together = partition.labels[i] == partition.labels[j]
        kind = "within a group" if together else "between groups"
        assert found[f"task {i}  ·  task {j}"][3] == kind
    legend = ax.get_legend()
    assert legend is not None
    assert {text.get_text() for text in legend.get_texts()} == {"within a group", "between groups"}
    alone = drawn(graph.plot_pairs(partition=graph.partition(k=6)))
    assert {kind for *_, kind in alone.values()} == {"between groups"}


def test_of_many_pairs_the_clearest_are_drawn() -> None:
    graph = uncertain(12)
    ax = graph.plot_pairs()
    i, j = np.triu_indices(12, 1)
    clear = np.argsort(-np.abs(graph.matrix[i, j]) / graph.stderr[i, j])[:40]
    assert set(drawn(ax)) == {f"task {i[pair]}  ·  task {j[pair]}" for pair in clear}
    assert ax.get_title(loc="left") == "the 40 clearest of 66 pairs"


def test_pairs_without_any_error_are_drawn() -> None:
    ax = AffinityMatrix([[0, 2, 0], [2, 0, 1], [0, 1, 0]], stderr=np.zeros((3, 3))).plot_pairs()
    assert [(low, high) for low, _, high, _ in drawn(ax).values()] == [(0, 0), (1, 1), (2, 2)]


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_is_a_share(level: float) -> None:
    with pytest.raises(ValueError, match=f"level={level} is invalid; give a number between 0 and 1"):
        uncertain(3).plot_pairs(level=level)


def test_without_errors_there_are_no_intervals() -> None:
    with pytest.raises(ValueError, match="no standard errors"):
        AffinityMatrix([[0, 1], [1, 0]]).plot_pairs()


@pytest.mark.parametrize("draw", ["plot", "plot_network", "plot_pairs"])
@pytest.mark.parametrize("others", [4, 6])
def test_a_partition_of_other_tasks_is_refused(draw: str, others: int) -> None:
    partition = uncertain(others).partition(k=2)
    message = f"a partition of {others} tasks does not fit 5; take the graph's own"
    with pytest.raises(ValueError, match=message):
        getattr(uncertain(5), draw)(partition=partition)


def test_a_minus_tells_harm_from_help_where_there_is_room() -> None:
    harm = np.array([[9.0, 1.0, -2.0], [1.0, 9.0, -0.5], [-2.0, -0.5, 9.0]])
    ax = AffinityMatrix(harm, "abc").plot()
    signs = {text.get_position(): text.get_text() for text in ax.texts}
    signed = {place for place, sign in signs.items() if sign}
    assert signed == {
        (2.5, 0.5),
        (2.5, 1.5),
        (0.5, 2.5),
        (1.5, 2.5),
    }
    assert set(signs.values()) == {"", "−"}
    many = np.random.default_rng(0).normal(size=(21, 21))
    assert not AffinityMatrix(many + many.T, [str(task) for task in range(21)]).plot().texts


def test_the_colour_bar_says_what_is_drawn() -> None:
    clusters = tuple(np.random.default_rng(0).normal(size=(4, 20, 3)))
    pairs = AffinityGraph.from_interactions(Interactions(clusters, common=False))
    for graph, name in ((pairs, "interaction"), (AffinityGraph(pairs.matrix), "affinity")):
        figure = graph.plot().figure
        assert name in {ax.get_ylabel() for ax in figure.axes}
