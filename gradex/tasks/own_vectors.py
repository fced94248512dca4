"""A user's own environments with vectors of rewards: what they must be, and names of their objectives."""

import copy
from typing import Any

import gymnasium
from gymnasium import spaces

from gradex.settings import shown
from gradex.tasks import vector_rewards
from gradex.tasks.checks import check_actions
from gradex.tasks.interface import one_line


def check(environment: str, horizon: int) -> None:
    """Refuse a registered environment that pays no vector, or whose spaces no policy here can serve.

    One step is taken, which must pay a number for each entry of the environment's `reward_space`.
    """
    made = vector_rewards.make(environment, horizon)
    try:
        bounds: Any = getattr(made.unwrapped, "reward_space", None)
        if not (isinstance(bounds, spaces.Box) and len(bounds.shape) == 1 and bounds.shape[0] > 0):
            raise ValueError(
                f"environment {environment!r} has reward_space {one_line(bounds)}: give it a Box of one "
                "dimension, with a number for each objective"
            )
        actions = made.action_space
        check_actions(f"environment {environment!r}", actions)
        own = copy.deepcopy(actions)  # the environment's own stays where it is
        own.seed(0)
        made.reset(seed=0)
        paid: Any = made.step(own.sample())[1]
    finally:
        made.close()
    if paid.shape != bounds.shape:
        given = f"an array of shape {paid.shape}" if paid.shape else shown(paid.item())
        raise ValueError(
            f"environment {environment!r} pays {given} for {bounds.shape[0]} objectives: give a vector with "
            "a number for each"
        )


def names_of_objectives(environment: gymnasium.Env, count: int) -> tuple[str, ...]:
    """Give `objectives` of an environment if these are names, one for each; else none.

    Examples
    --------
    >>> import gymnasium
    >>> from gradex.tasks.own_vectors import names_of_objectives
    >>> environment = gymnasium.Env()
    >>> environment.objectives = ["treasure", "time"]
    >>> names_of_objectives(environment, count=2), names_of_objectives(environment, count=3)
    (('treasure', 'time'), ())
    """
    named: Any = getattr(environment.unwrapped, "objectives", None)
    if not isinstance(named, list | tuple) or not all(isinstance(name, str) for name in named):
        return ()
    return tuple(named) if len(named) == len(set(named)) == count else ()
