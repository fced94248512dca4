"""Studies in parts: one is run anew, and the others keep their rows and where they come from."""

import json
import sys
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import __main__ as command
from analysis import provenance, study


class Toy:
    """Tells how often each part was computed."""

    SEEDS: ClassVar = {"smoke": 2, "laptop": 2}
    PARTS: ClassVar = {"one": None, "two": None, "none": None}
    computed: ClassVar[list[tuple[str, int]]] = []

    @classmethod
    def compute(cls, seed: int, scale: str, part: str) -> pd.DataFrame:
        cls.computed.append((part, seed))
        times = cls.computed.count((part, seed))
        rows = [{"seed": seed, "times": times}] if part != "none" else []
        return pd.DataFrame(rows, columns=["seed", "times"])

    @staticmethod
    def missing(parts: list[str]) -> list[str]:
        return [f"{part} lacks a package" for part in parts]

    @staticmethod
    def summary(table: pd.DataFrame) -> pd.DataFrame:
        return table[["part", "times"]]

    @staticmethod
    def plot(table: pd.DataFrame) -> Figure:
        return Figure()


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Toy]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "load", lambda name: Toy)
    monkeypatch.setattr(command, "load", lambda name: Toy)
    monkeypatch.setattr(Toy, "computed", [])
    return Toy


def rendered(part: str | None = None, scale: str = "smoke", resume: bool = False) -> pd.DataFrame:
    study.run("toy", scale, None, Path("figures"), resume, part)
    return pd.read_csv("figures/toy.csv")


def test_one_part_is_run_anew_and_the_others_stay(toy: type[Toy], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "commit", lambda: "a")
    first = rendered()
    assert first.columns[0] == "part" and first.part.tolist() == ["one", "one", "two", "two"]
    monkeypatch.setattr(provenance, "commit", lambda: "b")
    again = rendered("one")
    assert again.part.tolist() == first.part.tolist() and again.times.tolist() == [2, 2, 1, 1]
    assert toy.computed.count(("two", 0)) == 1
    told = json.loads(Path("figures/toy.json").read_text())
    commits = {part: each["computed_by_commits"] for part, each in told["parts"].items()}
    assert commits == {"one": ["b"], "two": ["a"], "none": ["a"]}
    assert told["computed_by_commits"] == ["a", "b"]
    assert told["command"] == told["parts"]["one"]["command"]
    assert told["parts"]["two"]["command"] == "python -m analysis toy two --scale smoke --seeds 2"


def test_all_parts_at_once_begin_anew_or_go_on(toy: type[Toy]) -> None:
    rendered()
    assert rendered(resume=True).times.tolist() == [1] * 4
    assert rendered().times.tolist() == [2] * 4


def test_a_part_of_its_own_is_rendered_where_nothing_was(toy: type[Toy]) -> None:
    assert rendered("two").part.tolist() == ["two", "two"]
    assert rendered("one").part.tolist() == ["one", "one", "two", "two"]


def test_parts_of_two_scales_do_not_mix(toy: type[Toy]) -> None:
    rendered()
    toy.computed.clear()
    with pytest.raises(
        ValueError, match=r"run at scale smoke, not laptop: .* --scale smoke or another folder"
    ):
        rendered("one", scale="laptop")
    assert toy.computed == []  # before minutes are spent
    assert len(rendered(scale="laptop")) == 4


def test_what_cannot_be_run_is_refused(toy: type[Toy], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no part 'three' of toy: choose one of one, two, none"):
        rendered("three")
    with pytest.raises(ValueError, match="nothing to tell of none: nothing is written"):
        rendered("none")
    monkeypatch.delattr(toy, "PARTS")
    with pytest.raises(ValueError, match="'toy' has no parts: leave 'one' out"):
        rendered("one")
    assert not Path("figures").exists()


def test_the_command_tells_what_is_left_out_and_then_the_rows_of_the_part(
    toy: type[Toy], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["toy", "two"], ["toy", "--scale", "smoke", "one"]):
        monkeypatch.setattr(sys, "argv", ["analysis", *arguments])
        assert command.main() == 0
        told = capsys.readouterr()
        assert told.err == f"analysis: {arguments[-1]} lacks a package\n"
        assert set(told.out.split()) == {"part", "times", arguments[-1], "1"}
    assert not Path("figures").exists()  # where results stand, which those of scale smoke are not
