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


def test_what_is_needed_lies_between_two_sizes() -> None:
    assert needed(rows((0.0, 0.8, 1.0, 1.0))) == pytest.approx(1024 * 2**0.5)
    assert needed(rows((0.0, 1.0, 0.5, 1.0))) > 2048  # a size by luck is not enough
    assert needed(rows((1.0, 1.0, 1.0, 1.0))) == 0
    assert np.isinf(needed(rows((0.0, 0.5, 0.8, 0.8))))


def test_intervals_are_held_against_what_is_needed() -> None:
    told = summary(rows((0.0, 0.8, 1.0, 1.0), ((1000, 2000), (2000, 4000), (100, np.inf)))).iloc[0]
    assert (told.within, told.pilots, told.needed) == (2, 3, pytest.approx(1448.2, abs=0.1))


def test_less_than_the_smallest_size_counts_as_that() -> None:
    assert summary(rows((1.0, 1.0, 1.0, 1.0), ((50, 100), (600, 700)))).iloc[0].within == 1


def test_pilots_that_know_nothing_can_be_drawn() -> None:
    table = rows((0.0, 0.8, 1.0, 1.0), ((1000, 2000),))
    silent = table.iloc[[0]].assign(predicted=np.nan, low=np.nan, high=np.nan)
    assert plot(pd.concat([table, silent], ignore_index=True)).axes
    assert summary(pd.concat([table, silent])).iloc[0].pilots == 2
