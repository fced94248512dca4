"""Log-probabilities, gradients, margins and training, against one pair after the other in float64."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch.utils.checkpoint import checkpoint

from gradex.preferences import Answers, DirectPreferences, PreferencePairs, answer_log_prob
from gradex.preferences.language_model import LogProb
from gradex.surrogate import SurrogateEstimator
from tests.oracles import preferences as oracle
from tests.preferences.models import ADAPTER, Speaker, answers, pairs_of

BETA = 0.3


@pytest.fixture
def module() -> Speaker:
    return Speaker().double()


def test_log_probabilities_are_sums_over_the_answers_tokens(module: Speaker) -> None:
    prompts, first, _ = answers(12)
    expected = [oracle.log_prob(module.eval(), *each).item() for each in zip(prompts, first, strict=True)]
    found = answer_log_prob(module, Answers.of_tokens(prompts, first, length=10))
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-12)


def test_gradients_and_offsets_are_those_of_each_pair(module: Speaker) -> None:
    """In training mode, with dropout, nothing changes: all is done in evaluation mode."""
    other, pairs = Speaker(seed=1).double(), pairs_of(9)
    preferences = DirectPreferences(module.train(), pairs, BETA, other, ADAPTER)
    assert module.dropout.training
    module.eval()
    other.eval()
    texts = answers(9)
    expected = BETA * oracle.gradients(module, ADAPTER, *texts)
    batches = preferences.model.gradients(pairs, np.arange(9), torch.float64)
    np.testing.assert_allclose(torch.cat([each.dense() for each in batches]), expected, rtol=1e-9, atol=1e-12)
    each = list(zip(*texts, strict=True))
    start, reference = (
        np.array([BETA * oracle.log_odds(model, *pair).item() for pair in each]) for model in (module, other)
    )
    samples = preferences.samples()
    np.testing.assert_allclose(samples.offsets, start - reference, rtol=1e-9)
    theta = torch.from_numpy(preferences.model.parameters)[None]
    np.testing.assert_allclose(preferences.margins(theta)[0], start - reference, rtol=1e-9)
    assert DirectPreferences(module, pairs, BETA, None, ADAPTER).samples().offsets is None


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("moved", [False, True])
def test_the_loss_of_a_subset_is_dpo_of_the_linearised_model(
    module: Speaker, missing: float, moved: bool
) -> None:
    """Its minimum, found by a general method, is the surrogate's; and so are the losses of its objectives."""
    pairs, ridge, subset = pairs_of(30, missing=missing), 0.02, (0, 1, 3)
    module.eval()
    reference = Speaker(seed=1).double() if moved else None
    preferences = DirectPreferences(module, pairs, BETA, reference, ADAPTER)
    estimator = SurrogateEstimator(projection="none", regularization=ridge, folds=1, dtype="float64")
    surrogate = estimator.fit(preferences.model, preferences.samples())
    features = BETA * oracle.gradients(module, ADAPTER, *answers(30))
    theta = torch.from_numpy(preferences.model.parameters)[None]
    start = preferences.margins(theta)[0].numpy()
    own, known = torch.from_numpy(np.nan_to_num(pairs.labels)), torch.from_numpy(~np.isnan(pairs.labels))

    def objective(step: torch.Tensor) -> torch.Tensor:
        margins = torch.from_numpy(start) + torch.from_numpy(features) @ step
        each = -torch.nn.functional.logsigmoid(own * margins) * known
        means = each.sum(dim=1) / known.sum(dim=1)
        return means[list(subset)].mean() + ridge / 2 * step @ step

    step = oracle.minimise(objective, features.shape[1])
    np.testing.assert_allclose(surrogate.solve([subset], 1e-9).theta[0], step, atol=1e-5)
    scores = surrogate.scores([subset], 1e-9)
    expected = oracle.linearised_loss(pairs.labels, start, features, step, subset)
    assert scores.score[0] == pytest.approx(-expected, rel=1e-5)


