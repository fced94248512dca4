"""All studies at once: units of work side by side over the cores, each study rendered when its own are there.

A unit is a seed of a study, or of a part of one (`analysis.study.Unit`), kept as soon as it is finished where
the study by itself keeps it. So whatever ends a run, the next one goes on, and either way gives the same
tables.
"""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from joblib import cpu_count, parallel_config
from joblib.externals.loky import get_reusable_executor
from tqdm.auto import tqdm

from analysis import study
from analysis.parts import missing
from analysis.study import Unit
from analysis.whole_paper import workers

#: They measure seconds, so nothing runs beside them, and they take the cores that they take by themselves.
ALONE = ("scaling", "speed")
#: They take over each other's trainings, so two of one seed never run at the same time.
SHARING = ("ablations", "nmi")
#: What was rendered before tells how long units take.
_RENDERED = Path(__file__).parents[2] / "figures"


@dataclass
class Outcome:
    """What became of every study, by name.

    Attributes
    ----------
    rendered : list of str
    skipped, failed : dict of str to str
        With a line that says why.
    """

    rendered: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def ended(self, name: str) -> bool:
        """Tell whether nothing more is to be computed for a study."""
        return name in self.skipped or name in self.failed


def chosen(only: str | None) -> tuple[str, ...]:
    """Read names of studies, separated by commas; all of them by default.

    Raises
    ------
    ValueError
        If one of them is none.
    """
    if only is None:
        return study.names()
    found = tuple(dict.fromkeys(name.strip() for name in only.split(",")))
    for name in found:
        study.load(name)
    return found


def run_all(
    names: Sequence[str],
    scale: str,
    seeds: int | None,
    out: Path,
    resume: bool,
    cluster: str | None = None,
) -> Outcome:
    """Compute and render studies, the longest units first.

    Parameters
    ----------
    names : sequence of str
    scale, seeds, out, resume
        As `analysis.study.run` takes them, for each study.
    cluster : str, optional
        Address of a Dask scheduler, whose workers see this folder as theirs. By default processes of this
        machine, one for each core.

    Raises
    ------
    ValueError
        If there is no such study or cluster, or no seed is asked for.
    """
    work = {name: study.units(name, scale, seeds) for name in names}
    beside = [unit for name in names if name not in ALONE for unit in work[name]]
    alone = [unit for name in names if name in ALONE for unit in work[name]]
    with tqdm(total=len(beside) + len(alone), desc="units", smoothing=0.1) as bar:
        run = _Run(scale, seeds, out, resume, bar)
        for name in names:
            for line in missing(name, study.load(name), None):
                run.tell(line)
        if cluster is None:
            run.on_this_machine(beside, cpu_count())
        else:
            with workers.cluster(cluster) as (executor, slots):
                run.drive(executor, slots, beside)
        run.on_this_machine(alone, 1, one_core=False)
    return run.outcome


def _longest_first(units: Sequence[Unit]) -> list[Unit]:
    """Sort by the seconds that a seed took when it was rendered last; what is not known comes first."""
    known = {unit: _seconds(unit) for unit in units}
    return sorted(units, key=lambda unit: -known[unit])


def _seconds(unit: Unit) -> float:
    path = _RENDERED / f"{unit.study}.json"
    told = json.loads(path.read_text()) if path.exists() else {}
    told = told.get("parts", {}).get(unit.part, {}) if unit.part else told
    return told["seconds_of_all_seeds"] / len(told["seeds"]) if told else float("inf")


