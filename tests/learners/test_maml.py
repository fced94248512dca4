"""Stacked MAML against separate runs, finite differences, exact expectations, and the slow version."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from gradex.learners import ActorCritic
from gradex.learners.adaptation import policy_gradient_step
from gradex.learners.batch import Batch
from gradex.learners.maml import MAML
from gradex.policies import MLP, Categorical, Policy
from gradex.seeds import Streams
from gradex.tasks import TaskSuite
from tests.oracles.maml import OnePolicyMAML
from tests.tasks.families import drift

Fresh = Callable[[TaskSuite, list[int]], ActorCritic]

SUITES = {
    # Continuous actions; every episode is as long as a trajectory.
    "navigation": lambda: TaskSuite.make("navigation", n=4, groups=2, horizon=11),
    # Discrete actions, random starts, episodes that terminate, are truncated, and follow on another.
    "custom": lambda: TaskSuite.from_gymnasium({str(speed): drift(speed) for speed in (0.1, 0.3, 0.5, 0.8)}),
}
# The range of the ratio is narrow, so that it is clipped often.
SETTINGS = MAML(
    inner_steps=2,
    inner_rate=0.3,
    trajectories=2,
    tasks=3,
    epochs=2,
    learning_rate=3e-3,
    gae_lambda=0.9,
    clip_range=0.01,
)


@pytest.fixture(params=SUITES)
def suite(request: pytest.FixtureRequest) -> TaskSuite:
    return SUITES[request.param]()


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------------- the outer gradient
def experiences(suite: TaskSuite, settings: MAML, start: ActorCritic) -> list[Batch]:
    """Let each policy of a stack live through as many tasks as a meta-batch has."""
    rows = start.repeat(settings.tasks)
    tasks = [row % len(suite) for row in range(len(rows))]
    met = settings.adaptation().phases(rows, suite, tasks, range(len(rows)), settings.inner_steps)
    return [phase.batch for phase in met]


def slopes(
    settings: MAML, policy: Policy, actors: torch.Tensor, met: list[Batch]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give slopes of the outer objective, by its gradient and by central differences."""
    generator = torch.Generator().manual_seed(2)
    directions = torch.randn(6, *actors.shape, generator=generator, dtype=torch.float64)
    point = actors.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(settings.objective(policy, point, met).sum(), point)
    step = 1e-5
    differences = [
        settings.objective(policy, actors + step * direction, met)
        - settings.objective(policy, actors - step * direction, met)
        for direction in directions
    ]
    return (gradient * directions).sum(dim=2), torch.stack(differences) / (2 * step)


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Give the largest over the policies."""
    return ((ours - theirs).norm(dim=0) / theirs.norm(dim=0)).max()


@pytest.mark.parametrize("inner_steps", [1, 3])
@pytest.mark.parametrize("moved", [0.0, 0.02])
def test_outer_gradient_equals_finite_differences(
    suite: TaskSuite, fresh: Fresh, inner_steps: int, moved: float
) -> None:
    settings = replace(SETTINGS, inner_steps=inner_steps, inner_rate=0.5, clip_range=0.2)
    start = fresh(suite, [0, 1])
    met = experiences(suite, settings, start)
    # Where the experience was made, and elsewhere: from its second epoch on the outer step is elsewhere.
    noise = torch.randn(start.actors.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    actors = start.actors + moved * noise
    second, differences = slopes(settings, start.policy, actors, met)
    assert relative_error(second, differences) < 1e-6
    first, same = slopes(replace(settings, order="first"), start.policy, actors, met)
    close(same, differences, 0.0)  # the value does not depend on the order
    assert relative_error(first, differences) > 0.01


def test_second_order_is_that_of_the_expected_return() -> None:
    """In a bandit the low-variance curvature misses nothing: the outer gradient is that of exact ascent.

    All actions are enumerated, weighted by their probability, so that the experience is an expectation.
    """
    count, rate = 5, 0.7
    settings = MAML(inner_rate=rate, tasks=2, clip_range=0.2)
    policy = Policy(MLP(2, count, layers=2, width=6, gain=1.0), Categorical(count))
    theta = policy.initial(Streams([0])).double()
    rewards = torch.randn(2, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    observation = torch.tensor([0.3, -0.5], dtype=torch.float64).expand(2, count, 2)
    zeros, actions = torch.zeros(2, count, dtype=torch.int64), torch.arange(count).expand(2, count)

    def probabilities(actors: torch.Tensor) -> torch.Tensor:
        return policy.log_prob(actors, observation, zeros, actions).exp()

    def exact(actors: torch.Tensor) -> torch.Tensor:
        """The mean over tasks of the expected reward after a step of exact ascent."""
        rows = actors.repeat(2, 1)
        (ascent,) = torch.autograd.grad((probabilities(rows) * rewards).sum(), rows, create_graph=True)
        return (probabilities(rows + rate * ascent) * rewards).sum(dim=1).mean()

    def expected(actors: torch.Tensor) -> Batch:
        chances = probabilities(actors).detach()
        return Batch(observation, zeros, actions, chances.log(), rewards, chances)

    start = theta.clone().requires_grad_()
    rows = theta.repeat(2, 1)
    adapted = policy_gradient_step(policy, rows, expected(rows), rate)
    met = [expected(rows), expected(adapted)]
    (ours,) = torch.autograd.grad(settings.objective(policy, start, met).sum(), start)
    (theirs,) = torch.autograd.grad(exact(start), start)
    close(ours, theirs, 1e-12)


# ---------------------------------------------------------------------- training
@pytest.mark.parametrize("order", ["second", "first"])
def test_equals_the_slow_version(suite: TaskSuite, fresh: Fresh, order: str) -> None:
    settings, subset, seed, batches = replace(SETTINGS, order=order), [2, 0], 3, 2
    start = fresh(suite, [seed])
    slow = OnePolicyMAML(start, suite, subset, seed, settings)
    slow.train(batches)
    fast, _ = settings.train(start, suite, [subset], batches * settings.round_steps(suite, [subset]), [seed])
    close(fast.actors[0], slow.theta.detach(), 1e-8)
    assert slow.clipped > 0


def test_a_stack_trains_to_the_parameters_of_separate_runs(suite: TaskSuite, fresh: Fresh) -> None:
    subsets, seeds, batches = [[1], [2, 0], [3, 0, 2, 1]], [5, 0, 7], 3
    start = fresh(suite, seeds)
    per_batch = SETTINGS.round_steps(suite, [[0]])
    stack, history = SETTINGS.train(start, suite, subsets, 3 * batches * per_batch, seeds)
    for index, (subset, seed) in enumerate(zip(subsets, seeds, strict=True)):
        alone, own = SETTINGS.train(start[index], suite, [subset], batches * per_batch, [seed])
        close(stack.actors[index], alone.actors[0], 1e-9)
        assert (stack.actors[index] - start.actors[index]).abs().max() > 2 * SETTINGS.learning_rate
        ours = history[history.policy == index].drop(columns=["policy", "steps"]).reset_index(drop=True)
        pd.testing.assert_frame_equal(ours, own.drop(columns=["policy", "steps"]))


def test_training_leaves_its_start_alone_and_gives_contiguous_rows(suite: TaskSuite, fresh: Fresh) -> None:
    start = fresh(suite, [0, 1])
    before = start.actors.clone()
    trained, _ = SETTINGS.train(start, suite, [[0], [1]], 1, [0, 1])
    assert torch.equal(start.actors, before)
    assert not torch.equal(trained.actors, before)
    assert trained.actors.is_contiguous()
    assert trained.critics is start.critics


def test_history_tells_what_the_meta_batch_earned(fresh: Fresh) -> None:
    suite = SUITES["navigation"]()
    per_batch = SETTINGS.round_steps(suite, [[0, 1, 2, 3], [2]])
    assert per_batch == 2 * 3 * 2 * 11 * 3  # policies, tasks, trajectories, steps, phases
    _, history = SETTINGS.train(fresh(suite, [0, 1]), suite, [[0, 1, 2, 3], [2]], per_batch + 1, [0, 1])
    assert set(history.steps) == {per_batch, 2 * per_batch}
    assert (history.groupby(["steps", "policy", "inner_steps"]).episodes.sum() == 6).all()
    assert set(history[history.policy == 1].task) == {2}
    assert history.return_mean.between(-2.5 * 11, 5).all()


def test_meta_batches_are_drawn_without_repetition_while_that_lasts() -> None:
    subsets, tasks = [[7, 8], [0, 1, 2, 3, 4, 5, 6], [9]], 5
    settings, streams = MAML(tasks=tasks), Streams([0, 1, 2])
    drawn = np.stack([settings._draw(subsets, streams) for _ in range(200)])
    for policy, subset in enumerate(subsets):
        counts = np.stack([(drawn[:, policy] == task).sum(axis=1) for task in subset], axis=1)
        assert (counts.sum(axis=1) == tasks).all()
        assert (np.ptp(counts, axis=1) <= 1).all()
        np.testing.assert_allclose(counts.mean(axis=0), tasks / len(subset), atol=0.15)


def test_a_policy_learns_to_adapt() -> None:
    suite = TaskSuite.make("navigation", goals="uniform", n=8, horizon=15)
    settings = MAML(
        inner_rate=0.3, trajectories=20, tasks=8, learning_rate=1e-2, gae_lambda=1.0, max_norm=0.5
    )
    start = ActorCritic.initial(suite, [0], layers=3, width=32)
    trained, _ = settings.train(start, suite, [range(8)], 20 * settings.round_steps(suite, [range(8)]), [0])
    gains = []
    for agent in (start, trained):
        _, (before, after) = settings.adapt(agent, suite, range(8), range(8))
        gains.append((after.rewards - before.rewards).sum(axis=0).mean())
    assert gains[0] < 4
    assert gains[1] > 8


# ---------------------------------------------------------------------- adaptation
def test_adaptation_is_the_same_in_any_company(suite: TaskSuite, fresh: Fresh) -> None:
    start, tasks, seeds = fresh(suite, [0]), [2, 0, 2], [4, 4, 5]
    together, rollouts = SETTINGS.adapt(start, suite, tasks, seeds)
    assert len(rollouts) == SETTINGS.inner_steps + 1
    for index, (task, seed) in enumerate(zip(tasks, seeds, strict=True)):
        alone, own = SETTINGS.adapt(start, suite, [task], [seed])
        close(together.actors[index], alone.actors[0], 1e-9)
        for ours, theirs in zip(rollouts, own, strict=True):
            np.testing.assert_allclose(ours.rewards[:, index], theirs.rewards[:, 0], rtol=1e-6)
    assert not torch.equal(together.actors[0], together.actors[2])


def test_more_inner_steps_continue_fewer(suite: TaskSuite, fresh: Fresh) -> None:
    start = fresh(suite, [0])
    _, rollouts = SETTINGS.adapt(start, suite, [1, 3], [0, 1], inner_steps=3)
    none, (met,) = SETTINGS.adapt(start, suite, [1, 3], [0, 1], inner_steps=0)
    assert torch.equal(none.actors, start.actors.repeat(2, 1))
    np.testing.assert_array_equal(met.rewards, rollouts[0].rewards)
    _, fewer = SETTINGS.adapt(start, suite, [1, 3], [0, 1], inner_steps=2)
    np.testing.assert_array_equal(fewer[2].rewards, rollouts[2].rewards)


def test_bad_input_is_named(fresh: Fresh) -> None:
    suite = SUITES["navigation"]()
    with pytest.raises(ValueError, match="the order is 'third': choose 'second' or 'first'"):
        MAML(order="third")
    with pytest.raises(ValueError, match="inner_steps is 0: ask for at least 1"):
        MAML(inner_steps=0)
    with pytest.raises(ValueError, match="cannot train for 0 environment steps: ask for at least 1"):
        SETTINGS.train(fresh(suite, [0]), suite, [[0]], 0, [0])
    with pytest.raises(ValueError, match="inner steps=-1 is too small: give at least 0"):
        SETTINGS.adapt(fresh(suite, [0]), suite, [0], [0], inner_steps=-1)
    with pytest.raises(ValueError, match="2 policies for 3 tasks: give one each, or a single one"):
        SETTINGS.adapt(fresh(suite, [0, 1]), suite, [0, 1, 2], [0, 0, 0])
