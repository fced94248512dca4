"""Real simulators behind one interface: a suite makes a `gymnasium.vector.VectorEnv` over (task, copy)."""

from gradex.tasks import cartpole, highway, lunarlander, metaworld, navigation  # noqa: F401 - they register
from gradex.tasks.suite import Task, TaskSuite

__all__ = ["Task", "TaskSuite"]
