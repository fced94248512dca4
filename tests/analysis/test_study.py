"""Studies: seeds that resume, tidy tables, figures with their provenance."""

import json
import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import __main__ as command
from analysis import provenance, study
from gradex import PPO


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """A study that counts how often it computes."""
    from matplotlib.figure import Figure

    class Toy:
        SEEDS = {"smoke": 3}  # noqa: RUF012
        computed: list[int] = []  # noqa: RUF012

        @classmethod
        def compute(cls, seed, scale):
            cls.computed.append(seed)
            return pd.DataFrame({"seed": [seed], "value": [float(seed) ** 2]})

        @staticmethod
        def plot(table):
            figure = Figure()
            figure.subplots().plot(table.seed, table.value)
            return figure

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "load", lambda name: Toy)
    return Toy


def test_writes_table_figure_and_provenance(toy, tmp_path) -> None:
    table = study.run("toy", "smoke", None, tmp_path / "figures", resume=False)
    assert table.value.tolist() == [0, 1, 4]
    assert pd.read_csv(tmp_path / "figures" / "toy.csv").value.tolist() == [0, 1, 4]
    for ending in ("png", "pdf"):
        assert (tmp_path / "figures" / f"toy.{ending}").stat().st_size > 1000
    told = json.loads((tmp_path / "figures" / "toy.json").read_text())
    assert told["seeds"] == [0, 1, 2]
    assert told["packages"]["torch"]
    assert (table.seconds >= 0).all()
    assert len(told["computed_by_commits"]) == 1


def test_resumes_after_the_seeds_that_are_finished(toy, tmp_path) -> None:
    study.run("toy", "smoke", 2, tmp_path / "figures", resume=False)
    table = study.run("toy", "smoke", 3, tmp_path / "figures", resume=True)
    assert toy.computed == [0, 1, 2]
    assert table.value.tolist() == [0, 1, 4]
    study.run("toy", "smoke", 1, tmp_path / "figures", resume=False)
    assert toy.computed == [0, 1, 2, 0]


def test_seconds_and_commit_of_a_seed_outlive_the_sitting(toy, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(provenance, "commit", lambda: "a")
    first = study.run("toy", "smoke", 1, tmp_path / "figures", resume=True)
    monkeypatch.setattr(provenance, "commit", lambda: "b")
    again = study.run("toy", "smoke", 2, tmp_path / "figures", resume=True)
    assert again.seconds[0] == first.seconds[0]
    told = json.loads((tmp_path / "figures" / "toy.json").read_text())
    assert told["computed_by_commits"] == ["a", "b"]
    assert told["rendered_by_commit"] == "b"


def test_a_seed_that_fails_leaves_the_others(toy, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = toy.compute

    def compute(seed, scale):
        if seed == 1:
            raise RuntimeError("power cut")
        return good(seed, scale)

    monkeypatch.setattr(toy, "compute", compute)
    with pytest.raises(RuntimeError, match="power cut"):
        study.run("toy", "smoke", 3, tmp_path / "figures", resume=True)
    monkeypatch.setattr(toy, "compute", good)
    study.run("toy", "smoke", 3, tmp_path / "figures", resume=True)
    assert toy.computed == [0, 1, 2]


def test_what_is_kept_for_other_settings_is_refused(tmp_path) -> None:
    for _ in range(2):
        assert study.kept_for(tmp_path / "runs", {"steps": 3, "learner": PPO()}) == tmp_path / "runs"
    with pytest.raises(
        ValueError, match=r"another study, with settings learner clip_range 0.2 instead of 0.1: remove it"
    ):
        study.kept_for(tmp_path / "runs", {"steps": 3, "learner": PPO(clip_range=0.1)})


def test_bad_input_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments, words in ((["nothing"], "no study 'nothing'"), (["planted", "--seeds", "0"], "0 seeds")):
        monkeypatch.setattr(sys, "argv", ["analysis", *arguments])
        assert command.main() == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1


def test_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        low, high = study.confidence_interval(rng.standard_normal(8))
        covered += low <= 0 <= high
    assert stats.binomtest(covered, 2000, 0.95).pvalue > 1e-3


@pytest.mark.parametrize(("count", "total"), [(0, 20), (18, 20), (20, 20), (5, 600)])
def test_a_share_has_wilsons_interval(count: int, total: int) -> None:
    """Its ends are the shares from which the one that was found is 1.96 standard errors away."""
    low, high = study.wilson_interval(count, total)
    assert 0 <= low <= count / total <= high <= 1
    for end in {low, high} - {0.0, 1.0}:
        error = np.sqrt(end * (1 - end) / total)
        assert abs(count / total - end) == pytest.approx(stats.norm.ppf(0.975) * error)


#: Rendered in tests of their own.
APART = {
    "advantages",
    "downstream",
    "limits",
    "many_objectives",
    "metaworld",
    "navigation",
    "preferences",
    "speed",
}


@pytest.mark.parametrize("name", sorted(set(study.names()) - APART))
def test_study_at_smoke_scale(name: str, rendered: Callable[[str], pd.DataFrame]) -> None:
    assert not rendered(name).empty
