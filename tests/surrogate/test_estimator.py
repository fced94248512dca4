from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from gradex.affinity import AffinityGraph
from gradex.learners import PPO, Transitions
from gradex.meta_policy import MetaPolicy
from gradex.seeds import generator_for
from gradex.surrogate import NoProjection, SurrogateEstimator
from gradex.surrogate.interactions import first_order_interactions
from gradex.surrogate.logistic import SubsetLogisticRegression
from gradex.surrogate.samples import draw
from gradex.surrogate.scores import NegativeLoss, score_subsets
from gradex.tasks import TaskSuite
from tests.oracles import surrogate as oracle

SUBSETS = [*combinations(range(5), 2), (0, 1, 2, 3, 4), (3,)]


def true_gradients(meta: MetaPolicy, transitions: Transitions) -> np.ndarray:
    theta = torch.from_numpy(meta.parameters).double()
    batch = (torch.from_numpy(x) for x in (transitions.observations, transitions.tasks, transitions.actions))
    observations, tasks, actions = batch
    return oracle.log_prob_gradients(
        meta.agent_.policy, theta, observations.double(), tasks, actions.double()
    ).numpy()


def mean_weights(surrogate: SurrogateEstimator) -> np.ndarray:
    samples = surrogate.samples_
    return np.bincount(samples.tasks, np.abs(samples.advantages)) / np.bincount(samples.tasks)


def signed_and_weights(surrogate: SurrogateEstimator) -> tuple[np.ndarray, np.ndarray]:
    """Give y g̃ and w of every sample."""
    advantages = surrogate.samples_.advantages
    signs = np.where(advantages < 0, -1.0, 1.0)
    return surrogate.features.astype(np.float64) * signs[:, None], np.abs(advantages)


# ---------------------------------------------------------------------- what fit learns
def test_features_are_projected_gradients_of_the_samples(meta, transitions, surrogate) -> None:
    p, d = len(meta.parameters), 12
    assert (surrogate.features.shape, surrogate.features.dtype) == ((len(transitions), d), np.float32)
    matrix = surrogate.projection_.lift(torch.eye(d, dtype=torch.float64)).numpy().T
    assert matrix.shape == (p, d)
    expected = true_gradients(meta, transitions) @ matrix
    np.testing.assert_allclose(surrogate.features, expected, rtol=1e-3, atol=1e-4)
    assert surrogate.samples_.observations is transitions.observations
    np.testing.assert_array_equal(surrogate.labels * surrogate.weights, transitions.advantages)
    np.testing.assert_array_equal(surrogate.tasks, transitions.tasks)
    np.testing.assert_array_equal(surrogate.episodes, transitions.episodes)


