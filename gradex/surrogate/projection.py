"""Random projections of gradients (PolicyGradEx, Sec. 3.1, Eq. (4); Johnson and Lindenstrauss 1984).

A projection is a p x d matrix P with E[P Pᵀ] = I, so that inner products are kept on average. Gradients go
down, g̃ = Pᵀ g; fitted coefficients come back, Δθ = P θ̂; and g·(P θ̂) = g̃·θ̂ exactly, so what is fitted in d
dimensions is a linear model in p dimensions. Note ‖P θ̂‖² ≈ (p/d) ‖θ̂‖².

Projections differ in cost and in spread:

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
from collections.abc import Iterator, Sequence
from functools import cached_property, reduce
from math import prod
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gradex.progress import bar
from gradex.seeds import generator_for
from gradex.surrogate.gradients import FactoredGradients, in_factors
from gradex.surrogate.model import Model
from gradex.tensors import without_autocast

#: Rows of P that are drawn together; another number would be another matrix.
_ROWS = 512
#: Bytes beyond which a Gaussian P is not kept, but drawn again for each batch.
_KEPT = 256 * 2**20


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
            raise ValueError(f"seed={seed} is negative: give at least 0")
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

    Rows are drawn in blocks, and a large P is never there as a whole. Entries are float32 numbers, so that
    both precisions see the same matrix.

    Examples
    --------
    >>> import torch
    >>> from gradex.surrogate import GaussianProjection
    >>> GaussianProjection(parameters=1000, dimension=50, seed=0).lift(torch.eye(50)).shape
    torch.Size([50, 1000])
    """

    # A layer's features Σ aᵢ δₒ Pᵢₒₖ need 2 p d operations a sample in either order. Building slices of a δᵀ
    # first leaves them all to one matrix product, and the slices fit into the cache.
    def project(self, gradients: FactoredGradients) -> Float[Tensor, "N d"]:
        columns = ((gradients.columns(start, stop), rows) for start, stop, rows in self._blocks())
        return reduce(Tensor.add_, (piece @ rows.to(piece) for piece, rows in columns))

    def lift(self, theta: Float[Tensor, "m d"]) -> Float[Tensor, "m p"]:
        return torch.cat([theta @ rows.to(theta).T for _, _, rows in self._blocks()], dim=1)

    def _blocks(self) -> Iterator[tuple[int, int, Tensor]]:
        blocks = self._matrix if 4 * self.parameters * self.dimension <= _KEPT else self._drawn()
        for start, rows in zip(range(0, self.parameters, _ROWS), blocks, strict=True):
            yield start, start + len(rows), rows

    @cached_property
    def _matrix(self) -> list[Float[Tensor, "rows d"]]:
        return list(self._drawn())

    def _drawn(self) -> Iterator[Float[Tensor, "rows d"]]:
        for block, start in enumerate(range(0, self.parameters, _ROWS)):
            rng = generator_for(self.seed, "projection", block)
            shape = (min(_ROWS, self.parameters - start), self.dimension)
            entries = rng.standard_normal(shape, dtype=np.float32)
            entries *= np.float32(self.dimension**-0.5)
            yield torch.from_numpy(entries)


