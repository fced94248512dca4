import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete
from sklearn.exceptions import NotFittedError

from gradex import Generalization, MetaPolicy, TaskSuite
from gradex.generalization import (
    PolicyGradientLoss,
    StackedSamples,
    XTrace,
    collect_episodes,
)
from gradex.generalization.loss import losses_by_task
from gradex.learners import ActorCritic
from gradex.seeds import child
from tests.environments import scripted, scripted_suite
from tests.oracles import hessian as oracle

SETTINGS = {"steps_per_task": 64, "copies": 4, "lanczos_steps": 30, "perturbations": 2}


@pytest.fixture(scope="module")
def suite() -> TaskSuite:
    return TaskSuite.make("cartpole", n=3)


@pytest.fixture(scope="module")
def targets(suite: TaskSuite) -> TaskSuite:
    return suite.unseen(4, 0)


@pytest.fixture(scope="module")
def metas(suite: TaskSuite) -> list[MetaPolicy]:
    return [MetaPolicy(suite, seed=seed, layers=3, width=6).fit(3000) for seed in (0, 1)]


def test_measures_what_the_dense_hessian_says(metas, suite: TaskSuite, targets: TaskSuite) -> None:
    meta = metas[0]
    settings = {**SETTINGS, "steps_per_task": 20}
    found = Generalization(meta, train=suite, test=targets, **settings).measure()
    transitions = collect_episodes(meta.agent_, suite, [range(3)], 20, 4, [child(0, "training episodes")])
    samples, theta = StackedSamples.of(transitions), torch.from_numpy(meta.parameters).double()
    loss = PolicyGradientLoss()
    matrix = oracle.hessians(loss, meta.agent_.policy, theta[None], samples)[0]
    assert found.trace == pytest.approx(float(matrix.trace()), rel=1e-8) and found.trace_stderr == 0
    eigenvalues, vectors = torch.linalg.eigh(matrix)
    assert found.top_eigenvalue == pytest.approx(float(eigenvalues[-1]), rel=1e-6)
    assert found.train_loss == pytest.approx(
        float(oracle.mean_loss(loss, meta.agent_.policy, theta, samples, 0)), rel=1e-8
    )
    start = ActorCritic.initial(suite, [0], layers=3, width=6).actors[0].double()
    v = theta - start
    assert found.constants["r"] == pytest.approx(float(v.norm()))
    assert found.constants["N"] == 60 and found.constants["C"] == pytest.approx(10 * np.log(200))
    assert found.constants["episodes"] == len(np.unique(transitions[0].episodes))
    form = float(((vectors.T @ v).square() * eigenvalues.clamp_min(0)).sum())
    assert found.anisotropic.curvature_term == pytest.approx(found.anisotropic.divergence_term)
    slope = 2 * found.anisotropic.curvature_term / (1 + found.anisotropic.epsilon)
    assert slope / found.anisotropic.sigma**2 == pytest.approx(form / float(v.norm()) ** 2, rel=0.1)
    assert found.gap == pytest.approx(found.test_losses.mean() - found.train_losses.mean())
    assert found.bound == found.isotropic.value and found.vacuous == found.isotropic.vacuous


def test_the_distance_is_that_from_the_weights_that_training_began_with(
    metas, suite: TaskSuite, targets: TaskSuite, tmp_path: Path
) -> None:
    meta = metas[1]
    start = ActorCritic.initial(suite, [1], layers=3, width=6).actors[0].numpy()
    adapted = meta.adapt([0, 1, 2], 400, seed=7)
    on, off = meta.adapt_each([[0, 1, 2], [0, 1, 2]], 800, seeds=[3, 4])
    on.save(tmp_path / "on.safetensors")
    policies = [
        meta,
        adapted,
        adapted.adapt([0, 1, 2], 400, seed=9),
        off,
        MetaPolicy.load(tmp_path / "on.safetensors"),
        adapted.with_parameters(start + 0.01),
        copy.copy(adapted),
    ]
    again = [MetaPolicy(suite, seed=0, layers=3, width=6).fit_each([[0, 1, 2]], 400, seeds=[1])[0][0]]
    measured = Generalization(meta, suite, targets, **SETTINGS).measure_each(policies + again)
    for policy, found in zip(policies + again, measured, strict=True):
        direct = np.linalg.norm(policy.parameters.astype(np.float64) - start)
        assert found.constants["r"] == pytest.approx(direct, rel=1e-5)
        assert found.isotropic.distance == pytest.approx(direct, rel=1e-5)


