"""The trace of a symmetric matrix from products with random vectors (PolicyGradEx, Sec. 4.4).

`Hutchinson` is the paper's. `XTrace` errs less from some 50 products on, as the spectra of policies' Hessians
decay. Test vectors are common to all matrices of a stack: an estimate does not depend on its company, and
differences between policies have less noise.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import sqrt
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import t as student_t
from torch import Tensor

from gradex.generalization.hessian import SymmetricOperator


@dataclass(frozen=True, eq=False)
class TraceEstimate:
    """A trace for each of a stack of policies, and how sure it is.

    Attributes
    ----------
    value, stderr : array [policies]
    degrees_of_freedom : float
        Of the standard error; infinite where it is known to be 0.
    products : int
        Matrix-vector products that it took.

    Examples
    --------
    >>> import torch
    >>> from gradex.generalization import TraceEstimate
    >>> draws = torch.tensor([[9.0, 11.0, 10.0, 10.0]], dtype=torch.float64)  # four estimates for one policy
    >>> estimate = TraceEstimate.of_draws(draws, products=4)
    >>> [float(end[0].round(1)) for end in estimate.interval(0.95)]
    [8.7, 11.3]
    """

    value: Float[np.ndarray, " policies"]
    stderr: Float[np.ndarray, " policies"]
    degrees_of_freedom: float
    products: int

    @classmethod
    def of_draws(cls, draws: Float[Tensor, "policies draws"], products: int) -> "TraceEstimate":
        """Average independent unbiased estimates."""
        count = draws.shape[1]
        stderr = draws.std(dim=1) / sqrt(count)
        return cls(draws.mean(dim=1).cpu().numpy(), stderr.cpu().numpy(), count - 1, products)

    def interval(
        self, level: float = 0.95
    ) -> tuple[Float[np.ndarray, " policies"], Float[np.ndarray, " policies"]]:
        """Give a confidence interval by Student's t.

        Parameters
        ----------
        level : float
            Chance, over the random vectors, that the trace lies within.
        """
        if not 0 < level < 1:
            raise ValueError(f"level is {level}: choose a chance between 0 and 1, such as 0.95")
        quantile = float(student_t.ppf((1 + level) / 2, self.degrees_of_freedom))
        return self.value - quantile * self.stderr, self.value + quantile * self.stderr


class TraceEstimator(ABC):
    """A way to get at the trace of matrices that are known by their products.

    Examples
    --------
    >>> import torch
    >>> from gradex.generalization import DenseOperator, Hutchinson, XTrace
    >>> operator = DenseOperator(torch.diag(torch.arange(60.0)).unsqueeze(0))
    >>> [each.estimate(operator).products for each in (Hutchinson(), XTrace(30))]
    [100, 30]
    """

    @abstractmethod
    def estimate(self, operator: SymmetricOperator) -> TraceEstimate:
        """Estimate the trace of each matrix of a stack."""


@final
@dataclass(frozen=True)
class Hutchinson(TraceEstimator):
    """Mean of vᵀHv over vectors v of random signs (Girard 1989; Hutchinson 1989).

    Attributes
    ----------
    products : int
        At least 2; the error falls with its square root.
    seed : int

    Examples
    --------
    >>> import torch
    >>> from gradex.generalization import DenseOperator, Hutchinson
    >>> operator = DenseOperator(torch.ones(1, 40, 40, dtype=torch.float64))
    >>> low, high = Hutchinson(products=50, seed=0).estimate(operator).interval(0.99)
    >>> bool(low[0] < 40 < high[0])
    True
    """

    products: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if self.products < 2:
            raise ValueError(f"products={self.products} is too few for a standard error: give at least 2")

    def estimate(self, operator: SymmetricOperator) -> TraceEstimate:
        vectors = random_signs(operator, self.products, self.seed)
        return TraceEstimate.of_draws((vectors * (operator @ vectors)).sum(dim=1), self.products)


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
       share their subspaces, which makes it too small. We add their covariance: with tᵢⱼ the tᵢ without
       vector j, Cov(tᵢ, tⱼ) = E (tᵢ - tᵢⱼ)(tⱼ - tⱼᵢ), as given all vectors but vᵢ both tᵢ and tᵢⱼ have the
       mean tr H. With c its mean over pairs, 0 if negative, the variance of the mean is s² / k + c.

    Attributes
    ----------
    products : int
        2 k, at least 6.
    seed : int

    Examples
    --------
    >>> import torch
    >>> from gradex.generalization import DenseOperator, XTrace
    >>> operator = DenseOperator(torch.ones(1, 40, 40, dtype=torch.float64))
    >>> float(XTrace(products=6).estimate(operator).value[0].round(6))  # a low rank leaves nothing to chance
    40.0
    """

    products: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if self.products < 6 or self.products % 2:
            raise ValueError(f"products={self.products}: XTrace takes an even number, at least 6")

    def estimate(self, operator: SymmetricOperator) -> TraceEstimate:
        k, size = self.products // 2, operator.size
        if k >= size:
            raise ValueError(
                f"products={self.products} span a matrix of {size} rows: give fewer, or sum its diagonal"
            )
        generator = torch.Generator().manual_seed(self.seed)
        normal = torch.randn(size, k, generator=generator, dtype=torch.float64, device="cpu")
        normal *= sqrt(size) / torch.linalg.vector_norm(normal, dim=0)
        vectors = normal.to(operator.dtype).expand(operator.stack, -1, -1)
        images = operator @ vectors
        basis, triangle = torch.linalg.qr(images)
        within, along = basis.mT @ (operator @ basis), basis.mT @ vectors
        t, without = _left_out(size, triangle, within, along, (vectors * images).sum(dim=1))
        gains = t.unsqueeze(1) - without
        products = gains * gains.mT
        covariance = (products.sum(dim=(1, 2)) - _diagonal(products).sum(dim=1)) / (k * (k - 1))  # (1)
        stderr = (t.var(dim=1) / k + covariance.clamp_min(0.0)).sqrt()
        return TraceEstimate(t.mean(dim=1).cpu().numpy(), stderr.cpu().numpy(), k - 1, self.products)


