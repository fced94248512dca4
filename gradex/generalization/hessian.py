"""Hessian-vector products of the policy-gradient loss (Pearlmutter 1994, Neural Computation 6)."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from gradex.generalization.loss import PolicyGradientLoss
from gradex.generalization.operator import SymmetricOperator
from gradex.generalization.samples import StackedSamples
from gradex.policies import Policy

#: Samples, of all policies together, that are differentiated at a time: their activations stay in the cache.
_CHUNK = 2**11


@final
@dataclass(frozen=True)
class Hessian(SymmetricOperator):
    """Second derivatives of the mean loss of each policy on its own samples, at its own parameters.

    Reverse mode over reverse mode: the gradient is built once and differentiated along one vector after the
    other. On a CPU that is faster than forward over reverse mode for shallow networks, and as fast within a
    tenth for deep ones (`python -m analysis speed trace`).

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
    >>> from gradex.generalization import Hessian, PolicyGradientLoss, StackedSamples
    >>> from gradex.policies import MLP, Categorical, Policy
    >>> from gradex.seeds import Streams
    >>> policy = Policy(MLP(features=3, outputs=2, layers=2, width=4), Categorical(2))
    >>> parameters = policy.initial(Streams(seeds=[0])).double()
    >>> numbers = torch.randn(1, 20, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> tasks = torch.zeros(1, 20, dtype=torch.int64)
    >>> samples = StackedSamples(numbers[..., :3], tasks, tasks, numbers[..., 3])
    >>> hessian = Hessian(policy, PolicyGradientLoss(), parameters, samples)
    >>> matrix = (hessian @ torch.eye(policy.size, dtype=torch.float64).unsqueeze(0))[0]
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

    @torch.enable_grad()
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
