"""What the surrogate needs of a model: θ*, gradients of log-probabilities at θ*, and the model moved."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradex.surrogate.gradients import Dense, FactoredGradients

#: A batch of gradients [batch, p], in factors or as it is.
Gradients = FactoredGradients | Float[Tensor, "batch p"]


@runtime_checkable
class Model(Protocol):
    """A model of which each sample has a log-probability, or any other differentiable number.

    `MetaPolicy` is one for transitions, `ModuleGradients` makes one of any torch module. A model may also
    have a `layout`: the shapes (rows, columns) of the matrices that make up a gradient, whose entries add up
    to p; the projection "khatri-rao" pays only with one.

    Examples
    --------
    A density of one parameter, the normal distribution of mean θ:

    >>> import numpy as np
    >>> import torch
    >>> from gradex.surrogate import Model, Samples, SurrogateEstimator
    >>> class Normal:
    ...     def __init__(self, mean, values):
    ...         self.parameters, self.values = np.array([mean]), torch.from_numpy(values)
    ...     def gradients(self, samples, rows, dtype):
    ...         yield (self.values[rows, None] - self.parameters[0]).to(dtype)
    ...     def log_prob(self, parameters, samples, rows):
    ...         return -((self.values[rows] - parameters) ** 2) / 2
    ...     def with_parameters(self, parameters):
    ...         return Normal(parameters[0], self.values.numpy())
    >>> values = np.random.default_rng(0).normal(size=40)
    >>> model = Normal(0.5, values)
    >>> isinstance(model, Model)
    True
    >>> samples = Samples(np.sign(values), tasks=np.arange(40) // 20)
    >>> SurrogateEstimator(projection="none").fit(model, samples).features.shape
    (40, 1)
    """

    @property
    def parameters(self) -> Float[np.ndarray, " p"]:
        """θ*."""

    def gradients(
        self, samples: Any, rows: Int[np.ndarray, " k"], dtype: torch.dtype
    ) -> Iterator[FactoredGradients | Tensor]:
        """Differentiate the log-probabilities of these samples at θ*, batch by batch and in their order."""

    def log_prob(
        self, parameters: Float[Tensor, "stack p"], samples: Any, rows: Int[np.ndarray, " k"]
    ) -> Float[Tensor, "stack k"]:
        """Give the log-probabilities of these samples at some other parameters, in their precision."""

    def with_parameters(self, parameters: Float[np.ndarray, " p"]) -> "Model":
        """Give the model at other parameters."""


def in_factors(gradients: Gradients) -> FactoredGradients:
    """Give a batch of gradients in factors, also where they come as they are."""
    return gradients if isinstance(gradients, FactoredGradients) else FactoredGradients([Dense(gradients)])
