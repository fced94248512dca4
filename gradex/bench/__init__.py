"""gradex against what a user would pick instead, both timed in one run."""

import platform
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import torch

from gradex.bench import clustering, features, ground_truth, logistic, ppo, sac, trace

PARTS: dict[str, Callable[[], Iterator[dict[str, object]]]] = {
    "ppo": ppo.rows,
    "sac": sac.rows,
    "features": features.rows,
    "logistic": logistic.rows,
    "clustering": clustering.rows,
    "ground_truth": ground_truth.rows,
    "trace": trace.rows,
}


def rows(part: str | None = None) -> Iterator[dict[str, Any]]:
    """Run one part, or all, and give each comparison as soon as it is made.

    Yields
    ------
    dict
        With part, peer, setting, gradex, peer_value, unit, ratio, processor; a ratio above 1 is in our
        favour.

    Raises
    ------
    ValueError
        If there is no such part, or the peer is not installed.
    """
    processor = _processor()
    for name, compare in parts(part).items():
        for row in compare():
            yield {"part": name, **row, "processor": processor}


def run(part: str | None = None) -> pd.DataFrame:
    """Give the rows of one part, or of all, as a table."""
    return pd.DataFrame(rows(part))


def _processor() -> str:
    name = torch.cpu.get_capabilities().get("cpu_name", platform.machine())
    return f"{name}, {torch.get_num_threads()} threads"


def parts(part: str | None) -> dict[str, Callable[[], Iterator[dict[str, object]]]]:
    """Give the part of this name, or all.

    Raises
    ------
    ValueError
        If there is no such part.
    """
    if part is not None and part not in PARTS:
        raise ValueError(f"there is no benchmark {part!r}: choose one of {', '.join(PARTS)}")
    return PARTS if part is None else {part: PARTS[part]}