@dataclass
class _Run:
    """One call of `run_all`."""

    scale: str
    seeds: int | None
    out: Path
    resume: bool
    bar: tqdm
    outcome: Outcome = field(default_factory=Outcome)

    def tell(self, line: str) -> None:
        """Write a line above the bar."""
        self.bar.write(f"analysis: {line}", file=sys.stderr)

    def on_this_machine(self, units: Sequence[Unit], count: int, one_core: bool = True) -> None:
        """Finish units in processes; what runs in one that is killed has failed, the others go on."""
        left = list(units)
        while left:
            with workers.processes(min(count, len(left)), one_core) as executor:
                left = self.drive(executor, count, left, one_core)

    def drive(
        self, executor: Executor, slots: int, units: Sequence[Unit], one_core: bool = True
    ) -> list[Unit]:
        """Finish units, and render each study that is complete; give what is left if the executor breaks."""
        waiting, running, broken = _longest_first(units), dict[Future[_Trouble | None], _Work](), False
        while waiting or running:
            while not broken and len(running) < slots and (unit := _next(waiting, running.values())):
                try:
                    running[executor.submit(_finish, unit, self.resume, one_core)] = unit
                    waiting.remove(unit)
                except BrokenExecutor:
                    broken = True
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                work = running.pop(future)
                broken |= isinstance(future.exception(), BrokenExecutor)
                self._note(work, _trouble(future))
                waiting, given_up = _split(waiting, self.outcome)
                self.bar.update(isinstance(work, Unit) + len(given_up))
                name = _study(work)
                open_still = name in map(_study, [*waiting, *running.values()])
                if isinstance(work, str) or open_still or self.outcome.ended(name):
                    continue
                try:
                    running[executor.submit(_render, name, self.scale, self.seeds, self.out)] = name
                except BrokenExecutor:
                    self._note(name, _KILLED)
            if broken and not running:
                return waiting
        return []

    def _note(self, work: "_Work", trouble: "_Trouble | None") -> None:
        """Remember and tell what became of a unit or of a rendering."""
        name = _study(work)
        if trouble is not None and not self.outcome.ended(name):
            (self.outcome.skipped if trouble.skips else self.outcome.failed)[name] = trouble.line
            self.tell(f"{name} is skipped: {trouble.line}" if trouble.skips else f"{work}: {trouble.line}")
        elif trouble is None and isinstance(work, str):
            self.outcome.rendered.append(name)
            self.tell(f"{name} is rendered")
        self.bar.set_postfix_str(str(work))


#: A unit, or the name of a study that is to be rendered.
_Work = Unit | str


class _Trouble(NamedTuple):
    """Why work came to nothing; a study that lacks a package is skipped."""

    line: str
    skips: bool = False


_KILLED = _Trouble("a process was killed, for want of memory perhaps")


def _study(work: _Work) -> str:
    return work.study if isinstance(work, Unit) else work


def _split(waiting: Sequence[Unit], outcome: Outcome) -> tuple[list[Unit], list[Unit]]:
    """Tell what is still to be done from what is given up."""
    given_up = [unit for unit in waiting if outcome.ended(unit.study)]
    return [unit for unit in waiting if unit not in given_up], given_up


def _next(waiting: Sequence[Unit], running: Iterable[_Work]) -> Unit | None:
    """Give the first unit that takes over no training that is under way."""
    training = {work.seed for work in running if isinstance(work, Unit) and work.study in SHARING}
    return next((unit for unit in waiting if unit.study not in SHARING or unit.seed not in training), None)


def _finish(unit: Unit, resume: bool, one_core: bool) -> _Trouble | None:
    """Finish a unit, in a worker."""
    if one_core:
        with parallel_config(backend="sequential"):
            return _tried(lambda: unit.finish(resume))
    trouble = _tried(lambda: unit.finish(resume))
    # Joblib keeps its processes for minutes, and this one would wait for them before it ends.
    get_reusable_executor().shutdown(kill_workers=True)
    return trouble


def _render(name: str, scale: str, seeds: int | None, out: Path) -> _Trouble | None:
    """Render a study of which all units are there, in a worker."""
    return _tried(lambda: study.run(name, scale, seeds, out, resume=True))


def _tried(work: Callable[[], object]) -> _Trouble | None:
    try:
        work()
    except Exception as error:  # of whatever kind: the other studies go on
        return _told(error)
    return None


def _trouble(future: "Future[_Trouble | None]") -> _Trouble | None:
    """Give what a worker tells, or what became of it."""
    error = future.exception()
    if isinstance(error, BrokenExecutor):
        return _KILLED
    return future.result() if error is None else _told(error)


def _told(error: BaseException) -> _Trouble:
    lines = str(error).splitlines() or [""]
    if isinstance(error, ImportError):
        return _Trouble(lines[0], skips=True)
    return _Trouble(f"{type(error).__name__}: {lines[0]}")
