import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradex.surrogate import Samples, SurrogateEstimator
from gradex.surrogate.samples import deal_episodes, draw_episodes

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
    fold = deal_episodes(tasks, episodes, folds)
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
    assert np.array_equal(
        deal_episodes(tasks, episodes, 4)[order], deal_episodes(tasks[order], episodes[order], 4)
    )


def test_refuses_too_few_episodes() -> None:
    with pytest.raises(
        ValueError, match="task 1 has 2 episodes for 3 folds: collect more, or choose fewer folds"
    ):
        deal_episodes(np.repeat([0, 1], [3, 2]), np.arange(5), 3)


def test_refuses_an_episode_in_two_tasks() -> None:
    with pytest.raises(
        ValueError, match="episode 4 appears in two tasks: give each task episode numbers of its own"
    ):
        deal_episodes(np.array([0, 0, 1, 1]), np.array([3, 4, 4, 5]), 2)


def test_a_draw_takes_whole_episodes_and_as_many_of_each_task() -> None:
    rng = np.random.default_rng(0)
    episodes = rng.permutation(np.repeat(np.arange(30), rng.integers(1, 9, 30)))
    tasks = episodes % 3
    times = draw_episodes(tasks, episodes, np.random.default_rng(1))
    per_episode = np.array([times[episodes == episode].mean() for episode in range(30)])
    assert (times == per_episode[episodes]).all()
    assert [per_episode[task::3].sum() for task in range(3)] == [10, 10, 10]
    assert per_episode.max() > 1 and per_episode.min() == 0
    np.testing.assert_array_equal(draw_episodes(tasks, episodes, np.random.default_rng(1)), times)
