"""Scores of subsets: whose arrays they are, their means, and their units."""

import numpy as np
import pytest
import torch

from gradex.surrogate import SubsetScores


def test_scores_are_read_only_and_arrays_of_the_caller_stay_as_they_are() -> None:
    own, drawn = np.ones((1, 2)), np.ones((3, 1, 2))
    scores = SubsetScores(((0, 1),), own, np.ones(1), lambda: drawn)
    for array in (scores.per_task, scores.score, scores.draws):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5
    assert own.flags.writeable and drawn.flags.writeable


@pytest.mark.wrong_types
def test_scores_may_be_tensors_that_require_a_gradient() -> None:
    own = torch.tensor([[0.5, 1.0]], requires_grad=True)
    scores = SubsetScores(((0, 1),), own, own.mean(dim=1), own[None])
    assert scores.per_task.tolist() == [[0.5, 1.0]] and scores.score.tolist() == [0.75]
    assert scores.draws.tolist() == [[[0.5, 1.0]]]


def test_scores_of_other_subsets_have_no_mean() -> None:
    orders = ((0, 1), (1, 2)), ((1, 2), (0, 1))
    parts = [SubsetScores(subsets, np.ones((2, 3)), np.ones(2)) for subsets in orders]
    for wrong in (parts, []):
        with pytest.raises(ValueError, match="parts have not the same subsets in one order"):
            SubsetScores.mean(wrong)


def test_standardised_scores_know_no_units() -> None:
    rng = np.random.default_rng(0)
    subsets = ((0,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
    inside = np.array([[task in subset for task in range(4)] for subset in subsets])
    per_task = np.where(inside, rng.normal(size=(5, 4)), np.nan)  # of task 3 nothing is known
    units, drawn = np.array([1.0, 1e3, 1e-3, 1.0]), np.where(inside, rng.normal(size=(2, 5, 4)), np.nan)
    one = SubsetScores(subsets, per_task, np.nanmean(per_task, axis=1), drawn)
    moved = per_task * units + 7.0
    other = SubsetScores(subsets, moved, np.nanmean(moved, axis=1), lambda: drawn * units + 7.0)
    for each in (one, other):
        found = each.standardised()
        together = found.per_task[1:, :3]
        np.testing.assert_allclose(np.nanmean(together, axis=0), 0, atol=1e-9)
        np.testing.assert_allclose(np.nanstd(together, axis=0), 1)
        np.testing.assert_allclose(found.score, np.nanmean(found.per_task, axis=1))
        np.testing.assert_allclose(found.per_task, one.standardised().per_task, atol=1e-9)
        np.testing.assert_allclose(found.draws, one.standardised().draws, atol=1e-9)


def test_a_task_that_scores_the_same_in_any_company_has_nothing() -> None:
    per_task = np.array([[1e9 + 1e-7, 1.0], [1e9, 2.0]])
    found = SubsetScores(((0, 1), (0, 1)), per_task, per_task.mean(axis=1)).standardised()
    np.testing.assert_array_equal(found.per_task, [[0, -1], [0, 1]])
