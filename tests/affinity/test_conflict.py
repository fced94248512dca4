import numpy as np
import pytest

from gradex import AffinityGraph
from gradex.affinity import CorrelationGrouping, fewest_groups
from gradex.affinity.conflict import later_conflict
from gradex.surrogate import Interactions


def interactions(
    rng: np.random.Generator, aims: np.ndarray, noise: float = 1.0, clusters: int = 20
) -> Interactions:
    vectors = tuple(rng.normal(aim, noise, size=(clusters, len(aim))) for aim in aims)
    return Interactions(vectors, common=False)


def found(rng: np.random.Generator, aims: np.ndarray, **settings: float) -> tuple[list[int], list[float]]:
    own = interactions(rng, aims, **settings)
    graph = AffinityGraph.from_interactions(own)
    partition, values = fewest_groups(
        own, lambda k: graph.partition(k=k, method=CorrelationGrouping()), draws=60
    )
    return partition.labels.tolist(), values


def test_tasks_that_help_each_other_make_one_group_however_different() -> None:
    rng = np.random.default_rng(0)
    aims = np.array([[1.0, 0.1 * task] for task in range(6)]) * np.geomspace(0.3, 3, 6)[:, None]
    labels, values = found(rng, aims)
    assert labels == [0] * 6
    assert values == [1.0] or values[0] > 0.5


def test_noise_makes_one_group_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(1)
    own = [AffinityGraph.from_interactions(interactions(rng, np.zeros((5, 3)))) for _ in range(400)]
    p = np.array([graph.conflict(draws=99, seed=seed).p_value for seed, graph in enumerate(own)])
    assert np.mean(p <= 0.2) == pytest.approx(0.2, abs=0.06)
    assert np.mean(p) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("directions", [2, 3, 4])
def test_there_are_as_many_groups_as_directions_that_clash(directions: int) -> None:
    # The corners of a simplex: any two of them are at odds.
    corners = np.eye(directions) - 1 / directions
    aims = 3 * corners[np.arange(3 * directions) % directions]
    labels, values = found(np.random.default_rng(2), aims)
    assert labels == (np.arange(3 * directions) % directions).tolist()
    assert len(values) == directions
    assert max(values[:-1]) <= 0.05 < values[-1]


def test_one_task_at_odds_with_all_others_is_found() -> None:
    aims = np.array([[2.0, 0.0]] * 7 + [[-2.0, 0.0]])
    labels, _ = found(np.random.default_rng(3), aims)
    assert labels == [0] * 7 + [1]


def test_one_task_is_found_among_tasks_that_differ_by_degrees() -> None:
    angle = np.append(np.linspace(0, 0.6 * np.pi, 9), 1.5 * np.pi)
    aims = 3 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert found(np.random.default_rng(3), aims)[0] == [0] * 9 + [1]


def test_a_slight_conflict_counts_as_none() -> None:
    angle = np.array([0.0, 0.0, 0.51, 0.51]) * np.pi  # a cosine of -0.03
    aims = 3 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    own = interactions(np.random.default_rng(4), aims, noise=0.1, clusters=100)
    graph = AffinityGraph.from_interactions(own)
    test = graph.conflict()
    assert test.p_value < 0.05
    assert test.strength == pytest.approx(0.03, abs=0.01)
    assert fewest_groups(own, graph.partition)[0].k == 1
    assert fewest_groups(own, graph.partition, least=0.0)[0].k == 2


