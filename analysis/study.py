"""What every study has in common: seeds that resume, a tidy table, a figure, and its provenance."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from scipy import stats
from tqdm.auto import tqdm

from analysis.parts import parts_of, rendered_before
from analysis.provenance import Spent, note_of, noted, provenance, total
from gradex.settings import described
from gradex.store import Store, write_json, write_table, written_whole

SCALES = ("smoke", "laptop", "paper")


def names() -> tuple[str, ...]:
    """Names of the studies: the modules and packages here that compute something."""
    own = {
        "__main__",
        "study",
        "parts",
        "trained",
        "provenance",
        "generalization_scales",
        "flops",
        "along",
        "experts",
        "tabular",
        "whole_paper",
    }
    found = {module.name for module in iter_modules([str(Path(__file__).parent)])}
    return tuple(sorted(found - own))


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


@dataclass(frozen=True)
class Unit:
    """What is computed in one go, and kept: a seed of a study, or of a part of one."""

    study: str
    scale: str
    part: str | None
    seed: int

    def __str__(self) -> str:
        return f"{self.study}{f' {self.part}' if self.part else ''}, seed {self.seed}"

    @property
    def path(self) -> Path:
        """Where its rows are kept."""
        return Path("runs") / f"{self.study}-{self.scale}" / (self.part or "") / f"{self.seed}.csv"

    def finish(self, resume: bool) -> None:
        """Compute and keep it, unless it is to be resumed and there already."""
        if resume and self.path.exists():
            return
        with noted(self.path, parts=self.path.with_name(f"seed-{self.seed}")):
            part = {"part": self.part} if self.part else {}
            write_table(self.path, load(self.study).compute(self.seed, self.scale, **part))

    def rows(self) -> pd.DataFrame:
        """Give what is kept, with the seconds that it took."""
        return pd.read_csv(self.path).assign(seconds=note_of(self.path).seconds)


def units(name: str, scale: str, seeds: int | None, part: str | None = None) -> list[Unit]:
    """List what a study, or this part of it, is computed in.

    Raises
    ------
    ValueError
        If there is no such study or part, or no seed is asked for.
    """
    study = load(name)
    count = study.SEEDS[scale] if seeds is None else seeds
    if count < 1:
        raise ValueError(f"{count} seeds is too few: ask for at least 1")
    parts: list[str | None] = [*parts_of(name, study, part)] or [None]
    return [Unit(name, scale, each, seed) for each in parts for seed in range(count)]


def run(
    name: str, scale: str, seeds: int | None, out: Path, resume: bool, part: str | None = None
) -> pd.DataFrame:
    """Compute a study seed by seed and render it.

    Every finished seed is kept in `runs/NAME-SCALE/` until the study is rendered again without `resume`. A
    study in parts is computed part by part, in folders of their own.

    Parameters
    ----------
    name, scale : str
    seeds : int or None
        Seeds 0 to seeds - 1; the study's own number for this scale by default.
    out : Path
        Folder for NAME.csv, NAME.png, NAME.pdf and NAME.json.
    resume : bool
        Take over the seeds that an earlier run of the same study and scale has finished.
    part : str, optional
        Compute this part only, and take over the others from what is in `out`.

    Raises
    ------
    ValueError
        If there is no such study or part, no seed is asked for, the parts in `out` have another scale, or
        what is asked for gives no rows.
    """
    study, wanted = load(name), units(name, scale, seeds, part)
    asked = _Asked(name, study, scale, wanted, resume)
    chosen = parts_of(name, study, part)
    table, told = asked.in_parts(chosen, out / name) if chosen else asked.computed()
    _render(study.plot(table), table, told, out / name)
    return table


@dataclass(frozen=True)
class _Asked:
    """What is to be computed, and what is computed for it."""

    name: str
    study: ModuleType
    scale: str
    units: Sequence[Unit]
    resume: bool

    def computed(self, part: str | None = None) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Give the rows of all seeds, of a part if there are any, and where they come from."""
        own = [unit for unit in self.units if unit.part == part]
        for unit in tqdm(own, desc=part or "seeds"):
            unit.finish(self.resume)
        tables, spent = [unit.rows() for unit in own], total([note_of(unit.path) for unit in own])
        return pd.concat(tables, ignore_index=True), self._told(spent, part)

    def in_parts(self, chosen: Sequence[str], stem: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Give the rows of these parts and of those that were rendered before, in the order of the study."""
        known = list(self.study.PARTS)
        tables, told = rendered_before(stem, self.scale, chosen) if len(chosen) < len(known) else ({}, {})
        for part in tqdm(chosen, desc="parts"):
            rows, source = self.computed(part)
            tables[part], told[part] = rows.assign(part=part), {"scale": self.scale, **source}
        found = [tables[part] for part in known if part in tables and len(tables[part])]
        if not found:
            raise ValueError(f"{self.name} has nothing to tell of {', '.join(chosen)}: nothing is written")
        table = pd.concat(found, ignore_index=True)
        table.insert(0, "part", table.pop("part"))
        notes = [
            Spent(each["seconds_of_all_seeds"], tuple(each["computed_by_commits"])) for each in told.values()
        ]
        whole = self._told(total(notes), chosen[0] if len(chosen) < len(known) else None)
        return table, {**whole, "parts": {part: told[part] for part in known if part in told}}

    def _told(self, spent: Spent, part: str | None) -> dict[str, Any]:
        named = f"{self.name} {part}" if part else self.name
        seeds = sorted({unit.seed for unit in self.units})
        command = f"python -m analysis {named} --scale {self.scale} --seeds {len(seeds)}"
        return provenance(command, seeds, spent, getattr(self.study, "PACKAGES", ()))


def _render(figure: Figure, table: pd.DataFrame, told: dict[str, Any], stem: Path) -> None:
    with written_whole(stem.with_suffix(".csv")) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    with written_whole(stem.with_suffix(".pdf")) as temporary:
        figure.savefig(temporary, metadata={"CreationDate": None})
    with written_whole(stem.with_suffix(".png")) as temporary:
        _save_small(figure, temporary)
    write_json(stem.with_suffix(".json"), told)


def _save_small(figure: Figure, path: Path) -> None:
    """Write a PNG with a palette: a third of the size, and nobody sees the difference."""
    content = BytesIO()
    figure.savefig(content, format="png", dpi=150)
    Image.open(content).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def kept_for(folder: Path, settings: Any) -> Path:
    """Give a folder in which a study keeps what it has finished, and refuse one of other settings.

    Raises
    ------
    ValueError
        Naming what differs.
    """
    return Store.open(folder, "study", {"settings": described(settings)}, "remove it").path


def kept_table(path: Path, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Compute a table and keep it, whole or not at all, or take over the one that is kept."""
    if not path.exists():
        with noted(path):
            write_table(path, compute())
    return pd.read_csv(path)


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


def wilson_interval(count: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Give Wilson's interval for a share, of which `count` of `total` independent trials tell."""
    interval = stats.binomtest(count, total).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def mean_with_interval(name: str, values: np.ndarray | pd.Series) -> dict[str, float]:
    """Give columns NAME, NAME_low and NAME_high: the mean of one value per seed and its 95 % interval."""
    values = np.asarray(values, dtype=float)
    low, high = confidence_interval(values)
    return {name: float(values.mean()), f"{name}_low": low, f"{name}_high": high}


def dots_by_method(
    table: pd.DataFrame,
    value: str,
    methods: Sequence[str],
    label: str,
    limits: tuple[float, float] | None = None,
    said: Mapping[str, str] | None = None,
) -> Figure:
    """Draw one panel per suite: a dot per seed, the mean over seeds and its 95 % interval for each method.

    Parameters
    ----------
    table : DataFrame
        Columns suite, method, seed and `value`.
    value, label : str
        What is drawn, and what its axis says.
    methods : sequence of str
        From top to bottom; those that the table does not have are left out.
    limits : tuple of two floats, optional
        What values can be: all panels show this, and intervals are cut to it.
    said : mapping of str to str, optional
        What the figure says in place of a method's name.
    """
    methods = [method for method in methods if (table.method == method).any()]
    suites = list(dict.fromkeys(table.suite))
    figure = Figure(figsize=(2.0 + 3.0 * len(suites), 0.9 + 0.42 * len(methods)), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(suites), sharey=True))
    least, most = limits or (-np.inf, np.inf)
    names = [(said or {}).get(method, method) for method in methods]
    for ax, suite in zip(panels, suites, strict=True):
        for row, method in enumerate(methods):
            chosen = table[(table.suite == suite) & (table.method == method)].sort_values("seed")
            values = chosen[value].to_numpy()
            ax.scatter(values, row + np.linspace(-0.25, 0.25, len(values)), s=8, color="0.65", zorder=1)
            interval = np.clip(confidence_interval(values), least, most)
            ax.plot(interval, [row, row], color="C0", linewidth=2, solid_capstyle="butt", zorder=2)
            ax.scatter(values.mean(), row, s=36, color="C0", zorder=3)
        ax.set(title=suite, xlabel=label, yticks=range(len(methods)), yticklabels=names)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        if limits:
            margin = 0.04 * (most - least)  # room for dots at an end
            ax.set(xlim=(least - margin, most + margin), xticks=np.linspace(least, most, 5))
            ax.xaxis.set_major_formatter("{x:g}")
        ax.grid(axis="x", color="0.9")
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    return figure
