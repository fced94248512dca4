"""The hyperbolic tangent between layers."""

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad

from gradex.policies.tanh import tanh

ENDS = [-torch.inf, -100.0, 0.0, 100.0, torch.inf]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_digits_are_right_also_near_zero(dtype: torch.dtype) -> None:
    sizes = torch.logspace(-30, 2, 2001, dtype=torch.float64)
    x = torch.cat([sizes, -sizes]).to(dtype)
    expected = torch.from_numpy(np.tanh(x.double().numpy().astype(np.longdouble)).astype(np.float64))
    result = tanh(x)
    assert result.dtype == dtype
    torch.testing.assert_close(result.double(), expected, rtol=2 * torch.finfo(dtype).eps, atol=0)
    assert tanh(torch.tensor(ENDS, dtype=dtype)).tolist() == [-1.0, -1.0, 0.0, 1.0, 1.0]
    assert tanh(torch.tensor(torch.nan, dtype=dtype)).isnan()


def test_strided_numbers_keep_their_places() -> None:
    x = torch.linspace(-2, 2, 24, dtype=torch.float64).reshape(2, 3, 4).transpose(1, 2)[:, ::2]
    torch.testing.assert_close(tanh(x), torch.tanh(x), rtol=1e-15, atol=0)


def test_it_can_be_differentiated_three_times() -> None:
    x = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(tanh, x)
    assert torch.autograd.gradgradcheck(tanh, x)
    (slope,) = torch.autograd.grad(tanh(x).sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
    (third,) = torch.autograd.grad(curvature.sum(), x)
    y = torch.tanh(x)
    torch.testing.assert_close(third, (1 - y**2) * (6 * y**2 - 2))


# The first use of forward mode compiles something, in a way that torch itself deprecates.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_transforms_and_forward_mode_go_through() -> None:
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)
    slope = 1 - torch.tanh(x) ** 2
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(tanh))(x), slope)
    with forward_ad.dual_level():
        moved = tanh(forward_ad.make_dual(x, torch.ones_like(x)))
        torch.testing.assert_close(forward_ad.unpack_dual(moved).tangent, slope)


def test_other_types_get_the_tangent_of_torch() -> None:
    x = torch.linspace(-3, 3, 7).bfloat16()
    assert torch.equal(tanh(x), torch.tanh(x))
