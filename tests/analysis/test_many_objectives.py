"""The study of many objectives: variants, exact groups, indicators of policies, and the picture."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("mo_gymnasium")
pytest.importorskip("moocore")

from analysis import many_objectives
from analysis.many_objectives import exact, trained
from analysis.many_objectives.treasures import register
from analysis.tabular import TabularProblem, tabulate
from gradex import TaskSuite


def chain() -> TabularProblem:
    """One state, three actions that end the episode: two objectives pay (1, 0), (0.6, 0.6) and (0, 1)."""
    paid = np.array([[1.0, 0.0], [0.6, 0.6], [0.0, 1.0]]).reshape(1, 3, 1, 2)
    following = np.ones((2, 3, 1), dtype=np.int64)
    return TabularProblem(following, np.concatenate([paid, 0 * paid]), np.ones(1), discount=0.9)


WEIGHTS = np.array([[0.95, 0.05], [0.9, 0.1], [0.5, 0.5], [0.45, 0.55], [0.1, 0.9], [0.0, 1.0]])


def test_variants_pay_treasure_and_time_as_often_as_they_are_named() -> None:
    register()
    plain = tabulate(TaskSuite.make("mo-deep-sea-treasure", n=2, scale=[1.0, 1.0]))
    dead = tabulate(TaskSuite.make("mo-dead-treasure-v0", n=2, scale=[1.0] * 6))
    copied = tabulate(TaskSuite.make("mo-copied-treasure-v0", n=2, scale=[1.0] * 4))
    np.testing.assert_array_equal(dead.paid[..., :2], plain.paid)
    assert not dead.paid[..., 2:].any()
    np.testing.assert_array_equal(copied.paid, plain.paid[..., [0, 0, 0, 1]])


def test_the_best_groups_are_found() -> None:
    labels = exact._best(WEIGHTS, chain(), k=3, seed=0)
    assert labels[0] == labels[1] != labels[2] == labels[3] != labels[4] == labels[5]
    assert exact._utility(WEIGHTS, chain().values(WEIGHTS)) == pytest.approx(
        np.mean([0.95, 0.9, 0.6, 0.6, 0.9, 1.0])
    )


def test_groups_that_are_judged_have_the_policies_of_their_mean_weights() -> None:
    means = exact._means(WEIGHTS, np.array([0, 0, 1, 1, 1, 1]))
    np.testing.assert_allclose(means, [[0.925, 0.075], [0.2625, 0.7375]])


def test_indicators_of_policies_against_a_count_by_hand() -> None:
    values, front = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [0.6, 0.6], [0.0, 1.0]])
    found = trained._indicators(WEIGHTS, values, front, reference=np.array([-1.0, -1.0]))
    assert found["best"] == pytest.approx(np.mean([0.95, 0.9, 0.5, 0.55, 0.9, 1.0]))
    assert found["hypervolume"] == pytest.approx(2 * 1 + 1 * 1)
    assert found["igd_plus"] == pytest.approx(0.6 / 3)  # two points are there, one is 0.6 short
    assert found["utility_loss"] == pytest.approx(0.1)
    assert found["reference"] == "-1 -1"


def table() -> pd.DataFrame:
    """Two seeds: kernel is ahead of weights by 0.2 and 0.4."""
    rows = []
    for seed, ahead in enumerate((0.2, 0.4)):
        for method, share in ((exact.KERNEL, 0.5 + ahead), (exact.WEIGHTS, 0.5)):
            told = {"suite": "a", "method": method, "seed": seed}
            rows.append({"part": "exact", "k": 2, **told, "share": share, "reassigned": share})
            rows.append({"part": "planted", "k": 2, **told, "nmi": share})
            indicators = dict.fromkeys(("hypervolume", "igd_plus", "utility_loss"), 0.0)
            rows.append({"part": "trained", **told, "utility": share, "best": share, **indicators})
    return pd.DataFrame(rows)


def test_how_far_kernel_is_ahead_is_paired_over_seeds() -> None:
    told = many_objectives.summary(table()).set_index(["part", "method", "metric"])
    row = told.loc[("exact", exact.WEIGHTS, "share")]
    assert (row.value, row.ahead) == pytest.approx((0.5, 0.3))
    assert row.ahead_low < 0.2
    assert row.ahead_high > 0.4
    assert told.loc[("trained", exact.KERNEL, "utility")].value == pytest.approx(0.8)


def test_draws_shares_and_utilities_by_suite() -> None:
    panels = [ax for ax in many_objectives.plot(table()).axes if ax.get_visible()]
    assert [ax.get_xlabel() for ax in panels] == ["policies k", "expected utility"]
    assert len(many_objectives.plot(table().query("part == 'exact'")).axes) > 0


def test_parts_compute_what_they_say(rendered: Callable[[str], pd.DataFrame]) -> None:
    parts = {part: own for part, own in rendered("many_objectives").groupby("part")}
    assert set(parts) == set(many_objectives.PARTS)
    found = parts["exact"].set_index("method")
    assert found.share[exact.BEST] >= found.share.drop(exact.BEST).max() - 1e-9
    assert (found.reassigned >= found.share - 1e-9).all()
    ways = parts["trained"].set_index("method")
    assert ways.policies.to_dict() == {
        **dict.fromkeys((exact.KERNEL, exact.TRANSFER, exact.PAIRWISE, exact.COSINE), 2),
        **{exact.WEIGHTS: 2, exact.RANDOM: 2, trained.TOGETHER: 1, trained.ALONE: 8},
        trained.CONDITIONED: 1,
    }
    assert (ways.best >= ways.utility - 1e-9).all()
    assert ways.hypervolume[trained.CONDITIONED] != ways.hypervolume[trained.CONDITIONED]  # not known
