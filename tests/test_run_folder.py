"""The folder of a run: whole files only, and no folder of anybody else."""

import os
from pathlib import Path

import numpy as np
import pytest

from gradex import AffinityGraph
from gradex.run_folder import draw, open_run, said_before

CONFIGURATION = {"k": 3, "suite": {"family": "navigation"}}


def test_a_new_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    checkpoint = open_run(tmp_path / "a" / "b", CONFIGURATION)
    assert checkpoint.parent == tmp_path / "a" / "b"
    assert [file.name for file in checkpoint.parent.iterdir()] == ["config.json"]


def test_an_empty_folder_serves(tmp_path: Path) -> None:
    (tmp_path / "unfinished-1234-config.json").write_text("{")
    assert open_run(tmp_path, CONFIGURATION).parent == tmp_path


def test_the_same_command_goes_on_and_another_one_does_not(tmp_path: Path) -> None:
    checkpoint = open_run(tmp_path, CONFIGURATION)
    checkpoint.write_text("half of a run")
    assert open_run(tmp_path, CONFIGURATION) == checkpoint
    assert checkpoint.read_text() == "half of a run"
    with pytest.raises(ValueError, match=r"holds another run, with k 3 instead of 4: .* folder with --out"):
        open_run(tmp_path, {**CONFIGURATION, "k": 4})


def test_a_finished_run_says_again_what_it_said(tmp_path: Path) -> None:
    open_run(tmp_path, CONFIGURATION)
    (tmp_path / "report.txt").write_text("three groups")
    assert said_before(tmp_path, "groups.json", as_json=False) is None
    (tmp_path / "groups.json").write_text('{\n  "k": 3\n}')
    assert said_before(tmp_path, "groups.json", as_json=False) == "three groups"
    assert said_before(tmp_path, "groups.json", as_json=True) == '{"k": 3}'
    (tmp_path / "report.txt").write_text("")
    with pytest.raises(ValueError, match="holds a damaged run: make it anew with --force"):
        said_before(tmp_path, "groups.json", as_json=False)
    (tmp_path / "report.txt").unlink()
    with pytest.raises(ValueError, match="holds a damaged run"):
        said_before(tmp_path, "groups.json", as_json=False)
    (tmp_path / "report.txt").write_text("three groups")
    (tmp_path / "groups.json").write_text('{\n  "k"')
    with pytest.raises(ValueError, match="holds a damaged run"):
        said_before(tmp_path, "groups.json", as_json=False)


def test_force_removes_a_run_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "run"
    open_run(path, CONFIGURATION).write_text("a policy")
    checkpoint = open_run(path, {**CONFIGURATION, "k": 4}, force=True)
    assert not checkpoint.exists()
    assert open_run(tmp_path / "new", CONFIGURATION, force=True).parent.exists()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match=r"'.*foreign' is not the folder of a run: choose another folder"):
        open_run(foreign, CONFIGURATION, force=True)
    assert (foreign / "thesis.tex").exists()


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **keywords: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(
        ValueError, match=r"cannot write to .* \(No space left on device\): choose another folder"
    ):
        open_run(tmp_path, CONFIGURATION)
    assert list(tmp_path.iterdir()) == []


def test_the_picture_shows_the_heatmap_beside_the_graph() -> None:
    matrix = np.array([[0.0, 2.0, -1.0], [2.0, 0.0, 0.5], [-1.0, 0.5, 0.0]])
    graph = AffinityGraph(matrix, ["left", "right", "up"])
    figure = draw(graph, graph.partition(k=2))
    heatmap, network = figure.axes[:2]
    assert {label.get_text() for label in heatmap.get_yticklabels()} == {"left", "right", "up"}
    written = " ".join(text.get_text() for text in network.texts)
    assert all(name in written for name in ("left", "right", "up"))
