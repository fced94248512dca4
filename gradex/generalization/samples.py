"""The samples that a loss is the mean of, as a stack: row i belongs to policy i."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from gradex.learners import Transitions


@dataclass(frozen=True)
class StackedSamples:
    """N transitions of each of a stack of policies.

    Attributes
    ----------
    observations : Tensor [policies, N, features]
    tasks : int Tensor [policies, N]
    actions : Tensor [policies, N] or [policies, N, dimensions]
    advantages : Tensor [policies, N]

    Examples
    --------
    >>> from gradex import MetaPolicy, TaskSuite
    >>> from gradex.generalization import StackedSamples
    >>> meta = MetaPolicy(TaskSuite.make("navigation", n=3), layers=2, width=8).fit(steps=1)
    >>> samples = StackedSamples.of([meta.transitions(100)])
    >>> samples.count, [piece.count for piece in samples.chunks(128)]
    (300, [128, 128, 44])
    """

    observations: Float[Tensor, "policies N features"]
    tasks: Int[Tensor, "policies N"]
    actions: Shaped[Tensor, "policies N *a"]
    advantages: Float[Tensor, "policies N"]

    @classmethod
    def of(cls, transitions: Sequence[Transitions], dtype: torch.dtype = torch.float64) -> "StackedSamples":
        """Stack the transitions of one policy each, floating-point numbers in the given precision.

        Raises
        ------
        ValueError
            If one policy has more transitions than another.
        """
        lengths = sorted({len(each) for each in transitions})
        if len(lengths) != 1:
            raise ValueError(f"policies of one stack have {lengths} transitions: give all the same number")

        def stack(name: str) -> Tensor:
            array = torch.from_numpy(np.stack([getattr(each, name) for each in transitions]))
            return array.to(dtype) if array.is_floating_point() else array

        return cls(*(stack(name) for name in ("observations", "tasks", "actions", "advantages")))

    @property
    def count(self) -> int:
        """Number N of samples of each policy."""
        return self.tasks.shape[1]

    def chunks(self, size: int) -> Iterator["StackedSamples"]:
        """Cut into pieces of at most `size` samples of each policy."""
        pieces = (x.split(size, dim=1) for x in vars(self).values())
        return (StackedSamples(*piece) for piece in zip(*pieces, strict=True))
