"""One task of Meta-World, as we simulate it and as a user of stable-baselines3 would."""

import gymnasium

from gradex.tasks import TaskSuite
from gradex.tasks.metaworld import MT10, original

#: Ours runs in EnvPool, the peer's in the original.
ENGINES = ("envpool", "metaworld")


def reaching(horizon: int = 500) -> TaskSuite:
    """Give the task of reaching a goal with a robot's hand, in EnvPool."""
    return TaskSuite.make("mt10", tasks=["reach"], horizon=horizon)


def original_reaching(horizon: int = 500) -> gymnasium.Env:
    """Make one environment of it, in Meta-World itself."""
    return original("reach-v3", MT10(horizon, engine="gymnasium", reward="v2"))
