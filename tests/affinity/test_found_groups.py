"""From scores and interactions to groups and to what may be said of them."""

from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest

from gradex.affinity import CosineLinkage, FoundGroups, find_groups, found_groups
from gradex.affinity.found_groups import verdict
from gradex.surrogate import Interactions, SubsetScores

PAIRS = tuple(combinations(range(6), 2))
NAMES = tuple("abcdef")


def interactions(directions: list[float], spread: float = 1.0, clusters: int = 40) -> Interactions:
    """Tasks pull along one axis, each cluster of episodes with noise in five dimensions."""
    rng = np.random.default_rng(0)
    pulls = np.zeros((6, 5))
    pulls[:, 0] = directions
    return Interactions(tuple(rng.normal(pull, spread, (clusters, 5)) for pull in pulls), common=False)


def scores(labels: list[int], draws: int = 0) -> SubsetScores:
    """Pairs gain where their labels are equal."""
    rng = np.random.default_rng(1)
    gain = np.array([2.0 * (labels[i] == labels[j]) - 1 for i, j in PAIRS])
    per_task = np.full((len(PAIRS), 6), np.nan)
    for row, (i, j) in enumerate(PAIRS):
        per_task[row, [i, j]] = gain[row] + rng.normal(0, 0.05, 2)
    drawn = per_task + rng.normal(0, 0.05, (draws, *per_task.shape))
    return SubsetScores(PAIRS, per_task, np.nanmean(per_task, axis=1), drawn)


def said(found: FoundGroups) -> str | None:
    known = found.partition, found.interactions, found.conflicts, 0, found.unrelated
    return verdict(*known, remedy="ask more")


def test_signs_of_interactions_tell_how_many_groups_there_are_and_which() -> None:
    found = find_groups(scores([0] * 6), interactions([1, 1, 1, -1, -1, -1]), NAMES)
    assert found.partition.groups == ((0, 1, 2), (3, 4, 5))
    assert found.conflicts[0] <= 0.05 < found.conflicts[1]
    assert found.bootstrap is None and said(found) is None


def test_a_number_that_is_asked_for_is_one_of_groups_by_scores() -> None:
    found = find_groups(scores([0, 1, 2, 0, 1, 2]), interactions([1, 1, 1, -1, -1, -1]), NAMES, k=3)
    assert found.partition.groups == ((0, 3), (1, 4), (2, 5))
    assert len(found.conflicts) == 1  # of all tasks together: no more was asked


def test_draws_tell_how_stable_the_groups_are() -> None:
    found = find_groups(
        scores([0, 0, 0, 1, 1, 1], draws=4), interactions([1, 1, 1, -1, -1, -1]), NAMES, draws=4
    )
    assert found.bootstrap is not None
    assert said(found) == "stable: the same groups in 100% of 20 resamplings"


def test_stages_are_told_in_their_order() -> None:
    entered: list[str] = []

    class Stage:
        def __init__(self, name: str) -> None:
            entered.append(name)

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            pass

    find_groups(scores([0] * 6), interactions([1] * 6), NAMES, stage=Stage)
    assert entered == ["clustering", "uncertainty"]


def test_without_conflict_there_are_no_groups() -> None:
    found = find_groups(scores([0] * 6), interactions([1] * 6), NAMES)
    assert found.partition.k == 1
    assert said(found) == "no groups: one policy for all, as no tasks are in conflict that counts"
    asked = find_groups(scores([0, 0, 0, 1, 1, 1]), interactions([1] * 6), NAMES, k=2)
    assert str(said(asked)).endswith("in conflict that counts; do not rely on these 2")


@pytest.mark.parametrize("pull", [1.0, 0.0])
def test_tasks_that_are_all_alike_make_one_group_whatever_their_noise(pull: float) -> None:
    for seed in range(40):
        own = np.random.default_rng(seed).normal(pull, 1.0, (20, 2))
        same = Interactions((own,) * 6, common=True)
        found = find_groups(scores([0] * 6), same, NAMES, draws=2, common_share=0.2)
        assert found.interactions.alike and found.partition.k == 1
        assert str(said(found)).startswith("no groups: ")


def test_strangers_make_groups_where_that_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    aims = np.array([[2.0, 0.1, 0], [0.1, 2.0, 0]]).repeat(3, axis=0)
    aside = Interactions(tuple(rng.normal(aim, 1, (60, 3)) for aim in aims), common=False)
    found = find_groups(scores([0] * 6), aside, NAMES, draws=4, common_share=0.5)
    assert found.partition.groups == ((0, 1, 2), (3, 4, 5))
    assert found.unrelated is not None and found.unrelated <= 0.05 < found.conflicts[0]
    assert str(said(found)).startswith("stable: the same groups in ")
    assert str(said(found)).endswith("; these groups are not in conflict, but have little in common")
    never = np.stack([aside.matrix, aside.matrix.clip(min=0)])
    assert find_groups(scores([0] * 6), aside, NAMES, common_share=0.5, path=never).partition.k == 1
    for settings in ({}, {"k": 1, "common_share": 0.2}):
        whole = find_groups(scores([0] * 6), aside, NAMES, **settings)
        assert (whole.partition.k, whole.unrelated) == (1, None)


