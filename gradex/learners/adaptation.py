"""Adaptation of each policy of a stack to a task of its own, by policy gradient (Finn et al. 2017)."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradex.learners.actor_critic import ActorCritic
from gradex.learners.advantages import baseline_advantages, unit_of
from gradex.learners.batch import Batch
from gradex.learners.rollouts import Collector, Rollout
from gradex.policies import Policy
from gradex.seeds import Streams
from gradex.settings import check_finite, check_positive, plain_fields
from gradex.tasks import TaskSuite
from gradex.tensors import without_autocast
from gradex.threads import one_thread

#: Steps of all rows that are held at a time, where only returns are kept: about a kilobyte each.
_HELD = 2**17


@dataclass(frozen=True)
class Adaptation:
    """Settings of the steps that adapt a policy to a task, and the steps themselves.

    Any policy can be adapted, whichever learner trained it.

    Attributes
    ----------
    trajectories : int
        Environments of each row: every step sees a fresh trajectory of each, as long as the horizon.
    rate : float
        α, the size of the first step.
    slowing : float, optional
        s: step t, from 0 on, has the size α / (1 + t / s). By default all steps have the same.
    gae_lambda : float
        λ of generalised advantage estimation.

    Examples
    --------
    >>> from gradex import TaskSuite
    >>> from gradex.learners import ActorCritic, Adaptation
    >>> suite = TaskSuite.make("navigation", n=3)
    >>> start = ActorCritic.initial(suite, seeds=[0])
    >>> returns = Adaptation(trajectories=2).returns(start, suite, [0, 1, 2, 2], range(4), 10, at=(0, 1, 10))
    >>> returns.shape
    (3, 4)
    """

    trajectories: int = 5
    rate: float = 0.3
    slowing: float | None = None
    gae_lambda: float = 0.95

    def __post_init__(self) -> None:
        plain_fields(self)
        if self.trajectories < 1:
            raise ValueError(f"trajectories is {self.trajectories}: ask for at least 1")
        check_positive("rate", self.rate)
        check_finite("rate", self.rate)
        check_finite("gae_lambda", self.gae_lambda, least=0, most=1)
        if self.slowing is not None:
            check_positive("slowing", self.slowing)

    def size(self, step: int) -> float:
        """Give the size of a step, numbered from 0."""
        return self.rate if self.slowing is None else self.rate / (1 + step / self.slowing)

    def phases(
        self,
        agent: ActorCritic,
        suite: TaskSuite,
        tasks: Sequence[int],
        seeds: Sequence[int],
        updates: int,
        once: bool = False,
    ) -> Iterator["Phase"]:
        """Act, adapt, and act again, each row in its own task, in one simulator.

        Every row has a task, a seed and a policy, unless a single one starts from all tasks; a row adapts to
        the same parameters in any company. Gives what the rows met after 0, 1, ..., `updates` steps; `once`
        if the steps alone learn from it, not somebody else later.
        """
        if updates < 0:
            raise ValueError(f"inner steps={updates} is too small: give at least 0")
        _check_rows(agent, tasks)
        agent = agent if len(agent) == len(tasks) else agent.repeat(len(tasks))
        length, streams = trajectory_length(suite), Streams(seeds, branch=3)
        each = [[int(task)] for task in tasks]
        with closing(Collector(suite, each, self.trajectories, draw_seeds(streams).tolist())) as collector:
            for step in range(updates + 1):
                if step:
                    collector.renew(draw_seeds(streams).tolist())
                met = collector.collect(agent, length)
                phase = Phase(agent, met, suite.discount, self.gae_lambda, once)
                yield phase
                if step < updates:
                    moved = policy_gradient_step(agent.policy, agent.actors, phase.batch, self.size(step))
                    agent = replace(agent, actors=moved)
                del met, phase  # the next rollout is made before this one would be let go

    @torch.inference_mode(False)  # or nothing that is met could be differentiated
    def returns(
        self,
        agent: ActorCritic,
        suite: TaskSuite,
        tasks: Sequence[int],
        seeds: Sequence[int],
        updates: int,
        at: Sequence[int] | None = None,
    ) -> Float[np.ndarray, "times rows"]:
        """Adapt, and give the mean return of each row along the way; what is learned from is not kept.

        A return is that of the first episode of each trajectory, so that short episodes count as often as
        long ones. Memory is bounded: rows go through all steps in stacks of so many as fit.

        See `phases`. `at` says after how many steps to tell, by default after 0, 1, ..., `updates`.
        """
        told = list(range(updates + 1)) if at is None else [int(step) for step in at]
        if unknown := [step for step in told if not 0 <= step <= updates]:
            raise ValueError(f"there are no returns after {unknown[0]} of {updates} steps")
        _check_rows(agent, tasks)
        together = max(1, _HELD // (self.trajectories * trajectory_length(suite)))
        together = min(together, suite.fitting(self.trajectories) or together)
        pieces = []
        with one_thread():
            for start in range(0, len(tasks), together):
                rows = slice(start, start + together)
                own = agent if len(agent) == 1 else agent[rows]
                met = self.phases(own, suite, tasks[rows], seeds[rows], updates, once=True)
                # Not a comprehension: its variable would hold a phase while the next one is made.
                pieces.append(np.stack([*map(_returns_of, met)]))
        return np.concatenate(pieces, axis=1)[told]


@dataclass(frozen=True)
class Phase:
    """What a stack met between two steps of adaptation; `once` if nobody but `agent` learns from it."""

    agent: ActorCritic
    rollout: Rollout
    discount: float
    gae_lambda: float
    once: bool = False

    @cached_property
    def batch(self) -> Batch:
        """What the next step learns from it."""
        advantages = baseline_advantages(self.rollout, self.discount, self.gae_lambda)
        advantages /= unit_of(self.rollout.rewards, (0, 2))
        return Batch.of(self.agent, self.rollout, advantages, once=self.once)


@torch.inference_mode(False)
@torch.enable_grad()
@without_autocast()
def policy_gradient_step(
    policy: Policy, actors: Float[Tensor, "rows p"], batch: Batch, rate: float, second: bool = False
) -> Float[Tensor, "rows p"]:
    """Take one policy-gradient step, θ + α ∇_θ mean of π_θ(a|s) / π_θo(a|s) Â (Finn et al. 2017, Alg. 3).

    `actors` are θ, `rate` is α, and θo drew the actions. At θ = θo the gradient is the policy gradient, and
    its own gradient the low-variance curvature of ProMP (Rothfuss et al. 2019, Sec. 5). With log π Â in place
    of the ratio the credit for how the policy explores would be lost. If `second`, the step can be
    differentiated through, its gradient too.
    """
    if second:
        gradient = _policy_gradient(policy, actors, batch, second)
    else:
        pieces = batch.few_at_a_time()
        gradient = torch.cat([_policy_gradient(policy, actors[rows], own) for rows, own in pieces])
    return actors + rate * gradient


def _policy_gradient(
    policy: Policy, actors: Float[Tensor, "rows p"], batch: Batch, second: bool = False
) -> Float[Tensor, "rows p"]:
    start = actors if second else actors.detach().clone().requires_grad_()
    surrogate = (batch.weights * batch.ratio(policy, start) * batch.advantages).sum()
    return torch.autograd.grad(surrogate, start, create_graph=second)[0]


def _check_rows(agent: ActorCritic, tasks: Sequence[int]) -> None:
    if len(agent) not in (1, len(tasks)):
        raise ValueError(f"{len(agent)} policies for {len(tasks)} tasks: give one each, or a single one")


def _returns_of(phase: Phase) -> Float[np.ndarray, " rows"]:
    return first_returns(phase.rollout)


def first_returns(rollout: Rollout) -> Float[np.ndarray, " policies"]:
    """Give the mean over environments of what the first episode of each paid."""
    earlier = np.zeros_like(rollout.ended)
    earlier[1:] = np.logical_or.accumulate(rollout.ended[:-1], axis=0)
    return (rollout.rewards * ~earlier).sum(axis=0).mean(axis=1)


def trajectory_length(suite: TaskSuite) -> int:
    """Give the steps of a trajectory: a whole episode where none ends early."""
    if suite.horizon is None:
        raise ValueError(
            f"the horizon of {suite.family!r} is not known: give its environments a time limit, for instance "
            "gymnasium.wrappers.TimeLimit"
        )
    return suite.horizon


def draw_seeds(streams: Streams, *shape: int) -> Int[np.ndarray, "streams *shape"]:
    """Draw seeds."""
    return (streams.uniforms(*shape) * 2**52).astype(np.int64)
