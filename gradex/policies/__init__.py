"""Policy networks as stacks: every parameter has a leading axis over policies."""

from gradex.policies.architectures import ARCHITECTURES, matched_width, network
from gradex.policies.care import CARE
from gradex.policies.distributions import (
    ActionDistribution,
    Categorical,
    Gaussian,
    SquashedGaussian,
    action_distribution,
)
from gradex.policies.mlp import MLP, MultiHead
from gradex.policies.paco import PaCo
from gradex.policies.policy import Policy
from gradex.policies.soft_modularization import SoftModularization
from gradex.policies.stack import Network, Standardised, Tape, Twin

__all__ = [
    "ARCHITECTURES",
    "CARE",
    "MLP",
    "ActionDistribution",
    "Categorical",
    "Gaussian",
    "MultiHead",
    "Network",
    "PaCo",
    "Policy",
    "SoftModularization",
    "SquashedGaussian",
    "Standardised",
    "Tape",
    "Twin",
    "action_distribution",
    "matched_width",
    "network",
]
