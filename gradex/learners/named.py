"""Learners by name, with the settings that a suite recommends, and from their configs."""

from collections.abc import Mapping
from typing import Any

from gradex.learners.learner import Learner
from gradex.learners.maml import MAML
from gradex.learners.ppo import PPO
from gradex.learners.sac import SAC
from gradex.tasks import TaskSuite

#: Learners by name.
LEARNERS: dict[str, type[Learner]] = {each.name: each for each in (PPO, MAML, SAC)}


def learner_named(name: str, suite: TaskSuite) -> Learner:
    """Give the learner of this name, with the settings recommended for the suite if it has any.

    Raises
    ------
    ValueError
        If there is no such learner.
    """
    if name not in LEARNERS:
        known = ", ".join(map(repr, LEARNERS))
        raise ValueError(
            f"unknown learner {name!r}: choose {known}, or give a PPO(...) with settings of your own"
        )
    return PPO(**suite.recommended.ppo) if name == PPO.name else LEARNERS[name]()


def learner_from(config: Mapping[str, Any]) -> Learner:
    """Give the learner that `Learner.config` describes."""
    return LEARNERS[config["name"]](**{name: value for name, value in config.items() if name != "name"})
