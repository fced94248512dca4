"""XTrace, with a standard error that knows what its terms share."""

from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from gradex.generalization.operator import SymmetricOperator
from gradex.generalization.trace import (
    TraceEstimate,
    TraceEstimator,
    check_products,
    check_subspace,
    generator,
)


@final
@dataclass(frozen=True)
class XTrace(TraceEstimator):
    """XTrace: every vector both shapes the subspace and tests what the others left of the matrix.

    Epperly, Tropp and Webber (2024, SIAM J. Matrix Anal. Appl. 45), Sec. 2.1 and 3. Each of the k vectors is
    left out in turn: with Q₍ᵢ₎ an orthonormal basis of what H makes of the others,

        tᵢ = tr Q₍ᵢ₎ᵀ H Q₍ᵢ₎ + wᵢᵀ H wᵢ,   wᵢ = (I - Q₍ᵢ₎ Q₍ᵢ₎ᵀ) vᵢ at length √(p - k + 1),

    and the trace is their mean. The vᵢ are uniform on the sphere, so that the length of wᵢ carries no
    information and can be fixed.

    1. The paper's standard error is that of independent tᵢ, s / √k with s² their sample variance. But they
       share their subspaces: in our trials the spread was up to a third larger, and 95 % intervals held the
       trace in 82 to 94 of 100 cases. A jackknife (Epperly and Tropp 2024, SIAM J. Sci. Comput. 46) errs on
       the other side, by factors of 1.1 to 5. We estimate the covariance itself. Let tᵢⱼ be tᵢ without vector
       j. Given all vectors but vᵢ, both tᵢ and tᵢⱼ have the mean tr H, so that in

           Cov(tᵢ, tⱼ) = E [tᵢⱼ + (tᵢ - tᵢⱼ) - tr H] [tⱼᵢ + (tⱼ - tⱼᵢ) - tr H]

       all products vanish but (tᵢ - tᵢⱼ)(tⱼ - tⱼᵢ): what j does for i times what i does for j. With c their
       mean over pairs, s² / k + c is an unbiased estimate of the variance of the mean. It takes numbers of
       size k only, no further product. A negative c is set to 0.

    Attributes
    ----------
    products : int
        2 k, at least 6.
    seed : int

    Examples
    --------
    >>> import torch
    >>> from gradex.generalization import DenseOperator, XTrace
    >>> square = torch.randn(40, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> operator = DenseOperator((square @ square.T).unsqueeze(0))
    >>> estimate = XTrace(products=50, seed=0).estimate(operator)
    >>> low, high = estimate.interval(0.99)
    >>> bool(low[0] < square.square().sum() < high[0])
    True
    """

    products: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        check_products(self.products, 6, 2)

    def estimate(self, operator: SymmetricOperator) -> TraceEstimate:
        k, size = self.products // 2, operator.size
        check_subspace(operator, k)
        normal = torch.randn(size, k, generator=generator(self.seed), dtype=torch.float64)
        normal *= sqrt(size) / torch.linalg.vector_norm(normal, dim=0)
        vectors = normal.to(operator.dtype).expand(operator.stack, -1, -1)
        images = operator @ vectors
        basis, triangle = torch.linalg.qr(images)
        sketch = _Sketch(
            size,
            triangle,
            basis.mT @ (operator @ basis),
            basis.mT @ vectors,
            (vectors * images).sum(dim=1),
        )
        estimates = sketch.leaving_one_out()
        gains = estimates.unsqueeze(1) - sketch.leaving_two_out()
        products = gains * gains.mT
        covariance = (products.sum(dim=(1, 2)) - _diagonal(products).sum(dim=1)) / (k * (k - 1))  # (1)
        stderr = (estimates.var(dim=1) / k + covariance.clamp_min(0.0)).sqrt()
        return TraceEstimate(estimates.mean(dim=1).cpu().numpy(), stderr.cpu().numpy(), k - 1, self.products)


