from dataclasses import replace

import numpy as np
import pytest
import torch

from gradex.policies import policy as policy_module
from gradex.policies.policy import PolicyGradients, gradient_layout
from gradex.surrogate import GaussianProjection, KhatriRaoProjection
from gradex.surrogate.gradients import FactoredGradients
from gradex.surrogate.projection import Projection, gradient_features
from tests.oracles import surrogate as oracle

D = 15


@pytest.fixture
def theta(meta) -> torch.Tensor:
    return torch.from_numpy(meta.parameters).double()


@pytest.fixture(params=["gaussian", "khatri-rao"])
def projection(request: pytest.FixtureRequest, meta) -> Projection:
    if request.param == "gaussian":
        return GaussianProjection(meta.agent_.policy.size, D, seed=0)
    return KhatriRaoProjection(gradient_layout(meta.agent_.policy), D, seed=0)


def computed(meta, theta, transitions, projection) -> np.ndarray:
    model = PolicyGradients(meta.agent_.policy, theta)
    return gradient_features(model, transitions, projection, theta.dtype)


def test_are_the_gradients_of_each_sample_times_the_matrix(meta, transitions, theta, projection) -> None:
    found = computed(meta, theta, transitions, projection)
    assert found.dtype == np.float64
    samples = (transitions.observations, transitions.tasks, transitions.actions)
    observations, tasks, actions = (torch.from_numpy(x) for x in samples)
    policy = meta.agent_.policy
    gradients = oracle.log_prob_gradients(policy, theta, observations.double(), tasks, actions.double())
    expected = gradients @ projection.lift(torch.eye(D, dtype=torch.float64)).T
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


def test_single_precision_parameters_give_single_precision(meta, transitions, theta, projection) -> None:
    single = computed(meta, theta.float(), transitions, projection)
    assert single.dtype == np.float32
    double = computed(meta, theta, transitions, projection)
    np.testing.assert_allclose(single, double, rtol=1e-3, atol=1e-4)


def test_batches_are_no_larger_than_stated_and_leave_no_trace(
    meta, transitions, theta, projection, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = computed(meta, theta, transitions, projection)
    sizes, project = [], projection.project

    def spy(gradients: FactoredGradients) -> torch.Tensor:
        sizes.append(len(gradients.columns(0, 1)))
        return project(gradients)

    monkeypatch.setattr(policy_module, "_BATCH", 70)
    monkeypatch.setattr(projection, "project", spy)
    found = computed(meta, theta, transitions, projection)
    assert sizes == [70, 70, 70, 70, 20]
    np.testing.assert_allclose(found, whole, rtol=1e-10, atol=1e-12)


def test_counts_gradients_that_are_not_finite(
    meta, transitions, theta, projection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_module, "_BATCH", 70)
    observations = transitions.observations.copy()
    observations[[3, 5, 200]] = np.nan
    with pytest.raises(ValueError, match="3 gradients are not finite: check the observations"):
        computed(meta, theta, replace(transitions, observations=observations), projection)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_work_on_the_device_of_the_parameters(meta, transitions, theta, projection) -> None:
    found = computed(meta, theta.cuda(), transitions, projection)
    expected = computed(meta, theta, transitions, projection)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)