@pytest.mark.parametrize(
    ("between", "groups"),
    [
        ([-4.0, -3.0, -2.0, -1.0], 2),
        ([-4.0, -3.0, 0.0, 0.3], 1),  # over soon
        ([-4.0, -3.0, 0.5, -0.6], 2),  # it comes back
        ([-4.0, -3.0, 0.5, -0.3], 1),  # hardly
        ([-4.0, 0.0], 1),
        ([-4.0], 2),  # one moment says nothing of later ones
    ],
)
def test_a_conflict_lasts(between: list[float], groups: int) -> None:
    kind = np.array([0, 1, 0, 1, 1])
    own = interactions(np.random.default_rng(7), np.array([[2.0, 0.0], [-2.0, 0.0]])[kind])
    graph = AffinityGraph.from_interactions(own)
    path = np.array([np.where(kind[:, None] == kind, 2.0, each) for each in between])
    found, values = fewest_groups(own, graph.partition, path=path)
    assert found.k == groups
    assert (values[0] == 1.0) == (groups == 1)
    assert fewest_groups(own, graph.partition)[0].k == 2


def test_of_several_groups_each_is_asked_by_its_own_path() -> None:
    kind = np.array([0, 0, 1, 1, 2, 2])
    aims = np.array([[2.0, 2.4], [2.0, -2.4], [-4.8, 0.0]])
    own = interactions(np.random.default_rng(8), aims[kind])
    graph = AffinityGraph.from_interactions(own)
    late = np.array([[1.0, 0.5, -1.0], [0.5, 1.0, -1.0], [-1.0, -1.0, 1.0]])  # the first two come together
    path = np.array([aims @ aims.T, late])[:, kind][:, :, kind]
    assert fewest_groups(own, graph.partition)[0].k == 3
    assert fewest_groups(own, graph.partition, path=path)[0].labels.tolist() == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize("first", [0, 2])
def test_later_conflict_equals_its_definition(first: int) -> None:
    rng = np.random.default_rng(9)
    path, labels = rng.normal(0.2, 1, (5, 6, 6)), np.array([0, 2, 1, 1, 0, 2])
    whole = sum(max(path[at, task, task], 0) / 6 for at in range(5) for task in range(6))
    lost = [
        -sum(path[at][np.ix_(labels == one, labels == other)].mean() for at in range(start, 5))
        for start in range(first, 5)
        for one, other in ((0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1))
    ]
    assert later_conflict(path, labels, first) == pytest.approx(max(lost) / whole)
    assert later_conflict(np.zeros((5, 6, 6)), labels, first) == 0


def test_nothing_at_all_is_no_conflict() -> None:
    graph = AffinityGraph.from_interactions(Interactions((np.zeros((5, 2)), np.zeros((5, 2))), common=False))
    assert graph.conflict().strength == 0


def test_a_graph_of_interactions_draws_the_episodes_again() -> None:
    own = interactions(np.random.default_rng(5), np.array([[2.0, 0.0], [2.0, 0.5], [-2.0, 0.0]]))
    graph = AffinityGraph.from_interactions(own)
    np.testing.assert_array_equal(graph.bootstrap(10, seed=3).matrices, own.draws(10, seed=3))
    with pytest.raises(ValueError, match="draws=1"):
        graph.bootstrap(1)


def test_only_interactions_know_their_noise() -> None:
    with pytest.raises(ValueError, match=r"make the graph by AffinityGraph\.from_interactions"):
        AffinityGraph([[0, 1, 2], [1, 0, 0], [2, 0, 0]]).conflict()


@pytest.mark.wrong_types
@pytest.mark.parametrize("name", ["conflict", "noise_p_value", "noise_p_values", "bootstrap"])
def test_draws_and_seeds_are_whole_numbers(name: str) -> None:
    draw = getattr(AffinityGraph.from_interactions(interactions(np.random.default_rng(6), np.eye(3))), name)
    for given, message in (
        ({"draws": 0}, "draws=0 is too (small|few)"),
        ({"draws": 2.5}, r"draws is 2\.5: give a whole number"),
        ({"seed": -1}, "seed=-1 is too small"),
        ({"seed": 1.5}, r"seed is 1\.5: give a whole number"),
    ):
        with pytest.raises(ValueError, match=message):
            draw(**given)
    np.testing.assert_equal(
        np.asarray(getattr(draw(draws=5.0, seed=np.int64(3)), "matrices", 0)),
        np.asarray(getattr(draw(draws=5, seed=3), "matrices", 0)),
    )
