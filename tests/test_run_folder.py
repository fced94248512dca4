"""The folder of a run: whole files only, and no folder of anybody else."""

import os
from pathlib import Path

import numpy as np
import pytest

from gradex import AffinityGraph
from gradex.run_folder import RunFolder, draw

CONFIGURATION = {"k": 3, "suite": {"family": "navigation"}}


def test_a_new_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path / "a" / "b", CONFIGURATION)
    assert folder.path == tmp_path / "a" / "b"
    assert [file.name for file in folder.path.iterdir()] == ["config.json"]
    assert folder.checkpoint.parent == folder.path
    assert not folder.checkpoint.exists()


def test_an_empty_folder_serves(tmp_path: Path) -> None:
    assert RunFolder.open(tmp_path, CONFIGURATION).path == tmp_path


def test_the_same_command_goes_on_and_another_one_does_not(tmp_path: Path) -> None:
    first = RunFolder.open(tmp_path, CONFIGURATION)
    first.checkpoint.write_text("half of a run")
    assert RunFolder.open(tmp_path, CONFIGURATION) == first
    assert first.checkpoint.read_text() == "half of a run"
    with pytest.raises(ValueError, match="already holds something else: choose another folder with --out"):
        RunFolder.open(tmp_path, {**CONFIGURATION, "k": 4})


def test_settings_that_are_no_json_are_told_apart_by_how_they_look(tmp_path: Path) -> None:
    RunFolder.open(tmp_path, {"score": range(3)})
    RunFolder.open(tmp_path, {"score": range(3)})
    with pytest.raises(ValueError, match="already holds something else"):
        RunFolder.open(tmp_path, {"score": range(4)})


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RunFolder.open(tmp_path, CONFIGURATION)
    before = (tmp_path / "config.json").read_text()

    def full(*arguments: object, **keywords: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(
        ValueError, match=r"cannot write to .* \(No space left on device\): choose another folder"
    ):
        RunFolder.open(tmp_path, CONFIGURATION)
    assert (tmp_path / "config.json").read_text() == before


def test_the_picture_shows_the_heatmap_beside_the_graph() -> None:
    matrix = np.array([[0.0, 2.0, -1.0], [2.0, 0.0, 0.5], [-1.0, 0.5, 0.0]])
    graph = AffinityGraph(matrix, ["left", "right", "up"])
    figure = draw(graph, graph.partition(k=2))
    heatmap, network = figure.axes[:2]
    assert {label.get_text() for label in heatmap.get_yticklabels()} == {"left", "right", "up"}
    written = " ".join(text.get_text() for text in network.texts)
    assert all(name in written for name in ("left", "right", "up"))
