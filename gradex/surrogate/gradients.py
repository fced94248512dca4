"""Per-sample gradients of log π, kept in factors (PolicyGradEx, Algorithm 1, step 2).

One backward pass of Σ log π gives the sensitivity δ of every sample to what comes out of each layer. With the
layer's input a, a sample's gradient is a δᵀ for the weight and δ for the bias (Goodfellow 2015, arXiv
1510.01799), together [a, 1] δᵀ. The p-vectors themselves, one per sample, are only ever built in slices.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import accumulate
from math import prod
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

#: Columns that are built at a time.
_COLUMNS = 512


class Part(ABC):
    """Some neighbouring columns of the matrix of gradients, one row per sample.

    They are the entries, row-major, of a matrix G of `shape`; each sample has its own.
    """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns of G."""

    @property
    def width(self) -> int:
        """Number of entries of G."""
        return prod(self.shape)

    @abstractmethod
    def columns(self, start: int, stop: int) -> Float[Tensor, "N entries"]:
        """Build entries start to stop - 1 of each sample."""

    @abstractmethod
    def contract(
        self, left: Float[Tensor, "rows d"], right: Float[Tensor, "columns d"]
    ) -> Float[Tensor, "N d"]:
        """Give leftₖᵀ G rightₖ of each sample for d pairs of vectors, in the gradients' precision."""


@final
@dataclass(frozen=True, eq=False)
class Dense(Part):
    """Entries that are stored as they are; [N, width] is a matrix of one row."""

    values: Float[Tensor, "N width"] | Float[Tensor, "N rows columns"]

    @property
    def shape(self) -> tuple[int, int]:
        return self._matrices.shape[1], self._matrices.shape[2]

    @property
    def _matrices(self) -> Float[Tensor, "N rows columns"]:
        return self.values.unsqueeze(1) if self.values.ndim == 2 else self.values

    def columns(self, start: int, stop: int) -> Float[Tensor, "N entries"]:
        return self._matrices.flatten(1)[:, start:stop]

    def contract(
        self, left: Float[Tensor, "rows d"], right: Float[Tensor, "columns d"]
    ) -> Float[Tensor, "N d"]:
        return (self._matrices @ right.to(self.values)).mul_(left.to(self.values)).sum(dim=1)


@final
@dataclass(frozen=True, eq=False)
class Affine(Part):
    """G = [a, 1] δᵀ, from a layer's inputs a and sensitivities δ; without bias G = a δᵀ."""

    inputs: Float[Tensor, "N i"]
    sensitivities: Float[Tensor, "N o"]
    bias: bool = True

    @property
    def shape(self) -> tuple[int, int]:
        return (self.inputs.shape[1] + self.bias, self.sensitivities.shape[1])

    def columns(self, start: int, stop: int) -> Float[Tensor, "N entries"]:
        outputs = self.sensitivities.shape[1]
        first, last = start // outputs, -(-stop // outputs)
        inputs = self.inputs[:, first:last]
        if last > self.inputs.shape[1]:
            inputs = F.pad(inputs, (0, 1), value=1.0)
        products = inputs.unsqueeze(2) * self.sensitivities.unsqueeze(1)
        return products.flatten(1)[:, start - first * outputs : stop - first * outputs]

    def contract(
        self, left: Float[Tensor, "rows d"], right: Float[Tensor, "columns d"]
    ) -> Float[Tensor, "N d"]:
        left, right = left.to(self.inputs), right.to(self.inputs)
        if self.bias:
            inputs = torch.addmm(left[-1], self.inputs, left[:-1])
        else:
            inputs = self.inputs @ left
        return inputs.mul_(self.sensitivities @ right)


@dataclass(frozen=True)
class FactoredGradients:
    """Gradients g of N samples with respect to p parameters: a matrix [N, p] in factors.

    Its parts stand in the order of the parameters.
    """

    parts: Sequence[Part]

    @cached_property
    def _offsets(self) -> list[int]:
        return [0, *accumulate(part.width for part in self.parts)]

    @property
    def parameters(self) -> int:
        """Number of columns p."""
        return self._offsets[-1]

    def columns(self, start: int, stop: int) -> Float[Tensor, "N columns"]:
        """Build columns start to stop - 1, the derivatives with respect to these parameters."""
        pieces = [
            part.columns(max(start - offset, 0), min(stop - offset, part.width))
            for part, offset in zip(self.parts, self._offsets, strict=False)
            if start < offset + part.width and stop > offset
        ]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)

    def __matmul__(self, matrix: Float[Tensor, "p k"]) -> Float[Tensor, "N k"]:
        """Multiply by a matrix with one row per parameter."""
        starts = range(0, self.parameters, _COLUMNS)
        slices = (self.columns(start, min(start + _COLUMNS, self.parameters)) for start in starts)
        products = (piece @ rows for piece, rows in zip(slices, matrix.split(_COLUMNS), strict=True))
        return reduce(Tensor.add_, products)

    def dense(self) -> Float[Tensor, "N p"]:
        """Build the whole matrix."""
        return self.columns(0, self.parameters)


def in_factors(gradients: Any, p: int, dtype: torch.dtype) -> FactoredGradients:
    """Give a batch of gradients in factors, also where they come as they are, at least in this precision."""
    if not isinstance(gradients, FactoredGradients):
        # A copy of what is no tensor: one cannot share an array that is read-only or runs backwards.
        own = gradients if isinstance(gradients, Tensor) else torch.from_numpy(np.array(gradients))
        if own.ndim != 2:
            raise ValueError(f"the model gives gradients of shape {tuple(own.shape)}: give batches [k, {p}]")
        gradients = FactoredGradients([Dense(own.to(torch.promote_types(own.dtype, dtype)))])
    if gradients.parameters != p:
        raise ValueError(
            f"the model gives gradients of {gradients.parameters} numbers: it has {p} parameters"
        )
    return gradients
