"""Where units run: processes of this machine, or a Dask cluster."""

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from threading import Thread

#: Read where tqdm, NumPy, torch and joblib are imported. Units side by side use cores better than threads do.
_QUIET = {"TQDM_DISABLE": "1"}
_ONE_CORE = {name: "1" for name in ("OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT")}


@contextmanager
def processes(count: int, one_core: bool = True) -> Iterator[Executor]:
    """Give processes of this machine, which end when this one ends, even if it is killed.

    Parameters
    ----------
    count : int
    one_core : bool
        Each of them takes one core and one thread; otherwise as many as it likes.
    """
    others = active_children()
    environment = _QUIET | (_ONE_CORE if one_core else {})
    with ProcessPoolExecutor(count, get_context("spawn"), _begin, (environment,)) as executor:
        try:
            yield executor
        except BaseException:
            for process in set(active_children()) - set(others):
                process.terminate()
            raise


def _begin(environment: dict[str, str]) -> None:
    """Prepare a process before anything heavy is imported into it."""
    os.environ.update(environment)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None  # for the type checker
    parent.join()
    os._exit(1)


@contextmanager
def cluster(address: str) -> Iterator[tuple[Executor, int]]:
    """Give a Dask cluster and how many units it runs at the same time.

    Raises
    ------
    ValueError
        If Dask is not installed, or nobody answers there.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ValueError("a cluster needs Dask, which is not installed: pip install distributed") from None
    try:
        client = Client(address)
    except (OSError, ValueError) as error:
        raise ValueError(f"no Dask scheduler answers at {address!r}: {str(error).splitlines()[0]}") from None
    with client:
        slots = sum(client.nthreads().values())
        if slots == 0:
            raise ValueError(f"the Dask cluster at {address!r} has no workers: start some in this folder")
        yield client.get_executor(pure=False), slots
