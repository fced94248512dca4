"""Networks bound to their parameters, with first derivatives: what updates call thousands of times."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Memory:
    """Memory for a result, the same again while the shape stays.

    To ask for it at every evaluation can take longer than the arithmetic, as it comes page by page.
    """

    def __init__(self) -> None:
        self._held: Tensor | None = None

    def __call__(self, like: Tensor, *shape: int) -> Tensor:
        """Give memory of this shape, with a tensor's precision and on its device."""
        if self._held is None or self._held.shape != shape:
            self._held = like.new_empty(shape)
        return self._held


class Pullback(ABC):
    """What carries a loss's derivatives by the outputs of one evaluation back (vector-Jacobian products).

    It serves until the parameters move, or the network is evaluated again.
    """

    @abstractmethod
    def to_parameters(
        self, sensitivity: Float[Tensor, "policies batch outputs"]
    ) -> Float[Tensor, "policies parameters"]:
        """Give the derivative by the parameters, in memory that the next call writes over."""

    @abstractmethod
    def to_inputs(
        self, sensitivity: Float[Tensor, "policies batch outputs"]
    ) -> Float[Tensor, "policies batch features"]:
        """Give the derivative by the observations."""


class Bound(ABC):
    """A network at rows of parameters that may move in place.

    Whatever can be looked up once is, so that a call does little but arithmetic.
    """

    @abstractmethod
    def vjp(
        self, observations: Float[Tensor, "policies batch features"], tasks: Int[Tensor, "policies batch"]
    ) -> tuple[Float[Tensor, "policies batch outputs"], Pullback]:
        """Evaluate, and give the way back."""

    def __call__(
        self, observations: Float[Tensor, "policies batch features"], tasks: Int[Tensor, "policies batch"]
    ) -> Float[Tensor, "policies batch outputs"]:
        """Evaluate."""
        return self.vjp(observations, tasks)[0]


@dataclass(frozen=True)
class BoundByAutograd(Bound):
    """Any network, by automatic differentiation of its `forward`."""

    forward: Callable[[Tensor, Tensor, Tensor], Tensor]
    parameters: Float[Tensor, "policies parameters"]

    @torch.enable_grad()
    def vjp(self, observations: Tensor, tasks: Tensor) -> tuple[Tensor, Pullback]:
        parameters = self.parameters.detach().requires_grad_()
        inputs = observations.detach().requires_grad_()
        outputs = self.forward(parameters, inputs, tasks)
        return outputs.detach(), _Graph(parameters, inputs, outputs)

    @torch.no_grad()
    def __call__(self, observations: Tensor, tasks: Tensor) -> Tensor:
        return self.forward(self.parameters, observations, tasks)


def _same(derivative: Tensor) -> Tensor:
    return derivative


@dataclass(frozen=True)
class Around(Pullback):
    """The way back through something that stands around a network, before and after its own."""

    inner: Pullback
    outputs: Callable[[Tensor], Tensor] = _same
    parameters: Callable[[Tensor], Tensor] = _same
    inputs: Callable[[Tensor], Tensor] = _same

    def to_parameters(self, sensitivity: Tensor) -> Tensor:
        return self.parameters(self.inner.to_parameters(self.outputs(sensitivity)))

    def to_inputs(self, sensitivity: Tensor) -> Tensor:
        return self.inputs(self.inner.to_inputs(self.outputs(sensitivity)))


@dataclass(frozen=True)
class _Graph(Pullback):
    parameters: Tensor
    inputs: Tensor
    outputs: Tensor

    def to_parameters(self, sensitivity: Tensor) -> Tensor:
        return self._to(self.parameters, sensitivity)

    def to_inputs(self, sensitivity: Tensor) -> Tensor:
        return self._to(self.inputs, sensitivity)

    def _to(self, leaf: Tensor, sensitivity: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(self.outputs, leaf, sensitivity, retain_graph=True)
        return gradient
