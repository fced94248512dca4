import numpy as np
import pytest

from gradex import AffinityGraph
from gradex.affinity import CosineLinkage, unrelated_test
from gradex.affinity.conflict import mean_between, two_parts
from gradex.affinity.partition import canonical_labels
from gradex.surrogate import Interactions

#: Two kinds of tasks at right angles.
ASIDE = np.array([[2.0, 0.0], [0.0, 2.0]])[[0, 1, 0, 1, 1, 0]]


def interactions(aims: np.ndarray, seed: int = 0, noise: float = 1.0, clusters: int = 40) -> Interactions:
    rng = np.random.default_rng(seed)
    vectors = tuple(rng.normal(aim, noise, size=(clusters, len(aim))) for aim in aims)
    return Interactions(vectors, common=False)


def fan(widest: float, tasks: int = 8) -> np.ndarray:
    """Tasks that differ by degrees, up to an angle."""
    angle = np.linspace(0, widest, tasks)
    return 3 * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def test_kinds_at_right_angles_are_found_without_a_conflict() -> None:
    own = interactions(ASIDE)
    test = unrelated_test(own)
    assert AffinityGraph.from_interactions(own).conflict().p_value > 0.05
    assert test.p_value == pytest.approx(1 / 101)
    assert test.labels.tolist() == [0, 1, 0, 1, 1, 0]
    assert abs(test.common) < 0.2 and test.cohesion > 0.8


def test_the_share_in_common_is_the_cosine_of_both_kinds() -> None:
    angle = 1.0
    aims = np.array([[3.0, 0.0], [3 * np.cos(angle), 3 * np.sin(angle)]]).repeat(3, axis=0)
    test = unrelated_test(interactions(aims, clusters=400))
    assert test.common == pytest.approx(np.cos(angle), abs=0.03)
    assert test.drawn.mean() == pytest.approx(np.cos(angle), abs=0.03)
    assert test.cohesion == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(("share", "apart"), [(0.3, False), (0.7, True)])
def test_the_share_decides(share: float, apart: bool) -> None:
    aims = np.array([[3.0, 0.0], [1.5, 1.5 * np.sqrt(3)]]).repeat(3, axis=0)  # a cosine of 1/2
    assert (unrelated_test(interactions(aims), share).p_value <= 0.05) == apart


@pytest.mark.parametrize("seed", range(5))
def test_several_kinds_are_found_at_once(seed: int) -> None:
    kinds = np.random.default_rng(seed).permutation([0, 0, 0, 1, 1, 1, 1, 2, 2])
    aims = np.array([[3.0, 0, 0], [0.9, 2.9, 0], [0.9, 0.4, 2.8]])  # cosines of 0.3, and 0.4
    test = unrelated_test(interactions(aims[kinds][:, :, None].repeat(3, 2).reshape(9, 9), seed))
    assert test.labels.tolist() == canonical_labels(kinds).tolist()
    assert test.p_value < 0.05


def test_strong_and_weak_tasks_are_of_one_kind() -> None:
    strength = np.array([5.0, 0.5, 5.0, 0.5, 2.0, 1.0])[:, None]
    test = unrelated_test(interactions(strength * ASIDE, clusters=400))
    assert test.labels.tolist() == [0, 1, 0, 1, 1, 0]
    assert test.p_value < 0.05


@pytest.mark.parametrize("widest", [0.3, 0.44, 0.6])
def test_tasks_that_differ_by_degrees_are_one_kind(widest: float) -> None:
    # The ends have a cosine of 0.6, 0.2, and -0.3; neighbours at the border one of 0.97 and more.
    assert unrelated_test(interactions(fan(widest * np.pi), clusters=100)).p_value == 1


@pytest.mark.parametrize("seed", range(5))
def test_tasks_that_have_nothing_in_common_at_all_make_no_groups(seed: int) -> None:
    test = unrelated_test(interactions(3 * np.eye(8), seed))
    assert test.cohesion < 0.2 and test.p_value == 1


