"""Symmetric matrices that are known by their products only, as a stack."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor


class SymmetricOperator(ABC):
    """A symmetric matrix for each of a stack of policies."""

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
