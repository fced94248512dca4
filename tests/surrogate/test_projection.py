import numpy as np
import pytest
import torch

from gradex.surrogate import GaussianProjection, KhatriRaoProjection, NoProjection, Projection
from gradex.surrogate.gradients import Affine, Dense, FactoredGradients

LAYOUT = [(40, 30), (1, 100)]
P, D, N = 1300, 20, 6  # more than two blocks of rows, the last one short

RANDOM = {
    "gaussian": lambda seed: GaussianProjection(P, D, seed),
    "khatri-rao": lambda seed: KhatriRaoProjection(LAYOUT, D, seed),
}


def gradients(dtype: torch.dtype = torch.float64, device: str = "cpu") -> FactoredGradients:
    generator = torch.Generator().manual_seed(1)
    draw = [
        torch.randn(N, width, generator=generator, dtype=torch.float64).to(device, dtype)
        for width in (39, 30, 100)
    ]
    return FactoredGradients([Affine(draw[0], draw[1]), Dense(draw[2])])


def matrix(projection: Projection) -> torch.Tensor:
    return projection.lift(torch.eye(projection.dimension, dtype=torch.float64)).T


@pytest.fixture(params=[*RANDOM, "none"])
def projection(request: pytest.FixtureRequest) -> Projection:
    return NoProjection(P) if request.param == "none" else RANDOM[request.param](3)


# ---------------------------------------------------------------------- exact, for every projection
def test_projecting_multiplies_by_the_matrix_that_lifting_applies(projection: Projection) -> None:
    features = projection.project(gradients())
    assert features.shape == (N, projection.dimension)
    torch.testing.assert_close(features, gradients().dense() @ matrix(projection), rtol=1e-12, atol=1e-12)


def test_a_lifted_step_changes_log_pi_by_what_the_features_say(projection: Projection) -> None:
    generator = torch.Generator().manual_seed(2)
    theta = torch.randn(4, projection.dimension, generator=generator, dtype=torch.float64)
    lifted = gradients().dense() @ projection.lift(theta).T
    torch.testing.assert_close(projection.project(gradients()) @ theta.T, lifted, rtol=1e-11, atol=1e-11)


def test_single_precision_rounds_the_same_features(projection: Projection) -> None:
    single = projection.project(gradients(torch.float32))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), projection.project(gradients()), rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_stays_on_the_device_of_the_gradients(projection: Projection) -> None:
    features = projection.project(gradients(device="cuda"))
    assert features.is_cuda
    torch.testing.assert_close(features.cpu(), projection.project(gradients()), rtol=1e-10, atol=1e-10)


# ---------------------------------------------------------------------- in distribution
@pytest.mark.parametrize("name", RANDOM)
def test_inner_products_survive_on_average_with_the_stated_spread(name: str) -> None:
    # One estimate per feature, d g̃ₖ h̃ₖ, of every pair of gradients, over many seeds.
    g = gradients().dense()
    features = torch.cat([D**0.5 * RANDOM[name](seed).project(gradients()) for seed in range(1000)], dim=1)
    estimates = features.unsqueeze(1) * features  # [N, N, 200 d]
    length, inner = g.square().sum(dim=1), g @ g.T
    expected = {
        "gaussian": torch.outer(length, length) + inner**2,
        "khatri-rao": khatri_rao_variance(),
    }[name]
    error = (expected / estimates.shape[-1]).sqrt()
    assert (abs(estimates.mean(dim=-1) - inner) < 5 * error).all()
    # The spread of a variance depends on eighth moments, heavy in a product of two; they are estimated.
    deviations = (estimates - inner.unsqueeze(-1)).square()
    spread = deviations.std(dim=-1) / estimates.shape[-1] ** 0.5
    assert (abs(deviations.mean(dim=-1) - expected) < 5 * spread).all()
    assert (spread < 0.2 * expected).all()


def khatri_rao_variance() -> torch.Tensor:
    """d Var(g̃·h̃) of each pair of samples, from the fourth moments of sums of signs."""
    affine, dense = gradients().parts
    a = torch.cat([affine.inputs, torch.ones(N, 1, dtype=torch.float64)], dim=1)
    b = affine.sensitivities
    factors = [(a, b), (torch.ones(N, 1, dtype=torch.float64), dense.values)]

    def fourth(x: torch.Tensor) -> torch.Tensor:  # E[(s·x)² (s·y)²] of random signs s, for each pair x, y
        length, squares = x.square().sum(dim=1), x.square()
        return torch.outer(length, length) + 2 * (x @ x.T) ** 2 - 2 * squares @ squares.T

    inner = [(x @ x.T) * (y @ y.T) for x, y in factors]
    lengths = [torch.outer(i.diagonal(), i.diagonal()) for i in inner]
    g = gradients().dense()
    total = torch.outer(g.square().sum(dim=1), g.square().sum(dim=1)) + (g @ g.T) ** 2
    for (x, y), i, length in zip(factors, inner, lengths, strict=True):
        total += fourth(x) * fourth(y) - length - 2 * i**2
    return total


