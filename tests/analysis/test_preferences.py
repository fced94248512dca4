"""The study of preferences of a language model: rules, pairs, rivals, costs, and the picture."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch

from analysis import preferences
from analysis.preferences import cost, data, language, planted, rivals, trained
from gradex.preferences import PreferencePairs
from gradex.seeds import generator_for


def tokens(text: str) -> list[int]:
    return [*(language.WORDS.index(word) for word in text.split()), language.END]


def test_rules_count_what_they_say() -> None:
    found = language.features([tokens("train")[:1]], [tokens("please see the 3 red box and see 2 ?")])
    counted = dict(zip(language.RULES, found[:, 0], strict=True))
    assert counted["long"] == -counted["short"] == 10
    assert counted["numbers"] == pytest.approx(2 / 10)
    assert counted["polite"] == counted["colours"] == counted["questions"] == pytest.approx(1 / 10)
    assert counted["varied"] == pytest.approx(9 / 10)
    letters = "pleaseseethe3redboxandsee2?"
    assert counted["vowels"] == pytest.approx(sum(each in "aeiou" for each in letters) / len(letters))
    assert counted["rhyme"] == 0  # no word ends in n
    assert counted["formal"] == -counted["casual"] == -counted["polite"]  # "train" is one of the other topics
    assert counted["vivid"] == counted["colours"]
    assert counted["polite first"] == -counted["polite last"] == 1  # the first word of ten
    assert counted["numbers first"] == pytest.approx((1 - 6 / 9) + (1 - 16 / 9))


def test_texts_fit_and_end() -> None:
    prompts, answers = language.written(200, generator_for(0, "texts"))
    assert all(len(answer) <= language.LONGEST and answer[-1] == language.END for answer in answers)
    assert {len(prompt) for prompt in prompts} == {1}


def test_the_model_does_not_see_what_comes_later() -> None:
    module = language.speaker(0, 2)
    first = torch.tensor([tokens("train see the box")])
    other = first.clone()
    other[0, -1] = 9
    torch.testing.assert_close(module(first)[0, :-1], module(other)[0, :-1])


def test_the_same_seed_makes_the_same_model_and_answers() -> None:
    found = []
    for _ in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(len(found))  # which plays no part
            language.speaker.cache_clear()
            module = language.speaker(0, 2)
        found.append((list(module.state_dict().values()), language.sampled(module, [[2], [3]], seed=0)))
    (one, answers), (other, again) = found
    assert all(torch.equal(*each) for each in zip(one, other, strict=True))
    assert answers == again


def test_pairs_are_in_common_or_own() -> None:
    known = data.who_labels(3, each=10, shared=0.4)
    assert known.sum(axis=1).tolist() == [10, 10, 10]
    assert known.shape == (3, 4 + 3 * 6)
    assert known.sum(axis=0).tolist() == [3] * 4 + [1] * 18


def test_labels_are_turned_around_as_often_as_they_should() -> None:
    labels = np.ones((10, 2000))
    turned = data.flipped(labels, 0.35, generator_for(0, "noise"))
    assert (turned < 0).mean() == pytest.approx(0.35, abs=0.01)


def test_rivals_find_objectives_that_like_the_same_words() -> None:
    rng = np.random.default_rng(0)
    first, second = ([[*rng.integers(2, 8, size=4).tolist(), 1] for _ in range(300)] for _ in range(2))
    likes = np.array([[3, 0], [3, 0], [0, 3], [0, 3]])

    def score(answers):
        odd = np.array([sum(token % 2 for token in each[:-1]) for each in answers])
        return likes @ np.stack([4 - odd, odd])

    labels = np.sign(score(first) - score(second) + 0.1)
    pairs = PreferencePairs.of_tokens([[0]] * 300, first, second, labels)
    for found in (rivals.by_labels(pairs, 2, 0), rivals.by_words(pairs, 2, 0)):
        assert found[0] == found[1] != found[2] == found[3]
    own = np.where(np.arange(300) % 4 == np.arange(4)[:, None], labels, np.nan)
    apart = PreferencePairs.of_tokens([[0]] * 300, first, second, own)
    found = rivals.by_words(apart, 2, 0)
    assert found[0] == found[1] != found[2] == found[3]


def test_the_plan_opposes_two_groups() -> None:
    differences = np.random.default_rng(0).normal(size=(len(language.RULES), 500))
    differences[1] = -differences[0]
    bases = ("long", "short", "polite", "numbers")
    liked = planted._liked(data.scaled(differences), bases, generator_for(0, "tastes"))
    between = np.corrcoef(liked)
    assert between[0, 1] > 0.3 > -0.3 > between[0, 3]


def test_adapters_start_at_zero_and_alone_are_trained() -> None:
    size = cost.SIZES["smoke"]
    module = cost.adapted(size, 0)
    trained_ = [name for name, each in module.named_parameters() if each.requires_grad]
    assert trained_ == ["layers.0.attention.down", "layers.0.attention.up"]
    assert not module.get_parameter("layers.0.attention.up").any()
    big = cost.SIZES["laptop"]
    with torch.device("meta"):
        whole = language.SmallTransformer(big.width, big.layers, big.heads, big.words, big.length)
    assert sum(each.numel() for each in whole.parameters()) > 10_000_000


def table() -> pd.DataFrame:
    """Two seeds: gradex is ahead of random groups by 0.2 and 0.4."""
    rows = []
    for seed, ahead in enumerate((0.2, 0.4)):
        for method, value in ((rivals.GRADEX, 0.5 + ahead), (rivals.RANDOM, 0.5)):
            told = {"method": method, "groups": 3, "seed": seed}
            where = {"pairs": "own", "each": 400, "noise": "mild noise"}
            rows.append({"part": "planted", **where, **told, "nmi": value, "ami": value})
            reached = {"accuracy": value, "loss": value, "rank": value, "rank_ceiling": 0.9, "nmi": value}
            rows.append({"part": "trained", "shared": 0.5, **told, **reached})
        spent = {"stage": "all", "stage_seconds": 2.0, "cpu_seconds": 2.0, "memory": 1.0, "pairs": 5000}
        rows.append({"part": "cost", **spent, "seed": seed})
    return pd.DataFrame(rows)


def test_how_far_gradex_is_ahead_is_paired_over_seeds() -> None:
    told = preferences.summary(table()).set_index(["part", "method", "metric"])
    for part, metric in (("planted", "nmi"), ("trained", "accuracy")):
        row = told.loc[(part, rivals.RANDOM, metric)]
        assert (row.value, row.ahead) == pytest.approx((0.5, 0.3))
        assert row.ahead_low < 0.2
    assert told.loc[("cost", "all", "memory")].value == 1


def test_draws_what_there_is() -> None:
    assert len(preferences.plot(table()).axes) == 1 + 3
    assert len(preferences.plot(table().query("part == 'planted'")).axes) == 1
    assert len(preferences.plot(table().query("part == 'cost'")).axes) == 1


def test_parts_compute_what_they_say(
    rendered: Callable[[str], pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "compute", lambda seed, scale: pd.DataFrame(cost.run(seed, scale)))
    parts = {part: own.dropna(axis=1, how="all") for part, own in rendered("preferences").groupby("part")}
    assert set(parts) == set(preferences.PARTS)
    assert len(parts["planted"]) == 2 * 2 * 6
    ways = parts["trained"].set_index("method")
    assert ways.groups[trained.TOGETHER] == 1
    assert ways.groups[trained.ALONE] == trained.COUNTS["smoke"]
    assert ways.accuracy.between(0, 1).all()
    spent = parts["cost"].set_index("stage")
    assert spent.stage_seconds["all"] == pytest.approx(spent.stage_seconds.drop("all").sum())
