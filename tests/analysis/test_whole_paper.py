"""All studies at once: what runs beside what, what fails alone, and a run that is killed and goes on."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import joblib
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import __main__ as command
from analysis import study
from analysis.whole_paper import beside, running, workers
from analysis.whole_paper.running import ALONE, SHARING, run_all

ROOT = Path(__file__).parents[2]


class Toy:
    """A study that notes what it computes, and beside what."""

    SEEDS: ClassVar = {"smoke": 2}
    begun: ClassVar[list[tuple[str, int]]] = []
    under_way: ClassVar[set[tuple[str, int]]] = set()
    beside: ClassVar[dict[tuple[str, int], set[tuple[str, int]]]] = {}
    lock: ClassVar = threading.Lock()

    def __init__(self, name: str, error: Exception | None = None) -> None:
        self.name, self.error = name, error

    def compute(self, seed: int, scale: str) -> pd.DataFrame:
        own = (self.name, seed)
        with self.lock:
            self.begun.append(own)
            for other in self.under_way:
                self.beside.setdefault(own, set()).add(other)
                self.beside.setdefault(other, set()).add(own)
            self.under_way.add(own)
        time.sleep(0.05)
        with self.lock:
            self.under_way.remove(own)
        if self.error is not None and seed == 1:
            raise self.error
        return pd.DataFrame({"seed": [seed], "value": [seed**2]})

    @staticmethod
    def plot(table: pd.DataFrame) -> Figure:
        return Figure()


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Studies of these names, which run in threads."""

    @contextmanager
    def threads(count: int, one_core: bool = True) -> Iterator[Executor]:
        with ThreadPoolExecutor(count) as executor:
            yield executor

    toys: dict[str, Any] = {name: Toy(name) for name in ("one", "two", "three", *SHARING, *ALONE)}
    for name in ("begun", "under_way", "beside"):
        monkeypatch.setattr(Toy, name, type(getattr(Toy, name))())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "load", lambda name: toys[name])
    monkeypatch.setattr(study, "names", lambda: tuple(sorted(toys)))
    monkeypatch.setattr(workers, "processes", threads)
    monkeypatch.setattr(running, "cpu_count", lambda: 3)
    return toys


def run(*names: str, resume: bool = False) -> running.Outcome:
    return run_all(names or study.names(), "smoke", None, Path("figures"), resume)


def values(name: str) -> list[int]:
    return pd.read_csv(Path("figures") / f"{name}.csv").value.tolist()


def test_every_study_is_rendered_and_goes_on_from_what_it_has_by_itself(toys: dict[str, Any]) -> None:
    study.run("two", "smoke", 1, Path("figures"), resume=False)
    outcome = run(resume=True)
    assert sorted(outcome.rendered) == sorted(toys)
    assert all(values(name) == [0, 1] for name in toys)
    assert sorted(Toy.begun) == sorted((name, seed) for name in toys for seed in (0, 1))
    study.run("two", "smoke", None, Path("figures"), resume=True)
    assert len(Toy.begun) == 2 * len(toys)
    run("two")
    assert Toy.begun.count(("two", 0)) == 2


def test_studies_run_side_by_side_but_not_where_they_share_trainings_or_measure_seconds(
    toys: dict[str, Any],
) -> None:
    run()
    for seed in (0, 1):
        first, second = ((name, seed) for name in SHARING)
        assert second not in Toy.beside.get(first, set())
    assert any(each in Toy.beside for each in Toy.begun)
    timed = [own for own in Toy.begun if own[0] in ALONE]
    assert Toy.begun[-len(timed) :] == timed
    assert not set(timed) & set(Toy.beside)


def test_the_longest_begin_first_and_what_is_not_known_before_them(toys: dict[str, Any], monkeypatch) -> None:
    monkeypatch.setattr(running, "cpu_count", lambda: 1)
    monkeypatch.setattr(running, "_RENDERED", Path())
    for name, seconds in (("one", 10.0), ("three", 300.0)):
        Path(f"{name}.json").write_text(f'{{"seconds_of_all_seeds": {seconds}, "seeds": [0, 1]}}')
    run("one", "two", "three")
    assert [name for name, _ in Toy.begun] == ["two", "two", "three", "three", "one", "one"]


