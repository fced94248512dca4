import numpy as np
import pytest

from gradex import AffinityGraph
from gradex.affinity import CorrelationGrouping, unrelated_test
from gradex.affinity.conflict import mean_between, two_parts
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
    assert test.p_value < 0.01
    assert test.labels.tolist() == [0, 1, 0, 1, 1, 0]
    assert abs(test.common) < 0.1 and test.cohesion > 0.8


def test_the_share_in_common_is_the_cosine_of_both_parts() -> None:
    angle = 1.0
    aims = np.array([[3.0, 0.0], [3 * np.cos(angle), 3 * np.sin(angle)]]).repeat(3, axis=0)
    test = unrelated_test(interactions(aims, clusters=400))
    assert test.common == pytest.approx(np.cos(angle), abs=0.03)


@pytest.mark.parametrize(("share", "apart"), [(0.2, False), (0.7, True)])
def test_the_share_decides(share: float, apart: bool) -> None:
    aims = np.array([[3.0, 0.0], [1.5, 1.5 * np.sqrt(3)]]).repeat(3, axis=0)  # a cosine of 1/2
    assert (unrelated_test(interactions(aims), share).p_value <= 0.05) == apart


def test_tasks_that_differ_by_degrees_are_one_kind() -> None:
    # The ends have a cosine of 0.2, halves one of 0.7.
    assert unrelated_test(interactions(fan(0.44 * np.pi), clusters=100)).p_value > 0.5


@pytest.mark.parametrize("seed", range(5))
def test_tasks_that_have_nothing_in_common_at_all_make_no_two_groups(seed: int) -> None:
    test = unrelated_test(interactions(3 * np.eye(8), seed))
    assert test.cohesion < 0.2 and test.p_value == 1


def test_noise_has_little_in_common_as_often_as_the_level_says() -> None:
    own = [interactions(np.zeros((6, 4)), seed, clusters=20) for seed in range(200)]
    p = np.array([unrelated_test(each, draws=99, seed=seed).p_value for seed, each in enumerate(own)])
    assert np.mean(p <= 0.05) < 0.09


@pytest.mark.parametrize(
    ("others", "odd", "apart"), [(6, 1, False), (6, 2, True), (2, 1, True), (1, 1, True)]
)
def test_one_task_of_many_is_no_kind(others: int, odd: int, apart: bool) -> None:
    """It may be the end of a scale. Of two or three tasks one is all that there can be."""
    test = unrelated_test(interactions(np.array([[2.0, 0.0]] * others + [[0.0, 2.0]] * odd)))
    assert (test.p_value < 0.05) == apart
    assert test.labels.tolist() == [0] * others + [1] * odd or not apart


def test_means_between_parts_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(3)
    matrices = rng.normal(size=(4, 7, 7))
    matrices += matrices.transpose(0, 2, 1)
    parts = two_parts(matrices)
    for first, second in ((parts, ~parts), (parts, parts)):
        found = mean_between(matrices, first, second)
        for way in range(2):
            for number, matrix in enumerate(matrices):
                inside = np.flatnonzero(first[way, number]), np.flatnonzero(second[way, number])
                pairs = [matrix[i, j] for i in inside[0] for j in inside[1] if i != j]
                assert found[way, number] == pytest.approx(np.mean(pairs) if pairs else 0.0)


def test_clustering_asks_for_a_share_in_common() -> None:
    matrix = interactions(ASIDE, seed=2).matrix + 0.1  # what is left between kinds helps a little
    assert CorrelationGrouping().partition(matrix, k=2).k == 1
    assert CorrelationGrouping(common_share=0.2).partition(matrix, k=2).groups == ((0, 2, 5), (1, 3, 4))
