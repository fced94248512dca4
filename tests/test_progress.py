"""Which stage a run is in, and how long the rest will take."""

import io
import re
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path

import pytest
from tqdm.std import tqdm

from gradex import MetaPolicy, PolicyGradEx, PreferenceGrouping, TaskSuite, progress
from gradex.grouped_tasks import WITHIN


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal would get to see."""
    told = io.StringIO()

    class Bar(tqdm):
        def __init__(self, *iterable: object, **options: object) -> None:
            super().__init__(*iterable, **options, file=told, disable=False, ascii=True, mininterval=0)

    monkeypatch.setattr(progress, "tqdm", Bar)
    return told


def test_a_stage_is_named_and_numbered_and_weighs_its_steps(shown: io.StringIO) -> None:
    with progress.stages({"training": 300, "estimate": 100, "groups": 0, "policies": 600}) as begin:
        for name, share in (("training", 0), ("estimate", 30), ("groups", 40), ("policies", 40)):
            shown.seek(0)
            shown.truncate()
            begin(name)
            last = shown.getvalue().split("\r")[-1]
            number = ["training", "estimate", "groups", "policies"].index(name) + 1
            assert re.match(rf"stage {number} of 4, {name}: {share}% done in 00:00, about .* to go", last)


def test_what_was_done_tells_what_is_left(shown: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0] * 3 + [60.0] * 10)
    monkeypatch.setattr("tqdm.std.time", lambda: next(now))
    with progress.stages({"training": 200, "policies": 400}) as begin:
        begin("training")
        begin("policies")
        assert (
            shown.getvalue()
            .split("\r")[-1]
            .startswith("stage 2 of 2, policies: 33% done in 01:00, about 02:00")
        )


def test_a_program_without_stderr_has_no_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "tqdm", partial(tqdm, disable=False))  # tests have turned bars off
    monkeypatch.setattr("sys.stderr", None)
    assert list(progress.bar(range(3), "counting", delay=0)) == [0, 1, 2]
    with progress.stages({"training": 1}) as begin:
        begin("training")
    MetaPolicy(TaskSuite.make("navigation", n=2)).fit(64)


def test_nothing_else_is_written() -> None:
    told = io.StringIO()
    with redirect_stderr(told), progress.stages({"training": 1, "policies": 1}) as begin:
        begin("training")
        begin("policies")
    assert told.getvalue() == ""  # bars are turned off here


def test_stages_of_a_grouping_weigh_what_is_still_to_be_done(tmp_path: Path) -> None:
    suite = TaskSuite.make("cartpole", n=3)
    settings = {"meta_steps": 5_000, "steps_per_task": 100, "group_steps": 7_000}
    grouping = PolicyGradEx(**settings, recursive=False)
    whole = {"meta-policy": 5_000, "estimate": 4 * 300, "groups": 0, "group policies": 7_000}
    kept = tmp_path / "meta.safetensors"
    assert grouping._stages(suite, None, None) == grouping._stages(suite, None, kept) == whole
    kept.touch()
    there = whole | {"meta-policy": 0}
    assert grouping._stages(suite, None, kept) == there
    assert grouping._stages(suite, MetaPolicy(suite), None) == there
    twice = PolicyGradEx(**settings)._stages(suite, None, kept)
    assert list(twice) == ["meta-policy", "estimate", "groups", WITHIN, "group policies"]
    assert twice == there | {WITHIN: 5_000 + 4 * 300}
    many = TaskSuite.make("mo-deep-sea-treasure", n=500)  # steps of a few serve all
    assert PreferenceGrouping(**settings)._stages(many, None, None)["estimate"] == 4 * 8 * 100
