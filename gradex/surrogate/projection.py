"""Random projections of parameters (PolicyGradEx, Sec. 3.1, Eq. (4); Johnson and Lindenstrauss 1984).

A projection is a p x d matrix P with E[P Pᵀ] = I. Gradients go down, g̃ = Pᵀ g; fitted coefficients come
back, Δθ = P θ̂; and g·(P θ̂) = g̃·θ̂ exactly, so what is fitted in d dimensions is a linear model in p
dimensions. Note ‖P θ̂‖² ≈ (p/d) ‖θ̂‖².
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property, reduce
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gradex.surrogate.gradients import FactoredGradients

#: Rows of P that are drawn together; another number would be another matrix.
_ROWS = 512


class Projection(ABC):
    """A linear map from p parameters to d features and back.

    Parameters
    ----------
    parameters, dimension : int
        p and d.
    seed : int
        Equal seeds give equal matrices.

    Raises
    ------
    ValueError
        If d is not between 1 and p, or the seed is negative.
    """

    def __init__(self, parameters: int, dimension: int, seed: int) -> None:
        if not 1 <= dimension <= parameters:
            raise ValueError(
                f"cannot project {parameters} parameters to {dimension} dimensions: choose 1 to {parameters}"
            )
        if seed < 0:
            raise ValueError(f"the seed of the projection is {seed}: choose 0 or more")
        self.parameters = parameters
        self.dimension = dimension
        self.seed = seed

    @abstractmethod
    def project(self, gradients: FactoredGradients) -> Float[Tensor, "N d"]:
        """Give Pᵀ g for each gradient, in the gradients' precision."""

    @abstractmethod
    def lift(self, theta: Float[Tensor, "m d"]) -> Float[Tensor, "m p"]:
        """Give P θ̂ for each row, in its precision."""


@final
class GaussianProjection(Projection):
    """Independent N(0, 1/d) entries, the paper's choice.

    Rows are drawn in blocks from generators of their own, so that P need never be there as a whole: it is
    kept if it fits into the budget and drawn again each time if not.

    Parameters
    ----------
    parameters, dimension, seed : int
    memory : int
        Budget in bytes; a larger P is not kept.
    """

    def __init__(self, parameters: int, dimension: int, seed: int, memory: int = 256 * 2**20) -> None:
        super().__init__(parameters, dimension, seed)
        self._kept = 8 * parameters * dimension <= memory

    def project(self, gradients: FactoredGradients) -> Float[Tensor, "N d"]:
        columns = ((gradients.columns(start, stop), rows) for start, stop, rows in self._blocks())
        return reduce(Tensor.add_, (piece @ rows.to(piece.dtype) for piece, rows in columns))

    def lift(self, theta: Float[Tensor, "m d"]) -> Float[Tensor, "m p"]:
        return torch.cat([theta @ rows.to(theta.dtype).T for _, _, rows in self._blocks()], dim=1)

    def _blocks(self) -> Iterator[tuple[int, int, Tensor]]:
        for start in range(0, self.parameters, _ROWS):
            stop = min(start + _ROWS, self.parameters)
            yield start, stop, self._matrix[start:stop] if self._kept else self._draw(start, stop)

    @cached_property
    def _matrix(self) -> Float[Tensor, "p d"]:
        starts = range(0, self.parameters, _ROWS)
        return torch.cat([self._draw(start, min(start + _ROWS, self.parameters)) for start in starts])

    def _draw(self, start: int, stop: int) -> Float[Tensor, "rows d"]:
        # Always in float64, so that single precision only rounds the same matrix.
        rng = np.random.default_rng([self.seed, start // _ROWS])
        return torch.from_numpy(rng.standard_normal((stop - start, self.dimension)) / np.sqrt(self.dimension))


@final
class NoProjection(Projection):
    """The identity, d = p: Eq. (3) itself. Solvers keep d x d matrices, so this is for small networks."""

    def __init__(self, parameters: int) -> None:
        super().__init__(parameters, parameters, 0)

    def project(self, gradients: FactoredGradients) -> Float[Tensor, "N d"]:
        return gradients.dense()

    def lift(self, theta: Float[Tensor, "m d"]) -> Float[Tensor, "m p"]:
        return theta
