"""Real simulators behind one interface: a suite of tasks makes a `gymnasium.vector.VectorEnv` over (task, copy)."""

from gradex.tasks import cartpole, highway, lunarlander, navigation  # each module registers its family
from gradex.tasks.suite import Task, TaskSuite

__all__ = ["Task", "TaskSuite"]