def test_strangers_that_other_draws_find_elsewhere_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    aims = np.array([[1.0, 0, 0], [0, 1.0, 0]]).repeat(3, axis=0)
    aside = Interactions(tuple(rng.normal(aim, 1.5, (12, 3)) for aim in aims), common=False)
    monkeypatch.setattr(
        found_groups, "unrelated_test", lambda *_, **__: SimpleNamespace(p_value=0.01, labels=np.arange(2))
    )
    found = find_groups(scores([0] * 6), aside, NAMES, draws=4, common_share=0.5)
    pairs = found.interactions
    assert pairs.partition(2, method=CosineLinkage(), bootstrap=pairs.bootstrap(100)).unstable
    assert (found.partition.k, found.unrelated) == (1, 0.01)
    assert str(said(found)).startswith("no groups: ")


def test_a_conflict_is_all_that_has_to_be_asked() -> None:
    clash = interactions([1, 1, 1, -1, -1, -1])
    assert find_groups(scores([0] * 6), clash, NAMES, common_share=0.5).unrelated is None
    one_kind = find_groups(scores([0] * 6), interactions([1] * 6), NAMES, common_share=0.5)
    assert one_kind.unrelated == 1 and one_kind.partition.k == 1


def test_noise_is_nothing_that_is_known() -> None:
    found = find_groups(scores([0] * 6), interactions([0] * 6), NAMES)
    assert said(found) == (
        "no groups: nothing is known of these tasks, as their gradients are no more than noise; ask more"
    )


@pytest.mark.parametrize("others", [[1, 1, 1, 1, 1], [1, 1, 1, -1, -1]])
def test_a_task_of_which_nothing_is_known_is_named(others: list[float]) -> None:
    given = interactions([*others, 0])
    found = find_groups(scores([0, 0, 0, 1, 1, 1], draws=2), given, NAMES, draws=2)
    told = str(said(found))
    assert "nothing is known of f, as their gradients are no more than noise" in told
    assert told.startswith("no groups: no tasks are in conflict") == (min(others) > 0)


def test_words_are_those_of_what_is_grouped() -> None:
    found = find_groups(scores([0] * 6), interactions([1] * 6), NAMES)
    words = {"things": "objectives", "one_for_all": "one adapter for all", "remedy": "label more pairs"}
    told = verdict(found.partition, found.interactions, found.conflicts, **words)
    assert told == "no groups: one adapter for all, as no objectives are in conflict that counts"
    silent = find_groups(scores([0] * 6), interactions([0] * 6), NAMES)
    told = verdict(silent.partition, silent.interactions, silent.conflicts, **words)
    assert told is not None and told.endswith("no more than noise; label more pairs")


def test_what_to_do_is_said_where_groups_are_unstable() -> None:
    rng = np.random.default_rng(2)
    per_task = np.full((len(PAIRS), 6), np.nan)
    for row, (i, j) in enumerate(PAIRS):
        per_task[row, [i, j]] = rng.normal(size=2)
    drawn = per_task + rng.normal(0, 1.0, (20, *per_task.shape))
    noise = SubsetScores(PAIRS, per_task, np.nanmean(per_task, axis=1), drawn)
    found = find_groups(noise, interactions([1, 1, 1, -1, -1, -1]), NAMES, k=2, draws=20)
    assert found.partition.unstable
    assert str(said(found)).startswith("unstable: ")
    assert str(said(found)).endswith("; do not rely on this grouping; ask more")


def test_two_tasks_at_odds_are_a_group_each() -> None:
    pulls = interactions([1, 1, 1, -1, -1, -1]).vectors
    alone = np.where(np.eye(2) > 0, 1.0, np.nan)
    known = SubsetScores(((0,), (1,), (0, 1)), np.array([*alone, [-1.0, -1.0]]), np.array([1.0, 1.0, -1.0]))
    at_odds = Interactions((pulls[0], pulls[5]), common=False)
    found = find_groups(replace(known, drawn=np.stack([known.per_task] * 4)), at_odds, ("a", "b"), draws=4)
    assert found.partition.groups == ((0,), (1,))
    assert said(found) == "a group for each of 2 tasks: there is a conflict beyond doubt"


def test_a_conflict_that_is_too_slight_to_count_is_told() -> None:
    rng = np.random.default_rng(0)
    aims = np.array([[1.0, 0.2], [1.0, 0.2], [1.0, 0.2], [1.0, 0.2], [-0.235, 1.0], [-0.235, 1.0]])
    slight = Interactions(tuple(rng.normal(aim, 0.3, (400, 2)) for aim in aims), common=False)
    found = find_groups(scores([0] * 6), slight, NAMES)
    assert found.partition.k == 1 and 0 < found.interactions.conflict().strength < 0.05
    told = str(said(found))
    assert told.startswith("no groups: one policy for all, as no tasks are in conflict that counts (the")
    share = f"{found.interactions.conflict().strength:.3f}"
    assert told.endswith(
        f"(the strongest, of e, f against the others, is slight: {share}, where 0.05 counts)"
    )
    lone = find_groups(scores([0] * 6), interactions([1] * 6), NAMES)
    assert "slight" not in str(said(lone))
