"""What every study has in common: seeds that resume, a tidy table, a figure, and its provenance."""

import importlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats
from tqdm.auto import tqdm

SCALES = ("smoke", "laptop", "paper")
_PACKAGES = ("torch", "numpy", "gymnasium", "envpool", "cvxpy", "scikit-learn")


def names() -> tuple[str, ...]:
    """Names of the studies: the modules of this package that compute something."""
    here = Path(__file__).parent
    own = {"__init__", "__main__", "study"}
    return tuple(sorted(path.stem for path in here.glob("*.py") if path.stem not in own))


def load(name: str) -> ModuleType:
    """Give the module of a study.

    Raises
    ------
    ValueError
        If there is no such study.
    """
    if name not in names():
        raise ValueError(f"there is no study {name!r}: choose one of {', '.join(names())}")
    return importlib.import_module(f"analysis.{name}")


def run(name: str, scale: str, seeds: int | None, out: Path, resume: bool) -> pd.DataFrame:
    """Compute a study seed by seed and render it.

    Every finished seed is kept in `runs/NAME-SCALE/` until the study is rendered again without `resume`.

    Parameters
    ----------
    name, scale : str
    seeds : int or None
        Seeds 0 to seeds - 1; the study's own number for this scale by default.
    out : Path
        Folder for NAME.csv, NAME.png, NAME.pdf and NAME.json.
    resume : bool
        Take over the seeds that an earlier run of the same study and scale has finished.
    """
    study = load(name)
    count = study.SEEDS[scale] if seeds is None else seeds
    if count < 1:
        raise ValueError(f"{count} seeds is too few: ask for at least 1")
    kept = Path("runs") / f"{name}-{scale}"
    kept.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    table = pd.concat(list(_seeds(study, scale, count, kept, resume)), ignore_index=True)
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / f"{name}.csv", index=False, float_format="%.6g")
    figure: Figure = study.plot(table)
    for ending, dpi in (("png", 150), ("pdf", None)):
        figure.savefig(
            out / f"{name}.{ending}", dpi=dpi, metadata={"CreationDate": None} if dpi is None else None
        )
    provenance = _provenance(name, scale, count, time.perf_counter() - start)
    (out / f"{name}.json").write_text(json.dumps(provenance, indent=2) + "\n")
    return table


def _seeds(study: ModuleType, scale: str, count: int, kept: Path, resume: bool) -> Iterator[pd.DataFrame]:
    for seed in tqdm(range(count), desc="seeds"):
        path = kept / f"{seed}.csv"
        if not (resume and path.exists()):
            start = time.perf_counter()
            rows = study.compute(seed, scale)
            temporary = path.with_suffix(".unfinished")
            rows.assign(seconds=time.perf_counter() - start).to_csv(temporary, index=False)
            os.replace(temporary, path)
        yield pd.read_csv(path)


def _provenance(name: str, scale: str, seeds: int, seconds: float) -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "command": f"python -m analysis {name} --scale {scale} --seeds {seeds}",
        "seeds": list(range(seeds)),
        "seconds_of_this_sitting": round(seconds, 1),
        "finished": datetime.now().date().isoformat(),
        "commit": commit or None,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in _PACKAGES},
    }


def confidence_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Give Student's interval for the mean of independent values, one per seed."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2 or np.ptp(values) == 0:
        return float(values.mean()), float(values.mean())
    half = stats.t.ppf(0.5 + level / 2, len(values) - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)
