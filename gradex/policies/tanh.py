"""The hyperbolic tangent between layers, by NumPy.

torch takes the tangent of Intel's library (MKL). On AMD's processors that takes five to ten times as long as
NumPy's and was the largest part of many an update. NumPy's has all digits, also near 0, where formulas by the
logistic function, 2 σ(2x) - 1, have none.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def tanh(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Give tanh x, which can be differentiated as often as torch's.

    Other devices than the CPU, other types than single and double precision, forward mode and the transforms
    of `torch.func` get torch's own.

    Examples
    --------
    >>> import torch
    >>> from gradex.policies.tanh import tanh
    >>> x = torch.tensor([0.0, 1e-8, 100.0], requires_grad=True)
    >>> tanh(x).tolist() == torch.tanh(x).tolist()
    True
    >>> torch.autograd.grad(tanh(x).sum(), x)[0].tolist()
    [1.0, 1.0, 0.0]
    """
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64):
        try:
            return _Tanh.apply(x)
        except RuntimeError:  # numbers that are no array: torch.func and forward mode have no public sign
            pass
    return torch.tanh(x)


class _Tanh(torch.autograd.Function):
    """tanh' = 1 - tanh²."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        y = torch.empty_like(x)
        np.tanh(x.detach().numpy(), out=y.numpy())
        context.save_for_backward(y)
        return y

    @staticmethod
    def backward(context: Any, slope: Tensor) -> Tensor:
        (y,) = context.saved_tensors
        return _Slope.apply(slope, y)


class _Slope(torch.autograd.Function):
    """slope (1 - y²), with few passes through memory; Hessians differentiate it many times."""

    @staticmethod
    def forward(context: Any, slope: Tensor, y: Tensor) -> Tensor:
        context.save_for_backward(slope, y)
        part = slope * y
        return torch.addcmul(slope, part, y, value=-1, out=part)

    @staticmethod
    def backward(context: Any, change: Tensor) -> tuple[Tensor, Tensor]:
        slope, y = context.saved_tensors
        part = change * y
        return torch.addcmul(change, part, y, value=-1), -2 * slope * part
