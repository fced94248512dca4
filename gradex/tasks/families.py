"""Which families there are: by name, or by the prefix of MO-Gymnasium's environments."""

import difflib
from typing import Any

from gradex.tasks.antgoal import AntGoal
from gradex.tasks.cartpole import CartPole
from gradex.tasks.family import Family
from gradex.tasks.halfcheetah import HalfCheetah
from gradex.tasks.highway import Highway
from gradex.tasks.lunarlander import LunarLander
from gradex.tasks.metaworld import MT10, MT50
from gradex.tasks.multi_objective import multi_objective_named
from gradex.tasks.navigation import Navigation
from gradex.tasks.vector_rewards import PREFIX

__all__ = ["FAMILIES", "PREFIX", "family_named"]

#: What `TaskSuite.make` knows, beside environments of MO-Gymnasium.
FAMILIES: dict[str, type[Family]] = {
    each.name: each for each in (AntGoal, CartPole, HalfCheetah, Highway, LunarLander, MT10, MT50, Navigation)
}


def family_named(name: Any) -> type[Family]:
    """Give the family of this name, or raise a ValueError that says which there are.

    Examples
    --------
    >>> from gradex.tasks.families import family_named
    >>> family_named("cartpole").__name__
    'CartPole'
    """
    known = ", ".join(sorted(FAMILIES))
    if not isinstance(name, str):
        raise ValueError(f"name is {name!r}: choose {known}")
    if name in FAMILIES:
        return FAMILIES[name]
    if name.startswith(PREFIX):
        return multi_objective_named(name)
    near = difflib.get_close_matches(name, sorted(FAMILIES), n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(
        f"unknown suite {name!r}: {hint}known are {known}, and mo-… for environments of MO-Gymnasium"
    )
