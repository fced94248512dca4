"""Learners that a user would pick instead."""

import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from gradex.learners import PPO, SAC
from gradex.tasks import TaskSuite


def stable_baselines3_speed(
    make: Callable[[], gymnasium.Env],
    environments: int,
    ours: PPO,
    batch: int,
    steps: int,
    warm_up: bool = False,
) -> float:
    """Give the steps per second of stable-baselines3's PPO, learning included.

    Parameters
    ----------
    make : callable
        Makes one environment.
    environments : int
        Stepped one after the other in this process, as stable-baselines3 does by default.
    ours : PPO
        Length of a rollout and epochs are taken from here.
    batch : int
        Minibatch.
    steps : int
        Rounded up to whole rollouts.
    warm_up : bool
        Learn from one rollout more, before the clock starts.

    Raises
    ------
    ValueError
        If stable-baselines3 is not installed.
    """
    try:
        import stable_baselines3
        from stable_baselines3.common.env_util import make_vec_env
    except ImportError:
        raise ValueError("the peer stable-baselines3 is not installed: pip install 'gradex[bench]'") from None
    peer = stable_baselines3.PPO(
        "MlpPolicy",
        make_vec_env(make, environments, seed=0),
        n_steps=ours.steps,
        batch_size=batch,
        n_epochs=ours.epochs,
        seed=0,
        device="cpu",
        policy_kwargs={"net_arch": [64, 64, 64]},
    )
    rollout = ours.steps * environments
    steps = -(-steps // rollout) * rollout
    if warm_up:
        peer.learn(rollout)
    start = time.perf_counter()
    peer.learn(steps, reset_num_timesteps=not warm_up)
    return steps / (time.perf_counter() - start)


class OneEnvironment(gymnasium.Env):
    """The first task of a suite as a single environment, for suites that no user has as one."""

    def __init__(self, suite: TaskSuite) -> None:
        self.observation_space, self.action_space = suite.observation_space, suite.action_space
        self._simulator = suite[[0]].simulator(copies=1)
        self._begun = False

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        if self._begun:  # the step after the end of an episode only resets
            idle = np.zeros_like(self._simulator.action_space.sample())
            return self._simulator.step(idle)[0][0], {}
        self._begun = True
        return self._simulator.reset()[0][0], {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, _ = self._simulator.step(action[None])
        return observation[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), {}


def stable_baselines3_sac_speed(
    make: Callable[[], gymnasium.Env], ours: SAC, layers: int, width: int, steps: int
) -> float:
    """Give the environment steps per second of stable-baselines3's SAC, learning included.

    It makes one update after every step. Its activations are ReLU, as a user gets them.

    Parameters
    ----------
    make : callable
        Makes the environment.
    ours : SAC
        Batch, steps before the first update and capacity are taken from here.
    layers, width : int
        Affine layers and their size, as ours count them.
    steps : int

    Raises
    ------
    ValueError
        If stable-baselines3 is not installed.
    """
    try:
        import stable_baselines3
    except ImportError:
        raise ValueError("the peer stable-baselines3 is not installed: pip install 'gradex[bench]'") from None
    peer = stable_baselines3.SAC(
        "MlpPolicy",
        make(),
        batch_size=ours.batch,
        learning_starts=ours.start,
        buffer_size=ours.capacity,
        seed=0,
        device="cpu",
        policy_kwargs={"net_arch": [width] * (layers - 1)},
    )
    start = time.perf_counter()
    peer.learn(steps)
    return steps / (time.perf_counter() - start)
