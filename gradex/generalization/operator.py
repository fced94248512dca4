"""Symmetric matrices that are known by their products only, as a stack."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor


class SymmetricOperator(ABC):
    """A symmetric matrix for each of a stack of policies.

    Examples
    --------
    >>> import torch
    >>> from gradex.generalization import SymmetricOperator, top_eigenvalue
    >>> class Twice(SymmetricOperator):
    ...     stack, size, dtype = 1, 5, torch.float64
    ...     def __matmul__(self, vectors):
    ...         return 2 * vectors
    >>> float(top_eigenvalue(Twice()).value[0].round(6))
    2.0
    """

    @property
    @abstractmethod
    def stack(self) -> int:
        """Number of matrices."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of rows of each."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Precision of the products."""

    @abstractmethod
    def __matmul__(self, vectors: Float[Tensor, "policies p k"]) -> Float[Tensor, "policies p k"]:
        """Multiply matrix i by each of its k vectors."""


@final
@dataclass(frozen=True)
class DenseOperator(SymmetricOperator):
    """Matrices that are there.

    Attributes
    ----------
    matrix : Tensor [policies, p, p]

    Examples
    --------
    >>> import torch
    >>> from gradex.generalization import DenseOperator
    >>> operator = DenseOperator(torch.eye(3).repeat(2, 1, 1))  # one matrix for each of two policies
    >>> operator.stack, operator.size
    (2, 3)
    >>> (operator @ torch.ones(2, 3, 1)).flatten().tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """

    matrix: Float[Tensor, "policies p p"]

    @property
    def stack(self) -> int:
        return self.matrix.shape[0]

    @property
    def size(self) -> int:
        return self.matrix.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return self.matrix.dtype

    def __matmul__(self, vectors: Float[Tensor, "policies p k"]) -> Float[Tensor, "policies p k"]:
        return self.matrix @ vectors
