"""A plan on affinities and gradients of which everything is known."""

import json

import numpy as np
import pytest

import gradex.plan as planning
from gradex import AffinityGraph, PolicyGradEx, TaskSuite
from gradex.affinity import Bootstrap, CosineLinkage, propose_groups
from gradex.plan import Plan, make_plan
from gradex.surrogate import Interactions

N, CLUSTERS, PILOT = 6, 20, 1000
LABELS = np.arange(N) % 2
SIGNAL = np.where(LABELS[:, None] == LABELS, 1.0, -1.0)


def errors(scale: float, draws: int, seed: int) -> np.ndarray:
    drawn = scale * np.random.default_rng(seed).normal(size=(draws, N, N))
    return (drawn + drawn.transpose(0, 2, 1)) / np.sqrt(2)


def gradients(length: float, seed: int = 0) -> Interactions:
    """Clusters of d = 30 of unit variance around gradients of this length, opposite between both groups."""
    rng = np.random.default_rng(seed)
    means = np.zeros((N, 30))
    means[:, 0] = np.where(LABELS == 0, length, -length)
    return Interactions(tuple(rng.normal(mean, 1.0, size=(CLUSTERS, 30)) for mean in means), common=False)


def planned(scale: float, length: float = 2.0, wanted: float = 0.9, seed: int = 0) -> Plan:
    """Plan from affinities with errors of this scale."""
    own, *others = errors(scale, 101, seed)
    graph = AffinityGraph(SIGNAL + own)
    partition = graph.partition(k=2)
    return make_plan(graph, partition, Bootstrap(SIGNAL + own + others), gradients(length), PILOT, wanted)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_OTHERS", 2)
    monkeypatch.setattr(planning, "_DRAWS", 24)


def share_found(scale: float, draws: int = 100) -> float:
    """Count how often the planted groups come out of errors of this scale."""
    found = [propose_groups(SIGNAL + own, 2) for own in errors(scale, draws, seed=1)]
    return float(np.mean([np.array_equal(own == own[0], LABELS == 0) for own in found]))


@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_what_is_needed_gives_the_wanted_power(scale: float) -> None:
    told = np.array([planned(scale, seed=seed).needed for seed in range(3)])
    sizes = np.median(told) / PILOT * np.array([0.25, 4])
    low, high = (share_found(scale / np.sqrt(size)) for size in sizes)
    assert low < 0.9 < high


def test_twice_the_errors_take_four_times_the_transitions() -> None:
    once, twice = (np.median([planned(scale, seed=seed).needed for seed in range(3)]) for scale in (0.7, 1.4))
    assert 2 < twice / once < 8


def test_more_power_takes_more() -> None:
    assert planned(1.2, wanted=0.5).needed < planned(1.2, wanted=0.95).needed


def test_weak_gradients_are_what_is_waited_for() -> None:
    clear, weak = planned(0.2), planned(0.2, length=0.9)
    assert clear.needed < weak.needed
    assert (weak.curve.power <= weak.curve[["groups", "conflict"]].min(axis=1)).all()
    assert weak.curve.power.iloc[0] < weak.curve.groups.iloc[0]


def test_the_interval_holds_the_number_and_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_OTHERS", 5)
    truth = min(size for size in np.geomspace(0.2, 5, 12) if share_found(1.2 / np.sqrt(size)) >= 0.9)
    plans = [planned(1.2, seed=seed) for seed in range(3)]
    assert all(plan.interval[0] <= plan.needed <= plan.interval[1] for plan in plans)
    held = [plan.interval[0] <= PILOT * truth <= plan.interval[1] for plan in plans]
    assert sum(held) >= 2


def test_an_interval_is_as_wide_as_the_conflict_is_uncertain() -> None:
    """Where the groups are clear and the conflict is what is waited for."""
    plan = planned(0.1, length=0.9)
    assert plan.curve.groups.min() == 1
    assert plan.interval[0] < plan.needed < plan.interval[1]


def test_without_a_conflict_nothing_is_known() -> None:
    plan = planned(1.0, length=0.0)
    assert np.isnan(plan.needed) and plan.transitions is None and plan.curve.empty
    assert "no conflict that counts" in str(plan)
    assert plan.to_dict()["needed"] is None
    with pytest.raises(ValueError, match="no conflict"):
        plan.plot()


def test_affinities_that_are_noise_have_no_size() -> None:
    own, *others = errors(1.0, 101, 0)
    graph = AffinityGraph(own)
    plan = make_plan(graph, graph.partition(k=2), Bootstrap(own + others), gradients(2.0), PILOT)
    assert plan.needed > 10 * PILOT