def test_noise_has_kinds_less_often_than_the_level_says() -> None:
    own = [interactions(np.zeros((6, 4)), seed, clusters=20) for seed in range(200)]
    p = np.array([unrelated_test(each, seed=seed).p_value for seed, each in enumerate(own)])
    assert np.mean(p <= 0.05) < 0.05


@pytest.mark.parametrize(
    ("others", "odd", "apart"),
    [(6, 2, True), (3, 2, True), (2, 2, False), (6, 1, False), (2, 1, False), (1, 1, False)],
)
def test_a_single_task_and_one_of_four_is_no_kind(others: int, odd: int, apart: bool) -> None:
    aims = np.array([[2.0, 0.0]] * others + [[0.0, 2.0]] * odd)
    assert (unrelated_test(interactions(aims)).p_value < 0.05) == apart


def test_what_tasks_have_in_common_is_that_of_a_loop() -> None:
    own = interactions(fan(0.9 * np.pi, 7), seed=3)
    test, matrix = unrelated_test(own), own.matrix
    lengths = np.sqrt(np.diag(matrix))
    cosines, shares, cohesion = matrix / np.outer(lengths, lengths), [], []
    for task, kind in enumerate(test.labels):
        mean = {}
        for other in set(test.labels):
            company = [each for each in np.flatnonzero(test.labels == other) if each != task]
            mean[other] = np.mean([cosines[task, each] for each in company])
        cohesion.append(mean[kind])
        shares += [value / mean[kind] for other, value in mean.items() if other != kind]
    assert test.common == pytest.approx(max(shares))
    assert test.cohesion == pytest.approx(min(cohesion))


def test_means_between_parts_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(3)
    matrices = rng.normal(size=(4, 7, 7))
    matrices += matrices.transpose(0, 2, 1)
    parts = two_parts(matrices)
    found = mean_between(matrices, parts)
    for way in range(2):
        for number, matrix in enumerate(matrices):
            first, second = np.flatnonzero(parts[way, number]), np.flatnonzero(~parts[way, number])
            assert found[way, number] == pytest.approx(np.mean([matrix[i, j] for i in first for j in second]))


def test_linkage_of_cosines_does_not_care_how_strong_tasks_are() -> None:
    matrix = interactions(ASIDE * np.array([[3.0], [0.3], [1.0], [1.0], [3.0], [0.3]]), clusters=400).matrix
    for k, groups in ((1, (tuple(range(6)),)), (2, ((0, 2, 5), (1, 3, 4)))):
        assert CosineLinkage().partition(matrix, k).groups == groups
    with pytest.raises(ValueError, match="k=7"):
        CosineLinkage().partition(matrix, 7)


def test_linkage_gives_as_many_groups_as_asked_for_though_tasks_are_equally_alike() -> None:
    for matrix in (np.zeros((6, 6)), np.ones((6, 6)), np.eye(6)):
        assert [CosineLinkage().partition(matrix, k).k for k in range(1, 7)] == list(range(1, 7))


@pytest.mark.parametrize(("late", "apart"), [(-0.3, True), (-0.01, False), (0.2, False)])
def test_kinds_must_come_into_conflict_late_in_the_training(late: float, apart: bool) -> None:
    own, kind = interactions(ASIDE), np.array([0, 1, 0, 1, 1, 0])
    alike = kind[:, None] == kind
    path = np.array([np.where(alike, 3.0, 0.3), np.where(alike, 2.0, 0.0), np.where(alike, 1.0, late)])
    test = unrelated_test(own, path=path)
    assert test.later == pytest.approx(-late / 6)
    assert (test.p_value <= 0.05) == apart
    assert unrelated_test(own, path=path[:1]).p_value <= 0.05  # one moment says nothing of later ones


def test_the_conflict_of_two_among_several_kinds_is_enough() -> None:
    kind = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    own = interactions(np.eye(3)[kind] * 3)
    between = np.array([[1, -0.5, 0.1], [-0.5, 1, 0.1], [0.1, 0.1, 1]])
    path = np.array([np.eye(3), between])[:, kind][:, :, kind]
    test = unrelated_test(own, path=path)
    assert test.labels.tolist() == kind.tolist()
    assert test.later == pytest.approx(0.25) and test.p_value <= 0.05
