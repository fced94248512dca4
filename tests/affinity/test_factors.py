"""Affinities by their factors say what their matrix says, without it."""

import tracemalloc

import numpy as np
import pytest

from gradex.affinity import AffinityFactors, AffinityGraph, KernelKMeans, Partition, SemidefiniteGrouping
from gradex.affinity.certificate import certified_upper_bound
from gradex.affinity.group_count import eigengap_path, group_counts
from tests.oracles.clustering import best_partition, objective


def drawn(seed: int, n: int = 8, r: int = 3) -> AffinityFactors:
    return AffinityFactors(np.random.default_rng(seed).standard_normal((n, r)) + 0.5)


def preferences(n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw weights near k corners of the simplex, and factors of the k rewards; give the weights' factors."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % k)
    weights = 0.7 * np.eye(k)[labels] + 0.3 / k + 0.05 * rng.standard_normal((n, k))
    return weights @ rng.standard_normal((k, 2 * k)), labels


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("r", [1, 3, 12])
def test_everything_is_that_of_the_matrix(seed: int, r: int) -> None:
    factors = drawn(seed, r=r)
    matrix, labels = factors.matrix(), np.random.default_rng(seed).permutation(np.arange(8) % 3)
    np.testing.assert_allclose(matrix, factors.rows @ factors.rows.T, rtol=1e-12)
    found = factors.evaluate(labels, "planted")
    expected = Partition.of(matrix, labels, upper_bound=certified_upper_bound(matrix, 3), status="planted")
    assert found.objective == pytest.approx(objective(matrix, found.groups), rel=1e-12)
    assert found.chance == pytest.approx(expected.chance, rel=1e-12)
    assert found.upper_bound == pytest.approx(expected.upper_bound, rel=1e-12)
    np.testing.assert_array_equal(found.labels, expected.labels)
    by_matrix, by_factors = (eigengap_path(each, group_counts(8, 7)) for each in (matrix, factors))
    assert by_factors.k == by_matrix.k
    np.testing.assert_allclose(by_factors.values, by_matrix.values, atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_bounds_hold_and_groups_are_the_best_of_all(seed: int) -> None:
    factors = drawn(seed)
    for k in range(1, 9):
        best, _ = best_partition(factors.matrix(), k)
        partition = KernelKMeans(starts=50).partition(factors, k)
        assert partition.k == k
        assert partition.upper_bound >= best - 1e-9
        assert partition.objective == pytest.approx(best, rel=1e-9)


def test_a_graph_from_factors_takes_them_by_default_and_the_relaxation_if_asked() -> None:
    rows, labels = preferences(n=24, k=3, seed=0)
    graph = AffinityGraph.from_factors(rows, names=[f"w{task}" for task in range(24)])
    assert graph.names[1] == "w1"
    assert graph.factors is not None
    found, relaxed = graph.partition(k=3), graph.partition(k=3, method=SemidefiniteGrouping())
    assert found.status == "kernel k-means"
    assert relaxed.status != "kernel k-means"
    assert found.agreement(labels).nmi == relaxed.agreement(labels).nmi == 1.0
    assert found.objective == pytest.approx(relaxed.objective)
    assert found.upper_bound >= relaxed.upper_bound - 1e-9
    np.testing.assert_array_equal(graph.matrix, AffinityGraph(graph.matrix).matrix)
    assert not graph.matrix.flags.writeable
    assert AffinityGraph(graph.matrix).factors is None


@pytest.mark.parametrize("seed", range(3))
def test_a_thousand_preferences_are_found_by_factors_and_by_their_matrix(seed: int) -> None:
    rows, labels = preferences(n=1000, k=4, seed=seed)
    graph = AffinityGraph.from_factors(rows)
    found, by_matrix = graph.partition(k=4), KernelKMeans().partition(graph.matrix, 4)
    for partition in (found, by_matrix):
        assert partition.agreement(labels).nmi >= 0.95
        assert partition.gap < 0.1


def test_twenty_thousand_tasks_need_no_matrix() -> None:
    rows, labels = preferences(n=20_000, k=4, seed=0)
    tracemalloc.start()
    graph = AffinityGraph.from_factors(rows)
    partition = graph.partition(k=4)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert partition.agreement(labels).nmi >= 0.95
    assert most < 1e8  # the matrix: 3.2e9
    with pytest.raises(ValueError, match=r"20000 tasks take 3\.2 GB: stay with the factors, or take at most"):
        _ = graph.matrix
    assert "factors of rank" in graph._repr_html_() and "<table" not in graph._repr_html_()
    assert "20000 tasks" in repr(graph)


def test_the_number_of_groups_is_chosen_by_the_rows_alone() -> None:
    labels = np.arange(20_000) % 4
    noise = np.random.default_rng(0).normal(0, 0.1, (20_000, 4))
    graph = AffinityGraph.from_factors(np.eye(4)[labels] + noise)
    assert graph.partition(k="auto").agreement(labels).nmi > 0.99


def test_tasks_that_are_alike_make_as_many_groups_as_are_asked_for() -> None:
    factors = AffinityFactors(np.repeat([[1.0, 0.0], [0.0, 2.0]], 3, axis=0))
    partition = KernelKMeans().partition(factors, 4)
    assert partition.k == 4
    assert partition.objective == pytest.approx(partition.upper_bound) == 15.0


def test_the_same_seed_gives_the_same_groups() -> None:
    factors = drawn(0, n=300)
    np.random.seed(0)  # noqa: NPY002
    first = KernelKMeans(seed=1, starts=1).partition(factors, 12).labels
    np.random.seed(1)  # noqa: NPY002
    np.testing.assert_array_equal(KernelKMeans(seed=1, starts=1).partition(factors, 12).labels, first)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((1, 2)), r"shape \(1, 2\) are no rows of tasks: give \[n, r\], n at least 2"),
        (np.ones((3, 0)), r"shape \(3, 0\) are no rows"),
        (np.array([[1.0, 2.0], [np.nan, 0.0]]), "factors of task 1 are not finite"),
    ],
)
def test_refuses_what_are_no_factors(rows: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        AffinityGraph.from_factors(rows)
    assert "\n" not in str(error.value)


def test_refuses_numbers_that_make_no_groups() -> None:
    with pytest.raises(ValueError, match="starts=0 is too few: give at least 1"):
        KernelKMeans(starts=0)
    for k in (0, 9):
        with pytest.raises(ValueError, match=f"k={k} groups .* from 1 to 8"):
            KernelKMeans().partition(drawn(0), k)


def test_a_price_of_groups_goes_to_the_relaxation() -> None:
    rows, labels = preferences(n=12, k=3, seed=0)
    partition = AffinityGraph.from_factors(rows).partition(trace_penalty=1.0)
    assert partition.trace_penalty == 1.0
    assert partition.agreement(labels).nmi == 1.0
