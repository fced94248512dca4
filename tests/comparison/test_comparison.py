"""What a comparison says, against loops and SciPy's paired test, and what it recommends."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gradex import PPO, MetaPolicy, TaskSuite
from gradex.comparison import ARMS, Comparison, Interval, compare, deal_arms

matplotlib.use("Agg")

GROUPS = [(0, 2), (1, 3)]
TASKS = ("a", "b", "c", "d")


def comparison(
    levels: Sequence[float] = (1.0, 0.0, 0.5, 0.0),
    groups: Sequence[Sequence[int]] = GROUPS,
    episodes: int = 40,
    noise: float = 0.3,
    units: Sequence[float] = (1.0, 20.0, 0.05, 3.0),
    seed: int = 0,
) -> Comparison:
    """Make up episodes in which arms earn these levels, with noise that tasks and arms share in part."""
    rng = np.random.default_rng(seed)
    arms = deal_arms(groups, len(TASKS), seed=0)
    shared = rng.normal(size=episodes) + rng.normal(size=(len(TASKS), episodes))
    returns = np.empty((len(ARMS), len(TASKS), episodes))
    for number, level in enumerate(levels):
        same = [other for other in range(number) if set(arms[ARMS[other]]) == set(arms[ARMS[number]])]
        own = noise * rng.normal(size=(len(TASKS), episodes)) + noise * rng.normal(size=episodes)
        returns[number] = returns[same[0]] if same else level + shared + own
    returns = returns * np.asarray(units)[:, None]
    success = np.full(returns.shape, np.nan)
    return Comparison(TASKS, arms, returns, success, dict.fromkeys(ARMS, 1_000))


# ---------------------------------------------------------------------- figures
def test_the_table_by_a_loop() -> None:
    made = comparison()
    assert list(made.table.columns) == ["arm", "group", "task", "return_mean", "return_stderr", "success"]
    assert len(made.table) == 16
    for row in made.table.itertuples():
        task = TASKS.index(row.task)
        assert task in made.subsets[row.arm][row.group]
        own = made.returns[ARMS.index(row.arm), task]
        assert row.return_mean == pytest.approx(own.mean())
        assert row.return_stderr == pytest.approx(stats.sem(own))
        assert np.isnan(row.success)


def test_differences_are_those_of_the_paired_test() -> None:
    made = comparison()
    assert made.differences.arm.unique().tolist() == ["groups", "one per task", "random groups"]
    for row in made.differences.itertuples():
        task = TASKS.index(row.task)
        test = stats.ttest_rel(made.returns[ARMS.index(row.arm), task], made.returns[1, task])
        low, high = test.confidence_interval(0.95)
        assert (row.low, row.high) == pytest.approx((low, high))
        assert row.difference == pytest.approx((low + high) / 2)
        assert row.scale == pytest.approx(made.returns[:, task].ravel().std())


def test_overall_differences_are_means_over_tasks_in_units_of_the_scale() -> None:
    made = comparison()
    for number, arm in enumerate(ARMS):
        total = np.zeros(made.returns.shape[2])
        for task in range(len(TASKS)):
            total += (made.returns[number, task] - made.returns[1, task]) / made.returns[:, task].std()
        low, high = stats.ttest_1samp(total / len(TASKS), 0).confidence_interval() if number != 1 else (0, 0)
        assert made.difference(arm)[1:] == pytest.approx((low, high))
        row = made.overall.set_index("arm").loc[arm]
        assert (row.difference, row.low, row.high) == pytest.approx(made.difference(arm))
        assert row.return_mean == pytest.approx(made.returns[number].mean())
        assert row.policies == len(made.subsets[arm])
    forth, back = made.difference("groups", "one per task"), made.difference("one per task", "groups")
    assert forth == pytest.approx((-back.mean, -back.high, -back.low))


@pytest.mark.parametrize("name", ["table", "overall", "differences"])
def test_a_table_that_is_changed_in_place_changes_no_answer(name: str) -> None:
    made = comparison()
    before, summary, table = str(made), made.summary(), getattr(made, name)
    table.iloc[:, -1] = 0
    table["arm"] = "none"
    assert (str(made), made.summary()) == (before, summary)
    assert "none" not in set(getattr(made, name).arm)
    with pytest.raises(ValueError, match="read-only"):
        made.scale[0] = 0


def test_units_of_the_tasks_do_not_matter_overall() -> None:
    one, other = comparison(), comparison(units=(7.0, 0.01, 300.0, 1.0))
    names = ["difference", "low", "high"]
    pd.testing.assert_frame_equal(one.overall[names], other.overall[names])
    assert one.share == pytest.approx(other.share)
    assert one.recommendation == other.recommendation


def test_a_task_that_always_pays_the_same_makes_no_difference() -> None:
    made = comparison(units=(1.0, 0.0, 1.0, 1.0))
    assert made.scale[1] == 0
    row = made.differences.query("arm == 'groups' and task == 'b'").iloc[0]
    assert (row.difference, row.low, row.high) == (0, 0, 0)
    others = made.difference("groups").mean * 4 / 3
    rest = made.returns[:, [0, 2, 3]]
    expected = ((rest[0] - rest[1]).mean(axis=1) / rest.std(axis=(0, 2))).mean()
    assert others == pytest.approx(expected)


def test_intervals_cover_where_tasks_err_together() -> None:
    covered, episodes = 0, 24
    for seed in range(400):
        made = comparison(
            levels=(0.2, 0.0, 0.0, 0.0), noise=1.0, units=(1,) * 4, seed=seed, episodes=episodes
        )
        difference = made.difference("groups")
        # The scale is drawn too; in units of the tasks' mean scale the true difference is known.
        covered += difference.low <= 0.2 * np.mean(1 / made.scale) <= difference.high
    assert 0.92 <= covered / 400 <= 0.98


def test_headroom_is_the_better_of_two_and_share_is_what_the_groups_get_of_it() -> None:
    made = comparison((0.6, 0.0, 1.0, 0.0), noise=0.05)
    assert made.best == "one per task"
    assert made.headroom == made.difference("one per task")
    assert made.share == pytest.approx(0.6, abs=0.05)
    assert comparison((1.0, 0.0, 0.6, 0.0)).share == 1
    assert comparison((-0.5, 0.0, 1.0, 0.0), noise=0.05).share == pytest.approx(-0.5, abs=0.05)
    for levels in ((0.0, 0.0, 0.0, 0.0), (-1.0, 0.0, -1.0, 0.0)):
        assert np.isnan(comparison(levels).share)
        assert "not above 0 beyond doubt, so that the groups have no share of it" in repr(comparison(levels))


# ---------------------------------------------------------------------- what follows
@pytest.mark.parametrize(
    ("levels", "groups", "expected"),
    [
        ((1, 0, 0, 0), GROUPS, "one policy per group: +0.* over one policy for all"),
        ((1, 0, 1, 0), GROUPS, "one policy per group: +0.* over one policy for all"),
        (
            (1, 0, 0, 1),
            GROUPS,
            "one policy per group: +0.* but no more than random groups beyond doubt (+0.*)",
        ),
        ((0.5, 0, 1.5, 0), GROUPS, "one policy per task: +* where one per group gains +0.*"),
        ((-1, 0, 1, 0), GROUPS, "one policy per task: +* where one per group loses: -0.*"),
        ((-1, 0, -1, 0), GROUPS, "one policy for all: one per group loses: -0.*"),
        ((0, 0, 0, 0), GROUPS, "one policy for all: one per group gains nothing beyond doubt: *"),
        ((0, 0, -1, 0), [range(4)], "one policy for all: it is the only group, and one per task loses: -*"),
        ((0, 0, 1, 0), [range(4)], "one policy per task: +* over one policy for all"),
        ((1, 0, 1, 0), [(0,), (1,), (2,), (3,)], "one policy per task: +* over one policy for all"),
        ((-1, 0, -1, 0), [(0,), (1,), (2,), (3,)], "one policy for all: one per task loses: -*"),
    ],
)
def test_the_recommendation_follows_from_the_intervals(
    levels: Sequence[float], groups: Sequence[Sequence[int]], expected: str
) -> None:
    said = comparison(levels, groups).recommendation
    pattern = ".*".join(map(re.escape, expected.split("*"))) + ".*"
    assert re.fullmatch(pattern, said)


def test_arms_that_are_the_same_are_named() -> None:
    assert comparison().coinciding == {}
    one = comparison((0, 0, 1, 0), [range(4)])
    assert one.coinciding == {"groups": "all together", "random groups": "all together"}
    assert "groups: the same as all together here" in repr(one)
    assert one.difference("groups") == (0, 0, 0)
    each = comparison((1, 0, 1, 0), [(0,), (1,), (2,), (3,)])
    assert each.coinciding == {"groups": "one per task", "random groups": "one per task"}


def test_the_summary_is_plain_json() -> None:
    for levels in ((1, 0, 0.5, 0), (0, 0, 0, 0)):
        made = comparison(levels)
        summary = made.summary()
        assert json.loads(json.dumps(summary, allow_nan=False)) == summary
        assert set(summary["arms"]) == set(ARMS)
        assert summary["arms"]["groups"]["success"] is None
        assert summary["arms"]["groups"]["difference"] == made.difference("groups").mean
        assert summary["headroom"]["low"] == made.headroom.low
        assert summary["share"] == (None if np.isnan(made.share) else made.share)
        assert summary["recommendation"] == made.recommendation
        assert summary["subsets"]["groups"] == [[0, 2], [1, 3]]


# ---------------------------------------------------------------------- looks
@pytest.mark.parametrize("by", ["arm", "task"])
def test_the_picture_shows_differences_with_their_intervals(by: str) -> None:
    made = comparison(units=(1.0, 0.0, 1.0, 1.0))
    _, given = plt.subplots()
    ax = made.plot(given, by=by)
    assert ax is given
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == (["groups", "one per task", "random groups"] if by == "arm" else list(TASKS))
    dots = [container.lines[0].get_xdata() for container in ax.containers]
    assert len(dots) == 3
    if by == "arm":
        assert dots[0] == pytest.approx([made.difference("groups").mean])
        assert dots[0][0] > dots[2][0]
    else:
        assert dots[0][1] == 0 and (dots[0][[0, 2, 3]] > 0).all()
        assert ax.get_legend() is not None
    assert made.plot(by=by) is not given
    plt.close("all")


def test_unknown_rows_of_the_picture_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown rows by='group': choose 'arm' or 'task'"):
        comparison().plot(by="group")


def test_it_looks_short_in_a_shell_and_in_a_notebook() -> None:
    made = comparison()
    text = repr(made)
    assert len(text.splitlines()) == 9
    assert text.startswith("all arms trained on for 1,000 steps; 40 episodes in each of 4 tasks")
    assert text.endswith(f"recommended: {made.recommendation}")
    assert "success" not in text
    html = made._repr_html_()
    assert "<table" in html and made.recommendation in html and str(made.difference("groups")) in html


def test_an_interval_needs_no_spread() -> None:
    assert Interval.of(np.full(5, 2.0)) == (2, 2, 2)


# ---------------------------------------------------------------------- for real
@pytest.fixture(scope="module")
def meta() -> MetaPolicy:
    suite = TaskSuite.make("navigation", n=4, groups=2, horizon=20)
    return MetaPolicy(suite, learner=PPO(steps=64, copies=8, epochs=1, minibatches=2), layers=2, width=8).fit(
        4_000
    )


def test_figures_are_those_of_evaluating_each_policy_in_each_task(meta: MetaPolicy, tmp_path: Path) -> None:
    made = compare(meta, GROUPS, 4_000, episodes=5, seed=3, folder=tmp_path)
    assert set(made.steps.values()) == {4_096}
    names = ["return_mean", "return_stderr", "success"]
    for row in made.table.itertuples():
        task = made.tasks.index(row.task)
        [expected] = made.policies[row.arm][row.group].evaluate(5, subset=[task])[names].to_numpy()
        assert [row.return_mean, row.return_stderr, row.success] == pytest.approx(expected)
    again = compare(meta, GROUPS, 4_000, episodes=5, seed=3, policies=made.policies["groups"])
    np.testing.assert_array_equal(again.returns, made.returns)


def test_common_random_numbers_make_differences_surer(meta: MetaPolicy) -> None:
    made = compare(meta, GROUPS, 4_000, episodes=40)
    paired = made.returns[0] - made.returns[1]
    apart = made.returns[0] - np.roll(made.returns[1], 1, axis=1)
    assert paired.mean(axis=0).std() < 0.8 * apart.mean(axis=0).std()


def test_one_group_of_all_is_trained_once(meta: MetaPolicy) -> None:
    made = compare(meta, [range(4)], 4_000, episodes=2)
    assert made.policies["groups"][0] is made.policies["all together"][0]
    assert made.difference("groups") == (0, 0, 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"episodes": 1}, "episodes=1 is too small: give at least 2"),
        ({"steps": 0}, "steps=0 is too small: give at least 1"),
        ({"groups": [(0, 1)]}, "do not hold each of 4 tasks once"),
        ({"seed": -1}, "seed=-1 is too small: give at least 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(meta: MetaPolicy, wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare(meta, **{"groups": GROUPS, "steps": 4_000, **wrong})
