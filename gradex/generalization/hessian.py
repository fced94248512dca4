"""Products of Hessians of the policy-gradient loss (Pearlmutter 1994, Neural Computation 6)."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from gradex.generalization.loss import PolicyGradientLoss, StackedSamples
from gradex.policies import Policy
from gradex.tensors import without_autocast

#: Samples, of all policies together, that are differentiated at a time: their activations stay in the cache.
_CHUNK = 2**11


class SymmetricOperator(ABC):
    """A symmetric matrix for each of a stack of policies, known by its products only.

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
@dataclass(frozen=True, eq=False)
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


@final
@dataclass(frozen=True, eq=False)
class Hessian(SymmetricOperator):
    """Second derivatives of the mean loss of each policy on its own samples, at its own parameters.

    Reverse mode over reverse mode: the gradient is built once and differentiated along one vector after the
    other. On a CPU forward over reverse mode is no faster (`python -m analysis speed trace`).

    Attributes
    ----------
    policy : Policy
    loss : PolicyGradientLoss
    parameters : Tensor [policies, p]
        Where to differentiate; their precision is that of the products.
    samples : StackedSamples

    Examples
    --------
    >>> import torch
    >>> from gradex import MetaPolicy, TaskSuite
    >>> from gradex.generalization import Hessian, PolicyGradientLoss, StackedSamples
    >>> meta = MetaPolicy(TaskSuite.make("navigation", n=3), layers=2, width=4).fit(steps=1)
    >>> theta = torch.from_numpy(meta.parameters).double().unsqueeze(0)
    >>> samples = StackedSamples.of([meta.transitions(20, sharing="none")])
    >>> hessian = Hessian(meta.agent_.policy, PolicyGradientLoss(), theta, samples)
    >>> matrix = (hessian @ torch.eye(hessian.size, dtype=torch.float64).unsqueeze(0))[0]
    >>> torch.allclose(matrix, matrix.T)
    True
    """

    policy: Policy
    loss: PolicyGradientLoss
    parameters: Float[Tensor, "policies p"]
    samples: StackedSamples

    @property
    def stack(self) -> int:
        return self.parameters.shape[0]

    @property
    def size(self) -> int:
        return self.parameters.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return self.parameters.dtype

    @torch.inference_mode(False)
    @torch.enable_grad()
    @without_autocast()
    def __matmul__(self, vectors: Float[Tensor, "policies p k"]) -> Float[Tensor, "policies p k"]:
        directions = vectors.unbind(dim=2)
        totals = [torch.zeros_like(direction) for direction in directions]
        for chunk in self.samples.chunks(max(_CHUNK // self.stack, 1)):
            theta = self.parameters.detach().requires_grad_()
            total = self.loss.of_samples(self.policy, theta, chunk).sum()
            (gradient,) = torch.autograd.grad(total, theta, create_graph=True)
            for direction, so_far in zip(directions, totals, strict=True):
                so_far.add_(torch.autograd.grad(gradient, theta, direction, retain_graph=True)[0])
        return torch.stack(totals, dim=2) / self.samples.count
