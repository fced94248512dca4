"""Advantages, learning curves and the scale of returns, against their definitions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradex.learners import Layout, Rollout, discounted_advantages
from gradex.learners.returns import EpisodeReturns, RunningReturns, TaskReturns
from tests.oracles import gae

LAYOUT = Layout.of([[2], [0, 1]], copies=2)


def random_rollouts(count: int, steps: int, seed: int = 0) -> list[Rollout]:
    """Make consecutive rollouts of one simulator: the step after an end only resets."""
    rng = np.random.default_rng(seed)
    shape = (count * steps, *LAYOUT.real.shape)
    rewards, ended = rng.normal(size=shape) * LAYOUT.real, np.zeros(shape, dtype=bool)
    resets = np.zeros_like(ended)
    for t in range(len(rewards)):
        resets[t] = ended[t - 1] if t else False
        rewards[t][resets[t]] = 0
        ended[t] = (rng.random(shape[1:]) < 0.3) & ~resets[t] & LAYOUT.real
    terminated = ended & (rng.random(shape) < 0.5)
    real = LAYOUT.real & ~resets
    unseen, actions = torch.zeros(steps + 1, *shape[1:], 1), torch.zeros(steps, *shape[1:])
    return [
        Rollout(unseen, actions, rewards[at], terminated[at], ended[at], real[at], None, LAYOUT.tasks)
        for at in (slice(start, start + steps) for start in range(0, count * steps, steps))
    ]


@given(
    seed=st.integers(0, 2**31),
    steps=st.integers(1, 12),
    ends=st.floats(0, 1),
    discount=st.floats(0, 1),
    gae_lambda=st.floats(0, 1),
)
def test_advantages_equal_their_definition(
    seed: int, steps: int, ends: float, discount: float, gae_lambda: float
) -> None:
    rng = np.random.default_rng(seed)
    shape = (steps, 2, 3)
    rewards, values = rng.normal(size=shape), rng.normal(size=(steps + 1, 2, 3))
    ended = rng.random(shape) < ends
    terminated = ended & (rng.random(shape) < 0.5)
    ours = discounted_advantages(rewards, values, terminated, ended, discount, gae_lambda)
    for policy, environment in np.ndindex(2, 3):
        place = np.s_[:, policy, environment]
        expected = gae.advantages(
            rewards[place], values[place], terminated[place], ended[place], discount, gae_lambda
        )
        np.testing.assert_allclose(ours[place], expected, rtol=0, atol=1e-12)


def test_an_episode_that_is_cut_off_is_continued_and_one_that_terminates_is_not() -> None:
    values = np.array([[0.0], [10.0], [0.0]])
    ended = np.array([[True], [False]])
    for terminated, expected in ((ended, 1.0), (np.zeros_like(ended), 1.0 + 0.5 * 10.0)):
        advantages = discounted_advantages(np.ones((2, 1)), values, terminated, ended, 0.5, 0.9)
        assert advantages[0, 0] == expected


@given(seed=st.integers(0, 2**31))
def test_what_follows_an_end_does_not_reach_back(seed: int) -> None:
    rollout = random_rollouts(1, 12, seed)[0]
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(13, *LAYOUT.real.shape))
    before = discounted_advantages(rollout.rewards, values, rollout.terminated, rollout.ended, 0.9, 0.8)
    # Other numbers from the step that resets onwards; the value of the final observation stays.
    for policy, environment in np.argwhere(rollout.ended.any(axis=0)):
        end = int(rollout.ended[:, policy, environment].argmax())
        rewards, others = rollout.rewards.copy(), values.copy()
        rewards[end + 1 :, policy, environment] += 5
        others[end + 2 :, policy, environment] += 5
        after = discounted_advantages(rewards, others, rollout.terminated, rollout.ended, 0.9, 0.8)
        np.testing.assert_array_equal(after[: end + 1], before[: end + 1])


def test_learning_curves_follow_episodes_across_rollouts() -> None:
    curves, expected, running = EpisodeReturns(LAYOUT, 3), [], np.zeros(LAYOUT.real.shape)
    for number, rollout in enumerate(random_rollouts(5, 4)):
        curves.update(rollout, 100 * (number + 1))
        finished: dict[tuple[int, int], list[float]] = {}
        for t in range(4):
            for policy, environment in np.argwhere(LAYOUT.real):
                running[policy, environment] += rollout.rewards[t, policy, environment]
                if rollout.ended[t, policy, environment]:
                    key = (int(policy), int(LAYOUT.tasks[policy, environment]))
                    finished.setdefault(key, []).append(float(running[policy, environment]))
                    running[policy, environment] = 0
        expected += [
            (100 * (number + 1), *key, np.mean(paid), len(paid)) for key, paid in sorted(finished.items())
        ]
    table = curves.to_frame()
    assert list(table.columns) == ["steps", "policy", "task", "return_mean", "episodes"]
    np.testing.assert_allclose(table.to_numpy(float), np.array(expected, dtype=float), rtol=1e-12)
    assert {(0, 2), (1, 0), (1, 1)} == set(zip(table.policy, table.task, strict=True))


def test_an_episode_succeeds_if_it_is_flagged_at_any_step() -> None:
    rng = np.random.default_rng(1)
    curves, flagged = EpisodeReturns(LAYOUT, 3), np.zeros(LAYOUT.real.shape, dtype=bool)
    expected = []
    for number, rollout in enumerate(random_rollouts(6, 4)):
        success = rng.random(rollout.ended.shape) < 0.15
        curves.update(replace(rollout, success=success, reported=np.ones_like(success)), number)
        finished: dict[tuple[int, int], list[bool]] = {}
        for t in range(4):
            for policy, environment in np.argwhere(LAYOUT.real):
                flagged[policy, environment] |= (success & rollout.real)[t, policy, environment]
                if rollout.ended[t, policy, environment]:
                    key = (int(policy), int(LAYOUT.tasks[policy, environment]))
                    finished.setdefault(key, []).append(bool(flagged[policy, environment]))
                    flagged[policy, environment] = False
        expected += [np.mean(each) for _, each in sorted(finished.items())]
    table = curves.to_frame()
    np.testing.assert_allclose(table.success, expected)
    assert 0 < np.mean(expected) < 1


def test_what_a_reset_says_of_success_does_not_count() -> None:
    curves = EpisodeReturns(LAYOUT, 3)
    for number, rollout in enumerate(random_rollouts(6, 4)):
        curves.update(replace(rollout, success=~rollout.real, reported=np.ones_like(rollout.real)), number)
    assert (curves.to_frame().success == 0).all()


@given(seed=st.integers(0, 2**31))
def test_moments_and_explained_variance_are_those_of_each_task_by_itself(seed: int) -> None:
    rollout = random_rollouts(1, 12, seed)[0]
    values = np.random.default_rng(seed).normal(size=(13, *LAYOUT.real.shape))
    ours = TaskReturns.of(rollout, values, 0.9, 3)
    seen: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for policy, environment in np.argwhere(LAYOUT.real):
        place = np.s_[:, policy, environment]
        advantages = gae.advantages(
            rollout.rewards[place], values[place], rollout.terminated[place], rollout.ended[place], 0.9, 1.0
        )
        own = seen.setdefault((int(policy), int(LAYOUT.tasks[policy, environment])), [])
        own += [
            (values[t, policy, environment] + advantages[t], values[t, policy, environment])
            for t in range(12)
            if rollout.real[t, policy, environment]
        ]
    for place in np.ndindex(2, 3):
        if place not in seen:
            assert np.isnan(ours.mean[place]) and np.isnan(ours.explained_variance[place])
            continue
        returns, known = np.array(seen[place]).T
        assert ours.mean[place] == pytest.approx(returns.mean(), abs=1e-9)
        assert ours.variance[place] == pytest.approx(returns.var(), abs=1e-9)
        explained = 1 - (returns - known).var() / returns.var()
        assert ours.explained_variance[place] == pytest.approx(explained, abs=1e-6)


def test_a_perfect_critic_explains_all_and_a_constant_one_nothing() -> None:
    rollout = random_rollouts(1, 12)[0]
    nothing = np.zeros((13, *LAYOUT.real.shape))
    ended = rollout.ended | (np.arange(12) == 11)[:, None, None]
    rollout = replace(rollout, ended=ended, terminated=ended)
    returns = discounted_advantages(rollout.rewards, nothing, ended, ended, 0.9, 1.0)
    perfect = np.concatenate([returns, nothing[:1]])
    present = np.array([[False, False, True], [True, True, False]])
    for values, expected in ((perfect, 1.0), (nothing + 7, 0.0)):
        explained = TaskReturns.of(rollout, values, 0.9, 3).explained_variance
        np.testing.assert_allclose(explained[present], expected, atol=1e-9)
        assert np.isnan(explained[~present]).all()


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_running_moments_take_a_tenth_of_the_latest_returns_in_any_unit(unit: float) -> None:
    nan = float("nan")
    returns = TaskReturns(
        unit * np.array([[10.0, 5.0, nan, 3.0]]), unit**2 * np.array([[4.0, 0.0, nan, 0.0]]), np.zeros((1, 4))
    )
    before = unit * np.array([[0.0, 0.0, 2.0, 3.0]]), unit * np.array([[3.0, 0.0, 1.0, 0.0]])
    mean, scale = returns.scale(*before)
    np.testing.assert_allclose(mean, unit * np.array([[1.0, 5.0, 2.0, 3.0]]))
    # First and second moment move by a tenth; a constant's scale is its size, and what was not met stays.
    mixed = np.sqrt(0.9 * 9 + 0.1 * (4 + 100) - 1)
    np.testing.assert_allclose(scale, unit * np.array([[mixed, 5.0, 1.0, 3.0]]))


def test_a_task_that_always_pays_nothing_has_the_scale_one() -> None:
    returns = TaskReturns(np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1)))
    assert returns.scale(np.zeros((1, 1)), np.zeros((1, 1)))[1].tolist() == [[1.0]]


def test_running_returns_have_the_deviation_of_all_discounted_rewards_so_far() -> None:
    ours = RunningReturns(LAYOUT, 0.9, np.array([[0, 0, 0], [0, 2.5, 0.0]]))
    seen: dict[tuple[int, int], list[float]] = {}
    running = np.zeros(LAYOUT.real.shape)
    for rollout in random_rollouts(3, 6):
        ours.update(rollout)
        for t in range(6):
            for policy, environment in np.argwhere(LAYOUT.real):
                place = policy, environment
                running[place] = 0.9 * running[place] + rollout.rewards[t][place]
                if rollout.real[t][place]:
                    key = (int(policy), int(LAYOUT.tasks[place]))
                    seen.setdefault(key, []).append(float(running[place]))
                if rollout.ended[t][place]:
                    running[place] = 0
        expected = np.zeros((2, 3))
        for place, each in seen.items():
            expected[place] = np.std(each)
        expected[1, 1] = 2.5  # known, and kept
        np.testing.assert_allclose(ours.scale, expected, rtol=1e-9)


@pytest.mark.parametrize("growth", [1.0, 1e3])
def test_scales_stay_once_they_are_kept_unless_sums_outgrow_them(growth: float) -> None:
    first, second = random_rollouts(2, 6)
    second = replace(second, rewards=growth * second.rewards)
    ours = RunningReturns(LAYOUT, 0.0, np.zeros((2, 3)))
    ours.update(first)
    ours.keep()
    kept, state = ours.scale, ours.state()
    ours.update(second)
    largest = np.zeros((2, 3))
    for policy, task in ((0, 2), (1, 0), (1, 1)):
        own = LAYOUT.tasks[policy] == task
        largest[policy, task] = np.abs(second.rewards * second.real)[:, policy, own].max()
    expected = np.maximum(kept, largest / 30)
    assert (expected > kept).any() == (growth > 1)
    np.testing.assert_allclose(ours.scale, expected)
    again = RunningReturns(LAYOUT, 0.0, np.zeros((2, 3)))
    again.restore(state)
    again.update(second)
    np.testing.assert_allclose(again.scale, expected)


def test_a_task_that_pays_nothing_is_scaled_when_it_first_pays() -> None:
    [rollout] = random_rollouts(1, 20)
    nothing = replace(rollout, rewards=np.zeros_like(rollout.rewards))
    rewards = np.zeros_like(rollout.rewards)
    step, environment = np.argwhere(rollout.real[:, 0])[-1]
    rewards[step, 0, environment] = -50.0
    ours = RunningReturns(LAYOUT, 0.9, np.zeros((2, 3)))
    for _ in range(1000):
        ours.update(nothing)
    ours.keep()
    assert ours.scale[0, 2] == 1
    ours.update(replace(rollout, rewards=rewards))
    ours.keep()
    # The deviation is far smaller, as such a reward is rare.
    assert ours.scale[0, 2] == pytest.approx(50 / 30)
