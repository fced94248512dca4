"""Pairs of answers and their labels: what is kept, what is refused, and which samples they are."""

from collections import UserDict
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import ArrayLike

from gradex.preferences import Answers, PreferencePairs
from gradex.surrogate import SurrogateEstimator
from tests.preferences.models import answers, pairs_of

NAN = np.nan


def test_answers_stand_behind_their_prompts() -> None:
    prompts, first, _ = answers(20)
    found = Answers.of_tokens(prompts, first, length=9, padding=0)
    assert found.tokens.shape == (20, 9)
    for row, (prompt, answer) in enumerate(zip(prompts, first, strict=True)):
        assert found.tokens[row, : len(prompt) + len(answer)].tolist() == [*prompt, *answer]
        assert found.tokens[row][found.counted[row]].tolist() == answer
    assert found.filled(12).tokens.shape == (20, 12)


def test_texts_become_the_same_pairs_as_their_tokens() -> None:
    labels = np.array([[1.0, -1.0]])
    found = PreferencePairs.of_texts(
        lambda text: [ord(each) for each in text], "ab", ["cd", "c"], "de", labels
    )
    tokens = [[[97], [98]], [[99, 100], [99]], [[100], [101]]]
    expected = PreferencePairs.of_tokens(*tokens, labels)
    assert found.first.tokens.tolist() == expected.first.tokens.tolist()
    assert found.second.counted.tolist() == expected.second.counted.tolist()


def test_samples_of_shared_pairs_serve_all_objectives_once() -> None:
    pairs = pairs_of(30)
    samples = pairs.samples()
    np.testing.assert_array_equal(samples.advantages, pairs.labels)
    assert samples.tasks is None
    assert pairs.shared == 1


def test_missing_labels_leave_the_mean_over_those_that_are_there() -> None:
    pairs = pairs_of(40, missing=0.4)
    samples = pairs.samples()
    values = np.random.default_rng(0).normal(size=40)
    for labels, advantages in zip(pairs.labels, samples.advantages, strict=True):
        known = ~np.isnan(labels)
        assert (advantages * values).mean() == pytest.approx((labels * values)[known].mean())
        assert not advantages[~known].any()


def test_own_pairs_are_samples_of_one_task_each() -> None:
    parts = {name: pairs_of(12, n=1, seed=seed) for seed, name in enumerate("abc")}
    joined = PreferencePairs.joined(parts)
    samples = joined.samples()
    assert samples.tasks is not None
    assert np.bincount(samples.tasks).tolist() == [12, 12, 12]
    np.testing.assert_array_equal(samples.advantages, np.concatenate([p.labels[0] for p in parts.values()]))
    assert joined.names == ("a", "b", "c")
    assert joined.shared == 0
    again = joined.only([1])
    width = parts["b"].first.tokens.shape[1]
    np.testing.assert_array_equal(again.first.tokens[:, :width], parts["b"].first.tokens)
    np.testing.assert_array_equal(again.labels, parts["b"].labels)


