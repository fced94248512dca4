"""Tensors that users hand over, in place of arrays or nested in batches of samples; their precision."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor


def from_torch(values: Any) -> Any:
    """Give a tensor as an array, and anything else as it is.

    The tensor may require a gradient or lie on a GPU; numbers of half precision, of which some types are only
    torch's, become single. An array with masked entries raises a ValueError: they would be read as data.
    """
    if not isinstance(values, Tensor):
        if np.ma.is_masked(values):
            raise ValueError("the array is masked in places: leave those rows out, or give a number there")
        return values
    half = values.is_floating_point() and values.dtype.itemsize < 4
    return (values.float() if half else values).numpy(force=True)


def in_precision(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Give numbers in this precision, and all else as it is."""
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


@contextmanager
def without_autocast() -> Iterator[None]:
    """Keep the precision of what is given, also where a caller has told torch to lower it."""
    with ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


def leaves(batch: Any) -> Iterator[Tensor]:
    """Give the tensors of a batch: of nested tuples, lists and dicts, each with an entry per sample."""
    if isinstance(batch, Tensor):
        if batch.ndim == 0 or batch.layout != torch.strided:
            kind = f"of shape {tuple(batch.shape)} and layout {batch.layout}"
            raise TypeError(f"the batch holds a tensor {kind}: give dense ones, an entry for each sample")
        yield batch
    elif isinstance(batch, Mapping | tuple | list):
        for each in batch.values() if isinstance(batch, Mapping) else batch:
            yield from leaves(each)
    else:
        raise TypeError(f"the batch holds {type(batch).__name__}: give tensors, in tuples, lists or dicts")


def changed(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Change every tensor of a nested batch."""
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        return {name: changed(each, change) for name, each in batch.items()}
    made = getattr(type(batch), "_make", type(batch))  # named tuples
    return made(changed(each, change) for each in batch)
