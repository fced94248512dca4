"""Where numbers come from: commit and seconds beside everything that a study keeps.

A study may take several sittings. What was trained in the first is taken over by the last, whose code may be
another, so both are noted with each part rather than once for the whole.
"""

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from gradex.store import write_json

_PACKAGES = ("torch", "numpy", "gymnasium", "envpool", "cvxpy", "scikit-learn")
_ENDING = ".provenance.json"


class Spent(NamedTuple):
    """Seconds, and the commits of the code that ran."""

    seconds: float
    commits: tuple[str, ...]


def commit() -> str:
    """Give the commit of the code that runs, or an empty string outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


@contextmanager
def noted(path: Path, parts: Path | None = None) -> Iterator[None]:
    """Note what it takes to compute what will be kept at `path`.

    While it is not there, sittings that were cut off count too: what they have computed may be gone on from.
    Of one that was killed only the commit is known.

    Parameters
    ----------
    path : Path
    parts : Path, optional
        Folder of what it is computed from, each with notes of its own. What was there before counts too.
    """
    unfinished = parts is None and not path.exists()
    before, start = note_of(path) if unfinished else spent(parts), time.perf_counter()
    code = commit()  # what is committed meanwhile does not run

    def note() -> None:
        seconds = before.seconds + time.perf_counter() - start
        commits = sorted({*before.commits, *spent(parts).commits, code})
        write_json(path.with_suffix(_ENDING), {"seconds": round(seconds, 1), "commits": commits})

    stands = path.exists()  # with its own note, until it is replaced
    if not stands:
        note()
    try:
        yield
    except BaseException:
        if not stands:
            note()
        raise
    note()


def note_of(path: Path) -> Spent:
    """Read what was noted for `path`; nothing, if it was kept before notes were taken."""
    note = path.with_suffix(_ENDING)
    return _read(note) if note.exists() else Spent(0.0, ())


def _read(note: Path) -> Spent:
    found = json.loads(note.read_text())
    return Spent(found["seconds"], tuple(found["commits"]))


def spent(folder: Path | None) -> Spent:
    """Add up the notes in a folder."""
    return total([] if folder is None else [_read(note) for note in folder.rglob(f"*{_ENDING}")])


def total(notes: Sequence[Spent]) -> Spent:
    """Add up notes."""
    commits = {each for note in notes for each in note.commits}
    return Spent(sum(note.seconds for note in notes), tuple(sorted(commits)))


def processor() -> str:
    """Name the processor, as Linux does where it can."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _versions(packages: Sequence[str]) -> dict[str, str]:
    """Give the versions of those that are installed."""
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def provenance(
    command: str, seeds: Sequence[int], spent: Spent, packages: Sequence[str] = ()
) -> dict[str, Any]:
    """Describe a study that was rendered here and now.

    Parameters
    ----------
    command : str
    seeds : sequence of int
    spent : Spent
        On all seeds. Trainings that studies share are counted where they were made.
    packages : sequence of str
        Whose version matters, beside those that matter to every study; what is not installed is not named.
    """
    return {
        "command": command,
        "seeds": list(seeds),
        "seconds_of_all_seeds": round(spent.seconds, 1),
        "computed_by_commits": list(spent.commits),
        "rendered_by_commit": commit() or None,
        "finished": datetime.now().date().isoformat(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "processor": processor(),
        "python": platform.python_version(),
        "packages": _versions(list(dict.fromkeys([*_PACKAGES, *packages]))),
    }
