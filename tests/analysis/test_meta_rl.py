"""Meta-learning on representatives: how they are chosen, who meets whom, and the statistics of the study."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from analysis import meta_rl
from analysis.meta_rl import adapting
from analysis.meta_rl.adapting import SeenAs, Trained, adapt_all, meta_train
from analysis.meta_rl.designs import DESIGNS
from analysis.meta_rl.intervals import improvement, interquartile_mean, interval
from analysis.meta_rl.representatives import Chosen, medoids, members, most_helpful
from gradex.policies import MLP
from gradex.seeds import Streams

GROUPS = [(0, 2, 4), (1, 3)]


# ---------------------------------------------------------------------- statistics
@pytest.mark.parametrize("shape", [(4,), (5, 10, 2), (3, 7)])
def test_interquartile_mean_is_that_of_the_middle_half(shape: tuple[int, ...]) -> None:
    scores = np.random.default_rng(0).standard_normal(shape)
    ordered = sorted(scores.ravel().tolist())
    cut = len(ordered) // 4
    middle = ordered[cut : len(ordered) - cut]
    assert interquartile_mean(scores) == pytest.approx(sum(middle) / len(middle))


def test_improvement_counts_pairs_target_by_target() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.integers(4, size=(3, 5, 2)), rng.integers(4, size=(4, 5, 1))
    shares = []
    for target in range(5):
        points = [
            1.0 if mine > other else 0.5 if mine == other else 0.0
            for mine in ours[:, target].ravel()
            for other in theirs[:, target].ravel()
        ]
        shares.append(np.mean(points))
    assert improvement(ours, theirs) == pytest.approx(np.mean(shares))
    assert improvement(ours, theirs) == pytest.approx(1 - improvement(theirs, ours))


def test_intervals_draw_seeds_whole_and_alike() -> None:
    """Targets of one seed move together: as many targets as you like tell no more about other seeds."""
    rng = np.random.default_rng(0)
    seeds = rng.standard_normal((20, 1, 1))
    low, high = interval(interquartile_mean, seeds)
    repeated = interval(interquartile_mean, np.repeat(seeds, 50, axis=1))
    assert repeated == pytest.approx((low, high), abs=0.15)
    assert high - low > 0.4
    paired = interval(lambda a, b: float((a - b).mean()), seeds + 1, seeds)
    assert paired == pytest.approx((1.0, 1.0))


def test_an_interval_covers_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(60):
        low, high = interval(lambda scores: float(scores.mean()), rng.standard_normal((20, 1)))
        covered += low <= 0 <= high
    assert stats.binomtest(covered, 60, 0.93).pvalue > 1e-3


# ---------------------------------------------------------------------- representatives
def test_medoid_is_closest_to_the_others_of_its_group() -> None:
    affinity = np.full((5, 5), -9.0)
    affinity[np.ix_(GROUPS[0], GROUPS[0])] = [[99, 1, 2], [1, 0, 3], [2, 3, 0]]  # the diagonal is no company
    affinity[np.ix_(GROUPS[1], GROUPS[1])] = 1.0
    assert medoids(affinity, GROUPS) == (1, 4)


def test_most_helpful_is_by_whose_fit_its_group_gains() -> None:
    transfers = np.zeros((5, 5))
    transfers[[0, 2, 4], 2] = 1.0  # all of the first group gain by the fit of task 2
    transfers[2, :] += 0.5  # task 2 itself gains by all, and that tells nothing
    transfers[:, 0] += [0, 9, 0, 9, 0]  # others do not matter
    transfers[1, 3] = 0.1
    assert most_helpful(transfers, GROUPS) == (2, 3)


def test_members_are_one_of_each_group() -> None:
    drawn = members(GROUPS, 40, np.random.default_rng(0))
    assert all(len(set(each) & set(group)) == 1 for each in drawn for group in GROUPS)
    assert len(set(drawn)) == 6
    assert all(each == tuple(sorted(each)) for each in drawn)


# ---------------------------------------------------------------------- policies and targets
def test_a_target_is_seen_as_the_source_that_stands_in() -> None:
    inner = MLP(features=2, outputs=3, tasks=4, layers=2, width=8, gain=1.0)
    network, parameters = SeenAs(inner, (3, 0, 3, 1, 2, 2)), inner.initial(Streams([0]))
    observations, targets = torch.randn(1, 6, 2), torch.arange(6)[None]
    expected = inner.forward(parameters, observations, torch.tensor([[3, 0, 3, 1, 2, 2]]))
    assert torch.equal(network.forward(parameters, observations, targets), expected)
    assert network.size == inner.size


def test_every_draw_is_met_by_as_many_targets() -> None:
    for draws, meets in ((10, 1), (10, 2), (3, 1), (3, 5), (1, 2)):
        met = [adapting._met(target, draws, meets) for target in range(2 * draws * meets)]
        counts = np.bincount(np.concatenate(met), minlength=draws)
        assert (counts == counts[0]).all()
        assert all(len(set(each)) == min(draws, meets) for each in met)


def test_equal_sets_give_equal_policies_and_methods_meet_equal_starts() -> None:
    design = DESIGNS["rare"]
    suite, targets, amount = (
        design.sources(100, "smoke"),
        design.targets(100, "smoke"),
        design.amount("smoke"),
    )
    chosen = [Chosen("a", "auto", ((0, 2), (1,))), Chosen("b", "auto", ((0, 2),))]
    first, second, order, scratch = meta_train(suite, chosen, amount, seed=100)
    assert torch.equal(first.policies[0].actors, second.policies[0].actors)
    assert not torch.equal(first.policies[0].actors, first.policies[1].actors)
    assert (order.k, scratch.k) == (len(suite), 0)
    one = Trained("a", "auto", 2, first.policies[:1])
    table = adapt_all([one, second], targets, amount, seed=100)
    columns = ["after_0", "after_1", "after_2", "area"]
    ours, theirs = (table[table.method == name][columns].to_numpy() for name in "ab")
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    np.testing.assert_allclose(ours[:, 3], ours[:, :3].mean(axis=1))


def test_episodes_before_the_first_update_take_the_place_of_updates() -> None:
    design = DESIGNS["rare"]
    suite, targets, amount = (
        design.sources(100, "smoke"),
        design.targets(100, "smoke"),
        design.amount("smoke"),
    )
    fresh = amount.learner.initial(suite, [100], amount.layers, amount.width)
    cells = [(Trained("a", "none", 2, [fresh]), 0, target) for target in range(len(targets))]
    paid = [np.full(len(targets), 7.0)]
    plain, later = (
        adapting._adapted(cells, targets, amount, 100, 2, (0, 1, 2), before) for before in ((), paid)
    )
    assert (later.after_0 == 7).all()
    np.testing.assert_allclose(later[["after_1", "after_2"]], plain[["after_0", "after_1"]], rtol=1e-6)
    np.testing.assert_allclose(later.area, later[["after_0", "after_1", "after_2"]].mean(axis=1))


def test_rare_kind_has_targets_half_and_half_that_all_seeds_share() -> None:
    design = DESIGNS["rare"]
    suite, targets = design.sources(0, "laptop"), design.targets(0, "laptop")
    assert suite.labels is not None
    assert targets.labels is not None
    assert (suite.labels.sum(), targets.labels.sum()) == (1, len(targets) // 2)
    assert design.targets(7, "laptop").tasks == targets.tasks
    assert design.targets(100, "laptop").tasks != targets.tasks


# ---------------------------------------------------------------------- the summary
def test_summary_compares_methods_at_the_last_update_that_all_have() -> None:
    rng = np.random.default_rng(0)
    levels = {"MAML, PolicyGradEx": 5.0, "MAML, random": 3.0, "MAML, gradient similarity": 5.0}
    rows = [
        {"part": "rare", "method": method, "rule": "auto", "k": 2, "seed": seed, "draw": 0, "target": target,
         "after_0": 0.0, "after_20": level + 0.1 * rng.standard_normal(),
         "after_200": level if method == "MAML, random" else np.nan, "area": level}
        for method, level in levels.items() for seed in range(4) for target in range(6)
    ]  # fmt: skip
    told = meta_rl.summary(pd.DataFrame(rows)).set_index("method")
    assert (told.updates == 20).all()
    random = told.loc["MAML, random"]
    assert random.gain == pytest.approx(2, abs=0.1)
    assert random.gain_low < random.gain < random.gain_high
    assert random.improvement == 1
    assert random.headroom == pytest.approx(2, abs=0.2)
    assert told.loc["MAML, gradient similarity"].improvement == pytest.approx(0.5, abs=0.2)
