from dataclasses import dataclass

import pytest
import torch

from gradex.policies import MLP, Categorical, Gaussian, Network, Policy
from gradex.policies.policy import gradient_layout, log_prob_gradients
from gradex.seeds import Streams
from gradex.surrogate.gradients import Affine, Dense, FactoredGradients
from tests.oracles import surrogate as oracle

N = 7


def setting(
    distribution: Categorical | Gaussian, layers: int, tasks: int = 0, dtype: torch.dtype = torch.float64
):
    generator = torch.Generator().manual_seed(0)
    policy = Policy(MLP(3, distribution.outputs, layers, width=5, tasks=tasks, gain=1.0), distribution)
    parameters = policy.initial(Streams([0])).double()[0]
    parameters += 0.1 * torch.randn(policy.size, generator=generator, dtype=torch.float64)
    observations = torch.randn(N, 3, generator=generator, dtype=torch.float64)
    numbers = torch.arange(N) % max(tasks, 1)
    if isinstance(distribution, Categorical):
        actions = torch.arange(N) % distribution.actions
    else:
        actions = torch.randn(N, distribution.dimensions, generator=generator, dtype=torch.float64)
    return policy, parameters.to(dtype), observations.to(dtype), numbers, actions


@pytest.fixture(
    params=[(Categorical(4), 2, 0), (Categorical(4), 4, 3), (Gaussian(2), 2, 3), (Gaussian(2), 4, 0)]
)
def case(request: pytest.FixtureRequest):
    return setting(*request.param)


def test_equals_differentiating_sample_by_sample(case) -> None:
    gradients = log_prob_gradients(*case)
    torch.testing.assert_close(gradients.dense(), oracle.log_prob_gradients(*case), rtol=1e-12, atol=1e-13)


def test_any_slice_of_columns_is_that_of_the_whole(case) -> None:
    gradients = log_prob_gradients(*case)
    whole = gradients.dense()
    assert gradients.parameters == whole.shape[1] == case[0].size
    for start in range(0, gradients.parameters, 3):
        for width in (1, 2, 4, 30):
            stop = min(start + width, gradients.parameters)
            assert torch.equal(gradients.columns(start, stop), whole[:, start:stop])


def test_precision_is_that_of_the_parameters() -> None:
    double = log_prob_gradients(*setting(Gaussian(2), 4)).dense()
    policy, parameters, observations, tasks, actions = setting(Gaussian(2), 4, dtype=torch.float32)
    single = log_prob_gradients(policy, parameters, observations, tasks, actions).dense()
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-5)


def test_works_where_gradients_are_switched_off_and_leaves_none_behind(case) -> None:
    with torch.no_grad():
        gradients = log_prob_gradients(*case)
    assert not gradients.dense().requires_grad
    assert not case[1].requires_grad


@dataclass(frozen=True)
class Scaled(Network):
    """A network with parameters outside every affine layer on the tape."""

    names: tuple[str, ...] = ("scale",)

    @property
    def shapes(self):
        return dict.fromkeys(self.names, (3,))

    def initial(self, streams):
        return torch.ones(len(streams), self.size)

    def forward(self, parameters, observations, tasks, tape=None):
        return observations * parameters[:, None, :3]


def test_refuses_a_parameter_that_is_in_no_affine_layer() -> None:
    policy = Policy(Scaled(), Categorical(3))
    with pytest.raises(ValueError, match=r"parameter 'scale' is in no affine layer: .*`affine`"):
        log_prob_gradients(policy, torch.ones(3), torch.ones(2, 3), *torch.zeros(2, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="parameter 'scale' is in no affine layer"):
        gradient_layout(policy)


@pytest.mark.parametrize(
    ("names", "stray"),
    [
        (("a.weight", "b.weight", "a.bias"), "a.bias"),
        (("a.bias", "a.weight"), "a.bias"),
        (("a.bias",), "a.bias"),
    ],
)
def test_refuses_a_bias_that_does_not_follow_its_weight(names: tuple[str, ...], stray: str) -> None:
    with pytest.raises(ValueError, match=f"parameter '{stray}' is in no affine layer"):
        gradient_layout(Policy(Scaled(names), Categorical(3)))


def test_refuses_a_layer_that_is_not_on_the_tape() -> None:
    policy = Policy(Scaled(("a.weight", "a.bias")), Categorical(3))
    with pytest.raises(ValueError, match="layer 'a' is not on the tape: hand the tape on to `affine`"):
        log_prob_gradients(policy, torch.ones(6), torch.ones(2, 3), *torch.zeros(2, 2, dtype=torch.int64))


def test_layout_is_that_of_the_parts(case) -> None:
    parts = log_prob_gradients(*case).parts
    assert gradient_layout(case[0]) == [part.shape for part in parts]


def test_contracts_as_the_whole_matrices_do(case) -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = log_prob_gradients(*case)
    pieces = gradients.dense().split([block.width for block in gradients.parts], dim=1)
    for block, piece in zip(gradients.parts, pieces, strict=True):
        left, right = (torch.randn(size, 6, generator=generator, dtype=torch.float64) for size in block.shape)
        expected = torch.einsum("nrc,rk,ck->nk", piece.unflatten(1, block.shape), left, right)
        torch.testing.assert_close(block.contract(left, right), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_stays_on_the_device_of_the_parameters(case) -> None:
    policy, parameters, *samples = case
    gradients = log_prob_gradients(policy, parameters.cuda(), *samples).dense()
    assert gradients.is_cuda
    torch.testing.assert_close(gradients.cpu(), log_prob_gradients(*case).dense(), rtol=1e-10, atol=1e-12)


def test_gradients_of_no_block_have_no_parameters() -> None:
    assert FactoredGradients([]).parameters == 0


def test_multiplies_as_the_whole_matrix_does() -> None:
    generator = torch.Generator().manual_seed(0)
    draw = [torch.randn(N, width, generator=generator, dtype=torch.float64) for width in (39, 30, 100)]
    gradients = FactoredGradients([Affine(draw[0], draw[1]), Dense(draw[2])])
    matrix = torch.randn(1300, 2, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(gradients @ matrix, gradients.dense() @ matrix, rtol=1e-12, atol=1e-12)
