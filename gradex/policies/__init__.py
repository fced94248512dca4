"""Policy networks as stacks: every parameter has a leading axis over policies."""

from gradex.policies.distributions import ActionDistribution, Categorical, Gaussian
from gradex.policies.mlp import MLP
from gradex.policies.policy import Policy, action_distribution
from gradex.policies.stack import Network, Tape

__all__ = [
    "MLP",
    "ActionDistribution",
    "Categorical",
    "Gaussian",
    "Network",
    "Policy",
    "Tape",
    "action_distribution",
]
