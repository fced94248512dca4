from types import SimpleNamespace

import numpy as np
import torch

from gradex.policies import MLP, Categorical, Gaussian, Policy
from gradex.policies.policy import PolicyGradients
from gradex.seeds import Streams
from gradex.surrogate.first_order import first_order_error
from tests.oracles import surrogate as oracle


def setting(policy: Policy):
    generator = torch.Generator().manual_seed(0)
    parameters = policy.initial(Streams([0])).double()[0]
    directions = torch.randn(2, policy.size, generator=generator, dtype=torch.float64)
    observations = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    actions = (
        torch.arange(9) % 2
        if isinstance(policy.distribution, Categorical)
        else torch.randn(9, 2, generator=generator, dtype=torch.float64)
    )
    return policy, parameters, directions, observations, torch.zeros(9, dtype=torch.int64), actions


def errors(policy, theta, directions, distances, observations, tasks, actions):
    samples = SimpleNamespace(observations=observations.numpy(), tasks=tasks.numpy(), actions=actions.numpy())
    model = PolicyGradients(policy, theta)
    return first_order_error(model, directions, distances, samples, np.arange(len(tasks)))


def test_equals_the_definition_with_gradients_sample_by_sample() -> None:
    for distribution in (Categorical(2), Gaussian(2)):
        policy, theta, directions, observations, tasks, actions = setting(
            Policy(MLP(3, 2, layers=3, width=6, gain=1.0), distribution)
        )
        distances = torch.tensor([0.01, 0.3], dtype=torch.float64)
        error = errors(policy, theta, directions, distances, observations, tasks, actions)
        gradients = oracle.log_prob_gradients(policy, theta, observations, tasks, actions)

        def log_prob(parameters, policy=policy, batch=(observations, tasks, actions)):
            return policy.log_prob(parameters[None], *(x[None] for x in batch))[0]

        for k, direction in enumerate(directions):
            for j, distance in enumerate(distances):
                delta = distance * theta.norm() * direction / direction.norm()
                moved, here = log_prob(theta + delta), log_prob(theta)
                missed = ((moved - here - gradients @ delta) ** 2).sum()
                torch.testing.assert_close(error["relative_to_output"][k, j], missed / (moved**2).sum())
                torch.testing.assert_close(
                    error["relative_to_change"][k, j], missed / ((moved - here) ** 2).sum()
                )


def test_the_share_of_the_change_that_is_missed_grows_with_the_square_of_a_small_distance() -> None:
    distances = torch.tensor([1e-4, 2e-4], dtype=torch.float64)
    policy, theta, directions, *batch = setting(
        Policy(MLP(3, 2, layers=3, width=6, gain=1.0), Categorical(2))
    )
    error = errors(policy, theta, directions, distances, *batch)
    ratio = error["relative_to_change"][:, 1] / error["relative_to_change"][:, 0]
    torch.testing.assert_close(ratio, torch.full((2,), 4.0, dtype=torch.float64), rtol=0.01, atol=0)


def test_log_pi_that_is_linear_in_theta_leaves_no_error() -> None:
    # A Gaussian's log-density is linear in log_std where the mean is 0 and so is the action.
    policy, theta, directions, observations, tasks, _ = setting(
        Policy(MLP(3, 2, layers=1, gain=1.0), Gaussian(2))
    )
    theta[:-2] = 0
    theta[-2:] = 0.5
    directions[:, :-2] = 0
    distances = torch.tensor([0.1, 1.0], dtype=torch.float64)
    actions = torch.zeros(9, 2, dtype=torch.float64)
    error = errors(policy, theta, directions, distances, observations, tasks, actions)
    assert (error["relative_to_change"] < 1e-20).all()
