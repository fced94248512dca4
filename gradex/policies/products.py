"""Matrix products by the faster of the libraries that torch brings."""

import torch
from jaxtyping import Float
from torch import Tensor

#: Multiply-adds from which oneDNN pays: a call of it costs more than one of MKL. By hand, on one AMD
#: processor, it multiplied matrices of 256 columns at twice MKL's speed; on others nothing was measured.
_LARGE = 2**20


def suit_onednn(stack: Float[Tensor, "stack rows inner"], weights: int) -> bool:
    """Tell whether oneDNN multiplies each matrix of a stack by so many weights faster than MKL."""
    return (
        stack.shape[1] * weights > _LARGE
        and stack.dtype == torch.float32
        and stack.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def product(
    left: Float[Tensor, "stack rows inner"],
    right: Float[Tensor, "stack inner columns"],
    bias: Float[Tensor, "stack columns"] | None = None,
) -> Float[Tensor, "stack rows columns"]:
    """Multiply matrix by matrix, and add a bias to every row; not differentiable."""
    if len(left) == 1 and suit_onednn(left, right.shape[1] * right.shape[2]):
        row = None if bias is None else bias[0]
        # What torch.compile calls; there is no public name.
        return torch.ops.mkldnn._linear_pointwise(left[0], right[0].T, row, "none", [], "").unsqueeze(0)
    return torch.bmm(left, right) if bias is None else torch.baddbmm(bias.unsqueeze(1), left, right)
