import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradex.surrogate import Samples, SurrogateEstimator
from gradex.surrogate.samples import deal, draw, independent

ROWS = 60


def scored(features: np.ndarray, samples: Samples) -> list[float]:
    surrogate = SurrogateEstimator(folds=2).fit_features(features, samples)
    return surrogate.scores([(0,), (0, 1)]).score.tolist()


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.setflags(write=False)
    return array


def requiring(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(array, requires_grad=array.dtype.kind == "f")


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    "change",
    [np.ndarray.tolist, torch.tensor, requiring, lambda array: array[::-1].copy()[::-1], read_only],
    ids=["list", "tensor", "requires-grad", "backwards", "read-only"],
)
@pytest.mark.parametrize("shared", [False, True])
def test_other_containers_of_the_same_numbers_serve_as_well(change, shared: bool) -> None:
    rng = np.random.default_rng(0)
    features, offsets = rng.normal(size=(ROWS, 4)), rng.normal(size=ROWS)
    given = {"offsets": offsets, "advantages": rng.normal(size=(2, ROWS) if shared else ROWS)}
    given |= {} if shared else {"tasks": np.arange(ROWS) % 2}
    expected = scored(features, Samples(**given))
    assert (
        scored(change(features), Samples(**{name: change(each) for name, each in given.items()})) == expected
    )


@pytest.mark.wrong_types
def test_arrays_stay_the_objects_that_they_are() -> None:
    advantages, tasks = np.ones(4), np.zeros(4, dtype=np.int64)
    samples = Samples(advantages, tasks)
    assert samples.advantages is advantages and samples.tasks is tasks
    half = torch.ones(4, dtype=torch.bfloat16, requires_grad=True)
    assert Samples(half).advantages.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("shared", [False, True])
def test_what_was_fitted_is_not_changed_from_outside(shared: bool) -> None:
    rng = np.random.default_rng(0)
    given = {"advantages": rng.normal(size=(2, ROWS) if shared else ROWS), "offsets": rng.normal(size=ROWS)}
    given |= {"episodes": np.arange(ROWS) // 2} | ({} if shared else {"tasks": np.arange(ROWS) // 30})
    surrogate = SurrogateEstimator(folds=2).fit_features(rng.normal(size=(ROWS, 4)), Samples(**given))
    expected = surrogate.scores([(0,), (0, 1)]).score, surrogate.interactions().matrix, surrogate.factors()
    for array in given.values():
        array[:] = array[::-1] * 3
    found = surrogate.scores([(0,), (0, 1)]).score, surrogate.interactions().matrix, surrogate.factors()
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tasks": np.zeros(4)}, "tasks are of type float64: give whole numbers"),
        ({"tasks": list("abcd")}, "tasks are of type <U1: give whole numbers"),
        ({"tasks": np.zeros((4, 1), dtype=int)}, r"tasks have the shape \(4, 1\): give one for each sample"),
        ({"episodes": np.zeros((4, 1))}, r"episodes have the shape \(4, 1\): give one for each sample"),
        ({"clusters": np.zeros((4, 2))}, r"clusters have the shape \(4, 2\): give one for each sample"),
        ({"advantages": [None, 1, 1, 1]}, "advantages are of type object: give numbers"),
    ],
)
def test_what_is_no_number_of_a_task_or_no_advantage_is_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Samples(**{"advantages": np.ones(4), **wrong}).blocks()


@given(
    lengths=st.lists(st.lists(st.integers(1, 40), min_size=3, max_size=12), min_size=1, max_size=4),
    folds=st.integers(2, 3),
    seed=st.integers(0, 9),
)
def test_episodes_stay_whole_and_folds_are_balanced(lengths: list[list[int]], folds: int, seed: int) -> None:
    tasks = np.repeat(np.arange(len(lengths)), [sum(own) for own in lengths])
    flat = [length for own in lengths for length in own]
    episodes = np.repeat(np.arange(len(flat)) * 7 % 101, flat)
    order = np.random.default_rng(seed).permutation(len(tasks))
    tasks, episodes = tasks[order], episodes[order]
    fold = deal(tasks, episodes, folds)
    for episode in np.unique(episodes):
        assert len(np.unique(fold[episodes == episode])) == 1
    for task, own in enumerate(lengths):
        loads = np.bincount(fold[tasks == task], minlength=folds)
        assert loads.min() > 0
        assert loads.max() - loads.min() <= max(own)


