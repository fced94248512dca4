from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradex.surrogate.logistic import SubsetLogisticRegression
from gradex.surrogate.scores import SCORES, Improvement, NegativeLoss, Score, score_subsets
from tests.oracles import surrogate as oracle

DOUBLE = torch.float64


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
@given(labels=st.lists(st.sampled_from([-1.0, 1.0]), min_size=4, max_size=4), margin=st.floats(0.01, 3))
def test_every_score_gains_over_no_step_by_the_sign_of_the_margin(
    score: Score, labels: list[float], margin: float
) -> None:
    y, w = torch.tensor(labels, dtype=DOUBLE), torch.tensor([0.0, 0.5, 1.0, 3.0], dtype=DOUBLE)
    margins = torch.tensor([-margin, 0.0, margin], dtype=DOUBLE)[:, None].expand(3, 4)
    worse, same, better = score.per_sample(margins, y, w)
    assert (worse[1:] < same[1:]).all() and (better[1:] > same[1:]).all()
    assert worse[0] == same[0] == better[0] == 0  # no weight


def test_negative_loss_is_that_of_eq_3() -> None:
    margins = torch.linspace(-4, 4, 9, dtype=DOUBLE)
    weights = torch.full((9,), 2.0, dtype=DOUBLE)
    expected = -2 * np.log1p(np.exp(-margins.numpy()))
    np.testing.assert_allclose(
        NegativeLoss().per_sample(margins, torch.ones_like(margins), weights), expected
    )


def test_improvement_is_the_clipped_objective() -> None:
    rng = np.random.default_rng(0)
    advantages, change = rng.standard_normal(50), rng.standard_normal(50)
    labels = np.sign(advantages)
    ratio = np.exp(change)
    expected = np.minimum(ratio * advantages, np.clip(ratio, 0.7, 1.3) * advantages) - advantages
    tensors = (torch.from_numpy(x) for x in (labels * change, labels, np.abs(advantages)))
    np.testing.assert_allclose(Improvement(clip=0.3).per_sample(*tensors), expected, atol=1e-14)


def test_improvement_stays_finite() -> None:
    margins = torch.tensor([1e4, -1e4])
    assert torch.isfinite(Improvement().per_sample(margins, torch.ones(2), torch.ones(2))).all()
    assert torch.isfinite(Improvement().per_sample(margins, -torch.ones(2), torch.ones(2))).all()


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


def held_out(samples: dict[str, np.ndarray], folds: np.ndarray):
    members = np.array([[task in subset for task in range(4)] for subset in SUBSETS])
    fitted = folds != np.arange(3)[:, None]
    solution = SubsetLogisticRegression(**samples, regularization=0.01).solve(members, fitted, 1e-12)
    return score_subsets(NegativeLoss(), members, solution.theta, **samples, folds=folds)


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

    def per_sample(self, margins, labels, weights):  # type: ignore[no-untyped-def]
        return margins.square()


def test_a_divergence_fixes_the_length_of_the_steps_and_keeps_their_direction(samples) -> None:
    folds = np.arange(200) % 3
    members = np.array([[task in subset for task in range(4)] for subset in SUBSETS])
    theta = np.random.default_rng(1).standard_normal((len(SUBSETS), 3, 6))
    theta[2] = 0.0
    free = score_subsets(Change(None), members, theta, **samples, folds=folds).per_task
    fixed = score_subsets(Change(0.02), members, theta, **samples, folds=folds).per_task
    longer = score_subsets(Change(0.02), members, 5 * theta, **samples, folds=folds).per_task
    np.testing.assert_allclose(longer, fixed, rtol=1e-5)
    sizes = np.bincount(samples["tasks"])
    for inside, before, after, number in zip(members, free, fixed, range(4), strict=True):
        divergence = 0.5 * np.average(after[inside], weights=sizes[inside])
        assert divergence == pytest.approx(0.0 if number == 2 else 0.02, rel=1e-5)
        assert (before[inside] > 0).all() == (number != 2)


def test_a_divergence_counts_the_samples_that_are_scored(samples) -> None:
    # One fold, one subset: the scaled margins are known.
    theta = np.random.default_rng(1).standard_normal((1, 1, 6))
    members, folds = np.array([[True, False, True, False]]), np.zeros(200, dtype=int)
    found = score_subsets(NegativeLoss(divergence=0.3), members, theta, **samples, folds=folds)
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
