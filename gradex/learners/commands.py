"""Commands: what a simulator is handed of the actions that policies chose."""

import gymnasium
import numpy as np
from jaxtyping import Shaped


def commands_of(
    actions: Shaped[np.ndarray, "environments ..."], space: gymnasium.Space
) -> Shaped[np.ndarray, "environments ..."]:
    """Bring actions to the range and the type of their space, clipped and rounded to the nearest.

    A Discrete space counts from its start.

    Examples
    --------
    >>> import numpy as np
    >>> from gymnasium.spaces import Box, Discrete
    >>> from gradex.learners.commands import commands_of
    >>> commands_of(np.array([0, 2]), Discrete(3, start=-1)).tolist()
    [-1, 1]
    >>> commands_of(np.float32([[-3.0], [0.6]]), Box(-1.0, 1.0, (1,))).tolist()
    [[-1.0], [0.6000000238418579]]
    >>> commands_of(np.float32([[6.6], [1e30]]), Box(0, 2**63 - 1, (1,), np.int64)).tolist()
    [[7], [9223372036854775807]]
    """
    if isinstance(space, gymnasium.spaces.Discrete):
        return (actions + space.start).astype(space.dtype)
    assert isinstance(space, gymnasium.spaces.Box)  # for the type checker
    inside = np.clip(actions, space.low, space.high)
    if not np.issubdtype(space.dtype, np.integer):
        return inside.astype(space.dtype)
    # An end of 64 bits is a float beyond them, which a cast would turn into the other end.
    low, high = inside <= space.low, inside >= space.high
    whole = np.rint(np.where(low | high, 0, inside)).astype(space.dtype)
    return np.where(high, space.high, np.where(low, space.low, whole))