def test_does_not_depend_on_the_order_of_the_samples() -> None:
    rng = np.random.default_rng(0)
    episodes = rng.integers(0, 30, 400)
    tasks = episodes % 3
    order = rng.permutation(400)
    assert np.array_equal(deal(tasks, episodes, 4)[order], deal(tasks[order], episodes[order], 4))


def test_refuses_too_few_episodes() -> None:
    words = "task 1 has 2 independent episodes for 3 folds: collect more, or choose fewer folds"
    with pytest.raises(ValueError, match=words):
        deal(np.repeat([0, 1], [3, 2]), np.arange(5), 3)


@pytest.mark.parametrize(
    ("episodes", "clusters", "message"),
    [
        ([3, 4, 4, 5], None, "episode 4 appears in two tasks: give each task episode numbers of its own"),
        ([3, 3, 4, 5], [0, 1, 0, 1], "episode 3 is in two clusters: put whole episodes into one"),
        ([2, 3, 4, 5], [0, 1, 1, 2], "some tasks share clusters of episodes and others do not: let all"),
    ],
)
def test_refuses_episodes_that_are_not_whole(episodes: list, clusters: list | None, message: str) -> None:
    given = None if clusters is None else np.array(clusters)
    with pytest.raises(ValueError, match=message):
        independent(np.array([0, 0, 1, 1]), np.array(episodes), given)


@pytest.mark.parametrize("shared", [False, True])
def test_what_may_depend_on_each_other_is_held_out_and_drawn_together(shared: bool) -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 9, (2, 2, 12))  # tasks, episodes of a cluster, clusters
    tasks, _, clusters = (np.repeat(own.ravel(), sizes.ravel()) for own in np.indices(sizes.shape))
    clusters = clusters if shared else clusters + 12 * tasks
    units = independent(tasks, np.repeat(np.arange(48), sizes.ravel()), clusters)
    fold, times = deal(tasks, units, 3), draw(tasks, units, np.random.default_rng(1))
    for cluster in np.unique(clusters):
        assert len(np.unique(fold[clusters == cluster])) == len(np.unique(times[clusters == cluster])) == 1
    for task in (0, 1):
        own = [
            times[(clusters == cluster) & (tasks == task)] for cluster in np.unique(clusters[tasks == task])
        ]
        assert sum(each[0] for each in own) == 12
        assert set(fold[tasks == task]) == {0, 1, 2}


def test_pure_noise_is_of_no_use_to_another_task_with_the_same_episodes() -> None:
    # Both tasks have the same samples, which tell nothing; in one task an episode is longer.
    rng = np.random.default_rng(2)
    gains = []
    for _ in range(20):
        features, paid = np.repeat(rng.normal(size=(24, 30)), 8, axis=0), np.repeat(rng.normal(size=24), 8)
        more = np.repeat(np.arange(192), np.where(np.arange(192) == 5, 5, 1))
        clusters = np.concatenate([np.arange(192), more]) // 8
        own = Samples(
            np.concatenate([paid, paid[more]]),
            tasks=np.repeat([0, 1], [192, len(more)]),
            episodes=clusters + 24 * np.repeat([0, 1], [192, len(more)]),
            clusters=clusters,
        )
        fitted = SurrogateEstimator(folds=4).fit_features(np.concatenate([features, features[more]]), own)
        alone, together = fitted.scores([(0,), (0, 1)]).per_task[:, 0]
        gains.append(together - alone)
    assert np.mean(gains) < 0.02


def test_a_draw_takes_whole_episodes_and_as_many_of_each_task() -> None:
    rng = np.random.default_rng(0)
    episodes = rng.permutation(np.repeat(np.arange(30), rng.integers(1, 9, 30)))
    tasks = episodes % 3
    times = draw(tasks, episodes, np.random.default_rng(1))
    per_episode = np.array([times[episodes == episode].mean() for episode in range(30)])
    assert (times == per_episode[episodes]).all()
    assert [per_episode[task::3].sum() for task in range(3)] == [10, 10, 10]
    assert per_episode.max() > 1 and per_episode.min() == 0
    np.testing.assert_array_equal(draw(tasks, episodes, np.random.default_rng(1)), times)
