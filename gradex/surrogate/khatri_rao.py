"""The projection that never sees a p-vector: Khatri-Rao factors, layer by layer."""

from collections.abc import Sequence
from functools import cached_property, reduce
from math import prod
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gradex.seeds import generator_for
from gradex.surrogate.gradients import FactoredGradients
from gradex.surrogate.projection import Projection, random_signs


@final
class KhatriRaoProjection(Projection):
    """Products of random signs: entry (i, o) of a layer's k-th column is Vᵢₖ Uₒₖ / √d.

    A layer with the gradient G = [a, 1] δᵀ (a δᵀ without bias) contributes vₖᵀ G uₖ / √d =
    ([a, 1] V)ₖ (δ U)ₖ / √d to feature k, so that d features of a sample cost 2 d (i + o) operations a layer
    instead of 2 d i o, and P takes (i + o) d numbers instead of i o d. It is the Khatri-Rao product of two
    random matrices (Sun, Guo, Tropp and Udell 2021, arXiv 2105.00105), independent from layer to layer. Signs
    have a smaller fourth moment than normal numbers, hence less spread (Rakhshan and Rabusseau 2021,
    arXiv 2110.13970). For parameters outside of layers, which form a matrix of one row, the entries are plain
    independent signs.

    As E[V Vᵀ] = E[U Uᵀ] = d I, inner products are kept on average, E[g̃·h̃] = g·h. The price is a heavier tail
    than a Gaussian projection has: with ‖g_l‖ the part of layer l,

        d Var(g̃·h̃) ≤ ‖g‖² ‖h‖² + (g·h)² + 6 Σ_l ‖g_l‖² ‖h_l‖²,

    and for one sample exactly

        d Var ‖g̃‖² = 2 ‖g‖⁴ + Σ_l [(3 ‖a‖⁴ - 2 Σ a⁴) (3 ‖δ‖⁴ - 2 Σ δ⁴) - 3 ‖a‖⁴ ‖δ‖⁴],

    where a includes the constant 1 of an affine layer. Gradients spread evenly over four layers have about
    3.5 / d where the Gaussian has 2 / d; all in one layer, 8 / d. Means over many samples have more rank and
    less spread.

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
                torch.from_numpy(random_signs(rng, rows, self.dimension)),
                torch.from_numpy(random_signs(rng, columns, self.dimension) * scale),
            )
            for rows, columns in self._layout
        ]
