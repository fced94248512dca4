"""Real simulators behind one interface: a suite makes a `gymnasium.vector.VectorEnv` over (task, copy)."""

from gradex.tasks.family import Family, Option, Recommended
from gradex.tasks.preferences import marginal_weights
from gradex.tasks.suite import TaskSuite
from gradex.tasks.task import Task, parameter_matrix

__all__ = ["Family", "Option", "Recommended", "Task", "TaskSuite", "marginal_weights", "parameter_matrix"]
