"""Fitting and adapting to each of many subsets."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from gradex import MetaPolicy
from gradex.learners import ActorCritic
from tests.meta_policy.small import LEARNER, ROLLOUT, small


# ---------------------------------------------------------------------- fitting to each of many subsets
def test_the_last_snapshot_of_all_tasks_is_what_fit_gives(meta: MetaPolicy) -> None:
    [[early, last]] = small(meta.suite).fit_each([range(4)], 20 * ROLLOUT, snapshots=2)
    np.testing.assert_array_equal(last.parameters, meta.parameters)
    assert torch.equal(last.agent_.critics, meta.agent_.critics)
    assert torch.equal(last.agent_.return_scale, meta.agent_.return_scale)
    pd.testing.assert_frame_equal(last.history_, meta.history_)
    assert early.history_.steps.max() <= 8 * ROLLOUT  # 2 of 5 rollouts of four tasks
    pd.testing.assert_frame_equal(early.history_, meta.history_[meta.history_.steps <= 8 * ROLLOUT])
    assert not np.allclose(early.parameters, last.parameters, atol=1e-3)


def test_a_subset_is_fitted_alike_alone_and_in_company(meta: MetaPolicy) -> None:
    subsets, seeds, rollouts = [[3], [0, 2], [1], [2, 0]], [0, 0, 7, 7], 4
    fresh = small(meta.suite)
    together = fresh.fit_each(subsets, rollouts * 6 * ROLLOUT, 2, seeds)
    assert not hasattr(fresh, "agent_")
    for subset, seed, policies in zip(subsets, seeds, together, strict=True):
        steps = rollouts * len(subset) * ROLLOUT
        [alone] = small(meta.suite, seed).fit_each([subset], steps, 2)
        for one, other in zip(policies, alone, strict=True):
            np.testing.assert_allclose(one.parameters, other.parameters, rtol=0, atol=1e-5)
            assert one.seed == other.seed == seed
            assert set(one.history_.task) <= set(subset)
            assert one.history_.steps.tolist() == other.history_.steps.tolist()
        assert policies[-1].history_.steps.max() == steps
    assert not np.allclose(together[1][-1].parameters, together[3][-1].parameters, atol=1e-3)


def test_fitting_starts_from_the_weights_of_its_seed(meta: MetaPolicy) -> None:
    frozen = MetaPolicy(meta.suite, learner=replace(LEARNER, learning_rate=1e-12), layers=3, width=8)
    subsets, seeds = [[1, 2], [0], [3]], [5, 5, 6]
    for [policy], seed in zip(frozen.fit_each(subsets, 4 * ROLLOUT, seeds=seeds), seeds, strict=True):
        start = ActorCritic.initial(meta.suite, [seed], layers=3, width=8)
        np.testing.assert_allclose(policy.parameters, start.actors[0].numpy(), rtol=0, atol=1e-7)


def test_snapshots_do_not_move_on_with_the_training(meta: MetaPolicy) -> None:
    [policies] = small(meta.suite).fit_each([[1, 2]], 8 * ROLLOUT, snapshots=4)
    start = ActorCritic.initial(meta.suite, [0], layers=3, width=8).actors[0].numpy()
    travelled = [np.linalg.norm(policy.parameters - start) for policy in policies]
    assert 0 < travelled[0] < travelled[-1]
    assert len({policy.parameters.tobytes() for policy in policies}) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subsets": []}, "no subset was given: give at least one"),
        ({"subsets": [[4]]}, "is not a subset of 4 tasks"),
        ({"subsets": [[0], [1]], "seeds": [1]}, "2 subsets have 1 seeds: give one for each"),
        ({"snapshots": 3}, "cannot keep 3 snapshots of 2 rounds: take 1 to 2, or more steps"),
        ({"snapshots": 0}, "cannot keep 0 snapshots of 2 rounds"),
        ({"steps": 0}, "cannot train for 0 environment steps"),
    ],
)
def test_what_cannot_be_fitted_is_refused(meta: MetaPolicy, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(meta.suite).fit_each(**{"subsets": [[0]], "steps": 2 * ROLLOUT, **settings})


# ---------------------------------------------------------------------- adapting
def test_a_subset_adapts_alike_alone_and_in_company(meta: MetaPolicy) -> None:
    subsets, rollouts = [[3], [0, 2], [1, 3, 0]], 3
    together = meta.adapt_each(subsets, rollouts * 6 * ROLLOUT)
    for subset, policy in zip(subsets, together, strict=True):
        alone = meta.adapt(subset, rollouts * len(subset) * ROLLOUT)
        np.testing.assert_allclose(policy.parameters, alone.parameters, rtol=0, atol=1e-5)
        assert np.abs(alone.parameters - meta.parameters).max() > 1e-2
        assert (policy.history_.policy == 0).all()
        assert set(policy.history_.task) == set(subset)


def test_adapting_leaves_the_meta_policy_alone(meta: MetaPolicy) -> None:
    before = meta.parameters
    adapted = meta.adapt([1], ROLLOUT)
    np.testing.assert_array_equal(meta.parameters, before)
    assert adapted.suite is meta.suite
    assert adapted.learner is meta.learner


def test_seeds_of_adaptation(meta: MetaPolicy) -> None:
    one, other = meta.adapt_each([[1], [1]], 2 * ROLLOUT, seeds=[3, 5])
    np.testing.assert_allclose(one.parameters, meta.adapt([1], ROLLOUT, seed=3).parameters, atol=1e-5)
    np.testing.assert_allclose(other.parameters, meta.adapt([1], ROLLOUT, seed=5).parameters, atol=1e-5)
    assert not np.allclose(one.parameters, other.parameters, atol=1e-4)
    assert (one.seed, other.config["lineage"]["seed"]) == (3, 5)


def test_what_trains_on_meets_no_random_number_again(meta: MetaPolicy) -> None:
    """Or the second half of a training would repeat the starts and the noise of the first."""
    default = meta.adapt([1], ROLLOUT)
    assert default.seed == meta.seed
    assert not np.allclose(default.parameters, meta.adapt([1], ROLLOUT, seed=0).parameters, atol=1e-4)
    np.testing.assert_array_equal(default.parameters, meta.adapt([1], ROLLOUT).parameters)


@pytest.mark.parametrize("subset", [[], [0, 0], [4], [-1]])
def test_what_is_not_a_subset_is_refused(meta: MetaPolicy, subset: list[int]) -> None:
    with pytest.raises(ValueError, match="is not a subset of 4 tasks: give different indices from 0 to 3"):
        meta.adapt(subset, ROLLOUT)


@pytest.mark.parametrize("subset", [{2, 1}, frozenset({1, 2}), {2: 0, 1: 0}.keys(), np.array([1, 2])])
@pytest.mark.wrong_types
def test_any_collection_is_a_subset_and_a_set_is_in_order(meta: MetaPolicy, subset: Any) -> None:
    expected = meta.adapt([1, 2], ROLLOUT)
    adapted = meta.adapt(subset, ROLLOUT)
    assert adapted.lineage.subset == (1, 2)
    np.testing.assert_array_equal(adapted.parameters, expected.parameters)
    pd.testing.assert_frame_equal(meta.evaluate(2, subset=subset), meta.evaluate(2, subset=[1, 2]))


@pytest.mark.wrong_types
def test_what_can_be_gone_through_only_once_is_no_subset(meta: MetaPolicy) -> None:
    told = "a generator is not a subset of 4 tasks: give different indices from 0 to 3"
    with pytest.raises(ValueError, match=told):
        meta.adapt((task for task in (0, 1)), ROLLOUT)
    with pytest.raises(ValueError, match=told):
        meta.evaluate(2, subset=(task for task in (0, 1)))
    for other, shown in ((np.array(3), "a ndarray"), ({7}, r"\[7\]"), ("01", "01")):
        with pytest.raises(ValueError, match=f"{shown} is not a subset of 4 tasks"):
            meta.evaluate(2, subset=other)


def test_with_parameters(meta: MetaPolicy) -> None:
    before = meta.parameters
    other = meta.with_parameters(before + 1)
    np.testing.assert_allclose(other.parameters, before + 1)
    np.testing.assert_array_equal(meta.parameters, before)
    assert torch.equal(other.agent_.critics, meta.agent_.critics)
    before[:] = 0  # what leaves is a copy
    assert np.abs(meta.parameters).max() > 0
    with pytest.raises(ValueError, match=rf"of shape \({len(before) - 1},\): give {len(before)} numbers"):
        meta.with_parameters(before[1:])


@pytest.mark.wrong_types
def test_with_parameters_takes_a_copy(meta: MetaPolicy) -> None:
    expected = meta.parameters
    array, tensor = expected.copy(), torch.from_numpy(expected.copy())
    others = [meta.with_parameters(each) for each in (array, tensor)]
    array[:], tensor[:] = 0, 0
    fixed = expected.copy()
    fixed.flags.writeable = False
    backwards = expected[::-1].copy()[::-1]
    for each in (fixed, backwards, torch.from_numpy(expected.copy()).requires_grad_()):
        others.append(meta.with_parameters(each))
    for other in others:
        np.testing.assert_array_equal(other.parameters, expected)