def test_a_study_that_fails_or_lacks_a_package_stops_no_other(
    toys: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toys["one"].error = RuntimeError("power cut\nin the cellar")
    toys["two"].error = ImportError("highway is missing: pip install 'gradex[highway]'")
    monkeypatch.setattr(sys, "argv", ["analysis", "all", "--only", "one,two,three", "--out", "figures"])
    assert command.main() == 1
    told = capsys.readouterr()
    assert "1 of 3 studies are rendered" in told.out
    assert "analysis: two is skipped: highway is missing: pip install 'gradex[highway]'\n" in told.err
    assert "one failed, RuntimeError: power cut; to see where: python -m analysis one" in told.err
    assert values("three") == [0, 1] and not Path("figures/one.csv").exists()
    del toys["one"]
    monkeypatch.setattr(sys, "argv", ["analysis", "all", "--only", "two,three", "--resume"])
    assert command.main() == 0
    assert Path("runs/figures-smoke/three.csv").exists()


def test_a_figure_that_fails_is_a_study_that_fails(toys: dict[str, Any], monkeypatch) -> None:
    monkeypatch.setattr(toys["one"], "plot", lambda table: 1 / 0, raising=False)
    assert run("one", "two").failed == {"one": "ZeroDivisionError: division by zero"}


class Breaking(ThreadPoolExecutor):
    """Breaks with the first unit of study "one", as processes do of which one is killed."""

    broken = False

    def submit(self, work: Any, *arguments: Any, **_: Any) -> Future:
        error = BrokenProcessPool("a process was terminated abruptly")
        if self.broken:
            raise error
        if getattr(arguments[0], "study", None) != "one":
            return super().submit(work, *arguments)
        self.broken = True
        future: Future = Future()
        future.set_exception(error)
        return future


def test_a_process_that_is_killed_takes_its_study_with_it_and_no_other(
    toys: dict[str, Any], monkeypatch
) -> None:
    @contextmanager
    def breaking(count: int, one_core: bool = True) -> Iterator[Executor]:
        with Breaking(count) as executor:
            yield executor

    monkeypatch.setattr(workers, "processes", breaking)
    monkeypatch.setattr(running, "cpu_count", lambda: 1)
    outcome = run("one", "two", "three")
    assert outcome.failed == {"one": "a process was killed, for want of memory perhaps"}
    assert sorted(outcome.rendered) == ["three", "two"]


@pytest.mark.filterwarnings("default")  # the cluster's own
def test_a_cluster_takes_the_place_of_the_cores(toys: dict[str, Any], monkeypatch) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(workers, "processes", None)
    options: dict[str, Any] = {"processes": False, "threads_per_worker": 2, "dashboard_address": None}
    with distributed.LocalCluster(n_workers=1, **options) as cluster:
        address = cluster.scheduler_address
        outcome = run_all(["one", "two"], "smoke", None, Path("figures"), resume=False, cluster=address)
    assert sorted(outcome.rendered) == ["one", "two"]
    assert values("one") == [0, 1]
    assert Toy.beside


def test_bad_input_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("half").mkdir()
    Path("half/README.md").write_text(beside.BEGIN)
    for arguments, words in (
        (["all", "--only", "planted,nothing"], "no study 'nothing'"),
        (["all", "speed"], "all takes no part, but 'speed' was given: leave it out"),
        (["all", "--seeds", "0"], "0 seeds is too few"),
        (["all", "--cluster", "nowhere"], "no Dask scheduler answers at 'nowhere'"),
        (["all", "--out", "half"], "has only one of the lines"),
        (["planted", "--only", "nmi"], "--only goes with all, not with planted: leave it out"),
    ):
        monkeypatch.setattr(sys, "argv", ["analysis", *arguments])
        assert command.main() == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1


def test_a_process_takes_one_core_and_shows_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "TQDM_DISABLE"):
        monkeypatch.delenv(name, raising=False)
    for one_core, threads in ((True, "1"), (False, None)):
        with workers.processes(1, one_core) as executor:
            assert executor.submit(os.getenv, "TQDM_DISABLE").result() == "1"
            assert executor.submit(os.getenv, "OMP_NUM_THREADS").result() == threads
            assert executor.submit(joblib.cpu_count).result() == (1 if one_core else joblib.cpu_count())


def test_what_runs_alone_leaves_no_process_behind(toys: dict[str, Any], monkeypatch) -> None:
    before = set(multiprocessing.active_children())

    def compute(seed: int, scale: str) -> pd.DataFrame:
        found = joblib.Parallel(n_jobs=2)(joblib.delayed(os.getpid)() for _ in range(2))
        return pd.DataFrame({"seed": [seed], "value": [os.getpid() in found]})

    monkeypatch.setattr(toys["speed"], "compute", compute)
    assert run("speed").failed == {}
    assert values("speed") == [False, False]
    assert set(multiprocessing.active_children()) <= before


def gone(pid: int) -> bool:
    """Tell whether a process has ended, though nobody may have asked what became of it."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads of processes what Linux tells")
def test_a_run_that_is_killed_goes_on_and_ends_with_the_same_tables(
    rendered: Callable[[str], pd.DataFrame], tmp_path: Path
) -> None:
    # One after the other on one core, so it is killed in the second, which is the shorter one.
    script = [sys.executable, "-m", "analysis", "all", "--only", "navigation,advantages", "--out", "here"]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "LOKY_MAX_CPU_COUNT": "1"}
    options: dict[str, Any] = {"cwd": tmp_path, "env": {**os.environ, **environment}}
    killed = subprocess.Popen(script, **options)
    first = tmp_path / "runs" / "advantages-smoke" / "0.csv"
    while not first.exists():
        assert killed.poll() is None
        time.sleep(0.01)
    children = Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text().split()
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    while not all(gone(int(child)) for child in children):
        time.sleep(0.01)
    assert not (tmp_path / "here" / "navigation.csv").exists()
    written = first.stat().st_mtime_ns
    again = subprocess.run([*script, "--resume"], check=True, capture_output=True, text=True, **options)
    assert again.stdout.startswith("2 of 2 studies are rendered")
    assert "not judged: smoke scale" in (tmp_path / "here" / "README.md").read_text()
    assert first.stat().st_mtime_ns == written
    table = pd.read_csv(tmp_path / "here" / "navigation.csv").drop(columns="seconds")
    rendered("navigation")
    own = pd.read_csv(tmp_path / "figures" / "navigation.csv").drop(columns="seconds")
    pd.testing.assert_frame_equal(table, own)
