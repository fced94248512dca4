from collections.abc import Callable

import pytest
import torch

from gradex.generalization import Hessian, PolicyGradientLoss, StackedSamples
from gradex.policies import Categorical, Gaussian, Policy, network
from gradex.seeds import Streams


def small_hessian(
    distribution: Categorical | Gaussian,
    layers: int,
    loss: PolicyGradientLoss | None = None,
    policies: int = 2,
    count: int = 7,
    width: int = 5,
    tasks: int = 0,
    architecture: str | None = None,
) -> Hessian:
    """Give the Hessian of small policies on random samples."""
    if architecture is None:
        architecture = "one_hot_mlp" if tasks else "mlp"
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    net = network(architecture, 3, distribution.outputs, max(tasks, 1), layers, width, gain=1.0)
    policy = Policy(net, distribution)
    parameters = policy.initial(Streams(list(range(policies)))).double() + 0.3 * normal(policies, policy.size)
    if isinstance(distribution, Categorical):
        actions = torch.randint(distribution.actions, (policies, count), generator=generator)
    else:
        actions = normal(policies, count, distribution.dimensions)
    samples = StackedSamples(
        normal(policies, count, 3),
        (torch.arange(count) % max(tasks, 1)).repeat(policies, 1),
        actions,
        2 * normal(policies, count),
    )
    return Hessian(policy, PolicyGradientLoss() if loss is None else loss, parameters, samples)


@pytest.fixture(name="small_hessian")
def small_hessian_fixture() -> Callable[..., Hessian]:
    return small_hessian


@pytest.fixture(
    params=[
        (Categorical(4), 1),
        (Categorical(4), 2),
        (Categorical(2), 3),
        (Gaussian(2), 3),
        (Categorical(3), 4),
        (Gaussian(2), 5),
        (Categorical(2), 8),
    ],
    ids=lambda case: f"{type(case[0]).__name__}-{case[1]}",
)
def hessian(request: pytest.FixtureRequest) -> Hessian:
    return small_hessian(*request.param)
