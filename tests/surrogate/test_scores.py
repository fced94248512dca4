from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradex.surrogate.logistic import SubsetLogisticRegression
from gradex.surrogate.samples import Block, Samples
from gradex.surrogate.scores import SCORES, Improvement, NegativeLoss, Score, SubsetScores, score_subsets
from tests.oracles import surrogate as oracle

DOUBLE = torch.float64


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
@given(change=st.floats(0.01, 3), offset=st.floats(-2, 2))
def test_every_score_rises_with_what_serves_a_sample(score: Score, change: float, offset: float) -> None:
    changes = torch.tensor([-change, 0.0, change], dtype=DOUBLE)
    gain, loss = score.per_sample(changes, torch.tensor(offset, dtype=DOUBLE))
    # Clipping holds back what is gained, not what is lost.
    assert gain[0] < gain[1] < gain[2] and loss[0] > loss[1] > loss[2]


def test_negative_loss_is_that_of_eq_3() -> None:
    change, offsets = torch.linspace(-4, 4, 9, dtype=DOUBLE), torch.linspace(1, -1, 9, dtype=DOUBLE)
    margins = (change + offsets).numpy()
    gain, loss = NegativeLoss().per_sample(change, offsets)
    np.testing.assert_allclose(gain, -np.log1p(np.exp(-margins)))
    np.testing.assert_allclose(loss, -np.log1p(np.exp(margins)))


def test_improvement_is_the_clipped_objective() -> None:
    rng = np.random.default_rng(0)
    advantages, change = rng.standard_normal(50), rng.standard_normal(50)
    ratio = np.exp(change)
    expected = np.minimum(ratio * advantages, np.clip(ratio, 0.7, 1.3) * advantages) - advantages
    gain, loss = Improvement(clip=0.3).per_sample(torch.from_numpy(change), torch.zeros(50))
    found = gain.numpy() * advantages.clip(min=0) - loss.numpy() * advantages.clip(max=0)
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_improvement_stays_finite() -> None:
    for found in Improvement().per_sample(torch.tensor([1e4, -1e4]), torch.zeros(2)):
        assert torch.isfinite(found).all()


@pytest.mark.parametrize("clip", [0.0, 1.0, -0.2])
def test_refuses_a_clip_out_of_range(clip: float) -> None:
    with pytest.raises(ValueError, match=f"clip is {clip}: choose a number between 0 and 1"):
        Improvement(clip=clip)


@pytest.mark.parametrize("score", [NegativeLoss, Improvement])
@pytest.mark.parametrize("divergence", [0.0, -1.0, float("inf"), float("nan")])
def test_refuses_a_divergence_that_is_no_length(score: type[Score], divergence: float) -> None:
    with pytest.raises(ValueError, match=f"divergence is {divergence}: choose a positive number, or None"):
        score(divergence=divergence)


SUBSETS = [(0,), (0, 1), (1, 2, 3), (0, 1, 2, 3)]


@pytest.fixture
def samples() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    tasks = np.concatenate([np.arange(4).repeat(3), rng.integers(0, 4, 188)])
    return {
        "features": rng.standard_normal((200, 6)),
        "labels": rng.choice([-1.0, 1.0], 200),
        "weights": rng.exponential(size=200),
        "tasks": tasks,
    }


def blocks(samples: dict[str, np.ndarray]) -> list[Block]:
    return Samples(samples["labels"] * samples["weights"], samples["tasks"]).blocks()


def held_out(samples: dict[str, np.ndarray], folds: np.ndarray):
    members = np.array([[task in subset for task in range(4)] for subset in SUBSETS])
    fitted = folds != np.arange(3)[:, None]
    regression = SubsetLogisticRegression(samples["features"], blocks(samples), 0.01)
    solution = regression.solve(members, fitted, 1e-12)
    return score_subsets(NegativeLoss(), members, solution.theta, samples["features"], blocks(samples), folds)


