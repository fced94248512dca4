import numpy as np
import pytest
import torch

from gradex.surrogate import preconditioner
from gradex.surrogate.preconditioner import SharedCurvature

N_TASKS, LONGEST, D, LAMBDA = 4, 30, 12, 0.01
MEMBERS = torch.tensor([[True, False, True, False], [True, True, True, True], [False, False, False, True]])


@pytest.fixture
def samples() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tasks of unequal sizes whose features fill different directions."""
    rng = np.random.default_rng(0)
    scales = rng.permuted(np.tile(np.geomspace(0.01, 3, D), (N_TASKS, 1)), axis=1)
    signed = torch.from_numpy(rng.standard_normal((N_TASKS, LONGEST, D)) * scales[:, None])
    sizes = torch.tensor([30.0, 20.0, 25.0, 30.0], dtype=torch.float64)
    inside = torch.arange(LONGEST) < sizes[:, None]
    weights = torch.from_numpy(rng.exponential(size=(N_TASKS, LONGEST))) * inside
    return signed * inside.unsqueeze(-1), weights, sizes


def hessian(signed: torch.Tensor, weights: torch.Tensor, sizes: torch.Tensor, inside: torch.Tensor):
    x, w = signed[inside].flatten(0, 1), weights[inside].flatten()
    return 0.25 * x.T @ (x * w[:, None]) / sizes[inside].sum()


def test_hessian_is_that_of_all_samples(samples) -> None:
    torch.testing.assert_close(
        SharedCurvature(*samples).hessian, hessian(*samples, torch.ones(4, dtype=bool))
    )


def test_inverts_the_hessian_of_each_subset_where_all_directions_are_its_own(samples) -> None:
    precondition = SharedCurvature(*samples).preconditioner(MEMBERS, LAMBDA)
    identity = torch.eye(D, dtype=torch.float64).expand(len(MEMBERS), D, D)
    for inside, found in zip(MEMBERS, precondition(identity), strict=True):
        expected = torch.linalg.inv(hessian(*samples, inside) + LAMBDA * torch.eye(D))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_shares_what_is_not_a_leading_direction(samples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preconditioner, "_OWN", 5)
    precondition = SharedCurvature(*samples).preconditioner(MEMBERS, LAMBDA)
    everything = hessian(*samples, torch.ones(4, dtype=bool))
    vectors = torch.linalg.eigh(everything).eigenvectors.flip(1)
    leading, others = vectors[:, :5], vectors[:, 5:]
    identity = torch.eye(D, dtype=torch.float64).expand(len(MEMBERS), D, D)
    for inside, found in zip(MEMBERS, precondition(identity), strict=True):
        own = leading @ leading.T @ hessian(*samples, inside) @ leading @ leading.T
        shared = others @ others.T @ everything @ others @ others.T
        expected = torch.linalg.inv(own + shared + LAMBDA * torch.eye(D))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
