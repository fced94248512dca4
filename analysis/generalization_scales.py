"""How much is trained and measured for Figure 2, by scale."""

from dataclasses import dataclass
from typing import Any

from analysis.trained import learner
from gradex import PPO


@dataclass(frozen=True)
class Setting:
    """A suite, and what of it differs from the others.

    Attributes
    ----------
    family : str
    options : dict
    steps_per_task : int
        How long policies train on each of their tasks.
    chains, episodes, seeds : int, optional
        Fewer than for the other suites, where training and watching take long.
    """

    family: str
    options: dict[str, Any]
    steps_per_task: int
    chains: int | None = None
    episodes: int | None = None
    seeds: int | None = None


@dataclass(frozen=True)
class Amount:
    """How much is trained and measured.

    Attributes
    ----------
    settings : dict of str to Setting
    snapshots : int
        Measurements along a training.
    numbers : tuple of int
        Of tasks that are trained together; the last is all of them.
    chains : int
        Random orders of the tasks, each with a training seed of its own.
    targets, samples, episodes : int
        Unseen tasks; steps of each task for the loss, and episodes for the return.
    learner : PPO or str
        Of the policies.
    """

    settings: dict[str, Setting]
    snapshots: int
    numbers: tuple[int, ...]
    chains: int
    targets: int
    samples: int
    episodes: int
    learner: PPO | str = "ppo"


_REVERSED = {"reversed": "half"}
_NUMBERS = (1, 2, 3, 5, 7, 10)
#: Amounts by scale.
AMOUNTS = {
    "smoke": Amount(
        {
            "reversed CartPole": Setting("cartpole", {"n": 4, **_REVERSED}, 256),
            "CartPole": Setting("cartpole", {"n": 4}, 256),
        },
        snapshots=2,
        numbers=(1, 2, 4),
        chains=1,
        targets=4,
        samples=64,
        episodes=4,
        learner=learner("smoke"),
    ),
    "laptop": Amount(
        {
            "CartPole": Setting("cartpole", {"n": 10}, 10_240),
            "reversed CartPole": Setting("cartpole", {"n": 10, **_REVERSED}, 10_240),
            "highway by density": Setting("highway", {"n": 10}, 10_240),
            # Landers need tens of times more training, and hover for a thousand steps while they are watched.
            "LunarLander": Setting("lunarlander", {"n": 10}, 102_400, chains=1, episodes=8, seeds=3),
            "MT10": Setting("mt10", {"horizon": 200}, 32_000, chains=1, episodes=8, seeds=3),
        },
        snapshots=5,
        numbers=_NUMBERS,
        chains=2,
        targets=10,
        samples=1024,
        episodes=16,
    ),
    "paper": Amount(
        {
            "CartPole": Setting("cartpole", {"n": 10}, 51_200),
            "reversed CartPole": Setting("cartpole", {"n": 10, **_REVERSED}, 51_200),
            "highway by density": Setting("highway", {"n": 10}, 51_200),
            "LunarLander": Setting("lunarlander", {"n": 10}, 409_600),
            "MT10": Setting("mt10", {}, 200_000),
        },
        snapshots=10,
        numbers=_NUMBERS,
        chains=5,
        targets=50,
        samples=2048,
        episodes=32,
    ),
}
