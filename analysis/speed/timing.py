"""What the parts have in common: times, speeds, and the number of threads."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from gradex.learners import ActorCritic


def fastest(run: Callable[[], object], times: int) -> float:
    """Give the least of several times in seconds, after a first run that does not count."""
    run()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def alternately(times: int, *speeds: Callable[[], float]) -> list[float]:
    """Give the median of each of several speeds, measured in turn, several times over.

    What else the machine is busy with then slows all of them down.
    """
    rounds = [[speed() for speed in speeds] for _ in range(times)]
    return np.median(rounds, axis=0).tolist()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use so many threads, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Pace:
    """Watches a training and tells its speed from the end of the first round on.

    What is made once, simulators above all, is left out: a peer has its own made before its clock starts.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def __call__(self, steps: int, agent: ActorCritic) -> None:
        """Note how far a learner is; for `Learner.train(observe=...)`."""
        self._seen.append((time.perf_counter(), steps))

    @property
    def speed(self) -> float:
        """Environment steps per second."""
        (begun, first), (ended, last) = self._seen[0], self._seen[-1]
        return (last - first) / (ended - begun)
