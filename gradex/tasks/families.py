"""Families by name."""

import difflib
from typing import Any

from gradex.tasks.cartpole import CartPole
from gradex.tasks.family import Family
from gradex.tasks.highway import Highway
from gradex.tasks.lunarlander import LunarLander
from gradex.tasks.metaworld import MT10, MT50
from gradex.tasks.navigation import Navigation

#: What `TaskSuite.make` knows.
FAMILIES: dict[str, type[Family]] = {
    each.name: each for each in (CartPole, Highway, LunarLander, MT10, MT50, Navigation)
}


def family_named(name: Any) -> type[Family]:
    """Give the family of this name.

    Raises
    ------
    ValueError
        If there is none.
    """
    known = ", ".join(sorted(FAMILIES))
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is no name of a suite: choose {known}")
    if name not in FAMILIES:
        near = difflib.get_close_matches(name, sorted(FAMILIES), n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown suite {name!r}: {hint}known are {known}")
    return FAMILIES[name]
