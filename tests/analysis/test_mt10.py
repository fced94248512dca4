"""The study of who helps whom on MT10: what counts as agreement, and clones that stand where they are to."""

import numpy as np
import pytest

from analysis import experts
from analysis.mt10.runs import agreement, ceiling
from gradex import AffinityGraph, MetaPolicy, TaskSuite


def planted(rng: np.random.Generator, noise: float) -> AffinityGraph:
    """Give affinities of nine tasks in three groups, with errors."""
    groups = np.repeat(np.arange(3), 3)
    errors = rng.normal(0, noise, (9, 9))
    return AffinityGraph((groups[:, None] == groups) + errors + errors.T)


def test_estimates_of_the_truth_agree_with_it_and_noise_does_not() -> None:
    rng = np.random.default_rng(0)
    real = planted(rng, 0.02)
    good = agreement([planted(rng, 0.02) for _ in range(2)], real)
    assert good["nmi"] == 1
    assert min(good["rank"], good["repeat"]) > 0.5
    noise = [AffinityGraph(each + each.T) for each in rng.normal(size=(2, 9, 9))]
    assert agreement(noise, real)["rank"] < 0.4
    told = ceiling(real, [planted(rng, 0.02), planted(rng, 0.02)])
    assert told["nmi"] == 1
    assert told["chance"] < 0.6


def test_nothing_agrees_with_real_training_that_tells_no_tasks_apart() -> None:
    rng = np.random.default_rng(0)
    alike, good = AffinityGraph(np.zeros((9, 9))), planted(rng, 0.02)
    assert np.isnan(ceiling(alike, [alike, alike])["rank"])
    told = agreement([good, good], alike)
    assert told["repeat"] == 1 and np.isnan(told["rank"]) and np.isnan(told["nmi"])


@pytest.mark.parametrize(("success", "expected"), [(0.5, 0.0), (0.2, 0.0), (0.0, 0.2), (1.0, 0.2)])
def test_how_far_a_task_is_from_where_it_is_to_be(success: float, expected: float) -> None:
    assert experts.Cloning()._outside(np.array([success]))[0] == pytest.approx(expected)


def test_a_clone_imitates_its_expert() -> None:
    pytest.importorskip("metaworld")
    suite = TaskSuite.make("mt10", tasks=["drawer-close"], horizon=100)
    meta = MetaPolicy(suite, layers=3, width=32)
    cloning = experts.Cloning(rounds=5, copies=4, updates=200, batch=256, critic_rounds=1, within=(0.9, 1.0))
    clone = cloning.fit(meta)
    assert clone.evaluate(16).success[0] > 0.3  # a fresh policy succeeds in none of its episodes
    assert np.isfinite(clone.explained_variance["drawer-close-v3"])  # type: ignore[index]
