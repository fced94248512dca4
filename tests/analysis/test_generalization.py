"""What the study of generalization reads from its table."""

import numpy as np
import pandas as pd
import pytest

from analysis import generalization as study
from gradex import TaskSuite


@pytest.fixture
def table() -> pd.DataFrame:
    """Trace and error rise together within each training and fall from setting to setting."""
    rows = []
    for seed in (0, 1):
        for level, setting in enumerate(("one task", "a group", "all tasks")):
            for steps in (1, 2, 3):
                rows.append(
                    ("training", setting, level + 1, steps, seed, steps - 10.0 * level, steps + level)
                )
        for tasks in (1, 2, 3, 4):
            rows.append(("tasks", "random tasks", tasks, 3, seed, [4.0, 1, 3, 2][tasks - 1], -tasks))
    frame = pd.DataFrame(rows, columns=["panel", "setting", "tasks", "steps", "seed", "trace", "gap"])
    frame = frame.assign(part="toy", suite="toy", return_gap=-frame.gap, top_eigenvalue=1.0, highest_loss=5.0)
    return frame.assign(**dict.fromkeys(study._BOUNDS, frame.trace + 3))


def test_correlations_along_training_are_those_within_a_training(table: pd.DataFrame) -> None:
    told = study.summary(table).set_index(["panel", "measure"])
    trace = told.loc[("training", "trace")]
    assert (trace.gap, trace.gap_low, trace.gap_high) == pytest.approx((1, 1, 1))
    assert trace.return_gap == pytest.approx(-1)
    # Over all trainings of a seed together it would be another number.
    training = table[(table.panel == "training") & (table.seed == 0)]
    assert training[["trace", "gap"]].corr("spearman").iloc[0, 1] < 0
    assert told.loc[("tasks", "tasks")].gap == pytest.approx(-1)
    assert told.loc[("tasks", "trace")].gap == pytest.approx(0.4)


def test_what_does_not_vary_has_no_correlation(table: pd.DataFrame) -> None:
    told = study.summary(table).set_index(["panel", "measure"])
    assert ("training", "tasks") not in told.index and ("tasks", "steps") not in told.index
    assert ("all", "top_eigenvalue") not in told.index
    flat = table.assign(gap=1.0)
    assert study.summary(flat).gap.isna().all()


def test_bounds_are_counted_against_the_range_and_the_uniform_policy(table: pd.DataFrame) -> None:
    told = study.summary(table).set_index(["panel", "measure"])
    training = table[table.panel == "training"]
    row = told.loc[("training", "bound")]
    assert (
        row.not_vacuous == (training.trace < 2).mean() and row.below_uniform == (training.trace < -3).mean()
    )
    ends = study.by_setting(table)
    assert len(ends) == 3 + 4  # settings at their last step, numbers of tasks
    assert ends.loc[("toy", "tasks", "random tasks", 1)].bound_not_vacuous == 0
    assert ends.loc[("toy", "tasks", "random tasks", 2)].bound_not_vacuous == 1


def test_groups_and_targets() -> None:
    planted = TaskSuite.make("cartpole", n=6, reversed="half")
    group = study._group(planted, 2)
    assert 2 in group and planted[group].labels.tolist() == [planted.labels[2]] * 3
    targets = planted.unseen(9, 0)
    kind = study._of_its_kind(targets, planted[group])
    assert 0 < len(kind) < 9 and set(targets[kind].labels) == {planted.labels[2]}
    assert study._of_its_kind(targets, planted) == tuple(range(9))
    plain = TaskSuite.make("cartpole", n=6)
    assert [study._group(plain, task) for task in (0, 3, 5)] == [[0, 1, 2], [2, 3, 4], [3, 4, 5]]
    assert study._of_its_kind(plain.unseen(4, 0), plain[[1]]) == (0, 1, 2, 3)


def test_what_a_scale_has_not_gives_no_rows() -> None:
    for seed, scale, part in ((0, "smoke", "MT10"), (3, "laptop", "LunarLander")):
        assert study.compute(seed, scale, part).empty


def test_over_seeds_leaves_out_what_is_not_known() -> None:
    assert study._over_seeds("gap", pd.Series([1.0, np.nan, 1.0])) == {"gap": 1, "gap_low": 1, "gap_high": 1}
    unknown = study._over_seeds("gap", pd.Series([np.nan]))
    assert list(unknown) == ["gap", "gap_low", "gap_high"] and np.isnan(list(unknown.values())).all()
