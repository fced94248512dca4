"""A policy: its network and the distribution's own parameters in one row."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gradex import PPO, MetaPolicy
from gradex.policies import MLP, Categorical, Gaussian, Policy, action_distribution
from gradex.seeds import Streams
from gradex.tasks import TaskSuite
from tests.oracles.ppo import module


def test_the_own_parameters_stand_at_the_end_of_a_row() -> None:
    policy = Policy(MLP(3, 2, layers=2, width=4), Gaussian(2))
    rows = policy.initial(Streams([0, 1])).double()
    assert list(policy.shapes) == ["0.weight", "0.bias", "1.weight", "1.bias", "log_std"]
    assert policy.size == policy.network.size + 2 == rows.shape[1]
    assert (rows[:, -2:] == 0).all()
    rows[:, -2:] = torch.tensor([[-1.0, 0.5], [0.2, 0.3]])
    generator = torch.Generator().manual_seed(0)
    observations, actions = (
        torch.randn(2, 7, size, generator=generator, dtype=torch.float64) for size in (3, 2)
    )
    tasks = torch.zeros(2, 7, dtype=torch.int64)
    ours = policy.log_prob(rows, observations, tasks, actions)
    for index in range(2):
        mean = module(policy.network, rows[index, :-2])(observations[index])
        expected = (
            torch.distributions.Normal(mean, rows[index, -2:].exp()).log_prob(actions[index]).sum(dim=1)
        )
        torch.testing.assert_close(ours[index], expected, rtol=1e-12, atol=1e-12)


def test_a_discrete_policy_owns_nothing_beyond_its_network() -> None:
    policy = Policy(MLP(3, 4, layers=2, width=4), Categorical(4))
    assert policy.size == policy.network.size
    outputs, own = policy.outputs(
        policy.initial(Streams([0])), torch.zeros(1, 2, 3), torch.zeros(1, 2, dtype=torch.int64)
    )
    assert outputs.shape == (1, 2, 4)
    assert own == {}


def test_a_fresh_policy_is_close_to_uniform() -> None:
    policy = Policy(MLP(3, 4), Categorical(4))
    observations = torch.from_numpy(Streams([0]).normals(50, 3)).float()
    outputs, _ = policy.outputs(
        policy.initial(Streams([0])), observations, torch.zeros(1, 50, dtype=torch.int64)
    )
    assert (torch.softmax(outputs, dim=-1) - 0.25).abs().max() < 0.02


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (spaces.Discrete(5), Categorical(5)),
        (spaces.Discrete(3, start=2), Categorical(3)),
        (spaces.Box(-1, 1, (4,), np.float32), Gaussian(4)),
        (spaces.Box(-np.inf, np.inf, (2,), np.float32), Gaussian(2)),
        (spaces.Box(0, np.inf, (2,), np.float64), Gaussian(2)),
        (spaces.Box(np.finfo(np.float32).min, np.finfo(np.float32).max, (1,), np.float32), Gaussian(1)),
        (spaces.Box(0, 3e38, (1,)), Gaussian(1)),  # a little beyond single precision ends
        (spaces.Box(0, 255, (2,), np.uint8), Gaussian(2, (127.5, 127.5), (127.5, 127.5))),
        (
            spaces.Box(np.array([-1, 100, -np.inf, 3]), np.array([1, 200, 0, 3]), dtype=np.float64),
            Gaussian(4, (0.0, 150.0, 0.0, 3.0), (1.0, 50.0, 1.0, 1.0)),
        ),
    ],
)
def test_the_distribution_fits_the_action_space(space: gymnasium.Space, expected: object) -> None:
    assert action_distribution(space) == expected


class Aim(gymnasium.Env):
    """Pays for closeness to three quarters of the range of actions."""

    def __init__(self, low: float, high: float) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = spaces.Box(low, high, (1,), np.float32)
        self.low, self.width = low, high - low

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.time += 1
        reward = -abs((float(action[0]) - self.low) / self.width - 0.75)
        return np.full(1, self.time / 5, np.float32), reward, self.time >= 5, False, {}


@pytest.mark.parametrize(("low", "high"), [(0, 20), (100, 200), (-1500, 1500)])
def test_ppo_learns_the_same_in_any_range_of_actions(low: float, high: float) -> None:
    def trained(*ends: float) -> MetaPolicy:
        suite = TaskSuite.from_gymnasium({"aim": lambda: Aim(*ends)})
        return MetaPolicy(suite, layers=2, width=8, learner=PPO(steps=32, copies=2)).fit(256)

    usual, ours = trained(-1, 1), trained(low, high)
    start = usual.initial([usual.seed]).actors[0].numpy()
    assert np.abs(usual.parameters - start).max() > 0.01
    np.testing.assert_allclose(ours.parameters, usual.parameters, atol=1e-3)


@pytest.mark.parametrize("space", [spaces.Box(-1, 1, (2, 2), np.float32), spaces.MultiDiscrete([2, 3])])
def test_other_spaces_are_refused(space: gymnasium.Space) -> None:
    with pytest.raises(
        ValueError, match=r"^action space .* is not supported: use Discrete or a one-dimensional Box$"
    ):
        action_distribution(space)
