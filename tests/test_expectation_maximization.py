"""EM clustering: what alternates, what it costs, and that it finds planted groups."""

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from gradex import PPO, MetaPolicy, TaskSuite
from gradex import expectation_maximization as module
from gradex.cross_evaluation import CrossEvaluation
from gradex.expectation_maximization import EMClustering

N, HORIZON = 6, 10
#: Steps of a round of PPO for each task.
ROUND = 128


@pytest.fixture(scope="module")
def meta() -> MetaPolicy:
    suite = TaskSuite.make("navigation", n=N, groups=2, horizon=HORIZON)
    learner = PPO(steps=32, copies=4, epochs=1, minibatches=2)
    return MetaPolicy(suite, learner=learner, layers=2, width=8).fit(1_000)


class ESteps:
    """Makes up what policies earn, so that tasks go where a test wants them, and notes what was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, wanted: list[list[int]]) -> None:
        self.asked: list[tuple[list[MetaPolicy], int, int]] = []
        self.wanted = list(wanted)
        monkeypatch.setattr(module, "cross_evaluate", self)

    def __call__(self, policies: list[MetaPolicy], episodes: int, seed: int) -> CrossEvaluation:
        self.asked.append((policies, episodes, seed))
        returns = np.zeros((len(policies), N, episodes))
        returns[self.wanted.pop(0), np.arange(N)] = 1.0
        return CrossEvaluation(returns, np.full(returns.shape, float(HORIZON)))


def test_planted_groups_are_found() -> None:
    suite = TaskSuite.make("navigation", n=4, groups=2)
    meta = MetaPolicy(suite, layers=2, width=32).fit(20_000)
    found = EMClustering(k=2, rounds=3, episodes=4, seed=0).fit(meta, 60_000)
    assert not np.array_equal(found.assignments_[0], suite.labels)  # dealt out against the plan
    assert set(found.groups_) == {tuple(np.flatnonzero(suite.labels == c).tolist()) for c in (0, 1)}
    for group, policy in zip(found.groups_, found.policies_, strict=True):
        assert policy.lineage.subset == group
        worse = [other for other in found.policies_ if other is not policy]
        own, others = (each.evaluate(8, subset=group).return_mean for each in (policy, *worse))
        assert (own > others).all()


def test_policies_train_on_the_tasks_in_which_they_are_the_best(
    meta: MetaPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [[0, 1, 2, 0, 1, 2], [2, 2, 1, 1, 0, 0]]
    asked = ESteps(monkeypatch, wanted).asked
    found = EMClustering(k=3, rounds=3, episodes=2, seed=5).fit(meta, 20_000)
    assert sorted(found.assignments_[0]) == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(found.assignments_[1:], wanted)
    assert found.labels_.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.groups_ == ((0, 1), (2, 3), (4, 5))
    assert [policy.lineage.subset for policy in found.policies_] == [(0, 1), (2, 3), (4, 5)]
    (first, *_), (second, *_) = asked
    assert [policy.lineage.subset for policy in second] == [(0, 3), (1, 4), (2, 5)]
    for number, policy in enumerate(second):  # each goes on from itself
        assert policy.lineage.parent == first[number].agent_.fingerprint
        assert first[number].lineage.parent == meta.agent_.fingerprint
    assert len({seed for *_, seed in asked}) == 2
    assert [episodes for _, episodes, _ in asked] == [2, 2]


def test_a_policy_without_tasks_trains_on_all_and_has_no_group(
    meta: MetaPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ESteps(monkeypatch, [[1, 1, 1, 2, 2, 2], [1, 1, 1, 2, 2, 2]]).asked
    found = EMClustering(k=3, rounds=3, episodes=2).fit(meta, 30_000)
    assert [policy.lineage.subset for policy in asked[1][0]] == [tuple(range(N)), (0, 1, 2), (3, 4, 5)]
    assert found.groups_ == ((0, 1, 2), (3, 4, 5))
    assert len(found.policies_) == 2
    # The idle policy's training is paid for, too.
    own = sum(policy.steps - meta.steps for policy in found.policies_)
    assert found.training_steps_ > own
    assert found.training_steps_ + found.evaluation_steps_ == pytest.approx(30_000, abs=2 * N * ROUND)


@pytest.mark.parametrize("steps", [1, 800, 5_000, 20_000, 20_001])
@pytest.mark.parametrize("episodes", [2, 8])
def test_episodes_are_paid_from_the_same_budget(meta: MetaPolicy, steps: int, episodes: int) -> None:
    found = EMClustering(k=2, rounds=4, episodes=episodes).fit(meta, steps)
    each = 2 * N * episodes * HORIZON
    assert found.evaluation_steps_ == (len(found.assignments_) - 1) * each
    total = found.training_steps_ + found.evaluation_steps_
    assert steps <= total < steps + 2 * N * ROUND + each
    assert len(found.assignments_) == {1: 1, 800: 1}.get(steps, len(found.assignments_))
    if steps >= 20_000:
        assert len(found.assignments_) == 4
        assert total < steps + 2 * N * ROUND


def test_one_round_is_random_groups_and_one_policy_is_one_for_all(meta: MetaPolicy) -> None:
    found = EMClustering(k=3, rounds=1, seed=2).fit(meta, 3_000)
    assert sorted(map(len, found.groups_)) == [2, 2, 2]
    assert found.evaluation_steps_ == 0
    expected = meta.adapt_each(found.groups_, 3_000)
    for ours, theirs in zip(found.policies_, expected, strict=True):
        np.testing.assert_allclose(ours.parameters, theirs.parameters, atol=1e-5)
    other = EMClustering(k=3, rounds=1, seed=3).fit(meta, 3_000)
    assert other.groups_ != found.groups_
    assert EMClustering(k=1, rounds=2).fit(meta, 3_000).groups_ == (tuple(range(N)),)


def test_the_same_seed_gives_the_same(meta: MetaPolicy) -> None:
    estimator = EMClustering(k=2, rounds=3, episodes=2, seed=4)
    one, other = estimator.fit(meta, 6_000), clone(estimator).fit(meta, 6_000)
    np.testing.assert_array_equal(one.assignments_, other.assignments_)
    for ours, theirs in zip(one.policies_, other.policies_, strict=True):
        assert ours.agent_.fingerprint == theirs.agent_.fingerprint


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"k": 0}, "k=0 is too small: give at least 1"),
        ({"k": 7}, "k=7 is too large: give at most 6"),
        ({"rounds": 0}, "rounds=0 is too small: give at least 1"),
        ({"episodes": 1}, "episodes=1 is too small: give at least 2"),
        ({"seed": -1}, "seed=-1 is too small: give at least 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(meta: MetaPolicy, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        EMClustering(**settings).fit(meta, 1_000)


@pytest.mark.wrong_types
def test_no_steps_and_no_meta_policy_are_refused(meta: MetaPolicy) -> None:
    with pytest.raises(ValueError, match="steps=0 is too small: give at least 1"):
        EMClustering().fit(meta, 0)
    with pytest.raises(TypeError, match="meta is a TaskSuite: give a MetaPolicy"):
        EMClustering().fit(meta.suite, 1_000)
    with pytest.raises(NotFittedError):
        EMClustering().fit(MetaPolicy(meta.suite), 1_000)
    with pytest.raises(NotFittedError, match=r"call fit\(meta, steps\) first"):
        _ = EMClustering().groups_
