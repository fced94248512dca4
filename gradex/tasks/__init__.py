"""Real simulators behind one interface: a suite makes a `gymnasium.vector.VectorEnv` over (task, copy)."""

from gradex.tasks.family import Family, Recommended
from gradex.tasks.options import Option
from gradex.tasks.suite import TaskSuite
from gradex.tasks.task import Task

__all__ = ["Family", "Option", "Recommended", "Task", "TaskSuite"]
