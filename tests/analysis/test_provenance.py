"""Commit and seconds of what is computed in several sittings."""

import time
from pathlib import Path

import pytest

from analysis import provenance
from analysis.provenance import Spent, note_of, noted, spent, total


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> dict[str, float | str]:
    """A clock and a commit that stand still unless they are moved."""
    told: dict[str, float | str] = {"time": 0.0, "commit": "a"}
    monkeypatch.setattr(time, "perf_counter", lambda: told["time"])
    monkeypatch.setattr(provenance, "commit", lambda: told["commit"])
    return told


def test_parts_of_earlier_sittings_count(now: dict[str, float | str], tmp_path: Path) -> None:
    parts = tmp_path / "seed-0"
    with noted(parts / "first.csv"):
        now["time"] = 10.0
    now["commit"] = "b"
    with noted(tmp_path / "0.csv", parts):
        with noted(parts / "deep" / "second.csv"):
            now["time"] = 15.0
        now["time"] = 16.0
    assert note_of(parts / "first.csv") == Spent(10.0, ("a",))
    assert note_of(parts / "deep" / "second.csv") == Spent(5.0, ("b",))
    # 10 seconds of the first part, 5 of the second and 1 of what came after.
    assert note_of(tmp_path / "0.csv") == Spent(16.0, ("a", "b"))
    assert spent(parts) == Spent(15.0, ("a", "b"))


def test_sittings_that_were_cut_off_count_until_the_whole_is_there(
    now: dict[str, float | str], tmp_path: Path
) -> None:
    path = tmp_path / "part.csv"
    with pytest.raises(RuntimeError), noted(path):
        now["time"] = 10.0
        raise RuntimeError
    now["commit"] = "b"
    with noted(path):
        # Whoever is killed now leaves at least this.
        assert note_of(path) == Spent(10.0, ("a", "b"))
        now["time"] = 15.0
        path.touch()
    assert note_of(path) == Spent(15.0, ("a", "b"))
    with noted(path):  # made again
        now["time"] = 18.0
    assert note_of(path) == Spent(3.0, ("b",))


def test_what_stands_keeps_its_note_until_it_is_replaced(now: dict[str, float | str], tmp_path: Path) -> None:
    path, parts = tmp_path / "0.csv", tmp_path / "seed-0"
    with noted(path, parts):
        now["time"] = 10.0
        path.touch()
    now["commit"] = "b"
    with pytest.raises(RuntimeError), noted(path, parts):
        now["time"] = 15.0
        raise RuntimeError
    assert note_of(path) == Spent(10.0, ("a",))


def test_a_part_that_was_cut_off_counts_once(now: dict[str, float | str], tmp_path: Path) -> None:
    whole, parts = tmp_path / "0.csv", tmp_path / "seed-0"
    for _ in range(2):
        with pytest.raises(RuntimeError), noted(whole, parts), noted(parts / "part.csv"):
            now["time"] += 5.0  # type: ignore[operator]
            raise RuntimeError
    with noted(whole, parts), noted(parts / "part.csv"):
        now["time"] += 1.0  # type: ignore[operator]
    assert note_of(whole) == note_of(parts / "part.csv") == Spent(11.0, ("a",))


def test_seeds_add_up(tmp_path: Path) -> None:
    assert total([Spent(1.5, ("b",)), Spent(2.0, ("a", "b"))]) == Spent(3.5, ("a", "b"))
    assert spent(None) == total([]) == Spent(0.0, ())
    told = provenance.provenance("python -m analysis toy", range(2), Spent(3.5, ("a",)))
    assert told["seconds_of_all_seeds"] == 3.5
    assert told["computed_by_commits"] == ["a"]
    assert told["seeds"] == [0, 1]