@dataclass(frozen=True)
class _Sketch:
    """What k vectors V tell of a matrix H, in an orthonormal basis Q of H V.

    Attributes
    ----------
    size : int
        Number of rows of H.
    R : Tensor [policies, k, k]
        H V = Q R.
    M : Tensor [policies, k, k]
        Qᵀ H Q.
    C : Tensor [policies, k, k]
        Qᵀ V.
    quadratic : Tensor [policies, k]
        vᵢᵀ H vᵢ.
    """

    size: int
    R: Float[Tensor, "policies k k"]
    M: Float[Tensor, "policies k k"]
    C: Float[Tensor, "policies k k"]
    quadratic: Float[Tensor, "policies k"]

    @property
    def k(self) -> int:
        return self.R.shape[1]

    @cached_property
    def S(self) -> Float[Tensor, "policies k k"]:
        """Columns sᵢ, orthogonal to those of R but the i-th: Q₍ᵢ₎ Q₍ᵢ₎ᵀ = Q (I - sᵢ sᵢᵀ) Qᵀ."""
        return _normalised_inverse_transpose(self.R)

    @cached_property
    def SMS(self) -> Float[Tensor, "policies k k"]:
        """SᵀMS."""
        return self.S.mT @ self.M @ self.S

    @cached_property
    def SC(self) -> Float[Tensor, "policies k k"]:
        """SᵀC."""
        return self.S.mT @ self.C

    @cached_property
    def within(self) -> Float[Tensor, "policies k k"]:
        """Columns cᵢ: coordinates of Q₍ᵢ₎ Q₍ᵢ₎ᵀ vᵢ in Q."""
        return self.C - self.S * _diagonal(self.SC).unsqueeze(1)

    @cached_property
    def inside(self) -> Float[Tensor, "policies k"]:
        """Traces within the subspaces."""
        return _diagonal(self.M).sum(dim=1, keepdim=True) - _diagonal(self.SMS)

    @cached_property
    def outside(self) -> Float[Tensor, "policies k"]:
        """Quadratic forms of vᵢ less its part in the subspace."""
        c = self.within
        return self.quadratic - 2 * (c * self.R).sum(dim=1) + (c * (self.M @ c)).sum(dim=1)

    @cached_property
    def square(self) -> Float[Tensor, "policies k"]:
        """Squared lengths of the parts of vᵢ in the subspace."""
        return self.within.square().sum(dim=1)

    def leaving_one_out(self) -> Float[Tensor, "policies k"]:
        """Give tᵢ."""
        return self.inside + self.outside * (self.size - self.k + 1) / (self.size - self.square)

    def leaving_two_out(self) -> Float[Tensor, "policies k k"]:
        """Give tᵢⱼ in row j and column i; the diagonal means nothing.

        Besides sᵢ the subspace loses the direction u = (sⱼ - g sᵢ) / √(1 - g²), where g = sᵢᵀ sⱼ.
        """
        g = self.S.mT @ self.S
        norm = (1 - g.square()).clamp_min(torch.finfo(g.dtype).eps).sqrt()

        def along_u(products: Tensor) -> Tensor:
            """Give uᵀ xᵢ from the products sⱼᵀ xᵢ."""
            return (products - g * _diagonal(products).unsqueeze(1)) / norm

        c, b = along_u(self.SC), along_u(self.S.mT @ self.R)
        mc = along_u(self.S.mT @ self.M @ self.within)
        first, second = _diagonal(self.SMS).unsqueeze(1), _diagonal(self.SMS).unsqueeze(2)
        m = (second - 2 * g * self.SMS + g.square() * first) / norm.square()
        outside = self.outside.unsqueeze(1) + 2 * c * b - 2 * c * mc + c.square() * m
        length = self.size - self.square.unsqueeze(1) + c.square()
        return self.inside.unsqueeze(1) - m + outside * (self.size - self.k + 2) / length


def _diagonal(matrices: Float[Tensor, "policies k k"]) -> Float[Tensor, "policies k"]:
    return matrices.diagonal(dim1=1, dim2=2)


def _normalised_inverse_transpose(triangle: Float[Tensor, "policies k k"]) -> Float[Tensor, "policies k k"]:
    """Give R⁻ᵀ with columns of length 1."""
    # A matrix of low rank leaves zeros on the diagonal of R. Any small number in their place says the right
    # thing: that these vectors can be left out without loss.
    diagonal = _diagonal(triangle)
    largest = diagonal.abs().amax(dim=1, keepdim=True)
    floor = torch.where(largest > 0, largest, 1.0) * torch.finfo(triangle.dtype).eps
    lifted = torch.where(diagonal.abs() < floor, floor - diagonal, 0.0)
    identity = torch.eye(triangle.shape[1], dtype=triangle.dtype, device=triangle.device)
    inverse = torch.linalg.solve_triangular(
        (triangle + torch.diag_embed(lifted)).mT, identity.expand_as(triangle), upper=False
    )
    return inverse / torch.linalg.vector_norm(inverse, dim=1, keepdim=True)
