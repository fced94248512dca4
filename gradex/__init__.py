"""Given n reinforcement-learning tasks, which should share a policy? (PolicyGradEx, AAAI 2026)."""

from gradex.affinity import AffinityGraph
from gradex.ground_truth import GroundTruth
from gradex.grouping import PolicyGradEx
from gradex.learners import PPO
from gradex.meta_policy import MetaPolicy
from gradex.surrogate import SurrogateEstimator
from gradex.tasks import Task, TaskSuite

__all__ = [
    "PPO",
    "AffinityGraph",
    "GroundTruth",
    "MetaPolicy",
    "PolicyGradEx",
    "SurrogateEstimator",
    "Task",
    "TaskSuite",
]
