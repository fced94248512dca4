"""The study of MT10: what is trained once is kept, and what the table says of it."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import trim_mean

from analysis import downstream
from gradex import MetaPolicy

METHODS = {"multi-task MLP", "multi-head MLP", "PaCo", "CARE", "soft modularization"}
GROUPINGS = {"random groups", "gradient-similarity groups", "PolicyGradEx groups"}


def test_what_was_trained_is_kept_and_every_task_is_measured_once_per_run(
    rendered: Callable[[str], pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = rendered("downstream")
    evaluated = table[table.what == "evaluation"]
    assert set(evaluated.method) == METHODS | GROUPINGS | {"one policy per task"}
    assert evaluated[evaluated.method == "one policy per task"].group.nunique() == 3
    assert set(evaluated[evaluated.method.isin(METHODS)].k) == {1}
    assert set(evaluated[evaluated.method.isin(GROUPINGS)].k) == {2}
    assert (evaluated.groupby(["method", "k", "draw"]).task.nunique() == 3).all()
    assert (evaluated.groupby(["method", "k", "draw"]).size() == 3).all()
    assert evaluated.success.between(0, 1).all()
    affinities = table[table.what == "affinity"]
    assert len(affinities) == 3 * 2 / 2
    assert affinities.affinity.notna().all()
    # Groups part halfway of what single networks take.
    curve = table[table.what == "curve"]
    assert curve.steps.max() == 80
    assert curve[~curve.method.isin(METHODS)].steps.min() > 40
    assert (curve[curve.method.isin(METHODS)].groupby("method").steps.min() < 40).all()

    def refuse(*arguments: object, **keywords: object) -> None:
        raise AssertionError("trained again")

    for way in ("fit", "adapt"):
        monkeypatch.setattr(MetaPolicy, way, refuse)
    pd.testing.assert_frame_equal(downstream.compute(0, "smoke"), table, check_dtype=False, rtol=1e-12)
    assert len(downstream.plot(table).axes) >= 4


def test_draws_of_one_seed_are_no_runs_of_their_own() -> None:
    """Two seeds that differ, each with ten equal draws of groups: there are two numbers, not twenty."""
    rows = [
        {"seed": seed, "draw": draw, "task": task, "success": float(seed)}
        for seed in range(2) for draw in range(10) for task in "ab"
    ]  # fmt: skip
    common = {"what": "evaluation", "method": "random groups", "k": 3, "episodes": 50}
    row = downstream.summary(pd.DataFrame(rows).assign(**common)).iloc[0]
    # In a quarter of the resamplings each, both seeds that are drawn are the same one.
    assert (row.success, row.success_low, row.success_high) == (0.5, 0.0, 1.0)
    assert row.runs == 20


def test_the_middle_half_counts_and_one_run_has_the_spread_of_its_episodes() -> None:
    rates = [0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0]
    table = pd.DataFrame(
        {
            "what": "evaluation",
            "method": "PaCo",
            "k": 1,
            "draw": 0,
            "seed": 0,
            "task": list("abcdefgh"),
            "success": rates,
            "episodes": 50,
        }
    )
    row = downstream.summary(table).iloc[0]
    assert row.success == np.mean(rates)
    assert row.iqm == 0.5
    assert row.solved == 2
    # Half of the tasks are certain; the mean of eight has the standard error of four halves by 50 episodes.
    stderr = np.sqrt(4 * 0.25 / 50) / 8
    assert row.success_high - row.success_low == pytest.approx(2 * 1.96 * stderr, rel=0.15)
    assert row.iqm_low < 0.5 < row.iqm_high


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10])
def test_the_interquartile_mean_does_not_depend_on_how_often_all_values_come(n: int) -> None:
    values = np.random.default_rng(n).uniform(size=n)
    once = downstream.interquartile_mean(values)
    for times in (2, 3, 4):
        assert downstream.interquartile_mean(np.tile(values, (times, 1))) == pytest.approx(once)
    # Four times as many can be cut in four without a rest.
    assert once == pytest.approx(trim_mean(np.repeat(values, 4), 0.25))
