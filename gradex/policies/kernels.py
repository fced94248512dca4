"""Products by the faster of the libraries that torch brings; they agree to rounding.

On AMD's processors MKL, which torch takes, leaves half of the arithmetic units idle. Its hyperbolic tangent
is slow there, too, but the tenth of a training's time that another would save is not worth what it loses: by
the logistic function, 2 σ(2x) - 1, there are no digits left near 0.
"""

import torch
from jaxtyping import Float
from torch import Tensor

#: Whether torch brings oneDNN.
AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
#: By hand, oneDNN multiplied matrices of 256 columns at twice MKL's speed on one of AMD's processors, and at
#: every size more slowly on one of Intel's.
_AMD = "AMD" in str(torch.cpu.get_capabilities().get("cpu_name"))
_FASTER = AVAILABLE and _AMD
#: Multiply-adds of one matrix from which it pays there: a call of it costs more than one of MKL.
_LARGE = 2**20


def multiply(
    left: Float[Tensor, "stack rows inner"],
    right: Float[Tensor, "stack inner columns"],
    bias: Float[Tensor, "stack 1 columns"] | None = None,
    out: Float[Tensor, "stack rows columns"] | None = None,
) -> Float[Tensor, "stack rows columns"]:
    """Give left @ right of every matrix of a stack, or left @ right + bias; not differentiable."""
    if _suits_onednn(left, right):
        return _by_onednn(left, right, bias, out)
    return torch.bmm(left, right, out=out) if bias is None else torch.baddbmm(bias, left, right, out=out)


def _suits_onednn(left: Tensor, right: Tensor) -> bool:
    return (
        left.shape[1] * right.shape[1] * right.shape[2] > _LARGE
        and left.dtype == torch.float32
        and left.device.type == "cpu"
        and _FASTER
    )


def _by_onednn(left: Tensor, right: Tensor, bias: Tensor | None, out: Tensor | None) -> Tensor:
    """Multiply matrix by matrix, as oneDNN has no products of stacks."""
    biases = [None] * len(left) if bias is None else bias[:, 0].unbind()
    rows = zip(left.unbind(), right.mT.unbind(), biases, strict=True)
    # What torch.compile calls; there is no public name.
    each = [torch.ops.mkldnn._linear_pointwise(row, weight, own, "none", [], "") for row, weight, own in rows]
    return torch.stack(each, out=out)
