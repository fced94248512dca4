"""Transitions: how many, which, and with what advantages."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from gradex.learners import MAML, PPO, ActorCritic, Collector
from gradex.learners.experience import rollout_advantages
from gradex.tasks import TaskSuite
from tests.environments import scripted, scripted_suite
from tests.oracles import gae
from tests.oracles.ppo import module

Fresh = Callable[[TaskSuite, list[int]], ActorCritic]
Limited = Callable[[TaskSuite, int], list[int]]


def with_critic(agent: ActorCritic) -> ActorCritic:
    """Single precision, and a scale of returns, as after training."""
    return replace(
        agent, actors=agent.actors.float(), critics=agent.critics.float(), return_scale=torch.tensor([2.0])
    )


@pytest.mark.parametrize("copies", [1, 3])
def test_equally_many_real_steps_of_every_task(fresh: Fresh, copies: int) -> None:
    suite = TaskSuite.make("navigation", n=3, horizon=5)
    transitions = PPO(trace=0.9).transitions(with_critic(fresh(suite, [0])), suite, 40, copies, 0)
    assert len(transitions) == 120
    assert np.bincount(transitions.tasks).tolist() == [40, 40, 40]
    # Navigation observes the time that is left: 0 belongs to the step that resets.
    assert transitions.observations[:, 2].min() > 0
    for task in range(3):
        advantages = transitions.advantages[transitions.tasks == task]
        assert abs(advantages.mean()) < 1e-12
        assert advantages.std() == pytest.approx(1, abs=1e-6)
    owners = {
        episode: set(transitions.tasks[transitions.episodes == episode])
        for episode in set(transitions.episodes)
    }
    assert all(len(tasks) == 1 for tasks in owners.values())
    assert len(owners) >= 3 * 8
    # Within an episode of five steps, no two chosen steps are the same.
    steps = np.column_stack([transitions.episodes, np.round(transitions.observations[:, 2] * 5)])
    assert len(np.unique(steps, axis=0)) == len(steps)


def test_episodes_of_one_step_suffice(fresh: Fresh) -> None:
    suite = scripted_suite(one=scripted([1]), two=scripted([1, 2]))
    transitions = PPO(trace=0.9).transitions(with_critic(fresh(suite, [0])), suite, 1000, 3, 0)
    assert np.bincount(transitions.tasks).tolist() == [1000, 1000]
    first = transitions.tasks == 0
    assert len(np.unique(transitions.episodes[first])) == 1000
    assert (transitions.observations[first] == 0).all()
    assert transitions.observations[~first].max() == 1


@pytest.mark.parametrize("ends", ["terminated", "truncated"])
def test_advantages_are_those_of_the_slow_version(fresh: Fresh, ends: str) -> None:
    suite = scripted_suite(a=scripted([1, -2, 3, 0.5], ends), b=scripted([0, 1, 0], ends))
    agent = with_critic(fresh(suite, [0]))
    copies, steps_per_task, seed, trace = 2, 50, 4, 0.8
    transitions = PPO(trace=trace).transitions(agent, suite, steps_per_task, copies, seed)
    rollout = Collector(suite, [[0, 1]], copies, [seed]).collect(agent, 512)
    critic = module(agent.critic, agent.critics[0].double())
    # What an advantage is before it is normalised, by task, episode and time.
    expected: dict[tuple[int, int, float], float] = {}
    for place in range(2 * copies):
        task = int(rollout.tasks[0, place])
        hot = torch.nn.functional.one_hot(torch.tensor(task), 2).expand(513, 2)
        with torch.no_grad():
            values = 2.0 * critic(
                torch.cat([rollout.observations[:, 0, place], hot], dim=1).double()
            ).squeeze(1)
        flags = (rollout.terminated[:, 0, place].tolist(), rollout.ended[:, 0, place].tolist())
        advantages = gae.advantages(
            rollout.rewards[:, 0, place].tolist(), values.tolist(), *flags, suite.discount, trace
        )
        episode = 0
        for t, advantage in enumerate(advantages):
            if rollout.real[t, 0, place]:
                expected[
                    (episode * 2 * copies + place, task, float(rollout.observations[t, 0, place, 0]))
                ] = advantage
            episode += flags[1][t]
    keys = zip(transitions.episodes, transitions.tasks, transitions.observations[:, 0], strict=True)
    raw = np.array([expected[(int(episode), int(task), float(time))] for episode, task, time in keys])
    for task in range(2):
        mine = raw[transitions.tasks == task]
        normalised = (mine - mine.mean()) / (mine.std() + 1e-8)
        np.testing.assert_allclose(transitions.advantages[transitions.tasks == task], normalised, atol=1e-5)


def test_maml_measures_every_task_against_a_baseline_of_its_own(fresh: Fresh) -> None:
    suite = TaskSuite.make("navigation", n=3, horizon=6)
    agent, copies, seed, settings = fresh(suite, [0]), 4, 7, MAML(trace=0.7)
    transitions = settings.transitions(agent, suite, 20, copies, seed)
    for task in range(3):
        rollout = Collector(suite, [range(3)], copies, [seed]).collect(agent, 10)
        places = slice(task * copies, (task + 1) * copies)
        one = replace(
            rollout,
            observations=rollout.observations[:, :, places],
            actions=rollout.actions[:, :, places],
            rewards=rollout.rewards[:, :, places],
            terminated=rollout.terminated[:, :, places],
            ended=rollout.ended[:, :, places],
            real=rollout.real[:, :, places],
            success=None,
            tasks=rollout.tasks[:, places],
        )
        alone = rollout_advantages(one, suite.discount, 0.7)[:, 0]
        own = transitions.tasks == task
        # A step is known by what was seen and done: all episodes begin in the same place.
        steps = torch.cat([one.observations[:-1, 0], one.actions[:, 0]], dim=-1).flatten(0, 1).tolist()
        known = {tuple(step): value for step, value in zip(steps, alone.ravel(), strict=True)}
        chosen = np.column_stack([transitions.observations[own], transitions.actions[own]])
        raw = np.array([known[tuple(step)] for step in chosen.tolist()])
        expected = (raw - raw.mean()) / (raw.std() + 1e-8)
        np.testing.assert_allclose(transitions.advantages[own], expected, rtol=1e-6)


def test_where_environments_do_not_fit_tasks_come_in_pieces(fresh: Fresh, limited: Limited) -> None:
    suite = TaskSuite.make("navigation", n=5, horizon=5)
    agent = with_critic(fresh(suite, [0]))
    whole = PPO().transitions(agent, suite, 40, 3, 0)
    environments = limited(suite, 7)  # three copies of two tasks
    pieces = PPO().transitions(agent, suite, 40, 3, 0)
    assert environments == [6, 6, 3]
    assert pieces.tasks.tolist() == whole.tasks.tolist() == np.repeat(np.arange(5), 40).tolist()
    owners = {
        episode: set(pieces.tasks[pieces.episodes == episode]) for episode in set(pieces.episodes.tolist())
    }
    assert all(len(tasks) == 1 for tasks in owners.values())
    # The first two tasks begin like the whole; tasks of different pieces have other noise.
    starts, first = (each.observations[each.tasks == 0][:, :2] for each in (whole, pieces))
    assert np.isin(first.round(6), starts.round(6)).mean() > 0.2
    assert not np.array_equal(pieces.actions[pieces.tasks == 2], pieces.actions[pieces.tasks == 0])


def test_a_seed_fixes_them_and_another_one_gives_others(fresh: Fresh) -> None:
    suite = TaskSuite.make("cartpole", n=2)
    agent = with_critic(fresh(suite, [0]))
    one, again, other = (PPO().transitions(agent, suite, 30, 4, seed) for seed in (1, 1, 2))
    for name in ("observations", "actions", "advantages", "tasks", "episodes"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
    assert not np.array_equal(one.observations, other.observations)


def test_bad_amounts_are_named(fresh: Fresh) -> None:
    suite = TaskSuite.make("cartpole", n=2)
    for steps, copies in ((1, 4), (20, 0)):
        with pytest.raises(
            ValueError, match=f"cannot keep {steps} steps of {copies} copies: ask for at least 2 steps"
        ):
            PPO().transitions(fresh(suite, [0]), suite, steps, copies, 0)
