"""Given n reinforcement-learning tasks, which should share a policy? (PolicyGradEx, AAAI 2026)."""

from importlib.metadata import version

from gradex.affinity import AffinityGraph
from gradex.generalization import Generalization
from gradex.ground_truth import GroundTruth
from gradex.grouping import PolicyGradEx
from gradex.learners import PPO, SAC
from gradex.meta_policy import MetaPolicy
from gradex.surrogate import ModuleGradients, Samples, SurrogateEstimator
from gradex.tasks import Task, TaskSuite

__all__ = [
    "PPO",
    "SAC",
    "AffinityGraph",
    "Generalization",
    "GroundTruth",
    "MetaPolicy",
    "ModuleGradients",
    "PolicyGradEx",
    "Samples",
    "SurrogateEstimator",
    "Task",
    "TaskSuite",
    "__version__",
]

#: As `pyproject.toml` says, at the time of installation.
__version__: str = version("gradex")