@final
class KhatriRaoProjection(Projection):
    """Products of random signs: entry (i, o) of a layer's k-th column is Vᵢₖ Uₒₖ / √d.

    It is the Khatri-Rao product of two random matrices (Sun, Guo, Tropp and Udell 2021, arXiv 2105.00105),
    independent from layer to layer. A layer with the gradient G = [a, 1] δᵀ (a δᵀ without bias) contributes
    ([a, 1] V)ₖ (δ U)ₖ / √d to feature k, so that d features of a sample cost 2 d (i + o) operations a layer
    instead of 2 d i o, and P takes (i + o) d numbers instead of i o d. For parameters outside of layers,
    which form a matrix of one row, the entries are plain independent signs.

    The price is a heavier tail than a Gaussian projection has: with ‖g_l‖ the part of layer l,

        d Var(g̃·h̃) ≤ ‖g‖² ‖h‖² + (g·h)² + 6 Σ_l ‖g_l‖² ‖h_l‖²,

    and normal numbers would do worse than signs (Rakhshan and Rabusseau 2021, arXiv 2110.13970). Where a
    Gaussian projection has d Var ‖g̃‖² = 2 ‖g‖⁴, gradients spread evenly over four layers have 3.5 ‖g‖⁴ at
    most, those in one layer 8 ‖g‖⁴. Means over many samples have more rank and less spread.

    Parameters
    ----------
    layout : sequence of (rows, columns)
        Shapes of the matrices that make up a gradient, see `gradient_layout`.
    dimension, seed : int

    Examples
    --------
    >>> import torch
    >>> from gradex.surrogate import KhatriRaoProjection
    >>> KhatriRaoProjection([(4, 8), (1, 2)], dimension=5, seed=0).lift(torch.eye(5)).shape
    torch.Size([5, 34])
    """

    def __init__(self, layout: Sequence[tuple[int, int]], dimension: int, seed: int) -> None:
        super().__init__(sum(prod(shape) for shape in layout), dimension, seed)
        self._layout = tuple(layout)

    def project(self, gradients: FactoredGradients) -> Float[Tensor, "N d"]:
        layout = tuple(part.shape for part in gradients.parts)
        if layout != self._layout:
            raise ValueError(f"gradients of layout {layout} do not fit a projection of {self._layout}")
        pieces = (
            part.contract(*factors) for part, factors in zip(gradients.parts, self._factors, strict=True)
        )
        return reduce(Tensor.add_, pieces)

    def lift(self, theta: Float[Tensor, "m d"]) -> Float[Tensor, "m p"]:
        factors = ((left.to(theta), right.to(theta)) for left, right in self._factors)
        # Σ θₖ vₖ uₖᵀ
        return torch.cat(
            [((theta.unsqueeze(1) * left) @ right.T).flatten(1) for left, right in factors], dim=1
        )

    @cached_property
    def _factors(self) -> list[tuple[Float[Tensor, "rows d"], Float[Tensor, "columns d"]]]:
        rng = generator_for(self.seed, "projection")
        scale = np.float32(self.dimension**-0.5)
        return [
            (
                torch.from_numpy(_random_signs(rng, rows, self.dimension)),
                torch.from_numpy(_random_signs(rng, columns, self.dimension) * scale),
            )
            for rows, columns in self._layout
        ]


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


@without_autocast()
def gradient_features(
    model: Model, samples: Any, projection: Projection, dtype: torch.dtype = torch.float32
) -> Float[np.ndarray, "N d"]:
    """Compute g̃ = Pᵀ ∇ log π_θ*(a | s) of every sample, with one batch in memory at a time."""
    count = len(samples)
    features = torch.empty(count, projection.dimension, dtype=dtype, device="cpu")
    done = wrong = 0
    with bar(description="gradients", total=count) as shown:
        for batch in model.gradients(samples, np.arange(count), dtype):
            projected = projection.project(in_factors(batch, projection.parameters, dtype)).detach()
            out = features[done : done + len(projected)]
            if len(out) < len(projected):
                raise ValueError(f"the model has more than {count} gradients: give it as many samples")
            out.copy_(projected)
            # Adding up finds nan and inf in one pass; only then are they counted.
            if not torch.isfinite(out.sum()):
                wrong += int((~torch.isfinite(out).all(dim=1)).sum())
            done += len(projected)
            shown.update(len(projected))
    if done < count:
        raise ValueError(f"the model has {done} gradients for {count} samples: give it as many")
    if wrong:
        raise ValueError(
            f"{wrong} gradients are not finite: check the observations, the actions and the policy"
        )
    return features.numpy()


def _random_signs(rng: np.random.Generator, rows: int, columns: int) -> Float[np.ndarray, "rows columns"]:
    """Draw ±1 with equal probability, in float32, a random bit each."""
    count = rows * columns
    bits = np.unpackbits(np.frombuffer(rng.bytes(-(-count // 8)), dtype=np.uint8), count=count)
    signs = bits.astype(np.float32).reshape(rows, columns)
    signs *= 2
    signs -= 1
    return signs
