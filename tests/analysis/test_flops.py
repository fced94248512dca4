"""Formulas for operations against torch's counter where that sees all: small products, plain autograd."""

from collections.abc import Callable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from analysis import flops
from gradex import MetaPolicy, SurrogateEstimator, TaskSuite
from gradex.learners import PPO
from gradex.policies import MLP
from tests.oracles.ppo import module


def counted(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@pytest.fixture(scope="module")
def meta() -> MetaPolicy:
    suite = TaskSuite.make("navigation", n=3)
    return MetaPolicy(suite, learner=PPO(steps=32, copies=2, minibatches=4), layers=3, width=8).fit(192)


def test_evaluation_and_derivatives_are_those_of_plain_autograd() -> None:
    network = MLP(5, 3, layers=4, width=7)
    plain = module(network, torch.zeros(network.size, dtype=torch.float64))
    inputs = torch.ones(10, 5, dtype=torch.float64)
    assert 10 * flops.evaluation(network) == counted(lambda: plain(inputs))
    both = counted(lambda: plain(inputs).sum().backward())
    assert 10 * (2 * flops.evaluation(network) + flops.sensitivities(network)) == both


def test_a_training_step_costs_what_a_training_does_per_step(meta: MetaPolicy) -> None:
    per_round = meta.learner.round_steps(meta.suite, [range(3)])
    assert flops.training_step(meta) == pytest.approx(counted(lambda: meta.adapt(range(3), 192)) / per_round)


@pytest.mark.parametrize("projection", ["gaussian", "khatri-rao"])
def test_features_cost_what_they_do(meta: MetaPolicy, projection: str) -> None:
    transitions = meta.transitions(64)
    estimator = SurrogateEstimator(20, projection, regularization=1.0)  # "auto" fits tasks to choose one
    expected = len(transitions) * flops.features(meta.agent_.policy, 20, projection)
    assert expected == pytest.approx(counted(lambda: estimator.fit(meta, transitions)))


def test_full_training_costs_what_training_each_subset_does(meta: MetaPolicy) -> None:
    surrogate = SurrogateEstimator(20).fit(meta, meta.transitions(64))
    told = flops.costs(meta, [surrogate, surrogate], [(0, 1), (1, 2)])
    per_task = told["meta_steps"] // 3
    full = counted(lambda: meta.adapt((0, 1), 2 * per_task)) + counted(
        lambda: meta.adapt((1, 2), 2 * per_task)
    )
    assert told["flops_full"] == pytest.approx(full)
    own = told["flops_meta"] + told["flops_features"] + told["flops_scores"]
    assert told["saving"] == told["flops_full"] / own < told["saving_khatri_rao"]
    one = flops.costs(meta, [surrogate], [(0, 1), (1, 2)])
    assert 2 * one["flops_features"] == told["flops_features"]


@pytest.mark.parametrize("sharing", ["auto", "none"])
def test_fits_cost_what_they_do(meta: MetaPolicy, sharing: str) -> None:
    estimator = SurrogateEstimator(20).fit(meta, meta.transitions(256, sharing=sharing))
    subsets = [(0, 1), (0, 2), (1, 2)]
    # Some go on until half of all have converged.
    assert 0.5 < flops.scores(estimator, subsets) / counted(lambda: estimator.scores(subsets)) < 1.1