def test_equal_fitting_and_scoring_fold_by_fold(samples) -> None:
    folds = np.arange(200) % 3
    scores = held_out(samples, folds)
    signed = samples["features"] * samples["labels"][:, None]
    expected = oracle.held_out_loss_scores(SUBSETS, signed, samples["weights"], samples["tasks"], folds, 0.01)
    np.testing.assert_allclose(scores.per_task, expected, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(scores.score, np.nanmean(expected, axis=1))
    assert scores.subsets == tuple(SUBSETS)


@dataclass(frozen=True)
class Change(Score):
    """The square of g·Δθ itself."""

    divergence: float | None

    def per_sample(self, change, offsets):  # type: ignore[no-untyped-def]
        return change.square(), change.square()


def test_a_divergence_fixes_the_length_of_the_steps_and_keeps_their_direction(samples) -> None:
    folds = np.arange(200) % 3
    members = np.array([[task in subset for task in range(4)] for subset in SUBSETS])
    theta = np.random.default_rng(1).standard_normal((len(SUBSETS), 3, 6))
    theta[2] = 0.0
    samples["weights"] = np.ones(200)
    own = (samples["features"], blocks(samples), folds)
    free = score_subsets(Change(None), members, theta, *own).per_task
    fixed = score_subsets(Change(0.02), members, theta, *own).per_task
    longer = score_subsets(Change(0.02), members, 5 * theta, *own).per_task
    np.testing.assert_allclose(longer, fixed, rtol=1e-5)
    sizes = np.bincount(samples["tasks"])
    for inside, before, after, number in zip(members, free, fixed, range(4), strict=True):
        divergence = 0.5 * np.average(after[inside], weights=sizes[inside])
        assert divergence == pytest.approx(0.0 if number == 2 else 0.02, rel=1e-5)
        assert (before[inside] > 0).all() == (number != 2)


class Own(Score):
    """Gives what it is told to, and says nothing of a divergence."""

    def __init__(self, given: Callable[[torch.Tensor], Any]) -> None:
        self.given = given

    def per_sample(self, change, offsets):  # type: ignore[no-untyped-def]
        return self.given(change)


def scored_by(score: Score, samples: dict[str, np.ndarray], count: int) -> SubsetScores:
    own = (samples["features"], blocks(samples), np.zeros(200, dtype=int))
    members = np.arange(4) < np.full((count, 1), 2)
    return score_subsets(score, members, np.ones((count, 1, 6)), *own)


def test_a_score_may_leave_out_the_divergence_and_give_arrays(samples) -> None:
    found = scored_by(Own(lambda change: [change.square().numpy()] * 2), samples, 2)
    np.testing.assert_array_equal(found.per_task, scored_by(Change(None), samples, 2).per_task)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("given", [lambda x: x, lambda x: (x.sum(), x.sum()), lambda x: (x,), lambda x: None])
def test_a_score_that_gives_no_pair_is_refused(samples, given: Callable[..., Any], count: int) -> None:
    with pytest.raises(
        ValueError, match=rf"Own.per_sample gives .*: give two tensors of shape \({count}, \d+"
    ):
        scored_by(Own(given), samples, count)


def test_a_divergence_counts_the_samples_that_are_scored(samples) -> None:
    # One fold, one subset: the scaled margins are known.
    theta = np.random.default_rng(1).standard_normal((1, 1, 6))
    members, folds = np.array([[True, False, True, False]]), np.zeros(200, dtype=int)
    score, own = NegativeLoss(divergence=0.3), (samples["features"], blocks(samples), folds)
    found = score_subsets(score, members, theta, *own)
    rows = np.isin(samples["tasks"], [0, 2])
    change = samples["features"] @ theta[0, 0]
    change *= np.sqrt(2 * 0.3 / np.mean(change[rows] ** 2))
    loss = -samples["weights"] * np.logaddexp(0, -samples["labels"] * change)
    expected = [loss[samples["tasks"] == task].mean() for task in (0, 2)]
    np.testing.assert_allclose(found.per_task[0, [0, 2]], expected, rtol=1e-6)


def test_table_has_one_row_per_subset_and_member(samples) -> None:
    scores = held_out(samples, np.arange(200) % 3)
    table = scores.to_frame()
    assert list(table.columns) == ["subset", "task", "task_score", "score"]
    assert [tuple(rows.task) for _, rows in table.groupby("subset")] == SUBSETS
    np.testing.assert_allclose(
        table.groupby("subset").task_score.mean(), table.groupby("subset").score.first()
    )
