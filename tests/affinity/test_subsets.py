from itertools import combinations
from math import comb
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gradex.affinity import AffinityGraph
from gradex.affinity.subsets import pair_coverage, sample_subsets


def coverage_oracle(subsets, n):
    counts = np.zeros((n, n), dtype=int)
    for subset in subsets:
        for i in subset:
            for j in subset:
                counts[i, j] += 1
    return counts


def covers_every_pair(subsets, n):
    return set(combinations(range(n), 2)) == {pair for subset in subsets for pair in combinations(subset, 2)}


def test_all_subsets_in_lexicographic_order_when_they_are_few():
    assert sample_subsets(5, 10, 3, seed=0) == list(combinations(range(5), 3))
    assert sample_subsets(5, 99, 3, seed=1) == list(combinations(range(5), 3))
    assert sample_subsets(4, 1, 4, seed=0) == [(0, 1, 2, 3)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("n", "count", "size"), [(6, 12, 3), (8, 40, 4), (8, 69, 4), (12, 50, 4), (30, 200, 5), (100, 600, 10)]
)
def test_subsets_are_distinct_sorted_and_balanced(n, count, size, seed):
    subsets = sample_subsets(n, count, size, seed)
    assert len(set(subsets)) == len(subsets) == count
    assert all(list(subset) == sorted(set(subset)) and len(subset) == size for subset in subsets)
    assert covers_every_pair(subsets, n)
    coverage = pair_coverage(subsets, n)
    meetings = coverage[np.triu_indices(n, 1)]
    assert np.ptp(np.diag(coverage)) <= 5
    assert meetings.std() < 0.6 * np.sqrt(
        meetings.mean()
    )  # a plain random draw is near the square root of the mean


def test_every_feasible_request_is_met_or_told_a_count_that_is():
    for n in range(2, 8):
        for size in range(2, n + 1):
            for count in range(1, comb(n, size)):
                try:
                    subsets = sample_subsets(n, count, size, seed=0)
                except ValueError as error:
                    promised = str(error).split("count=")[-1].split()[0]
                    if "covers all" in str(error):
                        assert covers_every_pair(sample_subsets(n, int(promised), size, seed=0), n)
                    else:
                        assert "Schönheim" in str(error)
                else:
                    assert len(set(subsets)) == count
                    assert covers_every_pair(subsets, n)


def test_seed_decides_and_nothing_else_does():
    first = sample_subsets(20, 60, 4, seed=3)
    np.random.seed(0)  # noqa: NPY002
    np.random.random(7)  # noqa: NPY002
    assert sample_subsets(20, 60, 4, seed=3) == first
    assert sample_subsets(20, 60, 4, seed=4) != first


def test_a_thousand_tasks():
    n, size = 1000, 20
    subsets = sample_subsets(n, 6000, size, seed=0)
    assert pair_coverage(subsets, n).min() >= 1


def test_impossible_requests_say_why():
    with pytest.raises(ValueError, match=r"n=1 .* at least 2"):
        sample_subsets(1, 5, 2, seed=0)
    with pytest.raises(ValueError, match=r"size=1 .* from 2 to 10"):
        sample_subsets(10, 50, 1, seed=0)
    with pytest.raises(ValueError, match=r"size=11 .* from 2 to 10"):
        sample_subsets(10, 50, 11, seed=0)
    with pytest.raises(
        ValueError, match=r"count=5 .* all 45 pairs of 10 tasks; every design needs at least 17"
    ):
        sample_subsets(10, 5, 3, seed=0)


def test_coverage_matches_counting_one_by_one():
    rng = np.random.default_rng(0)
    subsets = [rng.choice(9, size=rng.integers(1, 9), replace=False) for _ in range(40)]
    np.testing.assert_array_equal(pair_coverage(subsets, 9), coverage_oracle(subsets, 9))


@pytest.mark.wrong_types
@pytest.mark.parametrize("name", ["n", "count", "size", "seed"])
def test_a_draw_is_told_in_whole_numbers(name):
    given = {"n": 6, "count": 12, "size": 3, "seed": 0}
    with pytest.raises(ValueError, match=rf"{name} is 2\.5: give a whole number"):
        sample_subsets(**given | {name: 2.5})
    as_float = {name: float(value) for name, value in given.items()}
    assert sample_subsets(**as_float) == sample_subsets(**given)
    with pytest.raises(ValueError, match="seed=-1 is too small"):
        sample_subsets(**given | {"seed": -1})


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("subsets", "message"),
    [
        ([], "at least one"),
        ([(0, 1), ()], "at least one"),
        ([(0, 1), (1, 1)], "subset 1 names a task twice"),
        ([(0, 4)], "task 4"),
        ([0, 1], "subsets are a list: give a sequence of sequences of indices"),
        ([iter((0, 1))], "subsets are a list: give a sequence of sequences of indices"),
    ],
)
def test_malformed_subsets(subsets, message):
    with pytest.raises(ValueError, match=message):
        pair_coverage(subsets, 4)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("subset", "task"),
    [
        ((0, 1.9), "1.9: give indices, whole numbers from 0"),
        (("0", "1"), "'0': give indices, whole numbers from 0"),
        ((np.nan, 1), "nan: give indices, whole numbers from 0"),
        (np.array([0.0, 1.0]), "0.0: give indices, whole numbers from 0"),
        ((True, False), "True: give indices, not a mask"),
        (np.array([True, False]), "a bool.*: give indices, not a mask"),
        (torch.tensor([True, False]), "a Tensor: give indices, not a mask"),
        ((0, 10**30), f"{10**30}, outside 0..3; use the indices"),
    ],
)
def test_tasks_are_named_by_indices(subset, task):
    given = [(0, 1), subset, (0, 2), (1, 2)]
    scores = SimpleNamespace(subsets=given, score=np.arange(4.0), per_task=np.zeros((4, 4)))
    for use in (lambda: pair_coverage(given, 4), lambda: AffinityGraph.from_scores(scores)):
        with pytest.raises(ValueError, match=f"a subset names task {task}"):
            use()


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    "subsets",
    [
        [{0, 1}, {1, 2}],
        [range(2), range(1, 3)],
        [np.array([0, 1], dtype=np.uint8), [np.int32(1), 2]],
        np.array([[0, 1], [1, 2]]),
        torch.tensor([[0, 1], [1, 2]]),
    ],
)
def test_indices_of_any_kind_will_do(subsets):
    expected = [[1, 1, 0], [1, 2, 1], [0, 1, 1]]
    np.testing.assert_array_equal(pair_coverage(subsets, 3), expected)


@pytest.mark.parametrize(("n", "size", "least"), [(9, 4, 5), (20, 3, 5), (30, 5, 5), (60, 10, 10)])
def test_the_draw_ends_when_all_pairs_have_met_often_enough(n, size, least):
    subsets = sample_subsets(n, None, size, seed=2)
    pairs = np.triu_indices(n, 1)
    assert pair_coverage(subsets, n)[pairs].min() == least
    assert pair_coverage(subsets[:-1], n)[pairs].min() == least - 1
    assert len(set(subsets)) == len(subsets)
    # A design that wastes nothing needs this many.
    assert len(subsets) < 2.5 * least * comb(n, 2) / comb(size, 2)
    assert sample_subsets(n, len(subsets), size, seed=2) == subsets


def test_no_more_than_all_subsets():
    assert sample_subsets(6, None, 3, seed=0) == list(combinations(range(6), 3))
    assert sample_subsets(5, None, 2, seed=0) == list(combinations(range(5), 2))
    assert sample_subsets(5, None, 5, seed=0) == [(0, 1, 2, 3, 4)]
