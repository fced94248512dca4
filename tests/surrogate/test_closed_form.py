import numpy as np
import pytest

from gradex.surrogate.closed_form import natural_gradient_affinity
from gradex.surrogate.samples import Samples

N_TASKS, D, LAMBDA = 3, 5, 0.2


@pytest.fixture
def samples() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    count = 90
    return {
        "features": rng.standard_normal((count, D)),
        "labels": rng.choice([-1.0, 1.0], count),
        "weights": rng.exponential(size=count),
        "tasks": np.arange(count) % N_TASKS,
    }


def affinity(samples: dict[str, np.ndarray], folds: np.ndarray, hessian: np.ndarray, ridge: float):
    blocks = Samples(samples["labels"] * samples["weights"], samples["tasks"]).blocks()
    return natural_gradient_affinity(samples["features"], blocks, folds, hessian, ridge)


def mean_gradient(samples: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    weights = samples["labels"][rows] * samples["weights"][rows]
    return 0.5 * (weights[:, None] * samples["features"][rows]).mean(axis=0)


def test_in_sample_it_is_the_inner_product_of_the_gradients_in_the_inverse_hessian(samples) -> None:
    hessian = np.cov(samples["features"].T)
    found = affinity(samples, np.zeros(90, int), hessian, LAMBDA)
    inverse = np.linalg.inv(hessian + LAMBDA * np.eye(D))
    g = np.stack([mean_gradient(samples, samples["tasks"] == task) for task in range(N_TASKS)])
    np.testing.assert_allclose(found, g @ inverse @ g.T, rtol=1e-10)


def test_held_out_it_never_multiplies_a_sample_with_itself(samples) -> None:
    folds = np.random.default_rng(1).integers(0, 4, 90)
    found = affinity(samples, folds, np.eye(D), LAMBDA)
    tasks = samples["tasks"]
    expected = np.zeros((N_TASKS, N_TASKS))
    for i in range(N_TASKS):
        for j in range(N_TASKS):
            for fold in range(4):
                inside, outside = (tasks == i) & (folds == fold), (tasks == j) & (folds != fold)
                product = mean_gradient(samples, inside) @ mean_gradient(samples, outside) / (1 + LAMBDA)
                expected[i, j] += inside.sum() / (tasks == i).sum() * product
    np.testing.assert_allclose(found, (expected + expected.T) / 2, rtol=1e-10)


def test_held_out_noise_does_not_count_as_length() -> None:
    # Labels are coin tosses and the true gradients 0; in-sample the diagonal is positive all the same.
    rng = np.random.default_rng(0)
    diagonals = {1: [], 4: []}
    for _ in range(200):
        samples = {
            "features": rng.standard_normal((90, D)),
            "labels": rng.choice([-1.0, 1.0], 90),
            "weights": np.ones(90),
            "tasks": np.arange(90) % N_TASKS,
        }
        for count, found in diagonals.items():
            folds = np.arange(90) // N_TASKS % count
            found.append(np.diag(affinity(samples, folds, np.eye(D), 1.0)))
    mean = {count: np.mean(found) for count, found in diagonals.items()}
    error = {count: np.std(found) / np.sqrt(600) for count, found in diagonals.items()}
    assert abs(mean[4]) < 5 * error[4]
    assert mean[1] > 10 * error[1]
