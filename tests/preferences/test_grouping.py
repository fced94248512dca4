"""From pairs of answers to groups and an adapter for each."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from gradex.preferences import DirectPreferences, DPOGrouping, PreferencePairs
from tests.preferences.models import Speaker, pairs_of

ADAPTER = ["last.weight", "last.bias"]
SETTINGS = {
    **{"steps": 120, "batch": 16, "learning_rate": 0.05},
    **{"bootstrap": 4, "subsets": None, "subset_size": 2},
}


@pytest.fixture(scope="module")
def module() -> Speaker:
    return Speaker()


@pytest.fixture(scope="module")
def grouping(module: Speaker) -> DPOGrouping:
    """Objectives of even number like some words, others do not."""
    return DPOGrouping(**SETTINGS).fit(module, pairs_of(160), parameters=ADAPTER)


def test_finds_the_groups_and_that_there_are_two(grouping: DPOGrouping) -> None:
    assert grouping.groups_ == ((0, 2), (1, 3))
    assert grouping.conflicts_[0] <= 0.05 < grouping.conflicts_[1]
    assert grouping.verdict_ == "stable: the same groups in 100% of 20 resamplings"
    assert grouping.interactions_.matrix[0, 2] > 0 > grouping.interactions_.matrix[0, 1]


def test_a_given_number_of_groups_comes_from_scores_of_subsets(module: Speaker) -> None:
    found = DPOGrouping(k=2, **SETTINGS | {"steps": 0}).fit(module, pairs_of(160), parameters=ADAPTER)
    assert found.groups_ == ((0, 2), (1, 3))
    assert found.bootstrap_ is not None
    start = torch.from_numpy(found.preferences_.model.parameters)
    assert torch.equal(found.parameters_, start.repeat(2, 1))


def test_objectives_with_pairs_of_their_own_are_grouped(module: Speaker) -> None:
    parts = {f"{place}": pairs_of(160, 2, seed=place).only([place % 2]) for place in range(4)}
    pairs = PreferencePairs.joined(parts)
    assert pairs.shared == 0
    found = DPOGrouping(**SETTINGS | {"steps": 0}).fit(module, pairs, parameters=ADAPTER)
    assert found.groups_ == ((0, 2), (1, 3))


def test_objectives_that_agree_are_no_groups(module: Speaker) -> None:
    pairs = pairs_of(160).only([0, 2])
    found = DPOGrouping(**SETTINGS | {"steps": 0}).fit(module, pairs, parameters=ADAPTER)
    assert found.groups_ == ((0, 1),)
    assert found.verdict_ is not None
    assert found.verdict_.startswith("no groups: one adapter for all")


def test_labels_by_chance_tell_nothing(module: Speaker) -> None:
    pairs = pairs_of(120, n=3)
    labels = np.sign(np.random.default_rng(0).normal(size=pairs.labels.shape))
    noise = PreferencePairs(pairs.first, pairs.second, labels)
    found = DPOGrouping(**SETTINGS | {"steps": 0}).fit(module, noise, parameters=ADAPTER)
    assert found.verdict_ is not None
    assert found.verdict_.startswith("no groups: nothing is known of these objectives")


def test_adapters_serve_answers_that_they_have_not_seen(grouping: DPOGrouping) -> None:
    table = grouping.evaluate(pairs_of(80, seed=5))
    assert table.group.tolist() == [0, 1, 0, 1]
    assert (table.accuracy_at_start == 0.5).all()
    np.testing.assert_allclose(table.loss_at_start, np.log(2))
    assert table.accuracy.min() > 0.5
    assert table.accuracy.mean() > 0.6
    assert (table.loss < table.loss_at_start).all()


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_adapters_are_measured_against_the_reference_of_the_fit(module: Speaker, kind: torch.dtype) -> None:
    """Also on other pairs, and after somebody has trained the module itself."""
    given, reference = deepcopy(module).to(kind), Speaker(seed=1).to(kind)
    own, held = pairs_of(40), pairs_of(30, seed=5)
    found = DPOGrouping(**SETTINGS | {"steps": 0}).fit(given, own, reference, parameters=ADAPTER)
    expected = found.evaluate(held, reference)
    start = found.evaluate(held, given)
    np.testing.assert_allclose(start.loss_at_start, np.log(2))
    assert not (expected.loss_at_start == start.loss_at_start).any()
    np.testing.assert_array_equal(found.evaluate(own, reference), found.evaluate())
    np.testing.assert_array_equal(found.evaluate(reference=given), found.evaluate(own, given))
    alone = DPOGrouping(**SETTINGS | {"steps": 0}).fit(given, own, parameters=ADAPTER)
    with torch.no_grad():
        given.get_parameter("last.bias")[0] += 1
    np.testing.assert_array_equal(found.evaluate(held), expected)
    for pairs in (None, held):
        np.testing.assert_allclose(alone.evaluate(pairs).loss_at_start, np.log(2))


def test_a_groups_module_is_a_copy_with_its_adapter(grouping: DPOGrouping, module: Speaker) -> None:
    tuned = grouping.module(1)
    own = grouping.adapter(1)
    assert set(own) == set(ADAPTER)
    for name, value in own.items():
        assert torch.equal(tuned.get_parameter(name), value)
        assert not torch.equal(module.get_parameter(name), value)
    assert torch.equal(tuned.hidden.weight, module.hidden.weight)
    held = pairs_of(40, seed=6)
    told = DirectPreferences(tuned, held, reference=module, parameters=ADAPTER)
    theta = torch.from_numpy(told.model.parameters)[None]
    expected = grouping.evaluate(held).loss[grouping.labels_ == 1]
    np.testing.assert_allclose(told.evaluate(theta).loss[grouping.labels_ == 1], expected, rtol=1e-5)


def test_a_module_of_half_precision_is_trained_in_single_and_keeps_its_own(module: Speaker) -> None:
    half = deepcopy(module).bfloat16()
    small = SETTINGS | {"steps": 8}
    found, single = (
        DPOGrouping(**small).fit(each, pairs_of(40), parameters=ADAPTER)
        for each in (half, deepcopy(half).float())
    )
    assert torch.equal(found.parameters_, single.parameters_)
    table = found.evaluate(pairs_of(40, seed=5), reference=half)
    assert (table.accuracy_at_start == 0.5).all()
    assert {each.dtype for each in found.adapter(0).values()} == {torch.bfloat16}
    tuned = found.module(0)
    assert {each.dtype for each in tuned.parameters()} == {torch.bfloat16}
    assert torch.equal(tuned.hidden.weight, half.hidden.weight)


def test_the_module_keeps_its_mode_and_its_parameters(module: Speaker) -> None:
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module.train()
    DPOGrouping(**SETTINGS | {"steps": 4}).fit(module, pairs_of(40), parameters=ADAPTER)
    assert module.training
    assert module.dropout.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_the_same_seed_gives_the_same(module: Speaker) -> None:
    small = SETTINGS | {"steps": 8}
    one, other = (DPOGrouping(**small).fit(module, pairs_of(40), parameters=ADAPTER) for _ in range(2))
    assert torch.equal(one.parameters_, other.parameters_)
    np.testing.assert_array_equal(one.graph_.matrix, other.graph_.matrix)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    "mode", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)]
)
def test_the_mode_around_it_makes_no_difference(
    module: Speaker, mode: Callable[[], AbstractContextManager[Any]], half: bool
) -> None:
    given, small = deepcopy(module).bfloat16() if half else module, SETTINGS | {"steps": 8}
    expected = DPOGrouping(**small).fit(given, pairs_of(40), parameters=ADAPTER)
    with mode():
        found = DPOGrouping(**small).fit(given, pairs_of(40), parameters=ADAPTER)
        table = found.evaluate()
    assert torch.equal(found.parameters_, expected.parameters_)
    assert table.equals(expected.evaluate())


def test_shows_groups_and_verdict(grouping: DPOGrouping) -> None:
    html = grouping._repr_html_()
    assert "DPOGrouping: 2 groups" in html
    assert "stable" in html


def test_refuses_what_cannot_work(module: Speaker, grouping: DPOGrouping) -> None:
    with pytest.raises(ValueError, match="k is 'many'"):
        DPOGrouping(k="many").fit(module, pairs_of(20))
    with pytest.raises(ValueError, match="k is 5 for 4 objectives"):
        DPOGrouping(k=5).fit(module, pairs_of(20))
    with pytest.raises(ValueError, match="there is 1 objective"):
        DPOGrouping().fit(module, pairs_of(20).only([0]))
    with pytest.raises(ValueError, match="bootstrap=1 is too small"):
        DPOGrouping(bootstrap=1).fit(module, pairs_of(20))
    with pytest.raises(ValueError, match="subset_size is all 4 objectives"):
        DPOGrouping(subset_size=4).fit(module, pairs_of(20))
    with pytest.raises(ValueError, match="steps=-1"):
        DPOGrouping(steps=-1).fit(module, pairs_of(20))
    with pytest.raises(ValueError, match="there is no group 2"):
        grouping.adapter(2)
    with pytest.raises(ValueError, match=r"pairs of .* are given for"):
        grouping.evaluate(pairs_of(20, n=2))
    with pytest.raises(NotFittedError, match=r"call fit\(module, pairs\) first"):
        _ = DPOGrouping().groups_
