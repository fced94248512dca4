"""The trace of a symmetric matrix from products with random vectors (PolicyGradEx, Sec. 4.4).

Test vectors are common to all matrices of a stack, so that an estimate does not depend on its company and
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

from gradex.generalization.operator import SymmetricOperator


@dataclass(frozen=True)
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
    >>> from gradex.generalization import DenseOperator, Hutchinson, HutchPlusPlus, XTrace
    >>> operator = DenseOperator(torch.diag(torch.arange(60.0)).unsqueeze(0))
    >>> [each.estimate(operator).products for each in (Hutchinson(), HutchPlusPlus(30), XTrace(30))]
    [100, 30, 30]
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
    >>> square = torch.randn(40, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> operator = DenseOperator((square @ square.T).unsqueeze(0))
    >>> estimate = Hutchinson(products=50, seed=0).estimate(operator)
    >>> low, high = estimate.interval(0.99)
    >>> bool(low[0] < square.square().sum() < high[0])
    True
    """

    products: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        check_products(self.products, 2, 1)

    def estimate(self, operator: SymmetricOperator) -> TraceEstimate:
        vectors = random_signs(operator, self.products, generator(self.seed))
        return TraceEstimate.of_draws((vectors * (operator @ vectors)).sum(dim=1), self.products)


@final
@dataclass(frozen=True)
class HutchPlusPlus(TraceEstimator):
    """Hutch++: exact in a subspace that holds most of the matrix, Hutchinson beside it.

    Meyer, Musco, Musco and Woodruff (2021, SOSA), Algorithm 1: a third of the products finds the subspace, a
    third gives its trace, a third estimates the rest. Given the subspace, only the rest is uncertain.

    Attributes
    ----------
    products : int
        A multiple of 3, at least 6.
    seed : int

    Examples
    --------
    >>> import torch
    >>> from gradex.generalization import DenseOperator, HutchPlusPlus
    >>> square = torch.randn(40, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> operator = DenseOperator((square @ square.T).unsqueeze(0))
    >>> estimate = HutchPlusPlus(products=48, seed=0).estimate(operator)
    >>> low, high = estimate.interval(0.99)
    >>> bool(low[0] < square.square().sum() < high[0])
    True
    """

    products: int = 99
    seed: int = 0

    def __post_init__(self) -> None:
        check_products(self.products, 6, 3)

    def estimate(self, operator: SymmetricOperator) -> TraceEstimate:
        third = self.products // 3
        check_subspace(operator, third)
        draws = generator(self.seed)
        basis = torch.linalg.qr(operator @ random_signs(operator, third, draws)).Q
        inside = (basis * (operator @ basis)).sum(dim=(1, 2))
        rest = random_signs(operator, third, draws)
        rest = rest - basis @ (basis.mT @ rest)
        outside = (rest * (operator @ rest)).sum(dim=1)
        return TraceEstimate.of_draws(inside.unsqueeze(1) + outside, self.products)


def generator(seed: int) -> torch.Generator:
    """Give the source of test vectors that a seed stands for."""
    return torch.Generator().manual_seed(seed)


def random_signs(
    operator: SymmetricOperator, count: int, generator: torch.Generator
) -> Float[Tensor, "policies p k"]:
    """Draw vectors of random signs, the same for each matrix of a stack."""
    signs = 2 * torch.randint(2, (operator.size, count), generator=generator).to(operator.dtype) - 1
    return signs.expand(operator.stack, -1, -1)


def check_products(products: int, least: int, multiple: int) -> None:
    """Refuse a number of products that is too small, or cannot be shared out equally."""
    if products < least or products % multiple:
        kind = f"a multiple of {multiple}, at least {least}" if multiple > 1 else f"at least {least}"
        raise ValueError(f"{products} products cannot be shared out: give {kind}")


def check_subspace(operator: SymmetricOperator, vectors: int) -> None:
    """Refuse a subspace that is the whole space."""
    if vectors >= operator.size:
        raise ValueError(
            f"a subspace of {vectors} dimensions is all of a matrix of {operator.size} rows: "
            "give fewer products, or sum its diagonal"
        )
