"""The linear baseline against least squares sample by sample."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gradex.learners import Rollout, discounted_advantages
from gradex.learners.advantages import linear_baseline
from tests.oracles import maml

DISCOUNT = 0.9


def random_rollout(ends: float, seed: int = 0, steps: int = 12) -> Rollout:
    """Make a rollout of 2 policies with 3 environments each; the step after an end only resets."""
    rng = np.random.default_rng(seed)
    shape = (steps, 2, 3)
    ended, resets = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for t in range(steps):
        resets[t] = ended[t - 1] if t else False
        ended[t] = (rng.random(shape[1:]) < ends) & ~resets[t]
    rewards = rng.normal(size=shape) * ~resets
    observations = torch.from_numpy(rng.normal(size=(steps + 1, 2, 3, 2)))
    terminated = ended & (rng.random(shape) < 0.5)
    tasks = np.array([[0] * 3, [1] * 3])
    return Rollout(observations, torch.zeros(shape), rewards, terminated, ended, ~resets, None, tasks)


def columns(rollout: Rollout, policy: int) -> tuple[list[list[maml.Step]], list[np.ndarray]]:
    """Give the same rollout environment by environment, and the last observations."""
    seen, result = rollout.observations[:, policy].numpy(), []
    for place in range(3):
        column: list[maml.Step] = []
        for t in range(len(rollout.rewards)):
            at = (t, policy, place)
            begins = t == 0 or (t > 1 and rollout.ended[t - 2, policy, place])
            column.append(
                maml.Step(
                    seen[t, place], np.zeros(1), float(rollout.rewards[at]), bool(rollout.terminated[at]),
                    bool(rollout.ended[at]), bool(rollout.real[at]), 0 if begins else column[-1].elapsed + 1,
                )
            )  # fmt: skip
        result.append(column)
    return result, list(seen[-1])


@pytest.mark.parametrize("ends", [0.0, 0.3])
def test_equals_least_squares_sample_by_sample(ends: float) -> None:
    rollout = random_rollout(ends)
    values = linear_baseline(rollout, DISCOUNT)
    for policy in range(2):
        slow = np.array(maml.linear_baseline(*columns(rollout, policy), DISCOUNT)).T
        # The value beyond a step that only resets serves nobody.
        served = np.concatenate([np.ones((1, 3), dtype=bool), rollout.real[:, policy]])
        np.testing.assert_allclose(values[:, policy][served], slow[served], rtol=1e-7, atol=1e-9)


def test_is_exact_where_returns_are_in_its_span() -> None:
    rollout = random_rollout(0.0)
    # Paid at the end only, the return grows by 1/γ a step; the policies see just that.
    rollout.rewards[:-1], rollout.rewards[-1] = 0, 1
    growth = DISCOUNT ** -np.arange(13.0)
    rollout.observations[..., 1] = torch.from_numpy(growth)[:, None, None]
    values = linear_baseline(rollout, DISCOUNT)
    expected = np.broadcast_to((growth / growth[11])[:12, None, None], (12, 2, 3))
    np.testing.assert_allclose(values[:-1], expected, atol=1e-3)


def test_rows_are_fitted_apart() -> None:
    rollout = random_rollout(0.2)
    before = linear_baseline(rollout, DISCOUNT)
    rollout.rewards[:, 1] += 5
    after = linear_baseline(rollout, DISCOUNT)
    np.testing.assert_array_equal(before[:, 0], after[:, 0])
    assert np.abs(after[:, 1] - before[:, 1]).max() > 1


@pytest.mark.parametrize("constants", [(0.0,), (255.0, 255.0), (1000.0, 2000.0, 3000.0), (1e4, 1e4)])
def test_constants_in_observations_change_nothing(constants: tuple[float, ...]) -> None:
    plain = random_rollout(0.2)
    beside = torch.tensor(constants).expand(*plain.observations.shape[:-1], -1)
    observations = torch.cat([plain.observations, beside], dim=-1)
    values = linear_baseline(replace(plain, observations=observations), DISCOUNT)
    np.testing.assert_allclose(values, linear_baseline(plain, DISCOUNT), atol=1e-9)


def test_units_of_observations_and_rewards_do_not_matter() -> None:
    plain = random_rollout(0.2)
    units = torch.tensor([1e-6, 1e5], dtype=torch.float64)
    scaled = replace(plain, observations=units * plain.observations, rewards=1e-9 * plain.rewards)
    values = linear_baseline(scaled, DISCOUNT)
    np.testing.assert_allclose(1e9 * values, linear_baseline(plain, DISCOUNT), atol=1e-9)


@pytest.mark.parametrize("offset", [0.0, 273.15, 1e4])
def test_where_observations_have_their_zero_does_not_matter(offset: float) -> None:
    rollout = random_rollout(0.0, steps=60)
    seen = rollout.observations[:60].numpy()
    # Without discount the return is the reward, which the squares explain.
    rewards = seen[..., 0] ** 2 - seen[..., 1] / 2
    moved = replace(rollout, observations=rollout.observations + offset, rewards=rewards)
    values = linear_baseline(moved, discount=0.0)
    np.testing.assert_allclose(values[:-1], rewards, atol=1e-3)


@pytest.mark.wrong_types
def test_whole_rewards_have_advantages_with_fractions() -> None:
    ends, rewards = np.array([False, False, True]), np.array([1, 1, 1])
    found = discounted_advantages(rewards, np.zeros(4, dtype=int), ends, ends, 1, 0.5)
    np.testing.assert_array_equal(found, [1.75, 1.5, 1])
    single = discounted_advantages(*(np.ones(m, np.float32) for m in (3, 4)), ends, ends, 0.9, 0.5)
    assert single.dtype == np.float32  # and is not wider on the way, which would change trainings


@pytest.mark.wrong_types
@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.float64, list])
def test_flags_may_be_numbers(kind: type) -> None:
    rng = np.random.default_rng(0)
    rewards, values, flags = rng.normal(size=4), rng.normal(size=5), np.array([False, True, False, False])
    other = flags.tolist() if kind is list else flags.astype(kind)
    found, expected = (
        discounted_advantages(rewards, values, each, each, 0.9, 0.95) for each in (other, flags)
    )
    np.testing.assert_array_equal(found, expected)
