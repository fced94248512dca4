"""How the arms of a comparison are dealt out and trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradex import PPO, MetaPolicy, TaskSuite
from gradex.comparison import ARMS, deal_arms, train_arms
from gradex.learners import MAML, ppo

GROUPS, STEPS = ((0, 2), (1,)), 1_500


def meta_with(learner: Any, n: int = 3) -> MetaPolicy:
    suite = TaskSuite.make("navigation", n=n, horizon=10)
    return MetaPolicy(suite, learner=learner, layers=2, width=8).fit(1_000)


@pytest.fixture(scope="module")
def meta() -> MetaPolicy:
    return meta_with(PPO(steps=32, copies=4, epochs=1, minibatches=2))


class Trainings:
    """Notes what `adapt_each` is asked for, and does it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[list[tuple[int, ...]]] = []
        real = MetaPolicy.adapt_each

        def adapt_each(meta: MetaPolicy, subsets: Sequence[Any], *rest: Any, **more: Any) -> Any:
            self.asked.append(list(subsets))
            return real(meta, subsets, *rest, **more)

        monkeypatch.setattr(MetaPolicy, "adapt_each", adapt_each)


def same(ours: Sequence[MetaPolicy], theirs: Sequence[MetaPolicy]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.agent_.fingerprint == other.agent_.fingerprint


def test_every_arm_holds_every_task_once_and_random_groups_have_the_sizes_of_the_groups() -> None:
    groups = [(5, 0, 3), (1, 2), (4,), (6, 7)]
    drawn = {seed: deal_arms(groups, 8, seed) for seed in range(20)}
    for arms in drawn.values():
        assert tuple(arms) == ARMS
        assert arms["groups"] == ((0, 3, 5), (1, 2), (4,), (6, 7))
        assert arms["all together"] == (tuple(range(8)),)
        assert arms["one per task"] == tuple((task,) for task in range(8))
        assert [len(subset) for subset in arms["random groups"]] == [3, 2, 1, 2]
        for subsets in arms.values():
            assert sorted(task for subset in subsets for task in subset) == list(range(8))
            assert all(list(subset) == sorted(subset) for subset in subsets)
    assert len({arms["random groups"] for arms in drawn.values()}) == 20
    assert deal_arms(groups, 8, 3) == drawn[3]


def test_random_groups_are_others_where_there_are_any() -> None:
    for seed in range(60):
        groups = {(0, 1), (2, 3)}
        assert set(deal_arms([(0, 1), (2, 3)], 4, seed)["random groups"]) != groups
        assert set(deal_arms([(2, 0), (1,)], 3, seed)["random groups"]) != {(0, 2), (1,)}
    assert set(deal_arms([(0,), (1,)], 2, 0)["random groups"]) == {(0,), (1,)}
    assert deal_arms([(1, 0)], 2, 0)["random groups"] == ((0, 1),)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([(0, 1)], r"groups \[\[0, 1\]\] do not hold each of 3 tasks once"),
        ([(0, 1), (1, 2)], r"groups \[\[0, 1\], \[1, 2\]\] do not hold each of 3 tasks once"),
        ([(0, 1), (2, 3)], r"\[2, 3\] is not a subset of 3 tasks"),
        ([(0, 1, 2), ()], r"\[\] is not a subset of 3 tasks"),
    ],
)
def test_groups_that_do_not_hold_every_task_once_are_refused(
    groups: list[tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        deal_arms(groups, 3, 0)


def test_arms_in_common_stacks_train_as_each_by_itself(
    meta: MetaPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = deal_arms(GROUPS, 3, seed=1)
    expected = {arm: meta.adapt_each(subsets, STEPS) for arm, subsets in arms.items()}
    trainings = Trainings(monkeypatch)
    trained = train_arms(meta, arms, STEPS)
    [asked] = trainings.asked
    assert len(asked) == len(set(asked)) < sum(map(len, arms.values()))
    for arm, policies in trained.items():
        for ours, theirs in zip(policies, expected[arm], strict=True):
            # A stack of one multiplies matrices in another order.
            np.testing.assert_allclose(ours.parameters, theirs.parameters, rtol=0, atol=1e-5)
            assert np.abs(ours.parameters - meta.parameters).max() > 1e-3
        assert [policy.steps for policy in policies] == [policy.steps for policy in expected[arm]]
        assert sum(policy.steps - meta.steps for policy in policies) == 1_536  # whole rounds of 384


def test_policies_that_are_there_serve_if_they_are_what_would_come_out(
    meta: MetaPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = deal_arms(GROUPS, 3, seed=1)
    expected = train_arms(meta, arms, STEPS)
    own = meta.adapt_each(GROUPS, STEPS)
    others = [
        *meta.adapt_each(GROUPS, 2 * STEPS),  # for longer
        *meta.adapt_each(GROUPS, STEPS, seeds=[7, 7]),  # with other random numbers
        *own[0].adapt_each(GROUPS, STEPS),  # from another start
    ]
    trainings = Trainings(monkeypatch)
    trained = train_arms(meta, arms, STEPS, known=[*own, *others])
    assert all(ours is theirs for ours, theirs in zip(trained["groups"], own, strict=True))
    assert not set(trainings.asked[0]) & set(GROUPS)
    for known in ([], others):
        trained = train_arms(meta, arms, STEPS, known=known)
        assert set(trainings.asked[-1]) >= set(GROUPS)
        for arm in ARMS:
            same(trained[arm], expected[arm])


def test_a_subset_of_tasks_that_were_left_behind_begins_anew_for_the_same_steps(
    meta: MetaPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = deal_arms(GROUPS, 3, seed=2)  # task 0 is by itself in one arm alone
    expected = train_arms(meta, arms, STEPS)
    trained = train_arms(meta, arms, STEPS, anew=[0])
    for arm in ARMS:
        for ours, theirs in zip(trained[arm], expected[arm], strict=True):
            fresh = ours.lineage.subset == (0,)
            assert ours.lineage.parent == (None if fresh else meta.agent_.fingerprint)
            assert ours.steps == theirs.steps - (meta.steps if fresh else 0)
            if not fresh:
                np.testing.assert_allclose(ours.parameters, theirs.parameters, rtol=0, atol=1e-5)
    [again] = meta.fit_each([(0,)], trained["one per task"][0].steps)[0]
    same([trained["one per task"][0]], [again])
    trainings = Trainings(monkeypatch)
    known = [policy for arm in ARMS for policy in trained[arm]]
    same(train_arms(meta, arms, STEPS, known, anew=[0])["one per task"], trained["one per task"])
    assert trainings.asked == []
    train_arms(meta, arms, STEPS, known)  # nothing was left behind: the fresh one is another policy
    assert trainings.asked == [[(0,)]]


def test_arms_take_the_same_steps_where_rounds_do_not_grow_with_tasks() -> None:
    meta = meta_with(MAML(tasks=1, trajectories=2))
    arms = deal_arms(GROUPS, 3, seed=0)
    each = meta.learner.round_steps(meta.suite, [(0,)])
    assert meta.learner.round_steps(meta.suite, [(0, 1, 2)]) == each
    trained = train_arms(meta, arms, 6 * each)
    assert {arm: sum(policy.steps - meta.steps for policy in trained[arm]) for arm in ARMS} == dict.fromkeys(
        ARMS, 6 * each
    )


def test_trainings_that_were_cut_off_go_on(
    meta: MetaPolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = deal_arms(GROUPS, 3, seed=1)
    rounds: list[int] = []
    real = ppo._Training.run_round

    def run_round(self: Any, number: int, steps: int) -> None:
        if len(rounds) == most:
            raise KeyboardInterrupt
        rounds.append(number)
        real(self, number, steps)

    most = 1_000
    monkeypatch.setattr(ppo._Training, "run_round", run_round)
    expected = train_arms(meta, arms, STEPS)
    whole, most = len(rounds), len(rounds) + 5  # a stack of four rounds, and one more round
    with pytest.raises(KeyboardInterrupt):
        train_arms(meta, arms, STEPS, folder=tmp_path)
    most = 1_000
    rounds.clear()
    trained = train_arms(meta, arms, STEPS, folder=tmp_path)
    assert len(rounds) == whole - 4
    for arm in ARMS:
        same(trained[arm], expected[arm])


def test_no_steps_are_refused(meta: MetaPolicy) -> None:
    with pytest.raises(ValueError, match="steps=0 is too small: give at least 1"):
        train_arms(meta, deal_arms(GROUPS, 3, 0), 0)