def test_a_network_without_an_exact_trace_is_refused_before_anything_is_collected(
    suite: TaskSuite, targets: TaskSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta = MetaPolicy(suite, "multi_head", layers=3, width=6).fit(1000)
    monkeypatch.setattr(Generalization, "_collect", lambda *_: pytest.fail("transitions were collected"))
    with pytest.raises(ValueError, match="no exact trace is known for a MultiHead: estimate it"):
        Generalization(meta, suite, targets, **SETTINGS).measure()


def test_a_network_that_sees_the_task_is_measured_on_its_own_ones(suite: TaskSuite) -> None:
    meta = MetaPolicy(suite, "multi_head", layers=3, width=6).fit(1000)
    adapted, settings = meta.adapt([2, 1], 1000), {**SETTINGS, "trace": XTrace(6)}
    whole = Generalization(adapted, suite, suite, **settings).measure_each([adapted], [[2, 1]])[0]
    part = Generalization(adapted, suite[[2, 1]], suite[[1, 0]], **settings).measure()
    np.testing.assert_array_equal(part.train_losses, whole.train_losses)
    assert part.trace == whole.trace and part.test_losses.shape == (2,)
    own = collect_episodes(adapted.agent_, suite, [[1, 0]], 64, 4, [child(0, "test episodes")])
    samples, theta = StackedSamples.of(own), torch.from_numpy(adapted.parameters)[None].double()
    values = PolicyGradientLoss().evaluate(adapted.agent_.policy, theta, samples)
    np.testing.assert_allclose(part.test_losses, values.reshape(2, -1).mean(dim=1), rtol=1e-9)


def test_a_network_that_sees_the_task_is_measured_on_no_others(suite: TaskSuite) -> None:
    meta, other = (MetaPolicy(own, "multi_head", layers=3, width=6).fit(500) for own in (suite, suite[::-1]))
    settings = {**SETTINGS, "trace": XTrace(6)}
    told = "a 'multi_head' network knows the tasks it was fitted on and no others, and"
    for others in (
        suite.unseen(2, 0),
        suite.unseen(3, 0),
        suite.unseen(4, 0),
        TaskSuite.make("cartpole", n=3, horizon=9),
    ):
        with pytest.raises(ValueError, match=f"{told} test has .*: give some of these"):
            Generalization(meta, suite, others, **settings).measure()
        with pytest.raises(ValueError, match=f"{told} train has "):
            Generalization(meta, others, suite, **settings).measure()
    with pytest.raises(ValueError, match="the meta-policy is one for other tasks, with"):
        Generalization(meta, suite, suite, **settings).measure_each([meta, other])


def test_an_estimated_trace_agrees_with_the_exact_one(metas, suite: TaskSuite, targets: TaskSuite) -> None:
    exact = Generalization(metas[0], suite, targets, **SETTINGS).measure()
    estimated = Generalization(metas[0], suite, targets, trace=XTrace(30), **SETTINGS).measure()
    assert 0 < estimated.trace_stderr and abs(estimated.trace - exact.trace) < 4 * estimated.trace_stderr
    assert estimated.trace_products == 30 and exact.trace_products == 0
    assert estimated.gap == exact.gap


def test_as_many_are_measured_together_as_fit_into_memory(
    metas, suite: TaskSuite, targets: TaskSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, plain = Generalization(metas[0], suite, targets, **SETTINGS), Generalization._measure_stack
    together, stacks = measure.measure_each(metas), list[int]()

    def counted(self: Generalization, some: Sequence[MetaPolicy], *rest: Any) -> Any:
        stacks.append(len(some))
        return plain(self, some, *rest)

    monkeypatch.setattr(Generalization, "_measure_stack", counted)
    monkeypatch.setattr(TaskSuite, "fitting", lambda self, environments: 1)
    apart = measure.measure_each(metas)
    assert stacks == [1] * len(metas) and len(metas) > 1
    assert [each.trace for each in apart] == pytest.approx([each.trace for each in together], rel=1e-9)
    assert [each.gap for each in apart] == pytest.approx([each.gap for each in together], rel=1e-9)


def test_a_stack_measures_what_single_policies_do(metas, suite: TaskSuite, targets: TaskSuite) -> None:
    together = Generalization(metas[0], suite, targets, **SETTINGS).measure_each(
        [*metas, metas[0]], [[0, 1, 2], [0, 1, 2], [2]]
    )
    torch.manual_seed(0)
    assert len(together[2].train_losses) == 1 and len(together[2].test_losses) == 4
    for meta, found in zip(metas, together, strict=False):
        alone = Generalization(meta, suite, targets, **SETTINGS).measure()
        for field in dataclasses.fields(found):
            value, expected = getattr(found, field.name), getattr(alone, field.name)
            if isinstance(value, float | np.ndarray):
                np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-9, err_msg=field.name)
        assert found.bound == pytest.approx(alone.bound)


def test_a_set_is_a_subset(metas, suite: TaskSuite, targets: TaskSuite) -> None:
    ready = Generalization(metas[0], suite, targets, **SETTINGS)
    found, expected = ready.measure_each([metas[0], metas[0]], [{2, 0}, (0, 2)])
    np.testing.assert_array_equal(found.train_losses, expected.train_losses)


def test_the_same_tasks_have_no_gap_beyond_chance(metas, suite: TaskSuite) -> None:
    found = Generalization(metas[0], suite, suite, steps_per_task=500, lanczos_steps=2, perturbations=2)
    measured = found.measure()
    assert 0 < abs(measured.gap) < 4 * measured.gap_stderr < 1


def test_standard_errors_by_episode_are_those_of_repetitions(metas, suite: TaskSuite) -> None:
    agent = metas[1].agent_
    repeats = 60
    stack = agent.repeat(repeats)
    transitions = collect_episodes(stack, suite, [range(3)] * repeats, 200, 8, list(range(repeats)))
    samples = StackedSamples.of(transitions)
    loss = PolicyGradientLoss()
    values = loss.evaluate(agent.policy, stack.actors.double(), samples)
    means, variance = losses_by_task(loss, values, transitions, 3)
    np.testing.assert_allclose(means.mean(axis=1), values.mean(dim=1).numpy(), atol=1e-12)
    stated, spread = np.sqrt(variance.mean()), means.mean(axis=1).std(ddof=1)

    assert 0.75 < stated / spread < 1.35


def test_continuous_actions_are_measured_and_not_certified() -> None:
    suite = TaskSuite.make("navigation", n=2, groups=2)
    meta = MetaPolicy(suite, layers=2, width=4).fit(2000)
    found = Generalization(meta, suite, suite.unseen(2, 0), **SETTINGS).measure()
    assert not found.isotropic.loss_range.certified
    assert np.isfinite([found.trace, found.top_eigenvalue, found.gap, found.bound]).all()


@pytest.mark.wrong_types
def test_one_policy_is_no_sequence(metas, suite: TaskSuite, targets: TaskSuite) -> None:
    with pytest.raises(TypeError, match=r"give a sequence of policies, as in \[meta\]"):
        Generalization(metas[0], suite, targets, **SETTINGS).measure_each(metas[0])


def test_refuses_what_cannot_be_measured(metas, suite: TaskSuite, targets: TaskSuite) -> None:
    with pytest.raises(ValueError, match="unknown trace 'hutchinson': choose 'exact', or give an estimator"):
        Generalization(metas[0], suite, targets, trace="hutchinson")
    with pytest.raises(ValueError, match="perturbations=1 is too small: give at least 2"):
        Generalization(metas[0], suite, targets, perturbations=1)
    with pytest.raises(ValueError, match=r"test is 'navigation', with other observations, of shape"):
        Generalization(metas[0], suite, TaskSuite.make("navigation", n=3))
    two, three = (scripted_suite(a=scripted([1.0], action_space=Discrete(count))) for count in (2, 3))
    with pytest.raises(ValueError, match=r"test is 'custom', with other actions, Discrete\(3\) instead of"):
        Generalization(MetaPolicy(two), two, three)
    with pytest.raises(NotFittedError, match="not fitted"):
        Generalization(MetaPolicy(suite), suite, targets).measure()
    ready = Generalization(metas[0], suite, targets, **SETTINGS)
    with pytest.raises(ValueError, match="there is no policy to measure"):
        ready.measure_each([])
    with pytest.raises(ValueError, match="2 policies have 1 subsets"):
        ready.measure_each(metas, [[0]])
    with pytest.raises(ValueError, match=r"\[7\] is not a subset of 3 tasks"):
        ready.measure_each(metas[:1], [[7]])
    other = MetaPolicy(suite, layers=2, width=6).fit(1000)
    with pytest.raises(ValueError, match="several architectures cannot be measured together"):
        ready.measure_each([metas[0], other])
