"""Given n reinforcement-learning tasks, which should share a policy? (PolicyGradEx, AAAI 2026)."""

from gradex.meta_policy import MetaPolicy
from gradex.tasks import Task, TaskSuite

__all__ = ["MetaPolicy", "Task", "TaskSuite"]