def test_khatri_rao_spread_is_as_the_docstring_says() -> None:
    affine, dense = gradients().parts
    a2 = torch.cat([affine.inputs, torch.ones(N, 1, dtype=torch.float64)], dim=1).square()
    pairs = [(a2, affine.sensitivities.square()), (torch.ones(N, 1, dtype=torch.float64), dense.values**2)]
    expected = 2 * gradients().dense().square().sum(dim=1) ** 2
    bound = expected.clone()
    for a, delta in pairs:
        moments = [3 * x.sum(dim=1) ** 2 - 2 * x.square().sum(dim=1) for x in (a, delta)]
        length = a.sum(dim=1) ** 2 * delta.sum(dim=1) ** 2
        expected += moments[0] * moments[1] - 3 * length
        bound += 6 * length
    exact = khatri_rao_variance().diagonal()
    torch.testing.assert_close(exact, expected, rtol=1e-12, atol=0)
    assert (exact <= bound).all() and (exact > 2 * gradients().dense().square().sum(dim=1) ** 2).all()


def test_gaussian_entries_are_normal_with_variance_one_over_d() -> None:
    entries = matrix(GaussianProjection(4096, 64, seed=0)).flatten() * 8
    assert abs(entries.mean()) < 5 / 512
    assert abs(entries.var() - 1) < 5 * 2**0.5 / 512
    assert abs((entries**4).mean() - 3) < 5 * 96**0.5 / 512
    assert abs((entries.abs() < 1).double().mean() - 0.6827) < 5 * 0.466 / 512


def test_khatri_rao_entries_are_products_of_signs() -> None:
    whole = matrix(KhatriRaoProjection(LAYOUT, D, seed=0)) * D**0.5
    torch.testing.assert_close(whole.abs(), torch.ones_like(whole), rtol=1e-7, atol=0)
    for k in range(D):
        assert torch.linalg.matrix_rank(whole[:1200, k].unflatten(0, (40, 30))) == 1


def test_blocks_are_independent_of_each_other() -> None:
    whole = matrix(GaussianProjection(P, D, seed=3))
    correlation = np.corrcoef(whole[:512].flatten().numpy(), whole[512:1024].flatten().numpy())[0, 1]
    assert abs(correlation) < 5 / np.sqrt(512 * D)


# ---------------------------------------------------------------------- seeds and memory
@pytest.mark.parametrize("name", RANDOM)
def test_a_seed_fixes_the_matrix(name: str) -> None:
    state = torch.random.get_rng_state()
    first = matrix(RANDOM[name](3))
    np.random.seed(0)  # noqa: NPY002
    assert torch.equal(matrix(RANDOM[name](3)), first)
    assert not torch.equal(matrix(RANDOM[name](4)), first)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_rows_are_a_function_of_the_seed_alone() -> None:
    assert torch.equal(
        matrix(GaussianProjection(900, D, seed=3)), matrix(GaussianProjection(P, D, seed=3))[:900]
    )


def test_drawing_again_gives_what_keeping_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(gaussian: GaussianProjection) -> list[torch.Tensor]:
        return [gaussian.project(gradients()), gaussian.project(gradients(torch.float32)), matrix(gaussian)]

    kept, drawn = GaussianProjection(P, D, seed=3), GaussianProjection(P, D, seed=3)
    expected = found(kept)
    monkeypatch.setattr("gradex.surrogate.projection._KEPT", 4 * P * D - 1)
    assert all(map(torch.equal, found(drawn), expected))
    assert "_matrix" in vars(kept) and "_matrix" not in vars(drawn)


# ---------------------------------------------------------------------- bad input
@pytest.mark.parametrize("dimension", [0, -1, P + 1])
def test_refuses_a_dimension_that_cannot_be(dimension: int) -> None:
    message = f"{P} parameters to {dimension} dimensions: choose 1 to {P}"
    with pytest.raises(ValueError, match=message):
        GaussianProjection(P, dimension, seed=0)
    with pytest.raises(ValueError, match=message):
        KhatriRaoProjection(LAYOUT, dimension, seed=0)


def test_refuses_a_negative_seed() -> None:
    with pytest.raises(ValueError, match="seed=-1 is negative: give at least 0"):
        GaussianProjection(P, D, seed=-1)


def test_khatri_rao_refuses_gradients_of_another_layout() -> None:
    with pytest.raises(ValueError, match=r"gradients of layout .* do not fit a projection of"):
        KhatriRaoProjection([(30, 40), (1, 100)], D, seed=0).project(gradients())
