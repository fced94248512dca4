"""Given n reinforcement-learning tasks, which should share a policy? (PolicyGradEx, AAAI 2026)."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradex.affinity import AffinityGraph
    from gradex.generalization import Generalization
    from gradex.ground_truth import GroundTruth
    from gradex.grouping import PolicyGradEx
    from gradex.learners import PPO, SAC
    from gradex.meta_policy import MetaPolicy
    from gradex.preference_grouping import PreferenceGrouping
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
    "PreferenceGrouping",
    "Samples",
    "SurrogateEstimator",
    "Task",
    "TaskSuite",
    "__version__",
]

#: As `pyproject.toml` says, at the time of installation.
try:
    __version__: str = version("gradex")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"

#: Where public names live. They are imported when they are first asked for (PEP 562): all of them together
#: take seconds, which `gradex --help` has no use for.
_HOMES = {
    "PPO": "learners",
    "SAC": "learners",
    "AffinityGraph": "affinity",
    "Generalization": "generalization",
    "GroundTruth": "ground_truth",
    "MetaPolicy": "meta_policy",
    "ModuleGradients": "surrogate",
    "PolicyGradEx": "grouping",
    "PreferenceGrouping": "preference_grouping",
    "Samples": "surrogate",
    "SurrogateEstimator": "surrogate",
    "Task": "tasks",
    "TaskSuite": "tasks",
}

if not TYPE_CHECKING:  # or type checkers would take every name for an attribute

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            found = getattr(import_module(f"gradex.{_HOMES[name]}"), name)
            globals()[name] = found
            return found
        if not name.startswith("_") and find_spec(f"gradex.{name}") is not None:
            return import_module(f"gradex.{name}")
        raise AttributeError(f"module 'gradex' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
