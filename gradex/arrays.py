"""Arrays in place of tensors, for what computes without torch."""

from typing import Any

from torch import Tensor


def from_torch(values: Any) -> Any:
    """Give a tensor as an array, and anything else as it is.

    The tensor may require a gradient or lie on a GPU; numbers of half precision, of which some types are only
    torch's, become single.
    """
    if not isinstance(values, Tensor):
        return values
    half = values.is_floating_point() and values.dtype.itemsize < 4
    return (values.float() if half else values).numpy(force=True)
