"""The study of scaling: both ways find the groups, and exponents are slopes."""

import numpy as np
import pandas as pd
import pytest

from analysis import scaling


@pytest.mark.parametrize("route", ["factors", "transfers"])
def test_both_ways_find_the_centres_of_preferences_and_note_their_stages(route: str) -> None:
    spending, nmi = scaling._run(route, n=40, size="smoke", seed=0)
    assert nmi == 1.0
    assert list(spending) == ["surrogate", route, "groups"]
    seconds, memory = np.transpose(list(spending.values()))
    assert (seconds > 0).all()
    assert (np.diff(memory) >= 0).all()


def table() -> pd.DataFrame:
    """Of two seeds; seconds grow by n², but from 10 to 100 they do not."""
    seconds = {10: 1.0, 100: 1.0, 300: 9.0, 1000: 100.0}
    rows = [
        {"route": "transfers", "n": n, "stage": "transfers", "stage_seconds": each, "memory": n / 1e3}
        for n, each in seconds.items()
    ]
    return pd.concat([pd.DataFrame(rows).assign(seed=seed, nmi=1.0 - seed / 10) for seed in range(2)])


def test_the_exponent_is_that_of_large_numbers_of_tasks() -> None:
    told = scaling.summary(table()).iloc[0]
    assert told.exponent == pytest.approx(2.0, abs=0.01)
    assert (told.n, told.stage_seconds, told.memory, told.seeds) == (1000, 100.0, 1.0, 2)
    assert told.nmi == pytest.approx(0.95)


def test_draws_each_way_and_their_memory() -> None:
    both = pd.concat([table(), table().assign(route="factors", stage="factors")])
    panels = scaling.plot(both).axes
    assert [ax.get_title() for ax in panels] == ["by transfers", "by factors", "memory"]
    assert panels[0].get_legend().get_texts()[0].get_text() == "transfers: n^2.0"
    assert all(ax.get_xscale() == ax.get_yscale() == "log" for ax in panels)


def test_every_run_is_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "_FACTORS", {"smoke": (12,)})
    monkeypatch.setattr(scaling, "_TRANSFERS", {"smoke": ()})
    found = scaling.compute(seed=0, scale="smoke")
    assert found.stage.tolist() == ["surrogate", "factors", "groups"]
    assert set(found.n) == {12}
    assert found.memory.is_monotonic_increasing
    assert found.memory.max() < 0.5  # GB: that of this process, with all its tests, plays no part
