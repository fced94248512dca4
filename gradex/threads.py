"""How many threads torch may use.

Idle OpenMP threads spin on their cores. Where batches are small that costs more than it gives: simulators
want the cores, and on a busy machine every operation waits for a thread that is not running (we saw training
slow down twentyfold).
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

#: Samples in a batch from which a second thread pays.
_WORTHWHILE = 4096


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def threads_for(samples: int) -> AbstractContextManager[None]:
    """Keep torch to one thread while batches have `samples` samples, if that is few."""
    return nullcontext() if samples >= _WORTHWHILE else one_thread()
