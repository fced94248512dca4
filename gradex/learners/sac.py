"""Soft actor-critic of a whole stack of policies in one program (Haarnoja et al. 2018, arXiv 1812.05905)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Any

import torch
from torch import Tensor

from gradex.learners.actor_critic import ActorCritic, build_network, seeing
from gradex.learners.learner import (
    Job,
    Learner,
    SimulatedTraining,
    Training,
    update_device,
)
from gradex.learners.replay import Replay, ReplayBatch
from gradex.learners.returns import RunningReturns
from gradex.learners.rollouts import Rollout
from gradex.learners.soft_updates import SoftUpdates, squashed_gaussian
from gradex.policies import Policy, SquashedGaussian, Twin
from gradex.seeds import Streams
from gradex.settings import check_finite, check_positive
from gradex.tasks import TaskSuite

#: Branches of a seed below this one are taken: weights, actions.
_ROUNDS = 3
#: Parameters beside which `threads_for` counts samples: an actor and a critic of four layers of 64.
_USUAL = 18_000
#: How often an update passes through its networks for each time that one of PPO does.
_PASSES = 2


@Learner.register
@dataclass(frozen=True)
class SAC(Learner):
    """Settings of soft actor-critic, and the training that they describe.

    There are `updates` updates after every `steps` steps of all `copies` environments of a policy's
    tasks: by default 1 update per environment step for a single task, 1 in 10 steps for ten tasks.

    Attributes
    ----------
    steps : int
        Steps of every environment between updates. One on which it is only reset counts, too.
    copies : int
        Environments per task.
    updates : int
        Updates after these steps, each on a batch of its own.
    batch : int
        Samples per policy and update, equally many of each of its tasks; rounded up to that.
    learning_rate : float
        Of Adam, for actors, critics and temperatures.
    tau : float
        τ: how far target critics move towards the critics at each update.
    start : int
        Steps per task that are taken before the first update.
    capacity : int
        Steps per policy and task that are remembered.
    target_entropy : float, optional
        Entropy that each task's temperature aims at, in nats of actions scaled to [-1, 1]; by default minus
        their number.
    temperature : float
        α of every task at the start, in units of the deviation of its returns.
    reward_scale : float
        Rewards, in units of the deviation of their task's returns before the first update, are multiplied by
        it before anything learns from them.
    max_norm : float, optional
        The gradients of each policy's actor and critics are scaled down to this norm.

    Notes
    -----
    Where we depart from the paper:

    1. Each task has a temperature of its own, and gives the same share of every batch.
    2. Before the first update the policy itself acts, with the small last layer that it starts with: tanh of
       a standard normal number, which is close to uniform. A policy that is trained on acts as it has learnt.
    3. Rewards are divided by the deviation of their task's discounted sums before the first update, so that
       units do not matter; a task that has paid nothing until then is scaled when it first pays, and one
       whose sums outgrow thirty deviations is scaled by a thirtieth of the largest.

    Examples
    --------
    >>> from gradex import SAC, MetaPolicy, TaskSuite
    >>> suite = TaskSuite.make("navigation", n=3)
    >>> meta = MetaPolicy(suite, learner=SAC(batch=60))
    >>> meta.learner.name
    'sac'
    >>> type(meta.initial(seeds=[0]).policy.distribution).__name__
    'SquashedGaussian'
    """

    name = "sac"
    anneals = False

    steps: int = 1
    copies: int = 8
    updates: int = 8
    batch: int = 256
    learning_rate: float = 3e-4
    tau: float = 0.005
    start: int = 500
    capacity: int = 100_000
    target_entropy: float | None = None
    temperature: float = 1.0
    reward_scale: float = 1.0
    max_norm: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers = ["steps", "copies", "updates", "batch", "learning_rate", "temperature"]
        for setting in [*numbers, "reward_scale", *["max_norm"] * (self.max_norm is not None)]:
            check_positive(setting, getattr(self, setting))
        entropy = ["target_entropy"] * (self.target_entropy is not None)
        for setting in ["learning_rate", "temperature", "reward_scale", *entropy]:
            check_finite(setting, getattr(self, setting))
        if not 0 < self.tau <= 1:
            raise ValueError(f"tau is {self.tau}: choose above 0 and at most 1")
        if self.capacity < max(self.start, self.steps * self.copies):
            raise ValueError(
                f"capacity={self.capacity} is too small for start={self.start} and "
                f"rounds of {self.steps * self.copies} steps per task: raise it"
            )

    def initial(
        self, suite: TaskSuite, seeds: Sequence[int], layers: int = 4, width: int = 64, network: str = "mlp"
    ) -> ActorCritic:
        """Make one fresh squashed Gaussian policy per seed, with twin critics and their targets."""
        distribution = SquashedGaussian.of(suite.action_space)
        policy = Policy(build_network(network, suite, distribution.outputs, layers, width), distribution)
        judge = build_network(
            seeing(network), suite, 1, layers, width, gain=1.0, actions=distribution.dimensions
        )
        critic = Twin(judge)
        streams = Streams(seeds, branch=0)
        actors, critics = policy.initial(streams), critic.initial(streams)
        log_temperature = actors.new_full((len(seeds), len(suite)), log(self.temperature))
        more = {"target_critics": critics.clone(), "log_temperature": log_temperature}
        unknown = actors.new_zeros(len(seeds), len(suite))
        return ActorCritic(policy, critic, actors, critics, unknown, unknown.clone(), more)

    def round_steps(self, suite: TaskSuite, subsets: Sequence[Sequence[int]]) -> int:
        return self.steps * self.copies * sum(len(subset) for subset in subsets)

    def environments(self, tasks: int) -> int:
        return self.copies * tasks

    def begin(self, job: Job) -> Training:
        sizes = sorted({len(subset) for subset in job.subsets})
        if len(sizes) > 1:
            raise ValueError(
                f"soft actor-critics of {sizes[0]} and of {sizes[-1]} tasks do not train in one stack: "
                "make a stack for each size, as train_each does"
            )
        squashed_gaussian(job.agent)  # refuses other policies
        # A training that can be resumed may go on until it learns.
        if not job.resumable and job.rounds * self.steps * self.copies < self.start:
            least = -(-self.start // (self.steps * self.copies)) * job.round_steps
            raise ValueError(
                f"{job.rounds * job.round_steps} environment steps end before the first update, which comes "
                f"after {self.start} of each task: ask for at least {least}, or choose a smaller "
                "start"
            )
        return _Training(self, job)


class _Training(SimulatedTraining):
    """Updates on a device, a replay beside them, and a simulator that goes on."""

    def __init__(self, settings: SAC, job: Job) -> None:
        super().__init__(job, settings.copies)
        self._settings, discount, tasks = settings, job.suite.discount, len(job.subsets[0])
        agent = job.agent.to(update_device())
        self._distribution = squashed_gaussian(agent)
        dimensions, wanted = self._distribution.dimensions, settings.target_entropy
        self._updates = SoftUpdates(
            agent,
            torch.tensor([list(subset) for subset in job.subsets], device=agent.actors.device),
            -(-settings.batch // tasks),
            settings.learning_rate,
            discount,
            settings.tau,
            -float(dimensions) if wanted is None else wanted,
            settings.max_norm,
        )
        whole = job.rounds * settings.steps * settings.copies
        capacity = settings.capacity if job.resumable else min(settings.capacity, whole)
        features = job.suite.observation_space.shape[0]
        self._replay = Replay(len(job.subsets), tasks, capacity, features, dimensions, agent.actors)
        self._acting = job.agent.to("cpu")
        known = settings.reward_scale * self._acting.return_scale.double().numpy()
        self._returns = RunningReturns(self.layout, discount, known)
        size = agent.actors.numel() + agent.critics.numel()
        self.batch_size = _PASSES * self._updates.tasks.shape[1] * size // _USUAL

    def run_round(self, number: int, steps: int) -> None:
        settings, updates = self._settings, self._updates
        acting = replace(self._acting, actors=updates.actors.rows.cpu())
        rollout = self.collector.collect(acting, settings.steps)
        self._remember(rollout)
        self._returns.update(rollout)
        learns = (number + 1) * settings.steps * settings.copies >= settings.start
        if learns:
            self._returns.keep()
        scale = torch.from_numpy(self._returns.scale).to(acting.return_scale)
        self._acting = replace(acting, return_scale=scale / settings.reward_scale)
        if learns:
            self._learn(Streams(self.job.seeds, _ROUNDS + number))
        self.episodes.update(rollout, steps, updates.explained_variance(len(self.job.suite)))

    def _remember(self, rollout: Rollout) -> None:
        """Put a rollout into the replay, what only resets an environment left out."""
        like = self._updates.actors.rows

        def rings(array: Tensor) -> Tensor:
            """Order [steps, policies, environments, ...] as [policies, tasks, new, ...], from old to new."""
            by_task = array.unflatten(2, (-1, self._settings.copies))
            return by_task.movedim(0, 2).flatten(2, 3).to(like.device)

        steps = ReplayBatch(
            rings(rollout.observations[:-1]),
            rings(rollout.observations[1:]),
            rings(self._distribution.squashed(rollout.actions)),
            rings(torch.from_numpy(rollout.rewards).to(like.dtype)),
            rings(torch.from_numpy(rollout.terminated).to(like.dtype)),
        )
        self._replay.insert(steps, rings(torch.from_numpy(rollout.real)))

    def _learn(self, streams: Streams) -> None:
        """Make the updates of one round, whose random numbers are drawn at once."""
        updates, count = self._updates, self._settings.updates
        tasks, samples = len(self.job.subsets[0]), updates.tasks.shape[1]
        like = updates.actors.rows
        scale = self._acting.return_scale.to(like).gather(1, updates.tasks)
        places = torch.from_numpy(streams.uniforms(count, tasks, samples // tasks)).to(like.device)
        noise = torch.from_numpy(streams.normals(count, 2, samples, self._distribution.dimensions)).to(like)
        for place, each in zip(places.unbind(dim=1), noise.unbind(dim=1), strict=True):
            batch = self._replay.draw(place)
            updates.update(replace(batch, rewards=batch.rewards / scale), each)

    @property
    def agent(self) -> ActorCritic:
        return replace(self._updates.agent(), return_scale=self._acting.return_scale).to("cpu")

    @property
    def moving(self) -> list[Tensor]:
        return [self._updates.actors.rows, self._updates.critics.rows, self._updates.log_temperature.rows]

    @property
    def parts(self) -> Mapping[str, Any]:
        own = {"updates": self._updates, "replay": self._replay, "returns": self._returns}
        return {**super().parts, **own}

    def state(self) -> dict[str, Tensor]:
        return super().state() | {"return_scale": self._acting.return_scale}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        super().restore(state)
        self._acting = replace(self._acting, return_scale=state["return_scale"])
