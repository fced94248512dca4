"""The study of agreement with real training: where that begins, and what is kept."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import nmi
from analysis.along import TruthAlong
from gradex import GroundTruth

SUBSETS = ((0, 1), (0, 2), (1, 2))


def trained(returns: list[list[float]]) -> GroundTruth:
    """Give real training, once, that earned so much."""
    truth = GroundTruth(replicates=1)
    truth.subsets_, truth.returns_, truth.steps_ = SUBSETS, np.array([returns]), 100
    return truth


def test_real_training_from_several_moments_is_their_mean() -> None:
    rng = np.random.default_rng(0)
    outside = ~np.array([[task in subset for task in range(3)] for subset in SUBSETS])
    returns = np.where(outside, np.nan, rng.normal(size=(4, 3, 3)))
    truth = TruthAlong(tuple(trained(each.tolist()) for each in returns))
    np.testing.assert_allclose(truth.scores().per_task, returns.mean(axis=0))
    even, odd = truth.halves()
    np.testing.assert_allclose(even.per_task, returns[::2].mean(axis=0))
    np.testing.assert_allclose(odd.per_task, returns[1::2].mean(axis=0))
    assert truth.subsets_ == SUBSETS and truth.steps_ == 400


def test_where_a_policy_takes_sides_real_training_begins_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = []

    def compared(scale: str, suite: str, seed: int, depth: int, along: bool) -> pd.DataFrame:
        asked.append((suite, depth, along))
        return pd.DataFrame({"suite": [suite], "along": [along]})

    monkeypatch.setattr(nmi, "_compared", compared)
    first = nmi.compute(0, "smoke")
    again = nmi.compute(0, "smoke")
    assert asked == [
        ("navigation", 2, False),
        ("reversed CartPole", 2, False),
        *(("reversed CartPole", 4, along) for along in (False, True)),
    ]
    pd.testing.assert_frame_equal(first, again)
