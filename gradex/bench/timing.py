"""What benchmarks have in common: the least of several times, and a row of the table."""

import time
from collections.abc import Callable


def row(peer: str, setting: str, ours: float, theirs: float, unit: str) -> dict[str, object]:
    """Compare times, memory or errors, of which less is better."""
    return {
        "peer": peer,
        "setting": setting,
        "gradex": ours,
        "peer_value": theirs,
        "unit": unit,
        "ratio": theirs / ours,
    }


def fastest(run: Callable[[], object], times: int) -> float:
    """Give the least of several times in seconds, after a first run that does not count."""
    run()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
