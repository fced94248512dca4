"""Studies in parts, each of which may be run anew by itself: the rows of the others stay."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd


def parts_of(name: str, study: ModuleType, part: str | None) -> list[str]:
    """Give the parts that are to be run: the one that is asked for, or all; none of a study that has none.

    Raises
    ------
    ValueError
        If there is no such part.
    """
    known = list(getattr(study, "PARTS", ()))
    if part is None:
        return known
    if not known:
        raise ValueError(f"the study {name!r} has no parts: leave {part!r} out")
    if part not in known:
        raise ValueError(f"there is no part {part!r} of {name}: choose one of {', '.join(known)}")
    return [part]


def missing(name: str, study: ModuleType, part: str | None) -> list[str]:
    """Say what a run will leave out, a line for each package that is not installed."""
    chosen = parts_of(name, study, part)
    return study.missing(chosen) if hasattr(study, "missing") else []


def rendered_before(
    stem: Path, scale: str, anew: Sequence[str]
) -> tuple[dict[str, pd.DataFrame], dict[str, dict[str, Any]]]:
    """Read the rows of the parts that are not run anew, and where they come from.

    Parameters
    ----------
    stem : Path
        Of the table and the provenance that were rendered, without their endings.
    scale : str
    anew : sequence of str
        Parts that are run anew.

    Returns
    -------
    tables, told : dict
        Rows and provenance by part; both empty if nothing was rendered.

    Raises
    ------
    ValueError
        If the others were run at another scale.
    """
    path, notes = stem.with_suffix(".csv"), stem.with_suffix(".json")
    if not (path.exists() and notes.exists()):
        return {}, {}
    told = {part: each for part, each in json.loads(notes.read_text())["parts"].items() if part not in anew}
    for part, each in told.items():
        if each["scale"] != scale:
            raise ValueError(
                f"{part} in {str(path)!r} was run at scale {each['scale']}, not {scale}: run all parts, or "
                f"choose --scale {each['scale']} or another folder with --out"
            )
    rows = pd.read_csv(path)
    return {part: rows[rows.part == part] for part in told}, told
