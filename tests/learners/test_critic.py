"""Critics with a head for each objective say of a preference what its own rewards and values say."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from gradex.learners import PPO, ActorCritic, Collector, Rollout
from gradex.learners.advantages import discounted_advantages
from gradex.learners.critic import judge
from gradex.learners.returns import TaskReturns
from gradex.tasks import TaskSuite

pytest.importorskip("mo_gymnasium")


@pytest.fixture
def suite() -> TaskSuite:
    weights = [[0.2, 0.8], [0.9, 0.1], [0.5, 0.5]]
    return TaskSuite.make("mo-deep-sea-treasure", weights=weights, scale=[20.0, 15.0], horizon=12)


def met(suite: TaskSuite, steps: int = 40) -> tuple[ActorCritic, Rollout]:
    """Two policies: one in the tasks 0 and 2, the other in task 1. Their critics have seen returns before."""
    agent = ActorCritic.initial(suite, [0, 1], layers=2, width=8, by_objective=True)
    known = {"return_mean": torch.tensor([[0.3, -0.4], [0.1, -0.2]]), "return_scale": torch.ones(2, 2) / 3}
    agent = replace(agent, **known)
    return agent, Collector(suite, [(0, 2), (1,)], copies=3, seeds=[0, 1]).collect(agent, steps)


def test_advantages_are_those_of_weighted_rewards_and_values(suite: TaskSuite) -> None:
    agent, rollout = met(suite)
    judged = judge(agent, rollout, suite, gae_lambda=0.9)
    weights = suite.weights[rollout.tasks]  # [policies, environments, K]
    tasks = torch.from_numpy(rollout.tasks)
    outputs = np.stack(
        [agent.critic.forward(agent.critics, seen, tasks).detach().numpy() for seen in rollout.observations]
    )
    # The values stay as they are while their units move.
    units = (rows.numpy()[:, None] for rows in (judged.agent.return_mean, judged.agent.return_scale))
    mean, scale = units
    values = (weights * (mean + scale * outputs)).sum(axis=-1)
    flags = rollout.terminated, rollout.ended
    expected = discounted_advantages(rollout.rewards, values, *flags, suite.discount, 0.9)
    np.testing.assert_allclose(judged.advantages[rollout.real], expected[rollout.real], atol=1e-5)
    assert judged.targets.shape == (*rollout.rewards.shape, 2)
    # What targets mean: the return of each objective, in its units.
    both = (mean + scale * judged.targets) * weights
    returns = values[:-1] + expected
    np.testing.assert_allclose(both.sum(axis=-1)[rollout.real], returns[rollout.real], atol=1e-5)


def test_units_follow_the_returns_of_each_objective(suite: TaskSuite) -> None:
    agent, rollout = met(suite)
    judged = judge(agent, rollout, suite, gae_lambda=0.9)
    ours = np.asarray(judged.agent.return_scale)
    for objective in range(2):
        alone = replace(rollout, rewards=rollout.paid[..., objective], tasks=np.zeros_like(rollout.tasks))
        tasks = torch.from_numpy(rollout.tasks)
        outputs = np.stack(
            [
                agent.critic.forward(agent.critics, seen, tasks).detach().numpy()
                for seen in rollout.observations
            ]
        )[..., objective]
        mean = agent.return_mean[:, objective].double().numpy()[:, None]
        scale = agent.return_scale[:, objective].double().numpy()[:, None]
        returns = TaskReturns.of(alone, mean + scale * outputs, suite.discount, 1)
        expected = returns.scale(mean, scale)[1][:, 0]
        np.testing.assert_allclose(ours[:, objective], expected, rtol=1e-5)


def test_explained_variance_is_that_of_the_weighted_returns(suite: TaskSuite) -> None:
    agent, rollout = met(suite)
    found = judge(agent, rollout, suite, gae_lambda=0.9).explained_variance
    assert found.shape == (2, 3)
    assert np.isfinite(found).tolist() == [[True, False, True], [False, True, False]]


def test_without_objectives_there_is_nothing_to_judge(suite: TaskSuite) -> None:
    agent, rollout = met(suite)
    with pytest.raises(ValueError, match=r"reports no info\['objectives'\]"):
        judge(agent, replace(rollout, objectives=None), suite, gae_lambda=0.9)


@pytest.mark.parametrize(("network", "expected"), [("mlp", (True, (1, 2))), ("one_hot_mlp", (False, (1, 3)))])
def test_only_policies_that_see_no_task_are_valued_by_objective(
    suite: TaskSuite, network: str, expected: tuple[bool, tuple[int, int]]
) -> None:
    agent = PPO().initial(suite, [0], layers=2, width=8, network=network)
    assert (agent.by_objective, tuple(agent.return_mean.shape)) == expected


def test_the_size_of_a_critic_does_not_depend_on_the_number_of_preferences(
    fresh: Callable[[TaskSuite, list[int]], ActorCritic],
) -> None:
    sizes = []
    for n in (3, 300):
        suite = TaskSuite.make("mo-deep-sea-treasure", n=n, scale=[20.0, 15.0])
        sizes.append(PPO().initial(suite, [0], layers=2, width=8).critics.shape)
    assert sizes[0] == sizes[1]
