"""What every simulator agrees on: what `reset` and `step` return, and how seeds are read."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

#: One for each environment.
Seeds = Int[np.ndarray, " environments"]
#: Observations and info.
Reset = tuple[np.ndarray, dict[str, Any]]
#: Observations, rewards, terminated, truncated and info.
Step = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


@runtime_checkable
class StepsAhead(Protocol):
    """A simulator that works on a step while its caller does something else, as `AsyncVectorEnv` does."""

    def step_async(self, actions: np.ndarray) -> None:
        """Begin a step."""

    def step_wait(self) -> Step:
        """Give the result of the step that was begun."""


@runtime_checkable
class Resumable(Protocol):
    """A simulator that another one of the same making can go on from."""

    def state(self) -> dict[str, np.ndarray]:
        """Give what `restore` needs."""

    def restore(self, state: Mapping[str, np.ndarray]) -> np.ndarray:
        """Go to a `state`; give the observations there."""


def environment_seeds(seed: Any, environments: int) -> Seeds:
    """Read the `seed` of a `reset` as Gymnasium does.

    An integer stands for seed, seed + 1, ..., and a sequence for itself.
    """
    seeds = np.asarray(seed, dtype=np.int64)
    if seeds.ndim == 0:
        return seeds + np.arange(environments)
    if seeds.shape != (environments,):
        raise ValueError(
            f"seed has {len(seeds)} entries for {environments} environments: give one integer, or one each"
        )
    return seeds
