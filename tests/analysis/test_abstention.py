"""What the study of abstention counts."""

import numpy as np
import pandas as pd
import pytest

from analysis.abstention import _METHODS, _stable, gradient_cosine, summary
from gradex import AffinityGraph, Samples, SurrogateEstimator
from gradex.affinity import Bootstrap


def test_cosines_are_averaged_over_snapshots() -> None:
    rng, tasks = np.random.default_rng(0), np.arange(90) % 3
    surrogates = [
        SurrogateEstimator(folds=1).fit_features(
            rng.normal(size=(90, 4)), Samples(scale * rng.normal(size=90), tasks)
        )
        for scale in (1.0, 100.0)
    ]
    one, other = (AffinityGraph.from_gradients(each.task_gradients()).matrix for each in surrogates)
    np.testing.assert_allclose(gradient_cosine(surrogates).matrix, (one + other) / 2)
    nothing = np.where(tasks == 0, 0.0, rng.normal(size=90))
    silent = SurrogateEstimator(folds=1).fit_features(rng.normal(size=(90, 4)), Samples(nothing, tasks))
    assert (gradient_cosine([silent]).matrix[0, 1:] == 0).all()


@pytest.mark.parametrize(("noise", "k"), [(0.01, 2), (5.0, 1)])
def test_what_is_not_stable_is_one_group(noise: float, k: int) -> None:
    rng, labels = np.random.default_rng(2), np.arange(6) % 2
    graph = AffinityGraph((labels[:, None] == labels) + 0.0)
    errors = rng.normal(size=(10, 6, 6)) * noise
    assert _stable(graph, Bootstrap(graph.matrix + errors + errors.transpose(0, 2, 1))).k == k


def test_summary_counts_right_answers_and_abstentions() -> None:
    rows = [
        {
            "suite": "a",
            "planted": 2,
            "method": _METHODS[0],
            "seed": seed,
            "k": k,
            "nmi": nmi,
            "right": nmi == 1,
        }
        for seed, (k, nmi) in enumerate([(2, 1.0), (2, 1.0), (1, 0.0), (3, 0.8)])
    ]
    [told] = summary(pd.DataFrame(rows)).to_dict("records")
    assert (told["right"], told["seeds"], told["share"], told["one_group"]) == (2, 4, 0.5, 1)
    assert told["low"] < 0.5 < told["high"]
    assert told["nmi"] == pytest.approx(0.7)
    assert told["k_found"] == "1 (1), 2 (2), 3 (1)"
