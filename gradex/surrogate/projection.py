"""Random projections of parameters (PolicyGradEx, Sec. 3.1, Eq. (4); Johnson and Lindenstrauss 1984).

A projection is a p x d matrix P with E[P Pᵀ] = I. Gradients go down, g̃ = Pᵀ g; fitted coefficients come
back, Δθ = P θ̂; and g·(P θ̂) = g̃·θ̂ exactly, so what is fitted in d dimensions is a linear model in p
dimensions. Note ‖P θ̂‖² ≈ (p/d) ‖θ̂‖².

All of them keep inner products on average, E[g̃·h̃] = g·h; they differ in cost and in spread:

============= ============================ ==========================================================
name          operations a sample          d Var ‖g̃‖² / ‖g‖⁴
============= ============================ ==========================================================
gaussian      2 p d                        2, whatever g is
khatri-rao    2 d Σ (i + o) over layers    2 to 8, see `KhatriRaoProjection`
none          0                            0, but d = p
============= ============================ ==========================================================

"gaussian" is the paper's and the default. Take "khatri-rao" where p or N is large, say p N above 10⁹: it
costs about as much as the gradients themselves, and d four times larger makes up for its spread at worst.
Take "none" where p or N is a few hundred.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property, reduce
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gradex.seeds import generator_for
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

    Examples
    --------
    >>> import torch
    >>> from gradex.surrogate import GaussianProjection
    >>> from gradex.surrogate.gradients import Dense, FactoredGradients
    >>> projection = GaussianProjection(parameters=6, dimension=2, seed=0)
    >>> gradients = FactoredGradients([Dense(torch.ones(1, 6))])
    >>> features, theta = projection.project(gradients), torch.tensor([[1.0, -1.0]])
    >>> torch.allclose(features @ theta.T, gradients @ projection.lift(theta).T)
    True
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
        """Give Pᵀ g for each gradient, in the gradients' precision and on their device."""

    @abstractmethod
    def lift(self, theta: Float[Tensor, "m d"]) -> Float[Tensor, "m p"]:
        """Give P θ̂ for each row, in its precision and on its device."""


@final
class GaussianProjection(Projection):
    """Independent N(0, 1/d) entries, the paper's choice: d Var(g̃·h̃) = ‖g‖² ‖h‖² + (g·h)².

    Rows are drawn in blocks from generators of their own, so that P need never be there as a whole: it is
    kept if it fits into the budget and drawn again for each batch if not. Entries are float32 numbers, so
    that both precisions see the same matrix.

    Parameters
    ----------
    parameters, dimension, seed : int
    memory : int
        Budget in bytes; a larger P is not kept.

    Examples
    --------
    >>> import torch
    >>> from gradex.surrogate import GaussianProjection
    >>> GaussianProjection(parameters=1000, dimension=50, seed=0).lift(torch.eye(50)).shape
    torch.Size([50, 1000])
    """

    def __init__(self, parameters: int, dimension: int, seed: int, memory: int = 256 * 2**20) -> None:
        super().__init__(parameters, dimension, seed)
        self._kept = 4 * parameters * dimension <= memory

    # A layer's features Σ aᵢ δₒ Pᵢₒₖ need 2 p d operations a sample in either order. Building slices of a δᵀ
    # first leaves them all to one matrix product, and the slices fit into the cache.
    def project(self, gradients: FactoredGradients) -> Float[Tensor, "N d"]:
        columns = ((gradients.columns(start, stop), rows) for start, stop, rows in self._blocks())
        return reduce(Tensor.add_, (piece @ rows.to(piece) for piece, rows in columns))

    def lift(self, theta: Float[Tensor, "m d"]) -> Float[Tensor, "m p"]:
        return torch.cat([theta @ rows.to(theta).T for _, _, rows in self._blocks()], dim=1)

    def _blocks(self) -> Iterator[tuple[int, int, Tensor]]:
        for start in range(0, self.parameters, _ROWS):
            stop = min(start + _ROWS, self.parameters)
            yield start, stop, self._matrix[start:stop] if self._kept else self._draw(start, stop)

    @cached_property
    def _matrix(self) -> Float[Tensor, "p d"]:
        matrix = torch.empty(self.parameters, self.dimension)
        for start in range(0, self.parameters, _ROWS):
            stop = min(start + _ROWS, self.parameters)
            matrix[start:stop] = self._draw(start, stop)
        return matrix

    def _draw(self, start: int, stop: int) -> Float[Tensor, "rows d"]:
        rng = generator_for(self.seed, "projection", start // _ROWS)
        entries = rng.standard_normal((stop - start, self.dimension), dtype=np.float32)
        entries *= np.float32(self.dimension**-0.5)
        return torch.from_numpy(entries)


@final
class NoProjection(Projection):
    """The identity, d = p: Eq. (3) itself.

    Solvers keep d x d matrices, or N x N where samples are fewer: this is for small networks, or few samples.

    Examples
    --------
    >>> import torch
    >>> from gradex.surrogate import NoProjection
    >>> NoProjection(parameters=3).lift(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[1., 2., 3.]])
    """

    def __init__(self, parameters: int) -> None:
        super().__init__(parameters, parameters, 0)

    def project(self, gradients: FactoredGradients) -> Float[Tensor, "N d"]:
        return gradients.dense()

    def lift(self, theta: Float[Tensor, "m d"]) -> Float[Tensor, "m p"]:
        return theta


def random_signs(rng: np.random.Generator, rows: int, columns: int) -> Float[np.ndarray, "rows columns"]:
    """Draw ±1 with equal probability, in float32, a random bit each."""
    count = rows * columns
    bits = np.unpackbits(np.frombuffer(rng.bytes(-(-count // 8)), dtype=np.uint8), count=count)
    signs = bits.astype(np.float32).reshape(rows, columns)
    signs *= 2
    signs -= 1
    return signs
