"""What every distribution over actions does."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from jaxtyping import Float, Shaped
from torch import Tensor


class ActionDistribution(ABC):
    """Distribution over the actions of a batch, given the network's outputs.

    Sampling takes its noise as an argument, so that a seed fixes the actions.

    Examples
    --------
    >>> from gradex.policies import Categorical, Gaussian
    >>> [(each.outputs, dict(each.parameters)) for each in (Categorical(3), Gaussian(2))]
    [(3, {}), (2, {'log_std': (2,)})]
    """

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Numbers that the network must give per sample."""

    @property
    @abstractmethod
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the noise per sample: () for one uniform number, otherwise standard normal ones."""

    @property
    def parameters(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each of the distribution's own parameters; they start at 0."""
        return {}

    @abstractmethod
    def sample(
        self,
        outputs: Float[Tensor, "policies batch o"],
        own: Mapping[str, Tensor],
        noise: Float[Tensor, "policies batch *n"],
    ) -> Shaped[Tensor, "policies batch *a"]:
        """Turn noise into actions."""

    @abstractmethod
    def mode(self, outputs: Float[Tensor, "policies batch o"]) -> Shaped[Tensor, "policies batch *a"]:
        """Give the most probable action."""

    @abstractmethod
    def log_prob(
        self,
        outputs: Float[Tensor, "policies batch o"],
        own: Mapping[str, Tensor],
        actions: Shaped[Tensor, "policies batch *a"],
    ) -> Float[Tensor, "policies batch"]:
        """Log-probability, or log-density, of actions."""

    @abstractmethod
    def entropy(
        self, outputs: Float[Tensor, "policies batch o"], own: Mapping[str, Tensor]
    ) -> Float[Tensor, "policies batch"]:
        """Entropy at each sample, in nats."""
