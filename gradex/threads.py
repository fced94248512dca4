"""How many threads torch, NumPy and scikit-learn may use.

Idle OpenMP threads spin on their cores. Where batches are small that costs more than it gives: simulators
want the cores, and on a busy machine every operation waits for a thread that is not running (we saw training
slow down twentyfold).
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import torch
from threadpoolctl import ThreadpoolController, threadpool_limits

#: Samples in a batch from which a second thread pays.
_WORTHWHILE = 4096
#: Order of a matrix above which a second thread pays in its decomposition.
_LARGE_ORDER = 500
#: Rows that scikit-learn's k-means gives to a thread at a time.
_CHUNK = 256


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


def blas_threads_for(order: int) -> AbstractContextManager[object]:
    """Keep NumPy's linear algebra to one thread while matrices are of this order, if that is small.

    The relaxation of 300 tasks took 18 to 93 s with two threads on a busy machine, 2 to 8 s with one.
    """
    return nullcontext() if order > _LARGE_ORDER else threadpool_limits(1, user_api="blas")


def kmeans_threads_for(rows: int) -> AbstractContextManager[object]:
    """Keep k-means to one thread while there is nothing for a second one to do but spin.

    On two busy cores a clustering of six rows took 16 ms with two threads, 2 ms with one.
    """
    return nullcontext() if rows > _CHUNK else _openmp().limit(limits=1, user_api="openmp")


@cache
def _openmp() -> ThreadpoolController:
    """Look for the libraries once, which takes as long as three clusterings: scikit-learn is loaded then."""
    return ThreadpoolController()
