"""Which environments belong to which policy of a stack."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int


@dataclass(frozen=True, eq=False)
class Layout:
    """Which environments belong to which policy.

    Policies may have different numbers of environments; rows are padded to the longest and the padding
    carries no weight.

    Attributes
    ----------
    tasks : int array [policies, environments]
        Task index of each place (0 in the padding).
    real : bool array [policies, environments]
        False in the padding.

    Examples
    --------
    >>> from gradex.learners import Layout
    >>> Layout.of(subsets=[(0, 2), (1,)], copies=2).tasks.tolist()
    [[0, 0, 2, 2], [1, 1, 0, 0]]
    """

    tasks: Int[np.ndarray, "policies environments"]
    real: Bool[np.ndarray, "policies environments"]

    @classmethod
    def of(cls, subsets: Sequence[Sequence[int]], copies: int) -> "Layout":
        """Give every policy `copies` environments of each task of its subset."""
        lengths = np.array([len(subset) * copies for subset in subsets])
        real = np.arange(lengths.max()) < lengths[:, None]
        tasks = np.zeros(real.shape, dtype=np.int64)
        tasks[real] = np.repeat(np.concatenate([np.asarray(subset) for subset in subsets]), copies)
        return cls(tasks, real)

    def spread(self, flat: np.ndarray) -> np.ndarray:
        """Arrange an array over environments [E, ...] as [policies, environments, ...], padded with zeros."""
        if self.real.all():
            return flat.reshape(*self.real.shape, *flat.shape[1:])
        spread = np.zeros((*self.real.shape, *flat.shape[1:]), dtype=flat.dtype)
        spread[self.real] = flat
        return spread
