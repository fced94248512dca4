from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch

from gradex.affinity.partition import Partition, canonical_labels
from tests.oracles.clustering import objective


def symmetric(n, seed):
    matrix = np.random.default_rng(seed).standard_normal((n, n))
    return matrix + matrix.T


def test_labels_are_numbered_by_first_occurrence():
    np.testing.assert_array_equal(canonical_labels(np.array([7, 2, 7, 5, 2, 0])), [0, 1, 0, 2, 1, 3])


def test_fields():
    matrix = symmetric(6, 0)
    partition = Partition.of(
        matrix, np.array([2, 0, 2, 1, 0, 0]), upper_bound=50.0, status="by hand", trace_penalty=0.5
    )
    assert partition.groups == ((0, 2), (1, 4, 5), (3,))
    np.testing.assert_array_equal(partition.labels, [0, 1, 0, 2, 1, 1])
    assert partition.k == 3
    assert partition.objective == pytest.approx(objective(matrix, partition.groups) - 3 * 0.5)
    assert repr(partition).startswith("Partition(6 tasks, k=3: {0, 2} {1, 4, 5} {3}; objective ")
    assert repr(partition).endswith(", by hand)")
    with pytest.raises(ValueError, match="read-only"):
        partition.labels[0] = 1


def test_chance_is_the_mean_over_all_ways_to_deal_the_tasks_out():
    matrix = symmetric(6, 0)
    for labels in ([0, 0, 1, 1, 1, 2], [0, 1, 2, 2, 2, 2]):
        dealt = [
            Partition.of(matrix, np.array(labels)[list(order)], upper_bound=0.0, status="")
            for order in permutations(range(6))
        ]
        assert dealt[0].chance == pytest.approx(np.mean([partition.objective for partition in dealt]))


def test_gap_runs_from_proved_to_chance():
    matrix, labels = symmetric(6, 0), np.array([0, 0, 1, 1, 2, 2])
    value = Partition.of(matrix, labels, upper_bound=0.0, status="")
    assert Partition.of(matrix, labels, upper_bound=value.objective, status="").gap == 0.0
    above = value.objective + (value.objective - value.chance)
    assert Partition.of(matrix, labels, upper_bound=above, status="").gap == pytest.approx(0.5)
    assert Partition.of(np.ones((4, 4)), np.array([0, 1, 1, 1]), upper_bound=4.0, status="").gap == 0.0


def test_agreement():
    partition = Partition.of(np.eye(6), np.array([0, 0, 1, 1, 2, 2]), upper_bound=3.0, status="")
    assert partition.agreement(np.array([5, 5, 3, 3, 4, 4])) == pytest.approx((1.0, 1.0))
    unrelated = partition.agreement(np.array([0, 1, 0, 1, 0, 1]))
    assert unrelated.nmi == pytest.approx(0.0, abs=1e-12)
    assert unrelated.ami < 0.0
    with pytest.raises(ValueError, match="one label per task"):
        partition.agreement(np.array([0, 1]))


@pytest.mark.wrong_types
def test_labels_are_of_a_partition_or_whole_numbers():
    labels = np.array([0, 0, 1, 1])
    partition = Partition.of(np.eye(4), labels, upper_bound=2.0, status="")
    tensor = torch.tensor([0.0, 0.0, 1.0, 1.0], requires_grad=True)
    for other in (partition, labels.astype(float), list("aabb"), tensor):
        assert partition.agreement(other) == pytest.approx((1.0, 1.0))
    for wrong in (0.5, np.nan, np.inf, None):
        message = f"the label of task 2 is {wrong}; give one whole number per task"
        with pytest.raises(ValueError, match=message):
            partition.agreement([0, 0, wrong, 1])


# How far groups come out the same when affinities are drawn again.

LABELS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
NAMES = list("abcdefghi")


def drawn_again(labels, drawn):
    matrix = np.eye(len(labels))
    return replace(Partition.of(matrix, labels, upper_bound=9.0, status=""), resampled=np.array(drawn))


def verdict(labels, drawn, names):
    return drawn_again(labels, drawn).verdict_naming(names)


def stability(labels, drawn):
    return drawn_again(labels, drawn).stability


def moving(task, to):
    changed = LABELS.copy()
    changed[task] = to
    return changed


def test_co_assignment_and_stability_by_hand():
    drawn = np.array([[0, 0, 1, 1], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]])
    together = drawn_again(drawn[0], drawn).co_assignment
    np.testing.assert_array_equal(np.diag(together), 1)
    np.testing.assert_array_equal(together[np.triu_indices(4, 1)], [0.75, 0.25, 0.25, 0.5, 0.0, 0.5])
    assert stability(np.array([0, 0, 1, 1]), drawn[:2]) == pytest.approx(1.0)
    assert stability(np.array([0, 0, 1, 1]), drawn[2:3]) < 0.0


@pytest.mark.parametrize("names_of_groups", [[0, 1, 2], [2, 0, 1]])
def test_the_same_groups_are_stable_whatever_they_are_called(names_of_groups):
    drawn = np.array(names_of_groups)[np.array([LABELS] * 19 + [moving(4, 0)])]
    assert verdict(LABELS, drawn, NAMES) == "stable: the same groups in 95% of 20 resamplings"


@pytest.mark.parametrize(
    ("drawn", "who"),
    [
        ([LABELS] * 6 + [moving(4, 0)] * 4, "e changes groups"),
        ([LABELS] * 5 + [moving(4, 0)] * 2 + [moving(7, 1)] * 3, "h, e change groups"),
        (
            [LABELS] * 12 + [moving(task, LABELS[task] - 1) for task in range(3, 9)],
            "no task changes groups often",
        ),
    ],
)
def test_tasks_that_change_are_named(drawn, who):
    sentence = verdict(LABELS, np.array(drawn), NAMES)
    same = np.mean([np.array_equal(labels, LABELS) for labels in drawn])
    assert sentence == f"partly stable: the same groups in {same:.0%} of {len(drawn)} resamplings; {who}"


def test_other_groups_are_unstable():
    rng = np.random.default_rng(0)
    shuffled = np.array([rng.permutation(LABELS) for _ in range(30)])
    agreement = stability(LABELS, shuffled)
    assert verdict(LABELS, shuffled, NAMES) == (
        "unstable: resampled episodes and subsets give other groups (adjusted mutual information"
        f" {agreement:.2f}, 1 = same groups); do not rely on this grouping"
    )
    # Every draw is near the groups, but most tasks change.
    each = np.array([moving(task, (LABELS[task] + 1) % 3) for task in range(7)])
    assert stability(LABELS, each) > 0.6
    assert verdict(LABELS, each, NAMES).startswith("unstable")


def test_a_partition_names_its_tasks_by_number_unless_told():
    partition = Partition.of(np.eye(9), LABELS, upper_bound=9.0, status="")
    drawn = replace(partition, resampled=np.array([LABELS] * 6 + [moving(4, 0)] * 4))
    assert drawn.verdict.endswith("; task 4 changes groups")
    assert drawn.verdict_naming(NAMES).endswith("; e changes groups")
    assert partition.verdict_naming(NAMES) is None


@pytest.mark.parametrize(("labels", "k"), [([0, 0, 0], 1), ([0, 1, 2], 3)])
def test_one_way_to_group_is_no_sign_of_stability(labels, k):
    labels = np.array(labels)
    words = verdict(labels, np.stack([labels, labels]), "abc")
    groups = "one group" if k == 1 else "3 groups"
    assert words == f"nothing to be sure of: there is one way to make {groups} of 3 tasks"