def _left_out(
    size: int,
    R: Float[Tensor, "policies k k"],
    M: Float[Tensor, "policies k k"],
    C: Float[Tensor, "policies k k"],
    quadratic: Float[Tensor, "policies k"],
) -> tuple[Float[Tensor, "policies k"], Float[Tensor, "policies k k"]]:
    """Give tᵢ, and tᵢⱼ in row j and column i, whose diagonal means nothing.

    With Q an orthonormal basis of HV: HV = QR, M = QᵀHQ, C = QᵀV, and vᵢᵀHvᵢ is `quadratic`.
    """
    k = R.shape[1]
    # Columns sᵢ, orthogonal to those of R but the i-th: Q₍ᵢ₎ Q₍ᵢ₎ᵀ = Q (I - sᵢ sᵢᵀ) Qᵀ.
    S = _normalised_inverse_transpose(R)
    SMS, SC = S.mT @ M @ S, S.mT @ C
    lost = _diagonal(SMS)
    inside = _diagonal(M).sum(dim=1, keepdim=True) - lost
    projected = C - S * _diagonal(SC).unsqueeze(1)  # columns: Q₍ᵢ₎ Q₍ᵢ₎ᵀ vᵢ, in Q
    outside = quadratic - 2 * (projected * R).sum(dim=1) + (projected * (M @ projected)).sum(dim=1)
    length = size - projected.square().sum(dim=1)  # squared, of what is left of vᵢ
    t = inside + outside * (size - k + 1) / length

    # Without j too, the subspace also loses the direction u = (sⱼ - g sᵢ) / √(1 - g²), where g = sᵢᵀ sⱼ.
    g = S.mT @ S
    norm = (1 - g.square()).clamp_min(torch.finfo(g.dtype).eps).sqrt()

    def along_u(products: Tensor) -> Tensor:
        """Give uᵀ xᵢ from the products sⱼᵀ xᵢ."""
        return (products - g * _diagonal(products).unsqueeze(1)) / norm

    c, b, m = along_u(SC), along_u(S.mT @ R), along_u(S.mT @ M @ projected)
    uMu = (lost.unsqueeze(2) - 2 * g * SMS + g.square() * lost.unsqueeze(1)) / norm.square()
    outside = outside.unsqueeze(1) + 2 * c * b - 2 * c * m + c.square() * uMu
    length = length.unsqueeze(1) + c.square()
    return t, inside.unsqueeze(1) - uMu + outside * (size - k + 2) / length


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


def random_signs(operator: SymmetricOperator, count: int, seed: int) -> Float[Tensor, "policies p k"]:
    """Draw vectors of random signs, the same for each matrix of a stack."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(2, (operator.size, count), generator=generator, device="cpu")
    signs = 2 * drawn.to(operator.dtype) - 1
    return signs.expand(operator.stack, -1, -1)
