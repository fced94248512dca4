"""Transitions: steps of one policy in every task, with advantages (PolicyGradEx, Algorithm 1, step 2)."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from gradex.learners.actor_critic import ActorCritic
from gradex.learners.advantages import cross_fitted_advantages
from gradex.learners.kept_steps import KeptSteps
from gradex.learners.lengths import mean_length
from gradex.learners.rollouts import Collector, Rollout
from gradex.seeds import child, generator_for
from gradex.surrogate.samples import Samples
from gradex.tasks import TaskSuite
from gradex.threads import threads_for

#: Fewest and most environments of a task, unless a number is asked for, and steps of each for one of them.
_COPIES, _STEPS_EACH = (8, 64), 2
#: So many times more steps are simulated than kept, unless whole episodes are shorter.
DEEPER = 4
#: Where steps serve all tasks there are as many as this number of tasks would have of their own, at most.
SHARING_TASKS = 8


@dataclass(frozen=True, eq=False, kw_only=True)
class Transitions(Samples):
    """Steps of a policy in every task of a suite, or steps that serve all tasks.

    Attributes
    ----------
    observations : float array [N, features]
    actions : int array [N], or float array [N, dimensions]
    advantages : float array [N] or [n, N]
        Normalised to mean 0 and standard deviation 1 within each task, over all steps that were simulated,
        and divided by the relative chance to be kept; 0 in a task where all are equal. [n, N] where every
        step serves all n tasks.
    tasks : int array [N] or None
        None where every step serves all tasks.
    episodes : int array [N]
        Which episode a step belongs to; no two tasks share one, unless they share all.
    clusters : int array [N], optional
        Which copy of the environments a step was taken in: those of different tasks begin alike.
    deviations : float array [n], optional
        Standard deviation of each task's advantages before they were normalised, in units of its reward; 0
        where it paid the same at every step of episodes of one length, whatever a baseline misses.
    lengths : float array [n], optional
        Mean number of steps of an episode of each task, at most the horizon, as far as the simulated ones
        tell. Where none of them ended and no horizon is known, as many steps as were seen of one.
    chances : float array [N], optional
        How likely each step was kept, 1 where all that are simulated are as likely: what its advantages are
        divided by.

    Examples
    --------
    >>> from gradex import TaskSuite
    >>> from gradex.learners import ActorCritic, collect_transitions
    >>> suite = TaskSuite.make("cartpole", n=3)
    >>> agent = ActorCritic.initial(suite, seeds=[0])
    >>> transitions = collect_transitions(agent, suite, 100, copies=None, seed=0, gae_lambda=0.95)
    >>> len(transitions), transitions.observations.shape, transitions.actions.shape
    (300, (300, 4), (300,))
    """

    observations: Float[np.ndarray, "N features"]
    actions: Shaped[np.ndarray, "N ..."]
    tasks: Int[np.ndarray, " N"] | None = None
    episodes: Int[np.ndarray, " N"]
    clusters: Int[np.ndarray, " N"] | None = None
    deviations: Float[np.ndarray, " n"] | None = None
    lengths: Float[np.ndarray, " n"] | None = None
    chances: Float[np.ndarray, " N"] | None = None

    _BY_TASK = ("advantages", "deviations", "lengths")


def can_share(agent: ActorCritic, suite: TaskSuite) -> bool:
    """Tell whether steps of one task serve all: tasks differ in reward only, and the policy sees no task.

    Examples
    --------
    >>> from gradex import TaskSuite
    >>> from gradex.learners import ActorCritic, can_share
    >>> suites = [TaskSuite.make(name, n=3) for name in ("navigation", "cartpole")]
    >>> [can_share(ActorCritic.initial(suite, seeds=[0]), suite) for suite in suites]
    [True, False]
    """
    return suite.shared_dynamics and not agent.policy.network.sees_task and len(suite) > 1


def collect_transitions(
    agent: ActorCritic,
    suite: TaskSuite,
    steps_per_task: int,
    copies: int | None,
    seed: int,
    gae_lambda: float,
    sharing: str = "auto",
) -> Transitions:
    """Run a single policy in `copies` environments of every task and keep `steps_per_task` of the steps.

    Which steps are kept, and what advantages are measured against, `MetaPolicy.transitions` says. Every task
    is simulated until it has enough, and no further than the task whose environments reset most often needs.
    Where steps serve all tasks, the policy runs in the environments of one, and what the others would have
    paid makes them theirs.

    Parameters
    ----------
    agent : ActorCritic
        A stack of one.
    suite : TaskSuite
    steps_per_task, copies, seed, gae_lambda, sharing
        See `MetaPolicy.transitions`. None takes its default number of copies.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex import TaskSuite
    >>> from gradex.learners import ActorCritic, collect_transitions
    >>> suite = TaskSuite.make("cartpole", n=3)
    >>> agent = ActorCritic.initial(suite, seeds=[0])
    >>> transitions = collect_transitions(agent, suite, 50, copies=None, seed=0, gae_lambda=0.95)
    >>> np.bincount(transitions.tasks).tolist()
    [50, 50, 50]
    >>> bool(abs(transitions.advantages[transitions.tasks == 0].mean()) < 0.2)
    True
    """
    if steps_per_task < 2 or (copies is not None and copies < 1):
        raise ValueError(
            f"cannot keep {steps_per_task} steps of {copies} copies: ask for at least 2 steps and 1 copy"
        )
    if not 0 <= gae_lambda <= 1:
        raise ValueError(f"λ of the advantages is {gae_lambda}: choose a number from 0 to 1")
    if sharing not in ("auto", "none"):
        raise ValueError(f"sharing is {sharing!r}: choose 'auto' or 'none'")
    if copies is None:
        copies = int(np.clip(round(sqrt(steps_per_task / _STEPS_EACH)), *_COPIES))
    copies = min(copies, steps_per_task)  # of each a step is kept at least
    if sharing == "auto" and can_share(agent, suite):
        return _of_tasks(agent, suite, range(1), steps_per_task, copies, seed, gae_lambda, shared=True)
    together = suite.fitting(copies) or len(suite)
    tasks = range(len(suite))
    pieces: list[Transitions] = []
    for first in tasks[::together]:
        # Where not all tasks fit into memory, further ones have random numbers of their own.
        own = child(seed, "further tasks", first) if first else seed
        chosen = tasks[first : first + together]
        pieces.append(_of_tasks(agent, suite, chosen, steps_per_task, copies, own, gae_lambda))
    numbers = np.cumsum([0, *(piece.episodes.max() + 1 for piece in pieces)])
    joined = {
        name: np.concatenate([getattr(piece, name) for piece in pieces])
        for name in (
            "observations",
            "actions",
            "advantages",
            "tasks",
            "episodes",
            "clusters",
            "deviations",
            "lengths",
            "chances",
        )
    }
    joined["episodes"] += np.repeat(numbers[:-1], [len(piece) for piece in pieces])
    return Transitions(**joined)


def _of_tasks(
    agent: ActorCritic,
    suite: TaskSuite,
    chosen: Sequence[int],
    steps_per_task: int,
    copies: int,
    seed: int,
    gae_lambda: float,
    shared: bool = False,
) -> Transitions:
    """Collect the transitions of tasks that run at the same time; shared, those of one serve all."""
    count = _simulated_steps(suite, steps_per_task, copies)
    rollout = _by_task(_simulated(agent, suite, chosen, count, copies, seed), len(chosen))
    before = np.cumsum(rollout.ended, axis=0) - rollout.ended
    environments = np.arange(rollout.tasks.size).reshape(rollout.tasks.shape)
    episodes = before * rollout.tasks.size + environments
    rewards = _paid_by_all(suite, rollout) if shared else rollout.rewards
    advantages = cross_fitted_advantages(rollout, rewards, episodes, suite.discount, gae_lambda)
    largest, varies = np.abs(rewards).max(axis=(0, 2)), ~_paid_alike(rollout, rewards)
    pieces = []
    for place, task in enumerate(chosen):
        times, copy = np.nonzero(rollout.real[:, place])
        own = slice(None) if shared else slice(place, place + 1)
        # Advantages of preferences are sums of those of objectives, as rewards are.
        weights = suite.weights if shared and suite.linear else np.eye(len(largest[own]))
        chance = generator_for(seed, "kept steps", task).uniform()
        found = KeptSteps.of(
            advantages[times, own, copy].T, largest[own], weights, copy, steps_per_task, chance
        )
        # Of a task in which nothing varies the baseline's misses are left: nothing is at stake.
        found = replace(found, deviations=found.deviations * ((weights != 0) @ varies[own]))
        pieces.append((found, times[found.places], copy[found.places]))
    kept = tuple(
        np.concatenate(each)
        for each in (
            [times for _, times, _ in pieces],
            np.repeat(np.arange(len(chosen)), steps_per_task)[None],
            [copy for _, _, copy in pieces],
        )
    )
    each = np.concatenate([found.advantages for found, *_ in pieces], axis=0 if shared else 1)
    return Transitions(
        observations=rollout.observations[:-1].numpy()[kept],
        actions=rollout.actions.numpy()[kept],
        advantages=each if shared else each[0],
        tasks=None if shared else np.repeat(np.asarray(chosen), steps_per_task),
        episodes=episodes[kept],
        clusters=kept[2],
        deviations=np.concatenate([found.deviations for found, *_ in pieces]),
        lengths=np.repeat(_lengths(rollout, suite.horizon), len(each) if shared else 1),
        chances=np.concatenate([found.chances for found, *_ in pieces]),
    )


def _lengths(rollout: Rollout, horizon: int | None) -> Float[np.ndarray, " tasks"]:
    return np.array(
        [mean_length(rollout.real[:, i], rollout.ended[:, i], horizon) for i in range(rollout.real.shape[1])]
    )


def _paid_by_all(suite: TaskSuite, rollout: Rollout) -> Float[np.ndarray, "steps tasks environments"]:
    """Say what every task pays for the steps of one; a step that only resets pays nothing.

    Where rewards are sums of objectives, say what every objective pays.
    """
    paid = rollout.paid[:, 0]
    return np.moveaxis(paid, -1, 1) if suite.linear else np.moveaxis(suite.rewards(paid), 0, 1) * rollout.real


def _paid_alike(
    rollout: Rollout, rewards: Float[np.ndarray, "steps tasks environments"]
) -> Bool[np.ndarray, " tasks"]:
    """Say which tasks paid the same at every step of episodes that all end at the same times.

    No action was better than another there.
    """
    same_pay = (rewards == rewards[0, :, :1]) | ~rollout.real
    same_ends = rollout.ended == rollout.ended[..., :1]
    return (same_pay & same_ends).all(axis=(0, 2))


def _simulated_steps(suite: TaskSuite, steps_per_task: int, copies: int) -> int:
    """Count the steps of a task to simulate: more than are kept, but no more for it than whole episodes."""
    whole = copies * suite.horizon if suite.horizon else np.inf
    return max(steps_per_task, int(min(DEEPER * steps_per_task, whole)))


def _simulated(
    agent: ActorCritic, suite: TaskSuite, chosen: Sequence[int], steps_per_task: int, copies: int, seed: int
) -> Rollout:
    """Simulate until every task has enough steps; those that only reset do not count."""
    pieces: list[Rollout] = []
    missing = steps_per_task
    with closing(Collector(suite, [chosen], copies, [seed])) as collector, threads_for(copies * len(chosen)):
        while missing > 0:
            pieces.append(collector.collect(agent, -(-missing // copies)))
            real = np.concatenate([piece.real for piece in pieces]).sum(axis=0).reshape(len(chosen), copies)
            missing = steps_per_task - int(real.sum(axis=1).min())
    return Rollout.joined(pieces)


def _by_task(rollout: Rollout, n: int) -> Rollout:
    """Show the environments of a single policy as those of n policies, one for each task."""
    names = ["observations", "actions", "rewards", "terminated", "ended", "real"]
    names += ["objectives"] * (rollout.objectives is not None)
    arrays = {name: getattr(rollout, name) for name in names}
    parts = {name: each.reshape(len(each), n, -1, *each.shape[3:]) for name, each in arrays.items()}
    return Rollout(**parts, success=None, tasks=rollout.tasks.reshape(n, -1))