def test_joined_pairs_are_held_out_with_those_of_their_prompt() -> None:
    """Numbers of one part are none of another's; a part without any has an episode for each pair."""
    ones = pairs_of(12, n=1)
    parts = {
        "numbers": PreferencePairs(ones.first, ones.second, ones.labels, episodes=np.arange(12) // 3 + 7),
        "words": PreferencePairs(ones.first, ones.second, ones.labels, episodes=np.repeat(["b", "a"], 6)),
        "none": ones,
    }
    own = [[0] * 3, [1] * 3, [2] * 3, [3] * 3, [13] * 6, [12] * 6, range(24, 36)]
    assert PreferencePairs.joined(parts).episodes.tolist() == [number for each in own for number in each]
    assert PreferencePairs.joined({"a": ones, "b": ones}).episodes is None


def test_own_pairs_give_the_same_scores_in_either_form() -> None:
    """As samples of one task each, and as samples of all with most of the labels missing."""
    joined = PreferencePairs.joined({name: pairs_of(40, n=1, seed=seed) for seed, name in enumerate("abc")})
    samples, known = joined.samples(), ~np.isnan(joined.labels)
    features = np.random.default_rng(0).normal(size=(len(joined), 5))
    subsets = [(0,), (0, 1), (0, 1, 2)]
    settings = {"regularization": 0.1, "folds": 1}
    apart = SurrogateEstimator(**settings).fit_features(features, samples).scores(subsets, 1e-8)
    shared = np.nan_to_num(joined.labels) / known.mean(axis=1, keepdims=True)
    one = SurrogateEstimator(**settings).fit_features(features, type(samples)(shared)).scores(subsets, 1e-8)
    np.testing.assert_allclose(apart.per_task, one.per_task, rtol=1e-6)


def test_objectives_count_alike_however_many_pairs_they_have_labelled() -> None:
    """They are trained alike: the loss of two is the mean of both losses."""
    joined = PreferencePairs.joined({"many": pairs_of(80, n=1), "few": pairs_of(8, n=1, seed=1)})
    samples, values = joined.samples(), np.random.default_rng(0).normal(size=88)
    assert samples.tasks is None
    assert (samples.advantages.sum(axis=0) * values).mean() == pytest.approx(
        np.nanmean(joined.labels[0] * values) + np.nanmean(joined.labels[1] * values)
    )


def test_pairs_of_one_episode_stay_together_and_order_is_no_matter() -> None:
    pairs = pairs_of(24)
    grouped = PreferencePairs(pairs.first, pairs.second, pairs.labels, episodes=np.arange(24) // 3)
    episodes = grouped.samples().episodes
    assert episodes is not None
    assert len(np.unique(episodes)) == 8
    assert all(len(set(episodes[i : i + 3])) == 1 for i in range(0, 24, 3))
    assert sorted(episodes[::3]) != episodes[::3].tolist()  # folds are dealt in their order
    assert grouped.only(rows=np.arange(6)).episodes.tolist() == [0, 0, 0, 1, 1, 1]


def test_an_episode_of_two_objectives_makes_samples_of_all() -> None:
    pairs = pairs_of(6, n=2)
    labels = np.where(np.arange(6) % 2 == np.arange(2)[:, None], pairs.labels, NAN)
    split = PreferencePairs(pairs.first, pairs.second, labels, episodes=np.arange(6) // 2)
    assert split.samples().tasks is None


@pytest.mark.parametrize(
    ("objectives", "rows"),
    [
        ([2, 0], [3, 4, 5]),
        (["c", "a"], range(3, 6)),
        (np.array([2, 0]), np.arange(6) > 2),
        (torch.tensor([2, 0]), torch.arange(3, 6)),
        (pd.Series(["c", "a"]), (np.arange(6) > 2).tolist()),
    ],
)
def test_some_are_chosen_by_numbers_masks_or_names(objectives: ArrayLike, rows: ArrayLike) -> None:
    pairs = pairs_of(6, n=3)
    pairs = PreferencePairs(pairs.first, pairs.second, pairs.labels, names=("a", "b", "c"))
    found = pairs.only(objectives, rows)
    assert found.names == ("c", "a")
    np.testing.assert_array_equal(found.labels, pairs.labels[[2, 0], 3:])
    assert torch.equal(found.second.tokens, pairs.second.tokens[3:])
    assert pairs.only("b").names == pairs.only(1).names == pairs.only([False, True, False]).names == ("b",)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"objectives": [0, 7]}, r"objectives are \[7\]: give numbers from 0 to 2, a mask of 3, or names"),
        ({"objectives": ["d"]}, r"objectives are \['d'\]: give"),
        ({"objectives": [True]}, r"objectives are \[True\]: give"),
        ({"rows": [1, 6]}, r"rows are \[6\]: give numbers from 0 to 5, a mask of 6$"),
        ({"rows": [0.5]}, r"rows are \[0.5\]: give"),
        ({"rows": np.ones(5, dtype=bool)}, r"rows are \[True, True, True, True, True\]: give"),
    ],
)
def test_refuses_to_choose_what_is_not_there(wanted: dict[str, ArrayLike], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pairs_of(6, n=3).only(**wanted)


@pytest.mark.wrong_types
@pytest.mark.parametrize("kind", [list, torch.tensor, np.array])
def test_episodes_may_be_lists_or_tensors(kind: Callable) -> None:
    pairs = pairs_of(4)
    given = PreferencePairs(pairs.first, pairs.second, pairs.labels, episodes=kind([3, 3, 1, 1]))
    assert given.only(rows=np.array([1, 2])).episodes.tolist() == [3, 1]


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("episodes", "words"),
    [
        ([1, 2], r"episodes have the shape \(2,\) for 4 pairs"),
        (np.ones((4, 1)), r"episodes have the shape \(4, 1\) for 4 pairs"),
        (3, r"episodes have the shape \(\) for 4 pairs"),
        (["a", "b", None, "c"], "pair 2 has no episode"),
        ([1, np.nan, 2, 3], "pair 1 has no episode"),
    ],
)
def test_refuses_episodes_that_are_none(episodes: object, words: str) -> None:
    pairs = pairs_of(4)
    with pytest.raises(ValueError, match=words):
        PreferencePairs(pairs.first, pairs.second, pairs.labels, episodes=episodes)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.ones(3), r"labels have the shape \(3,\) for 3 pairs"),
        (np.ones((2, 4)), r"labels have the shape \(2, 4\) for 3 pairs"),
        (np.full((1, 3), 0.5), "labels contain 0.5: give 1, -1, or nan"),
        (np.array([[1, 1, 1], [NAN] * 3]), "objective 1 labels no pair"),
        (np.array([[1, NAN, 1]]), "pair 1 has no label"),
    ],
)
def test_refuses_labels_that_are_none(labels: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PreferencePairs.of_tokens([[1]] * 3, [[2]] * 3, [[3]] * 3, labels)


def test_refuses_answers_that_are_none() -> None:
    with pytest.raises(ValueError, match=r"answers\[1\] is empty"):
        Answers.of_tokens([[1], [1]], [[2], []])
    with pytest.raises(ValueError, match="2 prompts have 1 answers"):
        Answers.of_tokens([[1], [1]], [[2]])
    with pytest.raises(ValueError, match="has 3 tokens: give length=3"):
        Answers.of_tokens([[1]], [[2, 3]], length=2)
    with pytest.raises(ValueError, match=r"objectives have the names \['a'\]"):
        PreferencePairs.of_tokens([[1]], [[2]], [[3]], np.ones((2, 1)), names=["a"])
    with pytest.raises(ValueError, match="'both' has 2 objectives"):
        PreferencePairs.joined({"both": pairs_of(5, n=2)})


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("encode", "words"),
    [
        (lambda text: UserDict(input_ids=[1], attention_mask=[1]), r"\['input_ids', 'attention_mask'\]"),
        (lambda text: torch.tensor([[ord(each) for each in text]]), r"\[tensor\(\[97, 98\]\)\]"),
        (str, r"\['a', 'b'\]"),
        (lambda text: [1.0, 1.7, np.nan], r"\[1.7, nan\]"),
        (lambda text: [*range(9), -100], r"\[-100\]"),
        (lambda text: [None], r"\[None\]"),
    ],
)
def test_refuses_texts_that_are_no_tokens(encode: Callable, words: str) -> None:
    with pytest.raises(ValueError, match=rf"prompts\[0\] has {words} among its tokens: give whole numbers"):
        PreferencePairs.of_texts(encode, ["ab"], ["cd"], ["e"], np.ones((1, 1)))


@pytest.mark.wrong_types
@pytest.mark.parametrize("kind", [tuple, np.array, torch.tensor, np.float64, range])
def test_tokens_may_be_arrays_or_tensors(kind: Callable) -> None:
    text = range(3, 6) if kind is range else kind([3, 4, 5])
    assert Answers.of_tokens([text], [[7]]).tokens.tolist() == [[3, 4, 5, 7]]


def test_shows_who_labels_what() -> None:
    pairs = pairs_of(10, n=2)
    assert repr(pairs) == "PreferencePairs(10 pairs, labelled by objective 0, objective 1)"
    html = pairs._repr_html_()
    assert "10 pairs" in html
    assert "objective 1" in html
