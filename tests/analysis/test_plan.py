"""What the study of plans counts, where the answer is known."""

import numpy as np
import pandas as pd
import pytest

from analysis.plan import needed, plot, summary

SIZES = (512, 1024, 2048, 4096)


def rows(found: tuple[float, ...], intervals: tuple[tuple[float, float], ...] = ()) -> pd.DataFrame:
    estimates = [
        {"kind": "estimate", "transitions": size, "found": f} for size, f in zip(SIZES, found, strict=True)
    ]
    pilots = [
        {"kind": "pilot", "transitions": 2048, "predicted": (low * high) ** 0.5, "low": low, "high": high}
        for low, high in intervals
    ]
    return pd.DataFrame([*pilots, *estimates]).assign(suite="a suite", seed=0)


def curve(slope: float, half: float) -> tuple[float, ...]:
    """Give how often groups are found where it is as often as not from `half` transitions."""
    return tuple(1 / (1 + (half / np.array(SIZES)) ** slope))


def test_what_is_needed_lies_on_the_curve() -> None:
    # 1 / (1 + (half / size)³) is 0.9 at half times the cube root of 9
    assert needed(rows(curve(3.0, 1000))) == pytest.approx(1000 * 9 ** (1 / 3), rel=0.05)
    assert needed(rows(curve(3.0, 4000))) == pytest.approx(4000 * 9 ** (1 / 3), rel=0.1)  # beyond all sizes
    assert needed(rows((0.0, 1.0, 0.5, 1.0))) > 2048  # a size by luck is not enough
    assert needed(rows((1.0, 1.0, 1.0, 1.0))) == 512
    assert np.isinf(needed(rows((0.0, 0.0, 0.0, 0.0))))


def test_intervals_are_held_against_what_is_needed() -> None:
    told = summary(rows(curve(3.0, 1000), ((1000, 3000), (2500, 4000), (100, np.inf)))).iloc[0]
    assert (told.within, told.pilots) == (2, 3)
    one = summary(rows(curve(3.0, 1000), ((2000, 8000),))).iloc[0]
    assert one.factor == pytest.approx(4000 / one.needed)
    assert summary(rows(curve(3.0, 1000), ((500, 2000),))).iloc[0].factor == pytest.approx(one.needed / 1000)


def test_less_than_the_smallest_size_counts_as_that() -> None:
    told = summary(rows((1.0, 1.0, 1.0, 1.0), ((50, 100), (600, 700)))).iloc[0]
    assert told.within == 1
    assert told.factor == pytest.approx((np.sqrt(600 * 700) / 512) ** 0.5)


def test_what_is_out_of_reach_has_no_factor() -> None:
    told = summary(rows((0.0, 0.0, 0.0, 0.0), ((1000, 2000),))).iloc[0]
    assert np.isinf(told.needed)
    assert np.isnan(told.factor)
    assert told.within == 0


def test_pilots_that_know_nothing_can_be_drawn() -> None:
    table = rows(curve(3.0, 1000), ((1000, 2000),))
    silent = table.iloc[[0]].assign(predicted=np.nan, low=np.nan, high=np.nan)
    assert plot(pd.concat([table, silent], ignore_index=True)).axes
    assert summary(pd.concat([table, silent])).iloc[0].pilots == 2
    assert plot(table.assign(predicted=np.nan, low=np.nan, high=np.nan)).axes


def test_no_prediction_is_cut_off() -> None:
    table = rows(curve(3.0, 1000), ((60, 100), (1000, np.inf)))
    above, below = plot(table).axes
    ends = np.concatenate([line.get_xdata() for line in above.lines])
    assert below.get_xlim()[0] < 60
    assert (ends >= above.get_xlim()[0]).all() and (ends <= above.get_xlim()[1]).all()
