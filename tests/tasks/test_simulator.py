"""Results of pools are put where they belong."""

from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from gradex.tasks.simulator import PoolSimulator


class Backwards:
    """A pool that answers in reverse order, and observes (its gain, the seed, the last action)."""

    def __init__(self, name: str, num_envs: int, env_seed: list[int], gain: float, **rest: Any) -> None:
        self.n, self.seeds, self.gain = num_envs, np.array(env_seed), gain
        self.actions = np.zeros(num_envs)

    def async_reset(self) -> None:
        self.actions[:] = -1

    def send(self, actions: np.ndarray, env_id: np.ndarray) -> None:
        self.actions[env_id] = actions

    def recv(self) -> tuple:
        order = np.arange(self.n)[::-1]
        seen = np.stack([np.full(self.n, self.gain), self.seeds, self.actions], axis=1)[order]
        odd = (self.seeds % 2 == 1)[order]
        info = {"env_id": order, "crashed": odd}
        return seen.reshape(self.n, 3, 1).astype(np.float32), self.gain * self.actions[order], odd, ~odd, info


def test_answers_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envpool.make", Backwards)
    space = Box(-np.inf, np.inf, (3,), np.float32)
    gains = np.array([1.0, 2.0, 1.0, 3.0, 1.0])
    seeds = np.array([11, 12, 13, 14, 15])
    simulator = PoolSimulator(
        "any", [{"gain": gain} for gain in gains], seeds, space, Discrete(9), ("crashed",)
    )
    start, _ = simulator.reset()
    np.testing.assert_array_equal(start, np.stack([gains, seeds, -np.ones(5)], axis=1))
    assert len(simulator._pools) == 3
    actions = np.arange(5)
    observation, reward, terminated, truncated, info = simulator.step(actions)
    np.testing.assert_array_equal(observation, np.stack([gains, seeds, actions], axis=1))
    np.testing.assert_array_equal(reward, gains * actions)
    np.testing.assert_array_equal(terminated, seeds % 2 == 1)
    np.testing.assert_array_equal(truncated, seeds % 2 == 0)
    np.testing.assert_array_equal(info["crashed"], terminated)
    simulator.close()
