from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from gradex.learners import PPO, ActorCritic, Transitions
from gradex.meta_policy import MetaPolicy
from gradex.surrogate import SurrogateEstimator
from gradex.tasks import TaskSuite

N_TASKS, PER_TASK, EPISODE = 5, 60, 10


@pytest.fixture
def meta() -> MetaPolicy:
    """An untrained policy with continuous actions, so that log π has parameters of its own too."""
    meta = MetaPolicy(TaskSuite.make("navigation", n=N_TASKS, seed=0), learner=PPO(), layers=3, width=8)
    meta.agent_ = ActorCritic.initial(meta.suite, [0], meta.layers, meta.width)
    meta.history_ = pd.DataFrame()
    # Away from the start, where the last layer is nearly 0 and with it most gradients.
    rng = np.random.default_rng(0)
    return meta.with_parameters(meta.parameters + 0.3 * rng.standard_normal(len(meta.parameters)))


@pytest.fixture
def make_transitions(meta: MetaPolicy) -> Callable[[int], Transitions]:
    def make(seed: int = 0) -> Transitions:
        rng = np.random.default_rng(seed)
        count = N_TASKS * PER_TASK
        tasks = np.repeat(np.arange(N_TASKS), PER_TASK)
        advantages = rng.standard_normal(count)
        order = rng.permutation(count)
        observed, moved = meta.suite.observation_space.shape[0], meta.suite.action_space.shape[0]
        return Transitions(
            observations=rng.standard_normal((count, observed), dtype=np.float32)[order],
            actions=rng.standard_normal((count, moved), dtype=np.float32)[order],
            advantages=advantages[order],
            tasks=tasks[order],
            episodes=(np.arange(count) // EPISODE)[order],
        )

    return make


@pytest.fixture
def transitions(make_transitions: Callable[[int], Transitions]) -> Transitions:
    return make_transitions(0)


@pytest.fixture
def surrogate(meta: MetaPolicy, transitions: Transitions) -> SurrogateEstimator:
    return SurrogateEstimator(projection_dim=12, folds=3).fit(meta, transitions)
