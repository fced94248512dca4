"""What every study has in common: seeds that resume, a tidy table, a figure, and its provenance."""

import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from scipy import stats
from tqdm.auto import tqdm

from analysis.provenance import note_of, noted, provenance, total
from gradex.files import written_whole

SCALES = ("smoke", "laptop", "paper")


def names() -> tuple[str, ...]:
    """Names of the studies: the modules of this package that compute something."""
    here = Path(__file__).parent
    own = {"__init__", "__main__", "study", "trained", "provenance", "generalization_scales", "flops"}
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
    table = pd.concat(list(_seeds(study, scale, count, kept, resume)), ignore_index=True)
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / f"{name}.csv", index=False, float_format="%.6g")
    figure: Figure = study.plot(table)
    figure.savefig(out / f"{name}.pdf", metadata={"CreationDate": None})
    _save_small(figure, out / f"{name}.png")
    command = f"python -m analysis {name} --scale {scale} --seeds {count}"
    notes = [note_of(kept / f"{seed}.csv") for seed in range(count)]
    told = provenance(command, range(count), total(notes))
    (out / f"{name}.json").write_text(json.dumps(told, indent=2) + "\n")
    return table


def _save_small(figure: Figure, path: Path) -> None:
    """Write a PNG with a palette: a third of the size, and nobody sees the difference."""
    content = BytesIO()
    figure.savefig(content, format="png", dpi=150)
    Image.open(content).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def _seeds(study: ModuleType, scale: str, count: int, kept: Path, resume: bool) -> Iterator[pd.DataFrame]:
    for seed in tqdm(range(count), desc="seeds"):
        path = kept / f"{seed}.csv"
        if not (resume and path.exists()):
            with noted(path, parts=kept / f"seed-{seed}"):
                _write_whole(path, study.compute(seed, scale))
        yield pd.read_csv(path).assign(seconds=note_of(path).seconds)


def kept_table(path: Path, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Compute a table and keep it, whole or not at all, or take over the one that is kept."""
    if not path.exists():
        with noted(path):
            _write_whole(path, compute())
    return pd.read_csv(path)


def _write_whole(path: Path, table: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        table.to_csv(temporary, index=False)


def plain(ax: Axes) -> None:
    """Take away what a panel does not need, and put a grid behind it."""
    ax.grid(color="0.92")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def confidence_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Give Student's interval for the mean of independent values, one per seed."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2 or np.ptp(values) == 0:
        return float(values.mean()), float(values.mean())
    half = stats.t.ppf(0.5 + level / 2, len(values) - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)


def dots_by_method(table: pd.DataFrame, value: str, methods: Sequence[str], label: str) -> Figure:
    """Draw one panel per suite: a dot per seed, the mean over seeds and its 95 % interval for each method.

    Parameters
    ----------
    table : DataFrame
        Columns suite, method, seed and `value`.
    value, label : str
        What is drawn, and what its axis says.
    methods : sequence of str
        From top to bottom.
    """
    suites = list(dict.fromkeys(table.suite))
    figure = Figure(figsize=(2.0 + 3.0 * len(suites), 0.9 + 0.42 * len(methods)), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(suites), sharey=True))
    for ax, suite in zip(panels, suites, strict=True):
        for row, method in enumerate(methods):
            chosen = table[(table.suite == suite) & (table.method == method)].sort_values("seed")
            values = chosen[value].to_numpy()
            ax.scatter(values, row + np.linspace(-0.25, 0.25, len(values)), s=8, color="0.65", zorder=1)
            ax.plot(confidence_interval(values), [row, row], color="C0", linewidth=2, zorder=2)
            ax.scatter(values.mean(), row, s=36, color="C0", zorder=3)
        ax.set(title=suite, xlabel=label, yticks=range(len(methods)), yticklabels=methods)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.grid(axis="x", color="0.9")
        ax.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    return figure
