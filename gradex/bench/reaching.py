"""One task of Meta-World, as we simulate it and as a user of stable-baselines3 would."""

from importlib.util import find_spec

import gymnasium

from gradex.tasks import TaskSuite
from gradex.tasks.metaworld import original


def installed() -> bool:
    """Tell whether EnvPool and the original are both there."""
    return all(find_spec(name) is not None for name in ("envpool", "metaworld"))


def reaching(horizon: int = 500) -> TaskSuite:
    """Give the task of reaching a goal with a robot's hand, in EnvPool."""
    return TaskSuite.make("mt10", tasks=["reach"], horizon=horizon)


def original_reaching(horizon: int = 500) -> gymnasium.Env:
    """Make one environment of it, in Meta-World itself."""
    suite = TaskSuite.make("mt10", tasks=["reach"], horizon=horizon, engine="gymnasium")
    return original(suite.tasks[0].name, suite)
