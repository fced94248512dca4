"""What is measured of one policy."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gradex.display import card
from gradex.generalization.bound import Bound


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was measured of one policy.

    Attributes
    ----------
    trace, trace_stderr : float
        Trace of the Hessian of the training loss; the standard error is 0 where the trace is exact.
    trace_products : int
        Hessian-vector products that it took.
    top_eigenvalue, top_eigenvalue_residual : float
        Largest eigenvalue of that Hessian, and how far an eigenvalue is from it at most.
    train_losses, test_losses : arrays [tasks], [targets]
        Mean loss on each task that the policy was trained on, and on each target task.
    gap_stderr : float
        Standard error of `gap` for these tasks, by episode: steps of one episode count as one piece of
        evidence. That the tasks are a draw themselves is not in it; the spread of `test_losses` tells.
    isotropic, isotropic_by_episode, anisotropic : Bound
        See `PACBayes`; the second takes the number of episodes for N.
    perturbed_loss, perturbed_loss_stderr : float
        Training loss of θ with Gaussian noise of standard deviation `isotropic.sigma`, by drawing; losses
        beyond `isotropic.loss_range` count as its ends.

    Examples
    --------
    >>> from gradex import Generalization, MetaPolicy, TaskSuite
    >>> suite = TaskSuite.make("navigation", n=3)
    >>> meta = MetaPolicy(suite, layers=2, width=8).fit(steps=1)
    >>> measured = Generalization(meta, suite, suite.unseen(4, seed=0), steps_per_task=60, copies=4).measure()
    >>> measured.train_losses.shape, measured.test_losses.shape, measured.constants["N"]
    ((3,), (4,), 180)
    """

    trace: float
    trace_stderr: float
    trace_products: int
    top_eigenvalue: float
    top_eigenvalue_residual: float
    train_losses: Float[np.ndarray, " tasks"]
    test_losses: Float[np.ndarray, " targets"]
    gap_stderr: float
    isotropic: Bound
    isotropic_by_episode: Bound
    anisotropic: Bound
    perturbed_loss: float
    perturbed_loss_stderr: float

    def _repr_html_(self) -> str:
        facts = {
            "training loss": self.train_loss,
            "test loss": self.test_loss,
            "gap": f"{self.gap:.4g} ± {self.gap_stderr:.2g}",
            "trace of the Hessian": f"{self.trace:.4g} ± {self.trace_stderr:.2g}",
            "largest eigenvalue": self.top_eigenvalue,
            "PAC-Bayes bound": self.isotropic.value,
        }
        return card(type(self).__name__, facts)

    @property
    def train_loss(self) -> float:
        """Mean loss on the tasks that the policy was trained on."""
        return float(self.train_losses.mean())

    @property
    def test_loss(self) -> float:
        """Mean loss on the target tasks."""
        return float(self.test_losses.mean())

    @property
    def gap(self) -> float:
        """Generalization error: test loss less training loss."""
        return self.test_loss - self.train_loss

    @property
    def bound(self) -> float:
        """The isotropic bound on the expected training loss, N being the number of samples."""
        return self.isotropic.value

    @property
    def bound_anisotropic(self) -> float:
        """The theorem's sharper form, a measure rather than a bound."""
        return self.anisotropic.value

    @property
    def vacuous(self) -> bool:
        """Whether the bound says no more than the range of the loss does."""
        return self.isotropic.vacuous

    @property
    def bound_measured(self) -> float:
        """The isotropic bound on the perturbed policy, from its measured loss instead of an expansion."""
        return self.isotropic.measured(self.perturbed_loss)

    @property
    def constants(self) -> dict[str, float]:
        """Symbols of PolicyGradEx, Theorem 1, as they enter `bound`."""
        bound = self.isotropic
        return {
            "C": bound.loss_range.width,
            "alpha": self.trace,
            "r": bound.distance,
            "N": bound.samples,
            "episodes": self.isotropic_by_episode.samples,
            "delta": bound.delta,
            "epsilon": bound.epsilon,
            "sigma": bound.sigma,
        }
