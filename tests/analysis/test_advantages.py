"""The study of advantages at smoke scale."""

from collections.abc import Callable

import pandas as pd


def test_every_choice_has_its_row(rendered: Callable[[str], pd.DataFrame]) -> None:
    table = rendered("advantages")
    assert list(table.groupby("choice").value.unique()["lambda"]) == [0.0, 1.0]
    assert list(table.groupby("choice").value.unique()["share"]) == [0.1, 1.0]
    assert table.reliability.between(-1, 1).all() and table.unbiased.between(-1, 1).all()
    # λ of the advantages and the ridge make a difference.
    assert table.groupby("choice").reliability.nunique().min() == 2
