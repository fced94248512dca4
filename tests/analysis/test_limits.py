"""The study of what limits groups: nothing trained twice, and hindsight that does not count its own luck."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from analysis import limits
from gradex import MetaPolicy


def trained(rates: dict[str, np.ndarray]) -> pd.DataFrame:
    """Give the rows of one seed; rates are [replicates, tasks] by company."""
    return pd.DataFrame(
        {"seed": 0, "replicate": replicate, "task": f"task {task}", "company": company, "success": rate}
        for company, each in rates.items()
        for (replicate, task), rate in np.ndenumerate(each)
    )


def test_hindsight_finds_what_repeats() -> None:
    table = trained({"one": np.array([[1.0, 0.0]] * 2), "other": np.array([[0.0, 1.0]] * 2)})
    np.testing.assert_allclose(limits.hindsight(table), [1.0, 1.0])


def test_hindsight_wins_nothing_from_luck() -> None:
    rng = np.random.default_rng(0)
    companies = {name: rng.integers(0, 2, size=(2, 5000)).astype(float) for name in ("a", "b", "c")}
    np.testing.assert_allclose(limits.hindsight(trained(companies)), 0.5, atol=0.03)


def test_what_company_and_what_chance_make() -> None:
    rows = trained({"one": np.array([[1.0, 0.0], [0.0, 1.0]]), "other": np.array([[1.0, 1.0], [0.5, 0.5]])})
    meta = pd.DataFrame([{"what": "meta", "task": "task 0", "success": 0.25, "seed": 0}])
    estimates = pd.DataFrame([{"what": "estimates", "agreement": 0.5, "rank": 0.75, "seed": 0}])
    table = pd.concat([rows.assign(what="trained"), meta, estimates]).assign(point=10)
    told = limits.summary(table).set_index("company")
    # The first replicate takes either company for task 0, the other one for task 1: (0.25 + 0.5) / 2 in the
    # second; which takes the other and the one: (1 + 0) / 2 in the first.
    assert told.success.to_dict() == {"one": 0.5, "other": 0.75, "best in hindsight": 0.4375}
    # Both means over tasks are 0.5, yet either task is solved once and once not.
    assert told.loc["one", ["chance", "chance_task"]].tolist() == [0.0, pytest.approx(0.5**0.5)]
    assert (told[["meta", "agreement", "rank"]] == [0.25, 0.5, 0.75]).all(axis=None)


def test_nothing_is_trained_twice(
    rendered: Callable[[str], pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = rendered("limits")
    runs = table[table.what == "trained"].groupby(["point", "company", "replicate"])
    assert len(runs) == 2 * 3 * 2
    assert (runs.task.nunique() == 3).all()
    for method in ("fit_each", "adapt_each"):
        monkeypatch.setattr(MetaPolicy, method, None)
    pd.testing.assert_frame_equal(limits.compute(0, "smoke"), table, check_dtype=False)
