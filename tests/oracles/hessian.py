"""The dense Hessian of the policy-gradient loss, in float64, by nested differentiation of an obvious loss."""

import warnings

import torch
from torch import Tensor

from gradex.generalization import PolicyGradientLoss, StackedSamples
from gradex.policies import Categorical, Policy


def sample_loss(
    loss: PolicyGradientLoss,
    policy: Policy,
    theta: Tensor,
    observation: Tensor,
    task: Tensor,
    action: Tensor,
    advantage: Tensor,
) -> Tensor:
    """ℓ of one sample, by its formula."""
    log_prob = policy.log_prob(theta[None], observation[None, None], task[None, None], action[None, None])[
        0, 0
    ]
    if isinstance(policy.distribution, Categorical):
        kappa, actions = loss.smoothing, policy.distribution.actions
        log_prob = torch.log((1 - kappa) * log_prob.exp() + kappa / actions)
    limit = loss.advantage_limit
    return -torch.clip(advantage, -limit, limit) * log_prob


def mean_loss(
    loss: PolicyGradientLoss, policy: Policy, theta: Tensor, samples: StackedSamples, row: int
) -> Tensor:
    """L̂ of one policy of a stack."""
    arrays = [x[row] for x in vars(samples).values()]
    each = [sample_loss(loss, policy, theta, *(x[n] for x in arrays)) for n in range(samples.count)]
    return torch.stack(each).mean()


def hessians(loss: PolicyGradientLoss, policy: Policy, parameters: Tensor, samples: StackedSamples) -> Tensor:
    """Second derivatives [policies, p, p], policy by policy, forward mode over reverse mode."""
    with warnings.catch_warnings():
        # The first use of forward mode compiles something, in a way that torch itself deprecates.
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)
        return torch.stack(
            [
                torch.func.hessian(lambda theta, row=row: mean_loss(loss, policy, theta, samples, row))(theta)
                for row, theta in enumerate(parameters)
            ]
        )
