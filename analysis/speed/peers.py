"""What a user would pick instead: which of it is installed, and how fast its learners are."""

import time
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from typing import Any

import gymnasium

from gradex.learners import PPO, SAC

#: What is imported, what pip calls it, and our extra that has it.
_EXTRAS = {
    "stable_baselines3": ("stable-baselines3", "speed"),
    "trak": ("traker", "speed"),
    "curvlinops": ("curvlinops-for-pytorch", "speed"),
    "envpool": ("envpool", "metaworld"),
    "metaworld": ("metaworld", "metaworld"),
    "highway_env": ("highway-env", "highway"),
}
#: As pip calls them.
PACKAGES = tuple(package for package, _ in _EXTRAS.values())


def installed(*modules: str) -> bool:
    """Tell whether all of these can be imported."""
    return all(find_spec(module) is not None for module in modules)


def missing(parts: Iterable[Mapping[str, str]]) -> list[str]:
    """Say in a line for each package that is not installed what is left out, and how to install it.

    Parameters
    ----------
    parts : iterable of mapping
        What each part leaves out without a module.
    """
    without: dict[str, list[str]] = {}
    for part in parts:
        for module, what in part.items():
            without.setdefault(module, []).append(what)
    lines = []
    for module, whats in without.items():
        package, extra = _EXTRAS[module]
        if not installed(module):
            what = ", ".join(whats)
            lines.append(f"{package} is not installed, which leaves out {what}: pip install -e '.[{extra}]'")
    return lines


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
    """
    import stable_baselines3
    from stable_baselines3.common.env_util import make_vec_env

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
    return _speed(peer, steps, reset_num_timesteps=not warm_up)


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
    """
    import stable_baselines3

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
    return _speed(peer, steps)


def _speed(peer: Any, steps: int, **options: Any) -> float:
    start = time.perf_counter()
    peer.learn(steps, **options)
    return steps / (time.perf_counter() - start)
