"""Regressions on more features than there are samples."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float

from gradex.surrogate.logistic import SubsetLogisticRegression
from gradex.surrogate.samples import Block


class Span:
    """Regressions in as few dimensions as the samples span, worked out when they are first asked for.

    No fit leaves the span of the features: the gradient of the loss lies in it, and a ridge draws everything
    else to 0. With orthonormal columns Q of the span, g̃ = Q c and θ = Q u, margins and lengths are the same,
    so that minimisers and scores are, too; but matrices of d x d become those of N x N.
    """

    def __init__(
        self, features: Float[np.ndarray, "N d"], blocks: Sequence[Block], regularization: float
    ) -> None:
        self._features, self._blocks, self._regularization = features, blocks, regularization

    @property
    def coordinates(self) -> Float[np.ndarray, "N r"]:
        """The features, r = min(N, d) numbers a sample, in their precision."""
        return self._features if self._factors is None else self._factors[1]

    @cached_property
    def regression(self) -> SubsetLogisticRegression:
        return SubsetLogisticRegression(self.coordinates, self._blocks, self._regularization)

    def lift(self, theta: Float[np.ndarray, "m r"]) -> Float[np.ndarray, "m d"]:
        """Give Q u for each row u."""
        return theta if self._factors is None else theta @ self._factors[0].T

    @cached_property
    def _factors(self) -> tuple[Float[np.ndarray, "d r"], Float[np.ndarray, "N r"]] | None:
        """Give Q in double precision, and the coordinates; None where there is nothing to gain."""
        count, dimension = self._features.shape
        if count >= dimension:
            return None
        basis, triangle = torch.linalg.qr(torch.from_numpy(self._features).T.double())
        return basis.numpy(), triangle.T.contiguous().numpy().astype(self._features.dtype)
