import numpy as np
import pytest
import torch

from gradex.surrogate import objective
from gradex.surrogate.objective import SharedCurvature

N_TASKS, LONGEST, D, LAMBDA = 4, 30, 12, 0.01
SHARES = torch.tensor([[1, 0, 2, 0], [1, 3, 1, 1], [0, 0, 0, 1]])


@pytest.fixture
def samples() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Blocks of unequal sizes whose features fill different directions."""
    rng = np.random.default_rng(0)
    scales = rng.permuted(np.tile(np.geomspace(0.01, 3, D), (N_TASKS, 1)), axis=1)
    features = torch.from_numpy(rng.standard_normal((N_TASKS, LONGEST, D)) * scales[:, None])
    sizes = torch.tensor([30.0, 20.0, 25.0, 30.0], dtype=torch.float64)
    inside = torch.arange(LONGEST) < sizes[:, None]
    weights = torch.from_numpy(rng.exponential(size=(N_TASKS, LONGEST))) * inside
    served = torch.tensor([1.0, 3.0, 2.0, 1.0], dtype=torch.float64)
    return features * inside.unsqueeze(-1), weights, served, sizes


def hessian(
    features: torch.Tensor, weights: torch.Tensor, served: torch.Tensor, sizes: torch.Tensor,
    shares: torch.Tensor,
):  # fmt: skip
    x, w = features.flatten(0, 1), (shares[:, None] * weights).flatten()
    return x.T @ (x * w[:, None]) / (shares @ sizes)


def test_hessian_is_that_of_all_samples(samples) -> None:
    torch.testing.assert_close(SharedCurvature(*samples).hessian, hessian(*samples, samples[2]))


def test_inverts_the_hessian_of_each_subset_where_all_directions_are_its_own(samples) -> None:
    precondition = SharedCurvature(*samples).preconditioner(SHARES, LAMBDA)
    identity = torch.eye(D, dtype=torch.float64).expand(len(SHARES), D, D)
    for inside, found in zip(SHARES, precondition(identity), strict=True):
        expected = torch.linalg.inv(hessian(*samples, inside.double()) + LAMBDA * torch.eye(D))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_shares_what_is_not_a_leading_direction(samples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objective, "_OWN", 5)
    precondition = SharedCurvature(*samples).preconditioner(SHARES, LAMBDA)
    everything = hessian(*samples, samples[2])
    vectors = torch.linalg.eigh(everything).eigenvectors.flip(1)
    leading, others = vectors[:, :5], vectors[:, 5:]
    identity = torch.eye(D, dtype=torch.float64).expand(len(SHARES), D, D)
    for inside, found in zip(SHARES, precondition(identity), strict=True):
        own = leading @ leading.T @ hessian(*samples, inside.double()) @ leading @ leading.T
        shared = others @ others.T @ everything @ others @ others.T
        expected = torch.linalg.inv(own + shared + LAMBDA * torch.eye(D))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