def test_the_noise_scale_is_the_known_one() -> None:
    # tr(Σ) = 30, |g|² = 4, and a cluster has PILOT / CLUSTERS transitions.
    plan = planned(0.5, length=2.0)
    assert np.median(plan.noise_scale.transitions) == pytest.approx(30 / 4 * PILOT / CLUSTERS, rel=0.25)
    silent = planned(0.5, length=0.0).noise_scale
    assert np.isinf(silent.transitions[silent.squared_gradient <= 0]).all()


def test_a_conflict_that_can_be_detected_is() -> None:
    """At so strong a conflict the test finds it about as often as wanted."""
    plan = planned(0.5, length=0.55)
    # At equal lengths of all gradients the mean interaction is their square.
    length = np.sqrt(plan.detectable * plan.noise_scale.squared_gradient.mean())
    found = [
        AffinityGraph.from_interactions(gradients(length, seed)).conflict().p_value for seed in range(40)
    ]
    assert np.mean(np.array(found) <= 0.05) > 0.6


def test_groups_that_have_little_in_common_have_a_plan_of_their_own() -> None:
    rng = np.random.default_rng(0)
    aims = 2.0 * np.eye(2)[[0, 0, 0, 1, 1, 1]] + 0.1
    aside = Interactions(tuple(rng.normal(aim, 1, (40, 2)) for aim in aims), common=False)
    graph, method = AffinityGraph.from_interactions(aside), CosineLinkage()
    given = graph, graph.partition(k=2, method=method), graph.bootstrap(40), aside, PILOT
    assert make_plan(*given, method=method).curve.empty  # they are not in conflict
    plan = make_plan(*given, method=method, common_share=0.5)
    assert plan.groups == ((0, 1, 2), (3, 4, 5))
    assert plan.p_value < 0.05 and plan.interval[0] <= plan.needed < 2 * PILOT
    assert (plan.curve.power.diff().dropna() > -0.1).all() and plan.curve.power.iloc[-1] == 1


@pytest.mark.parametrize("wanted", [0.0, 1.0, 90])
def test_a_power_that_is_no_chance_is_refused(wanted: float) -> None:
    with pytest.raises(ValueError, match=f"power={wanted}"):
        planned(1.0, wanted=wanted)


# ---------------------------------------------------------------------- of a run
@pytest.fixture(scope="module")
def grouping() -> PolicyGradEx:
    suite = TaskSuite.make("navigation", n=4, groups=2)
    return PolicyGradEx(steps_per_task=512, snapshots=2, meta_steps=10_000, group_steps=0).fit(suite)


def test_a_run_is_a_pilot(grouping: PolicyGradEx) -> None:
    plan = grouping.plan(power=0.8)
    assert plan.pilot == 512
    assert plan.groups == grouping.groups_
    assert plan.noise_scale.task.tolist() == [task.name for task in grouping.suite_.tasks]
    assert json.loads(json.dumps(plan.to_dict()))["power"] == 0.8
    assert 0 < plan.seconds < 60


def test_the_same_run_has_the_same_plan(grouping: PolicyGradEx) -> None:
    first, second = grouping.plan(), grouping.plan()
    assert first.to_dict() == second.to_dict()


def test_a_plan_weighs_snapshots_as_the_run_did(grouping: PolicyGradEx) -> None:
    other = PolicyGradEx(weighting="return")
    vars(other).update({**vars(grouping), "weighting": "return"})
    assert other.plan().to_dict() != grouping.plan().to_dict()


def test_one_group_and_no_draws_have_no_plan(grouping: PolicyGradEx) -> None:
    graph = grouping.graph_
    one = graph.partition(k=1)
    assert grouping.bootstrap_ is not None
    plan = make_plan(graph, one, grouping.bootstrap_, gradients_of(grouping), PILOT)
    assert plan.curve.empty
    without = replace_bootstrap(grouping)
    with pytest.raises(ValueError, match="bootstrap=0"):
        without.plan()
    with pytest.raises(ValueError, match="k=1 leaves no groups to find: plan with k='auto'"):
        without.set_params(k=1).plan()


@pytest.mark.parametrize("draws", [2, 3, 13])
def test_few_draws_make_a_rough_plan(grouping: PolicyGradEx, draws: int) -> None:
    assert grouping.bootstrap_ is not None
    few = Bootstrap(grouping.bootstrap_.matrices[:draws])
    plan = make_plan(grouping.graph_, grouping.partition_, few, gradients_of(grouping), PILOT)
    assert not plan.curve.empty
    assert plan.interval[0] <= plan.interval[1]


def gradients_of(grouping: PolicyGradEx) -> Interactions:
    return Interactions.joined([surrogate.interactions() for surrogate in grouping.surrogates_])


def replace_bootstrap(grouping: PolicyGradEx) -> PolicyGradEx:
    """Give the same run as it would be without draws."""
    other = PolicyGradEx(bootstrap=0)
    vars(other).update({**vars(grouping), "bootstrap_": None})
    return other
