"""How sharp a policy's loss is, and how far it carries to unseen tasks (PolicyGradEx, Sec. 4.4 and 5)."""

from gradex.generalization.bound import Bound, PACBayes, perturbed_loss
from gradex.generalization.episodes import collect_episodes
from gradex.generalization.exact_trace import ExactTrace
from gradex.generalization.generalization import Generalization
from gradex.generalization.hessian import DenseOperator, Hessian, SymmetricOperator
from gradex.generalization.loss import LossRange, PolicyGradientLoss, StackedSamples
from gradex.generalization.measurement import Measurement
from gradex.generalization.spectrum import Eigenvalue, Quadrature, lanczos, positive_trace, top_eigenvalue
from gradex.generalization.trace import Hutchinson, TraceEstimate, TraceEstimator, XTrace

__all__ = [
    "Bound",
    "DenseOperator",
    "Eigenvalue",
    "ExactTrace",
    "Generalization",
    "Hessian",
    "Hutchinson",
    "LossRange",
    "Measurement",
    "PACBayes",
    "PolicyGradientLoss",
    "Quadrature",
    "StackedSamples",
    "SymmetricOperator",
    "TraceEstimate",
    "TraceEstimator",
    "XTrace",
    "collect_episodes",
    "lanczos",
    "perturbed_loss",
    "positive_trace",
    "top_eigenvalue",
]