def test_evaluation_is_dpo_with_the_module_as_it_was_trained(module: Speaker) -> None:
    pairs = pairs_of(10, missing=0.3)
    preferences = DirectPreferences(module, pairs, BETA, None, ADAPTER)
    tuned = preferences.tune([(0,), (1, 3)], steps=5, batch=4, learning_rate=0.05)
    table = preferences.evaluate(tuned)
    assert len(table) == 2 * pairs.n
    moved = preferences.model.with_parameters(tuned[1].numpy()).module.eval()
    each = list(zip(*answers(10), strict=True))
    before, after = (
        np.array([BETA * oracle.log_odds(model, *pair).item() for pair in each])
        for model in (module.eval(), moved)
    )
    for objective, rows in table[table.row == 1].set_index("objective").iterrows():
        labels = pairs.labels[objective]
        assert rows.loss == pytest.approx(oracle.loss(after - before, labels), rel=1e-9)
        right = (labels * (after - before) > 0)[~np.isnan(labels)]
        assert rows.accuracy == pytest.approx(right.mean())


@pytest.mark.parametrize("reference", ["none", "itself", "another"])
def test_the_start_stays_when_the_module_is_trained_in_place(module: Speaker, reference: str) -> None:
    def told() -> list[np.ndarray | torch.Tensor | None]:
        return [preferences.margins(theta), preferences.samples().offsets, preferences.tune([(0,)], steps=2)]

    other = {"none": None, "itself": module, "another": Speaker(seed=1).double()}[reference]
    preferences = DirectPreferences(module, pairs_of(10), BETA, other, ADAPTER)
    theta = torch.from_numpy(preferences.model.parameters)[None]
    expected = told()
    assert expected[0].any() == (reference == "another")
    preferences = DirectPreferences(module, pairs_of(10), BETA, other, ADAPTER)  # nothing is worked out yet
    with torch.no_grad():
        for name in ADAPTER:
            module.get_parameter(name).add_(1)
    for found, wanted in zip(told(), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_stack_trains_as_each_of_its_members_does(module: Speaker) -> None:
    pairs = pairs_of(20)
    preferences = DirectPreferences(module, pairs, BETA, None, ADAPTER)
    amounts = {"steps": 4, "batch": 6, "learning_rate": 0.05, "seed": 3}
    together = preferences.tune([(0, 2), (1,), (0, 2)], **amounts)
    assert torch.equal(together[0], together[2])
    torch.testing.assert_close(preferences.tune([(1,)], **amounts)[0], together[1])
    small = DirectPreferences(module, pairs, BETA, None, ADAPTER, memory=1)  # a pair at a time
    assert small.model.together() == 1
    torch.testing.assert_close(small.tune([(0, 2), (1,)], **amounts), together[:2])
    assert not torch.equal(preferences.tune([(1,)], **amounts | {"seed": 4})[0], together[1])


class Thrifty(Speaker):
    """Works its hidden layer out once more when it is differentiated."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        seen = self.embedding(tokens).cumsum(dim=1)
        return self.last(torch.tanh(checkpoint(self.hidden, seen, use_reentrant=False)))


def test_what_vmap_cannot_batch_is_trained_subset_by_subset(module: Speaker) -> None:
    amounts = {"steps": 4, "batch": 6, "learning_rate": 0.05, "seed": 3}
    thrifty, plain = (
        DirectPreferences(each, pairs_of(20), BETA, None, ADAPTER) for each in (Thrifty().double(), module)
    )
    with pytest.warns(UserWarning, match="vmap cannot batch this module, so each subset is trained alone"):
        found = thrifty.tune([(0, 2), (1,)], **amounts)
    torch.testing.assert_close(found, plain.tune([(0, 2), (1,)], **amounts))


def test_a_step_of_training_is_one_of_adam_on_the_dpo_loss(module: Speaker) -> None:
    """The first step goes by the learning rate against the sign of the gradient; labels all agree here."""
    prompts, first, second = answers(1)
    pairs = PreferencePairs.of_tokens(prompts, first, second, np.ones((1, 1)))
    preferences = DirectPreferences(module, pairs, BETA, None, ADAPTER)
    tuned = preferences.tune([(0,)], steps=1, batch=2, learning_rate=0.01)[0].numpy()
    slope = oracle.gradients(module.eval(), ADAPTER, prompts, first, second)[0]
    np.testing.assert_allclose(tuned - preferences.model.parameters, 0.01 * np.sign(slope), atol=1e-5)


def test_training_leaves_no_gradient_in_the_module(module: Speaker) -> None:
    before = torch.ones_like(module.last.bias)
    module.last.bias.grad = before.clone()
    DirectPreferences(module, pairs_of(10), BETA, None, ADAPTER).tune([(0,), (1, 3)], steps=2)
    left = {name: each.grad for name, each in module.named_parameters() if each.grad is not None}
    assert list(left) == ["last.bias"] and torch.equal(left["last.bias"], before)


def test_groups_share_the_steps_by_their_objectives(module: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    preferences = DirectPreferences(module, pairs_of(10), BETA, None, ADAPTER)
    asked = []

    def tune(subsets, steps, *amounts):
        asked.append((subsets, steps))
        return torch.zeros(len(subsets), len(preferences.model.parameters))

    monkeypatch.setattr(preferences, "tune", tune)
    preferences.tune_groups([(0, 1), (2,), (3,)], steps=100)
    assert asked == [([(2,), (3,)], 25), ([(0, 1)], 50)]
    start = preferences.tune_groups([(0, 1, 2, 3)], steps=0)
    np.testing.assert_array_equal(start[0], preferences.model.parameters)


def test_memory_counts_what_layers_keep(module: Speaker) -> None:
    """Longer answers leave room for fewer pairs, though the parameters are as many."""
    single = deepcopy(module).float()
    prompts, first, second = answers(40)
    short = DirectPreferences(single, pairs_of(40), memory=2**17)
    longer = PreferencePairs.of_tokens(prompts, [each * 8 for each in first], second, pairs_of(40).labels)
    long = DirectPreferences(single, longer, memory=2**17)
    assert 1 <= long.model.together() < short.model.together() / 2


@pytest.mark.parametrize("log_prob", [answer_log_prob, lambda *given: answer_log_prob(*given) / 2])
def test_a_token_that_the_model_does_not_know_is_named(module: Speaker, log_prob: LogProb) -> None:
    prompts, first, second = answers(6)
    first[4] = [99]
    pairs = PreferencePairs.of_tokens(prompts, first, second, pairs_of(6).labels)
    preferences = DirectPreferences(module, pairs, BETA, None, ADAPTER, log_prob)
    words = r"cannot read tokens up to 99 in texts of \d tokens: encode them by its own tokenizer, no"
    with pytest.raises(ValueError, match=words):
        list(preferences.model.gradients(pairs, np.arange(6), torch.float64))
    with pytest.raises(ValueError, match=words):
        preferences.tune([(0,)], steps=1)


@pytest.mark.wrong_types
def test_refuses_what_will_not_do(module: Speaker) -> None:
    pairs = pairs_of(5)
    with pytest.raises(ValueError, match="beta is 0"):
        DirectPreferences(module, pairs, beta=0)
    preferences = DirectPreferences(module, pairs, BETA, None, ADAPTER)
    with pytest.raises(ValueError, match=r"\[4\] is not a subset of 4 tasks"):
        preferences.tune([[4]], steps=1)
    with pytest.raises(ValueError, match="learning_rate is 0"):
        preferences.tune([[0]], steps=1, learning_rate=0)
    with pytest.raises(ValueError, match="no subset was given"):
        preferences.tune([], steps=1)
    start = torch.from_numpy(preferences.model.parameters)
    for wrong in (start, start[None, :-1]):
        with pytest.raises(ValueError, match=r"parameters have the shape .*: give rows of \d+"):
            preferences.evaluate(wrong)
    with torch.no_grad():
        module.last.bias[0] = torch.nan
    with pytest.raises(ValueError, match="5 pairs have log-probabilities that are not finite"):
        _ = DirectPreferences(module, pairs).reference
