"""Advantages, learning curves and the scale of returns, against their definitions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradex.learners import Layout, Rollout, discounted_advantages
from gradex.learners.returns import EpisodeReturns, ReturnScale
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
    trace=st.floats(0, 1),
)
def test_advantages_equal_their_definition(
    seed: int, steps: int, ends: float, discount: float, trace: float
) -> None:
    rng = np.random.default_rng(seed)
    shape = (steps, 2, 3)
    rewards, values = rng.normal(size=shape), rng.normal(size=(steps + 1, 2, 3))
    ended = rng.random(shape) < ends
    terminated = ended & (rng.random(shape) < 0.5)
    ours = discounted_advantages(rewards, values, terminated, ended, discount, trace)
    for policy, environment in np.ndindex(2, 3):
        place = np.s_[:, policy, environment]
        expected = gae.advantages(
            rewards[place], values[place], terminated[place], ended[place], discount, trace
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
        curves.update(replace(rollout, success=success), number)
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
        curves.update(replace(rollout, success=~rollout.real), number)
    assert (curves.to_frame().success == 0).all()


def test_the_scale_is_the_deviation_of_all_discounted_returns_so_far() -> None:
    scale = ReturnScale(LAYOUT, 0.9, np.zeros(2))
    seen: list[list[float]] = [[], []]
    running = np.zeros(LAYOUT.real.shape)
    for rollout in random_rollouts(3, 6):
        ours = scale.update(rollout)
        for t in range(6):
            for policy, environment in np.argwhere(LAYOUT.real):
                place = policy, environment
                running[place] = 0.9 * running[place] + rollout.rewards[t][place]
                if rollout.real[t][place]:
                    seen[policy].append(float(running[place]))
                if rollout.ended[t][place]:
                    running[place] = 0
        np.testing.assert_allclose(ours, [np.std(each) for each in seen], rtol=1e-12)


@pytest.mark.parametrize(("known", "expected"), [([0.0, 0.0], [1.0, 1.0]), ([2.5, 0.0], [2.5, 1.0])])
def test_a_scale_of_nothing_is_one_and_a_known_scale_stays(known: list[float], expected: list[float]) -> None:
    rollout = random_rollouts(1, 3)[0]
    rollout.rewards[:] = 0
    assert ReturnScale(LAYOUT, 0.9, np.array(known)).update(rollout).tolist() == expected
