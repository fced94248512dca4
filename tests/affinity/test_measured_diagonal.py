"""What a task has of its own company is read off the subsets of one."""

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest

from gradex.affinity import AffinityGraph, PairwiseAffinity

N = 7
COMPANY = list(combinations(range(N), 3))
ALONE = [(task,) for task in range(N)]


def scores(interactions: np.ndarray, subsets: list[tuple[int, ...]], noise: float = 0.0) -> np.ndarray:
    """Each task has its difficulty, and the mean of what its subset does to it, itself included."""
    rng = np.random.default_rng(1)
    difficulty = rng.normal(size=N)
    found = np.full((len(subsets), N), np.nan)
    for row, subset in enumerate(subsets):
        for task in subset:
            found[row, task] = difficulty[task] + interactions[task, list(subset)].mean()
    return found + noise * rng.normal(size=found.shape)


@pytest.fixture
def interactions() -> np.ndarray:
    matrix = np.random.default_rng(0).normal(size=(N, N))
    return matrix + matrix.T


@pytest.mark.parametrize("by_task", [True, False])
def test_the_diagonal_continues_the_other_entries(interactions: np.ndarray, by_task: bool) -> None:
    per_task = scores(interactions, ALONE + COMPANY)
    score = per_task if by_task else np.nanmean(per_task, axis=1)
    found = PairwiseAffinity(ridge=1e-9, normalise=None).matrix(ALONE + COMPANY, score, N)
    # Two of three members are others: so are interactions seen. What adds a_i + a_j changes no groups.
    expected = interactions * 2 / 3
    centre = np.eye(N) - 1 / N
    np.testing.assert_allclose(centre @ found @ centre, centre @ expected @ centre, atol=1e-4)


def test_one_task_at_odds_with_all_others_is_seen_by_its_diagonal_alone() -> None:
    kinds = np.array([1.0] * (N - 1) + [-1.0])
    per_task = scores(np.outer(kinds, kinds), ALONE + COMPANY, noise=0.02)
    planted = (kinds < 0).astype(int).tolist()

    def groups(subsets: list[tuple[int, ...]], per_task: np.ndarray) -> list[int]:
        told = SimpleNamespace(subsets=subsets, per_task=per_task, score=np.nanmean(per_task, axis=1))
        return AffinityGraph.from_scores(told).partition(k=2).labels.tolist()

    assert groups(ALONE + COMPANY, per_task) == planted
    # Without subsets of one its row is additive, and goes with the difficulty of tasks.
    assert groups(COMPANY, per_task[N:]) != planted


def test_tasks_by_themselves_stay_in_every_draw() -> None:
    per_task = scores(np.outer([1, 1, 1, 1, -1, -1, -1], [1, 1, 1, 1, -1, -1, -1]), ALONE + COMPANY[:25])
    told = SimpleNamespace(
        subsets=ALONE + COMPANY[:25], per_task=per_task, score=np.nanmean(per_task, axis=1)
    )
    graph = AffinityGraph.from_scores(told)
    draws = graph.bootstrap(draws=10)
    assert (draws.groups(2) == graph.partition(k=2).labels).all()
    assert graph.stderr.shape == (N, N)


def test_some_tasks_by_themselves_are_not_enough(interactions: np.ndarray) -> None:
    some = scores(interactions, ALONE[:3] + COMPANY)
    found = PairwiseAffinity(ridge=1e-9, normalise=None).matrix(ALONE[:3] + COMPANY, some, N)
    less = PairwiseAffinity(ridge=1e-9, normalise=None).matrix(COMPANY, some[3:], N)
    assert found.shape == less.shape
    assert np.isfinite(found).all()