@pytest.mark.parametrize("projection", ["gaussian", "khatri-rao"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_projection_in_every_precision_multiplies_by_its_matrix(
    meta, transitions, projection: str, dtype: str
) -> None:
    surrogate = SurrogateEstimator(projection_dim=12, projection=projection, dtype=dtype).fit(
        meta, transitions
    )
    assert surrogate.features.dtype == dtype
    matrix = surrogate.projection_.lift(torch.eye(12, dtype=torch.float64)).numpy().T
    expected = true_gradients(meta, transitions) @ matrix
    rtol, atol = (1e-3, 1e-4) if dtype == "float32" else (1e-9, 1e-10)
    np.testing.assert_allclose(surrogate.features, expected, rtol=rtol, atol=atol)
    assert (surrogate.solve(SUBSETS).status == "converged").all()
    assert np.isfinite(surrogate.scores(SUBSETS).score).all()


def test_without_projection_the_features_are_the_gradients(meta, transitions) -> None:
    surrogate = SurrogateEstimator(projection="none").fit(meta, transitions)
    assert isinstance(surrogate.projection_, NoProjection)
    np.testing.assert_allclose(surrogate.features, true_gradients(meta, transitions), rtol=1e-3, atol=1e-5)


def test_fewer_samples_than_parameters_are_fitted_in_their_span(meta, transitions) -> None:
    """What comes out is as if all parameters had been fitted."""
    few = replace(
        transitions, **{name: array[::7] for name, array in vars(transitions).items() if array is not None}
    )
    surrogate = SurrogateEstimator(projection="none", folds=1, dtype="float64").fit(meta, few)
    p = len(meta.parameters)
    assert len(few) < p and surrogate.features.shape == (len(few), p)
    assert not {"_factors", "regression"} & set(vars(surrogate._span))  # nothing is worked out unasked
    ridge, members = surrogate.regularization_, surrogate._members(SUBSETS)
    samples = (surrogate.features, few.blocks())
    whole = SubsetLogisticRegression(*samples, ridge)
    everything = np.ones((1, len(few)), dtype=bool)
    expected = whole.solve(members, everything, 1e-10).theta[:, 0]
    found = surrogate.solve(SUBSETS, tolerance=1e-10).theta
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max())
    folds = np.zeros(len(few), dtype=np.int64)
    scores = score_subsets(NegativeLoss(), members, expected[:, None], *samples, folds)
    per_task = surrogate.scores(SUBSETS, tolerance=1e-10).per_task
    np.testing.assert_allclose(per_task, scores.per_task, rtol=1e-8)
    interactions = first_order_interactions(surrogate.features, few, whole.hessian.numpy(), ridge)
    np.testing.assert_allclose(surrogate.interactions().matrix, interactions.matrix, rtol=1e-8, atol=1e-12)
    assert surrogate.task_gradients().shape == (5, p)
    assert surrogate.first_order_error(distances=(0.01,)).relative_to_output.max() < 0.1
    path = surrogate.regularization_path(SUBSETS, [2 * ridge, ridge], tolerance=1e-10)
    np.testing.assert_allclose(path[-1].theta, found, rtol=1e-6, atol=1e-8 * np.abs(found).max())
    assert surrogate.adapted((0, 1)).parameters.shape == (p,)


def test_equal_seeds_give_bit_identical_features_whatever_the_global_generators_do(meta, transitions) -> None:
    first = SurrogateEstimator(projection_dim=12, seed=5).fit(meta, transitions)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    state = torch.random.get_rng_state()
    second = SurrogateEstimator(projection_dim=12, seed=5).fit(meta, transitions)
    assert np.array_equal(first.features, second.features)
    assert np.array_equal(first.scores(SUBSETS).score, second.scores(SUBSETS).score)
    assert torch.equal(torch.random.get_rng_state(), state)
    other = SurrogateEstimator(projection_dim=12, seed=6).fit(meta, transitions)
    assert not np.array_equal(first.features, other.features)


def test_collects_transitions_by_itself() -> None:
    suite = TaskSuite.make("navigation", n=2, seed=0, groups=2)
    meta = MetaPolicy(suite, learner=PPO(), layers=2, width=8).fit(steps=2 * suite.horizon * 8)
    first = SurrogateEstimator(projection_dim=5, folds=2).fit(meta)
    second = SurrogateEstimator(projection_dim=5, folds=2).fit(meta, meta.transitions())
    assert np.array_equal(first.features, second.features)
    assert np.isfinite(first.scores([(0,), (1,), (0, 1)]).score).all()


def test_keeps_all_parameters_of_a_small_model(meta: MetaPolicy, transitions: Transitions) -> None:
    parameters, subsets = len(meta.parameters), [(0,), (0, 1, 4)]
    whole = SurrogateEstimator(projection="none").fit(meta, transitions)
    for projection in ("gaussian", "khatri-rao"):
        kept = SurrogateEstimator(parameters, projection).fit(meta, transitions)
        assert np.array_equal(kept.features, whole.features)
        assert np.array_equal(kept.steps(subsets), whole.steps(subsets))
    fewer = SurrogateEstimator(parameters - 1).fit(meta, transitions)
    assert fewer.features.shape == (len(transitions), parameters - 1)


# ---------------------------------------------------------------------- solving
def test_solutions_minimise_the_loss_of_the_contract(surrogate) -> None:
    solution = surrogate.solve(SUBSETS)
    assert solution.theta.shape == (len(SUBSETS), 12)
    assert (solution.status == "converged").all() and (solution.kkt_residual <= 1e-6).all()
    signed, weights = signed_and_weights(surrogate)
    for subset, theta in zip(SUBSETS, solution.theta, strict=True):
        rows = np.isin(surrogate.samples_.tasks, subset)
        best = oracle.newton(signed[rows], weights[rows], surrogate.regularization_)
        np.testing.assert_allclose(theta, best, rtol=1e-4, atol=1e-5 * np.abs(best).max())


def test_path_gives_what_solving_for_each_regularization_gives(meta, transitions, surrogate) -> None:
    values = [10 * surrogate.regularization_, surrogate.regularization_, 0.1 * surrogate.regularization_]
    path = surrogate.regularization_path(SUBSETS, values, tolerance=1e-9)
    for value, solution in zip(values, path, strict=True):
        alone = SurrogateEstimator(projection_dim=12, folds=3, regularization=value).fit(meta, transitions)
        assert (solution.status == "converged").all()
        expected = alone.solve(SUBSETS, tolerance=1e-9).theta
        np.testing.assert_allclose(solution.theta, expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max())
    # Starting from the solution before saves steps.
    near, far = 0.0101 * values[1], 0.01 * values[1]
    cold, warm = (surrogate.regularization_path(SUBSETS, path)[-1] for path in ([far], [near, far]))
    assert warm.iterations.sum() < 0.8 * cold.iterations.sum()


def test_interactions_are_the_limit_of_scores_under_strong_regularization(meta, transitions) -> None:
    errors = []
    for factor in (1e2, 1e3, 1e4):
        weak = SurrogateEstimator(projection_dim=12, folds=1).fit(meta, transitions).regularization_
        strong = SurrogateEstimator(
            projection_dim=12, folds=1, regularization=factor * weak, dtype="float64"
        ).fit(meta, transitions)
        means = np.stack([own.mean(axis=0) for own in strong.interactions().vectors])
        affinity = means @ means.T  # in-sample, where an episode meets itself
        gain = strong.scores(SUBSETS, tolerance=1e-9).per_task + np.log(2) * mean_weights(strong)
        expected = np.nanmean(gain, axis=1)
        found = np.array([affinity[np.ix_(subset, subset)].mean() for subset in SUBSETS])
        errors.append(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    assert errors[2] < 0.01
    assert errors[1] == pytest.approx(10 * errors[2], rel=0.3)
    assert errors[0] > 3 * errors[1]


def test_task_gradients_are_mean_advantage_times_feature(surrogate, transitions) -> None:
    for task, gradient in enumerate(surrogate.task_gradients()):
        rows = transitions.tasks == task
        expected = (transitions.advantages[rows, None] * surrogate.features[rows]).mean(axis=0)
        np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-12)


# ---------------------------------------------------------------------- scores
def test_scores_come_from_episodes_that_the_fit_did_not_see(meta, transitions) -> None:
    # Labels are a coin toss per episode, and an episode repeats one transition: one says nothing of others.
    rng = np.random.default_rng(0)
    _, first, episode = np.unique(transitions.episodes, return_index=True, return_inverse=True)
    coins = rng.choice([-1.0, 1.0], len(first))
    repeated = replace(
        transitions,
        observations=transitions.observations[first][episode],
        actions=transitions.actions[first][episode],
        advantages=coins[episode],
    )
    settings = {"projection_dim": 40, "regularization": 1e-2}
    in_sample = SurrogateEstimator(**settings, folds=1).fit(meta, repeated).scores(SUBSETS)
    held_out = SurrogateEstimator(**settings, folds=3).fit(meta, repeated).scores(SUBSETS)
    # All weights are 1.
    assert (in_sample.score > 0.1 - np.log(2)).all()
    assert (held_out.score < in_sample.score - 0.1).all()
    assert held_out.score.mean() < 0.05 - np.log(2)


def test_scores_equal_fitting_without_each_fold_of_episodes(surrogate) -> None:
    scores = surrogate.scores(SUBSETS, tolerance=1e-9)
    (signed, weights), folds = signed_and_weights(surrogate), surrogate._folds
    tasks, episodes = surrogate.samples_.tasks, surrogate.samples_.episodes
    assert all(len(np.unique(folds[episodes == e])) == 1 for e in np.unique(episodes))
    expected = oracle.held_out_loss_scores(SUBSETS, signed, weights, tasks, folds, surrogate.regularization_)
    np.testing.assert_allclose(scores.per_task, expected, rtol=1e-3, atol=1e-5)


def test_one_fold_scores_the_samples_that_were_fitted(meta, transitions) -> None:
    surrogate = SurrogateEstimator(projection_dim=12, folds=1).fit(meta, transitions)
    scores, solution = surrogate.scores(SUBSETS), surrogate.solve(SUBSETS)
    signed, weights = signed_and_weights(surrogate)
    for number, subset in enumerate(SUBSETS):
        for task in subset:
            rows = transitions.tasks == task
            loss = oracle.loss(solution.theta[number], signed[rows], weights[rows], 0.0)
            assert scores.per_task[number, task] == pytest.approx(-loss, abs=1e-5)


def test_to_the_letter_scores_are_minus_the_least_loss(meta, transitions) -> None:
    """In-sample, hardly regularised, nothing added: the minimum of Eq. (3) over all samples of a subset."""
    surrogate = SurrogateEstimator.literal(12, seed=3, dtype="float64").fit(meta, transitions)
    scores = surrogate.scores(SUBSETS, tolerance=1e-8)
    matrix = SurrogateEstimator(12, folds=1, seed=3, dtype="float64").fit(meta, transitions).features
    for subset, found in zip(SUBSETS, scores.score, strict=True):
        rows = np.isin(transitions.tasks, subset)
        signed = matrix[rows] * np.where(transitions.advantages[rows] < 0, -1.0, 1.0)[:, None]
        weights = np.abs(transitions.advantages[rows])
        least = oracle.loss(oracle.newton(signed, weights, 1e-12), signed, weights, 0.0)
        assert found == pytest.approx(-least, rel=1e-4)
    graph = AffinityGraph.from_scores(scores, "mean")
    for i, j in [(0, 0), (0, 1), (3, 3)]:
        together = [score for subset, score in zip(SUBSETS, scores.score, strict=True) if {i, j} <= {*subset}]
        assert graph.matrix[i, j] == pytest.approx(np.mean(together))


@pytest.mark.parametrize("score", ["loss", "improvement"])
def test_scores_follow_a_renumbering_of_the_tasks(meta, transitions, score: str) -> None:
    new = np.random.default_rng(0).permutation(5)  # task i becomes new[i]
    renumbered = replace(transitions, tasks=new[transitions.tasks])
    settings = {"projection_dim": 12, "folds": 3, "score": score}
    before = SurrogateEstimator(**settings).fit(meta, transitions).scores(SUBSETS)
    moved = [tuple(int(new[task]) for task in subset) for subset in SUBSETS]
    after = SurrogateEstimator(**settings).fit(meta, renumbered).scores(moved)
    np.testing.assert_allclose(after.score, before.score, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(after.per_task[:, new], before.per_task, rtol=1e-3, atol=1e-5)


def test_advantages_in_other_units_scale_the_scores_and_leave_the_steps(meta, transitions, surrogate) -> None:
    scaled = replace(transitions, advantages=7.0 * transitions.advantages)
    other = SurrogateEstimator(projection_dim=12, folds=3).fit(meta, scaled)
    steps, scores = surrogate.solve(SUBSETS).theta, surrogate.scores(SUBSETS).score
    np.testing.assert_allclose(other.solve(SUBSETS).theta, steps, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(other.scores(SUBSETS).score, 7 * scores, rtol=1e-3, atol=1e-4)


def test_subsets_may_be_arrays_in_any_order(surrogate) -> None:
    plain = surrogate.scores([(0, 1), (2, 4)])
    arrays = surrogate.scores(np.array([[1, 0], [4, 2]]))
    assert arrays.subsets == plain.subsets == ((0, 1), (2, 4))
    np.testing.assert_array_equal(arrays.score, plain.score)


# ---------------------------------------------------------------------- episodes drawn again
def test_draws_equal_scoring_samples_that_were_repeated(meta, transitions) -> None:
    surrogate = SurrogateEstimator(projection_dim=12, folds=3, dtype="float64").fit(meta, transitions)
    found = surrogate.score_draws(SUBSETS, 2, seed=4, tolerance=1e-10)
    rng = generator_for(4, "bootstrap of episodes")
    for scores in found:
        times = draw(transitions.tasks, transitions.episodes, rng).astype(int)
        repeated = (np.repeat(x, times, axis=0) for x in signed_and_weights(surrogate))
        placed = (np.repeat(x, times) for x in (transitions.tasks, surrogate._folds))
        expected = oracle.held_out_loss_scores(SUBSETS, *repeated, *placed, surrogate.regularization_)
        np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-9)


def test_scores_carry_the_draws_that_are_asked_for(surrogate) -> None:
    plain, scores = surrogate.scores(SUBSETS), surrogate.scores(SUBSETS, draws=3, seed=1)
    assert plain.draws.shape == (0, *plain.per_task.shape)
    np.testing.assert_array_equal(scores.score, plain.score)
    np.testing.assert_array_equal(scores.draws, surrogate.score_draws(SUBSETS, 3, seed=1))
    assert not np.array_equal(scores.draws[0], scores.draws[1])
    # The fits of draws are loose, but not by more than a tenth of what a draw changes.
    exact = surrogate.score_draws(SUBSETS, 3, seed=1, tolerance=1e-8)
    missed, change = (np.sqrt(np.nanmean(x**2)) for x in (scores.draws - exact, exact - plain.per_task))
    assert missed < 0.1 * change


@pytest.mark.parametrize("score", ["loss", "improvement"])
def test_a_draw_may_miss_all_episodes_of_a_fold(meta, transitions, score: str) -> None:
    surrogate = SurrogateEstimator(projection_dim=12, folds=3, score=score).fit(meta, transitions)
    chosen = transitions.episodes[transitions.tasks == 3][0]
    times = np.where(transitions.tasks == 3, 6.0 * (transitions.episodes == chosen), 1.0)
    scores = surrogate._score(surrogate._members(SUBSETS), 1e-6, times)
    assert np.isfinite(scores.score).all()
    # Nothing is left to fit task 3 alone, and no step loses log 2 at weight 1.
    weights = times * (transitions.tasks == 3)
    no_step = np.average(np.abs(transitions.advantages), weights=weights) * np.log(2)
    expected = -no_step if score == "loss" else 0.0
    assert scores.score[SUBSETS.index((3,))] == pytest.approx(expected, rel=1e-12)


def test_standard_errors_are_those_of_fresh_episodes(meta, transitions) -> None:
    """The steps of an episode agree: draws of single steps would give half the spread."""
    tasks, episodes = np.repeat(np.arange(5), 120), np.repeat(np.arange(150), 4)
    rng = np.random.default_rng(0)

    def fresh() -> SurrogateEstimator:
        common = rng.standard_normal((150, 3))
        observations = np.repeat(rng.standard_normal((150, transitions.observations.shape[1])), 4, axis=0)
        actions = np.repeat(common[:, :2], 4, axis=0).astype(np.float32)
        advantages = np.repeat(common[:, 2] + common[:, 0], 4)
        made = Transitions(
            observations=observations.astype(np.float32), actions=actions, advantages=advantages,
            tasks=tasks, episodes=episodes,
        )  # fmt: skip
        return SurrogateEstimator(projection_dim=12, folds=3, regularization=10.0).fit(meta, made)

    estimators = [fresh() for _ in range(40)]
    spread = np.std([estimator.scores(SUBSETS).score for estimator in estimators], axis=0, ddof=1)
    draws = (np.nanmean(estimator.score_draws(SUBSETS, 20), axis=2) for estimator in estimators[:8])
    errors = [scores.std(axis=0, ddof=1) for scores in draws]
    ratio = np.mean(errors, axis=0) / spread
    assert ((ratio > 0.75) & (ratio < 1.6)).all()
