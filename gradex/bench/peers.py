"""Learners that a user would pick instead."""

import time
from collections.abc import Callable

import gymnasium

from gradex.learners import PPO


def stable_baselines3_speed(
    make: Callable[[], gymnasium.Env], environments: int, ours: PPO, batch: int, steps: int
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
    start = time.perf_counter()
    peer.learn(steps)
    return steps / (time.perf_counter() - start)
