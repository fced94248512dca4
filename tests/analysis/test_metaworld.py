"""The study of learning on Meta-World: every task measured along the way, and nothing trained twice."""

from collections.abc import Callable

import pandas as pd
import pytest

from analysis import metaworld
from gradex import MetaPolicy


def test_every_task_is_measured_along_the_way_and_kept(
    rendered: Callable[[str], pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = rendered("metaworld")
    together, alone = (part for _, part in table.groupby("learner", sort=False))
    assert together.task.nunique() == 3
    assert sorted(together.steps_per_task.unique()) == [40, 80, 120, 160]
    assert set(alone.task) == {"reach-v3", "drawer-close-v3"}
    assert alone.steps_per_task.max() == 80
    for part in (together, alone):
        assert (part.groupby(["task", "steps_per_task"]).size() == 1).all()
        assert (part.groupby("task").training_seconds.diff().dropna() > 0).all()
    monkeypatch.setattr(MetaPolicy, "fit_each", None)
    pd.testing.assert_frame_equal(metaworld.compute(0, "smoke"), table, check_dtype=False)
    assert [ax.get_title() for ax in metaworld.plot(table).axes] == list(table.learner.unique())


def test_the_mean_over_tasks_has_an_interval_over_seeds() -> None:
    common = {"learner": "SAC, each task alone", "steps_per_task": 100, "training_seconds": 60.0}
    rates = {(0, "a"): 1.0, (0, "b"): 0.5, (1, "a"): 0.5, (1, "b"): 0.5}
    rows = [{**common, "seed": seed, "task": task, "success": rate} for (seed, task), rate in rates.items()]
    told = metaworld.summary(pd.DataFrame(rows)).set_index("task")
    assert told.success.to_dict() == {"all": 0.625, "a": 0.75, "b": 0.5}
    # Two seeds: Student's factor is 12.7, so only what does not vary is certain.
    assert told.loc["b", ["low", "high"]].tolist() == [0.5, 0.5]
    assert told.loc["all", ["low", "high"]].tolist() == [0.0, 1.0]
    assert told.minutes.unique().tolist() == [1.0]
