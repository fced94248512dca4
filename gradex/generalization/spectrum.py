"""What the spectrum of a symmetric matrix is like, by Lanczos' method (PolicyGradEx, Sec. 4.4 and 5)."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gradex.generalization.hessian import SymmetricOperator
from gradex.generalization.trace import TraceEstimate, random_signs


@dataclass(frozen=True, eq=False)
class Eigenvalue:
    """The largest eigenvalue of each of a stack of matrices.

    Attributes
    ----------
    value : array [policies]
    residual : array [policies]
        An eigenvalue lies within this distance of `value`, and the largest is not below `value`.
    products : int
        Matrix-vector products that it took.

    Examples
    --------
    >>> import torch
    >>> from gradex.generalization import DenseOperator, top_eigenvalue
    >>> operator = DenseOperator(torch.diag(torch.tensor([-1.0, 2.0, 3.0], dtype=torch.float64)).unsqueeze(0))
    >>> found = top_eigenvalue(operator, steps=3)
    >>> float(found.value[0].round(6)), bool(found.residual[0] < 1e-9), found.products
    (3.0, True, 3)
    """

    value: Float[np.ndarray, " policies"]
    residual: Float[np.ndarray, " policies"]
    products: int


@dataclass(frozen=True, eq=False)
class Quadrature:
    """Gauss quadrature for forms uᵀ f(H) u, u a unit vector (Golub and Meurant 2010).

    The Ritz values θ and weights w of m steps give uᵀ f(H) u ≈ Σ w f(θ): exact for polynomials up to degree
    2 m - 1, and for every f once the steps exhaust what H makes of u.

    Attributes
    ----------
    nodes, weights : Tensor [policies, vectors, m]
        Ritz values, ascending, and their weights, which sum to 1.
    residuals : Tensor [policies, vectors, m]
        Within this distance of a Ritz value there is an eigenvalue.

    Examples
    --------
    >>> import torch
    >>> from gradex.generalization import DenseOperator, lanczos
    >>> operator = DenseOperator(torch.diag(torch.tensor([-1.0, 2.0, 3.0], dtype=torch.float64)).unsqueeze(0))
    >>> quadrature = lanczos(operator, torch.ones(1, 3, 1, dtype=torch.float64), steps=3)
    >>> round(quadrature.positive.item(), 6)  # (2 + 3) / 3, as the start has length 1
    1.666667
    """

    nodes: Float[Tensor, "policies vectors m"]
    weights: Float[Tensor, "policies vectors m"]
    residuals: Float[Tensor, "policies vectors m"]

    @property
    def positive(self) -> Float[Tensor, "policies vectors"]:
        """uᵀ[H]₊u, where [H]₊ keeps the positive eigenvalues."""
        return (self.weights * self.nodes.clamp_min(0.0)).sum(dim=2)

    @property
    def largest(self) -> Eigenvalue:
        """The largest Ritz value over the vectors."""
        value, vector = self.nodes[:, :, -1].max(dim=1)
        residual = self.residuals[:, :, -1].gather(1, vector.unsqueeze(1)).squeeze(1)
        return Eigenvalue(value.cpu().numpy(), residual.cpu().numpy(), self.nodes[0].numel())


def lanczos(
    operator: SymmetricOperator, starts: Float[Tensor, "policies p vectors"], steps: int
) -> Quadrature:
    """Run Lanczos' method from each start, with full reorthogonalisation (twice is enough: Parlett 1998).

    Parameters
    ----------
    operator : SymmetricOperator
    starts : Tensor [policies, p, vectors]
        Only their directions count. A start of 0 sees nothing, and has Ritz values of minus infinity.
    steps : int
        m, the number of products for each start.

    Examples
    --------
    >>> import torch
    >>> from gradex.generalization import DenseOperator, lanczos
    >>> operator = DenseOperator(torch.diag(torch.tensor([-1.0, 2.0, 3.0], dtype=torch.float64)).unsqueeze(0))
    >>> lanczos(operator, torch.ones(1, 3, 1, dtype=torch.float64), steps=3).nodes.round(decimals=6).tolist()
    [[[-1.0, 2.0, 3.0]]]
    """
    if steps < 1:
        raise ValueError(f"steps={steps} is too few: give at least 1")
    steps = min(steps, operator.size)
    tiny = torch.finfo(starts.dtype).eps
    basis = starts.new_zeros(*starts.transpose(1, 2).shape, steps)  # [policies, vectors, p, m]
    diagonal = starts.new_zeros(*basis.shape[:2], steps)
    beside = torch.zeros_like(diagonal)
    current, _ = _normalised(starts, 0.0)
    scale = torch.zeros_like(diagonal[..., 0])
    for step in range(steps):
        basis[..., step] = current.mT
        image = operator @ current
        along = (current * image).sum(dim=1)
        # Where the start is exhausted, the rest of the tridiagonal matrix repeats its first entry, which lies
        # among the Ritz values and has no weight.
        done = torch.linalg.vector_norm(current, dim=1) == 0
        diagonal[..., step] = torch.where(done, diagonal[..., 0], along)
        scale = torch.maximum(scale, torch.linalg.vector_norm(image, dim=1))
        rest = image.mT.unsqueeze(3)
        for _ in range(2):
            rest = rest - basis[..., : step + 1] @ (basis[..., : step + 1].mT @ rest)
        current, beside[..., step] = _normalised(rest.squeeze(3).mT, 100 * tiny * scale)
    matrix = torch.diag_embed(diagonal)
    matrix += torch.diag_embed(beside[..., :-1], 1) + torch.diag_embed(beside[..., :-1], -1)
    nodes, vectors = torch.linalg.eigh(matrix)
    nodes = torch.where((starts == 0).all(dim=1).unsqueeze(2), -torch.inf, nodes)
    residuals = (beside[..., -1:] * vectors[..., -1, :]).abs()
    return Quadrature(nodes, vectors[..., 0, :].square(), residuals)


def _normalised(
    vectors: Float[Tensor, "policies p vectors"], floor: Float[Tensor, "policies vectors"] | float
) -> tuple[Float[Tensor, "policies p vectors"], Float[Tensor, "policies vectors"]]:
    """Give unit vectors and their former lengths, both 0 where the length is no more than the floor."""
    norms = torch.linalg.vector_norm(vectors, dim=1)
    norms = torch.where(norms > floor, norms, 0.0)
    return vectors * torch.where(norms > 0, 1 / norms, 0.0).unsqueeze(1), norms


def top_eigenvalue(operator: SymmetricOperator, steps: int = 40, seed: int = 0) -> Eigenvalue:
    """Approach the largest eigenvalue from below, from a random start.

    Parameters
    ----------
    operator : SymmetricOperator
    steps, seed : int
        Number of matrix-vector products, and seed of the start.

    Examples
    --------
    >>> import torch
    >>> from gradex.generalization import DenseOperator, top_eigenvalue
    >>> operator = DenseOperator(torch.diag(torch.tensor([-1.0, 2.0, 3.0], dtype=torch.float64)).unsqueeze(0))
    >>> float(top_eigenvalue(operator).value[0].round(6))
    3.0
    """
    return lanczos(operator, random_signs(operator, 1, seed), steps).largest


def positive_trace(
    operator: SymmetricOperator, vectors: int = 8, steps: int = 80, seed: int = 0
) -> TraceEstimate:
    """Estimate tr[H]₊, the sum of the positive eigenvalues, by stochastic Lanczos quadrature.

    Ubaru, Chen and Saad (2017, SIAM J. Matrix Anal. Appl. 38): the mean of vᵀ[H]₊v over vectors of random
    signs. The standard error tells their spread. The error of the quadrature is not in it: [·]₊ has a kink at
    0, where the spectra of networks are dense, and a few steps can be off by several per cent.

    Parameters
    ----------
    operator : SymmetricOperator
    vectors, steps, seed : int
        At least 2 vectors, and how many products each takes.

    Examples
    --------
    >>> import torch
    >>> from gradex.generalization import DenseOperator, positive_trace
    >>> operator = DenseOperator(torch.diag(torch.tensor([-1.0, 2.0, 3.0], dtype=torch.float64)).unsqueeze(0))
    >>> float(positive_trace(operator, vectors=8, steps=3).value[0].round(6))
    5.0
    """
    if vectors < 2:
        raise ValueError(f"vectors={vectors} is too few for a standard error: give at least 2")
    quadrature = lanczos(operator, random_signs(operator, vectors, seed), steps)
    return TraceEstimate.of_draws(operator.size * quadrature.positive, quadrature.nodes[0].numel())
