"""Transfers and factors against one fit, and one pair, after the other; and what they mean for groups."""

from collections.abc import Callable

import numpy as np
import pytest

from gradex.affinity import AffinityGraph, KernelKMeans
from gradex.surrogate import Improvement, Samples, Score, SurrogateEstimator, scores
from tests.oracles import surrogate as oracle
from tests.oracles.blocks import copied

N, COUNT, D = 5, 120, 6


def shared_samples(seed: int = 0) -> tuple[np.ndarray, Samples]:
    """Samples that serve all tasks: 0, 1 and 2 want one thing, 3 and 4 nearly the opposite."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((COUNT, D)) * np.geomspace(0.5, 2, D)
    wanted = np.outer(np.sign(2.5 - np.arange(N)), rng.standard_normal(D)) + rng.normal(0, 0.5, (N, D))
    advantages = wanted @ features.T + rng.standard_normal((N, COUNT))
    return features, Samples(advantages, episodes=np.arange(COUNT) // 6)


def own_samples() -> tuple[np.ndarray, Samples]:
    """The same tasks with samples of their own, not equally many."""
    features, samples = copied(*shared_samples())
    left = np.random.default_rng(1).permutation(len(samples))[: len(samples) - 70]
    chosen = {name: getattr(samples, name)[left] for name in ("advantages", "tasks", "episodes")}
    return features[left], Samples(**chosen)


def fitted(features: np.ndarray, samples: Samples, **settings) -> SurrogateEstimator:
    return SurrogateEstimator(**{"folds": 4, **settings}).fit_features(features, samples)


def signed(surrogate: SurrogateEstimator) -> tuple[np.ndarray, np.ndarray]:
    return surrogate.labels[:, None] * surrogate.features, surrogate.weights


@pytest.mark.parametrize("folds", [1, 4])
def test_transfers_are_those_of_one_fit_after_the_other(folds: int) -> None:
    surrogate = fitted(*own_samples(), folds=folds)
    found = surrogate.transfers(tolerance=1e-10)
    expected = oracle.held_out_transfers(
        *signed(surrogate), surrogate.tasks, surrogate._folds, surrogate.regularization_
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    assert np.abs(found - found.T).max() > 0.01  # a fit of i does to j what it does


@pytest.mark.parametrize("score", ["loss", "improvement"])
def test_samples_that_serve_all_tasks_transfer_as_copies_do(score: str) -> None:
    one, many = (fitted(*of, score=score) for of in (shared_samples(), copied(*shared_samples())))
    many._folds, many.regularization_ = np.tile(one._folds, N), one.regularization_
    many._span.regression.regularization = one.regularization_
    np.testing.assert_allclose(one.transfers(1e-10), many.transfers(1e-10), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("score", ["loss", Improvement(divergence=0.01)])
def test_the_diagonal_is_what_single_tasks_score_and_no_step_is_worth_nothing(score: str | Score) -> None:
    surrogate = fitted(*own_samples(), score=score)
    alone = surrogate.scores([(task,) for task in range(N)], tolerance=1e-10).score
    rest = 0.0
    if score == "loss":
        means = [surrogate.weights[surrogate.tasks == task].mean() for task in range(N)]
        rest = -np.log(2) * np.array(means)
    np.testing.assert_allclose(np.diag(surrogate.transfers(1e-10)), alone - rest, rtol=1e-6, atol=1e-9)


def test_offsets_are_where_no_step_stands() -> None:
    features, samples = shared_samples()
    offsets = np.random.default_rng(2).standard_normal(COUNT)
    surrogate = fitted(features, Samples(samples.advantages, episodes=samples.episodes, offsets=offsets))
    alone = surrogate.scores([(task,) for task in range(N)], tolerance=1e-10).score
    positive, negative = samples.advantages.clip(min=0), -samples.advantages.clip(max=0)
    rest = -(positive @ np.logaddexp(0, -offsets) + negative @ np.logaddexp(0, offsets)) / COUNT
    np.testing.assert_allclose(np.diag(surrogate.transfers(1e-10)), alone - rest, rtol=1e-6, atol=1e-9)


class Recording(Score):
    """The first-order gain, which remembers how many numbers were under way."""

    divergence = None

    def __init__(self) -> None:
        self.most = 0

    def per_sample(self, change, offsets):
        self.most = max(self.most, change.numel())
        return change, -change


def test_samples_are_taken_in_chunks_of_the_stated_size_which_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    score = Recording()
    surrogate = fitted(*own_samples(), score=score)
    whole, most = surrogate.transfers(), score.most
    assert most > 7 * N
    score.most = 0
    monkeypatch.setattr(scores, "_CHUNK", 8 * scores._NUMBERS * N * 7)
    np.testing.assert_allclose(surrogate.transfers(), whole, rtol=1e-12, atol=1e-15)
    assert score.most == 7 * N


@pytest.mark.parametrize("make", [own_samples, shared_samples])
def test_factors_are_those_of_one_pair_after_the_other(make: Callable) -> None:
    features, samples = make()
    surrogate = fitted(features, samples)
    of = surrogate if samples.tasks is not None else fitted(*copied(features, samples))
    expected = oracle.factor_products(*signed(of), of.tasks, surrogate.regularization_)
    factors = surrogate.factors()
    np.testing.assert_allclose(factors @ factors.T, expected, rtol=1e-9, atol=1e-12)


def test_factors_agree_with_interactions_up_to_products_of_an_episode_with_itself() -> None:
    surrogate = fitted(*own_samples())
    factors, interactions = surrogate.factors(), surrogate.interactions()
    apart = ~np.eye(N, dtype=bool)
    np.testing.assert_allclose((factors @ factors.T)[apart], interactions.matrix[apart], rtol=1e-9)
    assert (np.square(factors).sum(axis=1) > np.diag(interactions.matrix)).all()


def test_factors_of_preferences_are_preferences_of_factors() -> None:
    """By a Hessian in common, a thousand preferences over three rewards have three dimensions."""
    rng = np.random.default_rng(0)
    features, rewards = rng.standard_normal((400, 20)), rng.standard_normal((3, 400))
    weights = rng.dirichlet(np.ones(3), 1000)
    surrogate = fitted(features, Samples(weights @ rewards), regularization=0.1, folds=1)
    factors = surrogate.factors()
    assert factors.shape == (1000, 3)
    corners = [int(weights[:, reward].argmax()) for reward in range(3)]
    by_corners = np.linalg.solve(weights[corners], factors[corners])  # the rewards' own
    np.testing.assert_allclose(weights @ by_corners, factors, rtol=1e-8, atol=1e-12)


def test_factors_of_tasks_without_a_gradient_have_one_column() -> None:
    features = np.array([[1.0], [1.0]])
    surrogate = fitted(features, Samples(np.array([[1.0, -1.0], [-1.0, 1.0]])), folds=1)
    np.testing.assert_allclose(surrogate.factors(), np.zeros((2, 1)), atol=1e-12)


def test_transfers_are_products_of_factors_less_what_each_fit_costs() -> None:
    """For short steps; |Â| does not depend on the task, so that all tasks have one Hessian."""
    features, samples = shared_samples()
    signs = np.where(samples.advantages < 0, -1.0, 1.0)
    strength = 10 * np.square(features).sum(axis=1).mean()
    surrogate = fitted(features, Samples(signs), folds=1, regularization=strength)
    factors, found = surrogate.factors(), surrogate.transfers(1e-10)
    costs = factors @ factors.T - found
    np.testing.assert_allclose(costs, np.tile(costs.mean(axis=0), (N, 1)), atol=1e-3 * np.abs(found).max())
    assert costs.min() > 10 * np.ptp(costs, axis=0).max()


@pytest.mark.parametrize("make", ["transfers", "factors"])
def test_both_find_planted_groups(make: str) -> None:
    surrogate = fitted(*shared_samples())
    graph = getattr(AffinityGraph, f"from_{make}")(getattr(surrogate, make)())
    assert graph.partition(k=2).groups == ((0, 1, 2), (3, 4))
    assert graph.partition(k=2, method=KernelKMeans()).groups == ((0, 1, 2), (3, 4))


def test_transfers_keep_their_diagonal_and_groups_do_not_mind_the_transpose() -> None:
    found = fitted(*shared_samples()).transfers()
    graph = AffinityGraph.from_transfers(found, names="abcde")
    np.testing.assert_allclose(graph.matrix, (found + found.T) / 2)
    assert graph.partition(k=2).objective == pytest.approx(
        AffinityGraph.from_transfers(found.T).partition(k=2).objective
    )


@pytest.mark.wrong_types
@pytest.mark.parametrize("wrong", [np.zeros((2, 3)), np.zeros(4)])
def test_refuses_transfers_that_are_no_square(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="is not square; give one row and column per task"):
        AffinityGraph.from_transfers(wrong)


def test_three_hundred_tasks_find_their_groups_by_transfers() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((2000, 10)).astype(np.float32)
    wanted = rng.standard_normal((3, 10))[np.arange(300) % 3]
    samples = Samples(wanted @ features.T + rng.standard_normal((300, 2000)))
    graph = AffinityGraph.from_transfers(fitted(features, samples, regularization=0.1, folds=2).transfers())
    found = graph.partition(k=3, method=KernelKMeans())
    assert found.agreement(np.arange(300) % 3).nmi == 1.0
