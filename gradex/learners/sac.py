"""Soft actor-critic of a whole stack of policies in one program (Haarnoja et al. 2018, arXiv 1812.05905)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import log
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gradex.learners.actor_critic import ActorCritic, built, seeing
from gradex.learners.continuation import Continuation, configuration
from gradex.learners.devices import update_device
from gradex.learners.learner import Learner, check_positive
from gradex.learners.progress import steps_bar
from gradex.learners.replay import Replay, Steps
from gradex.learners.returns import EpisodeReturns, RunningReturns
from gradex.learners.rollouts import Collector, Rollout
from gradex.learners.soft_updates import SoftUpdates, squashed_gaussian
from gradex.policies import Policy, SquashedGaussian, Twin
from gradex.seeds import Streams
from gradex.tasks import TaskSuite
from gradex.threads import threads_for

#: Branches of a seed below this one are taken: weights, actions.
_ROUNDS = 3
#: Parameters beside which `threads_for` counts samples: an actor and a critic of four layers of 64.
_USUAL = 18_000
#: How often an update passes through its networks for each time that one of PPO does.
_PASSES = 2


@dataclass(frozen=True)
class SAC(Learner):
    """Settings of soft actor-critic, and the training that they describe.

    There are `updates` updates after every `steps` steps of all `copies` environments of a policy's tasks, so
    the update ratio is updates / (steps * copies * tasks): 1 update per environment step for a single task
    by default, 1 in 10 steps for ten tasks.

    Attributes
    ----------
    steps : int
        Steps of every environment between updates.
    copies : int
        Environments per task.
    updates : int
        Updates after these steps, each on a batch of its own.
    batch : int
        Samples per policy and update, equally many of each of its tasks; rounded up to that.
    learning_rate : float
        Of Adam, for actors, critics and temperatures.
    smoothing : float
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

    steps: int = 1
    copies: int = 8
    updates: int = 8
    batch: int = 256
    learning_rate: float = 3e-4
    smoothing: float = 0.005
    start: int = 500
    capacity: int = 100_000
    target_entropy: float | None = None
    temperature: float = 1.0
    reward_scale: float = 1.0
    max_norm: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers = ("steps", "copies", "updates", "batch", "learning_rate", "temperature", "reward_scale")
        for setting in numbers:
            check_positive(setting, getattr(self, setting))
        if self.max_norm is not None:
            check_positive("max_norm", self.max_norm)
        if not 0 < self.smoothing <= 1:
            raise ValueError(f"smoothing is {self.smoothing}: choose above 0 and at most 1")
        if self.capacity < max(self.start, self.steps * self.copies):
            raise ValueError(
                f"a capacity of {self.capacity} is too small for start={self.start} and rounds of "
                f"{self.steps * self.copies} steps per task: raise it"
            )

    def initial(
        self, suite: TaskSuite, seeds: Sequence[int], layers: int = 4, width: int = 64, network: str = "mlp"
    ) -> ActorCritic:
        """Make one fresh squashed Gaussian policy per seed, with twin critics and their targets."""
        distribution = SquashedGaussian.of(suite.action_space)
        policy = Policy(built(network, suite, distribution.outputs, layers, width), distribution)
        judge = built(seeing(network), suite, 1, layers, width, gain=1.0, actions=distribution.dimensions)
        critic = Twin(judge)
        streams = Streams(seeds, branch=0)
        actors, critics = policy.initial(streams), critic.initial(streams)
        log_temperature = torch.full((len(seeds), len(suite)), log(self.temperature))
        more = {"target_critics": critics.clone(), "log_temperature": log_temperature}
        unknown = torch.zeros(len(seeds), len(suite))
        return ActorCritic(policy, critic, actors, critics, unknown, unknown.clone(), more)

    def round_steps(self, suite: TaskSuite, subsets: Sequence[Sequence[int]]) -> int:
        return self.steps * self.copies * sum(len(subset) for subset in subsets)

    def environments(self, tasks: int) -> int:
        return self.copies * tasks

    def train(
        self,
        agent: ActorCritic,
        suite: TaskSuite,
        subsets: Sequence[Sequence[int]],
        steps: int,
        seeds: Sequence[int],
        description: str | None = None,
        observe: Callable[[int, ActorCritic], object] | None = None,
        folder: str | Path | None = None,
        checkpoint_steps: int = 100_000,
    ) -> tuple[ActorCritic, pd.DataFrame]:
        """Train policy p of the stack on the tasks `subsets[p]`, all policies together; see `Learner.train`.

        Subsets of one stack must be of one size. In a `folder` the replay is kept too, and a later call with
        more `steps` goes on further.
        """
        _check(agent, subsets, steps)
        per_round, rounds = self.round_steps(suite, subsets), self.rounds(suite, subsets, steps)
        # In a folder it may go on.
        if folder is None and rounds * self.steps * self.copies < self.start:
            least = -(-self.start // (self.steps * self.copies)) * per_round
            raise ValueError(
                f"{steps} environment steps end before the first update, which comes after {self.start} of "
                f"each task: ask for at least {least}, or choose a smaller start"
            )
        kept = Continuation(
            folder,
            lambda: configuration(self, agent, suite, subsets, seeds),
            rounds,
            per_round,
            checkpoint_steps,
        )
        learning = agent.to(update_device())
        updates = self._updates(learning, suite, subsets)
        replay = self._replay(learning, suite, subsets, None if folder else rounds)
        if kept.state is not None:
            updates.restore(kept.state)
            replay.restore(kept.state)
            if kept.finished:
                scale = kept.state["return_scale"]
                return replace(updates.agent(), return_scale=scale).to("cpu"), kept.whole()
        collector = Collector(suite, subsets, self.copies, kept.seeds(seeds))
        episodes = EpisodeReturns(collector.layout, len(suite))
        acting = agent.to("cpu")
        known = self.reward_scale * acting.return_scale.double().numpy()
        returns = RunningReturns(collector.layout, suite.discount, known)
        if kept.state is not None:
            returns.restore({name: kept.state[f"returns.{name}"] for name in returns.state()})
            acting = replace(acting, return_scale=kept.state["return_scale"])

        def trained() -> ActorCritic:
            return replace(updates.agent(), return_scale=acting.return_scale).to("cpu")

        def state() -> dict[str, Tensor]:
            counted = {f"returns.{name}": tensor for name, tensor in returns.state().items()}
            return updates.state() | replay.state() | counted | {"return_scale": acting.return_scale}

        bar = steps_bar(rounds * per_round, description)
        with bar, threads_for(_PASSES * updates.samples * updates.size // _USUAL):
            bar.update(kept.begun * per_round)
            for iteration in range(kept.begun, rounds):
                done = (iteration + 1) * per_round
                acting = replace(acting, actors=updates.actors.cpu())
                rollout = collector.collect(acting, self.steps)
                learns = (iteration + 1) * self.steps * self.copies >= self.start
                returns.update(rollout)
                if learns:
                    returns.keep()
                scale = torch.from_numpy(returns.scale).to(acting.return_scale)
                acting = replace(acting, return_scale=scale / self.reward_scale)
                self._remember(replay, rollout, updates)
                if learns:
                    self._learn(updates, replay, acting, Streams(seeds, _ROUNDS + iteration))
                episodes.update(rollout, done, updates.explained_variance(len(suite)))
                bar.update(per_round)
                if observe is not None:
                    observe(done, trained())
                kept.visit(iteration + 1, state, episodes.to_frame)
        collector.close()
        return trained(), kept.whole(episodes.to_frame())

    # ------------------------------------------------------------------ what a training is made of
    def _updates(self, agent: ActorCritic, suite: TaskSuite, subsets: Sequence[Sequence[int]]) -> SoftUpdates:
        usual = -float(squashed_gaussian(agent).dimensions)
        return SoftUpdates(
            agent,
            torch.tensor([list(subset) for subset in subsets], device=agent.actors.device),
            -(-self.batch // len(subsets[0])),
            self.learning_rate,
            suite.discount,
            self.smoothing,
            usual if self.target_entropy is None else self.target_entropy,
            self.max_norm,
        )

    def _replay(
        self, agent: ActorCritic, suite: TaskSuite, subsets: Sequence[Sequence[int]], rounds: int | None
    ) -> Replay:
        """Make room for so many rounds, or for as many as are remembered."""
        capacity = self.capacity
        if rounds is not None:
            capacity = min(capacity, rounds * self.steps * self.copies)
        features, dimensions = suite.observation_space.shape[0], squashed_gaussian(agent).dimensions
        return Replay(len(subsets), len(subsets[0]), capacity, features, dimensions, agent.actors)

    def _remember(self, replay: Replay, rollout: Rollout, updates: SoftUpdates) -> None:
        """Put a rollout into the replay, what only resets an environment left out."""

        def rings(array: Tensor) -> Tensor:
            """Order [steps, policies, environments, ...] as [policies, tasks, new, ...], from old to new."""
            return array.unflatten(2, (-1, self.copies)).movedim(0, 2).flatten(2, 3).to(updates.actors.device)

        def numbers(array: np.ndarray) -> Tensor:
            return rings(torch.from_numpy(array).to(updates.actors.dtype))

        steps = Steps(
            rings(rollout.observations[:-1]),
            rings(rollout.observations[1:]),
            rings(updates.distribution.squashed(rollout.actions)),
            numbers(rollout.rewards),
            numbers(rollout.terminated),
        )
        replay.insert(steps, rings(torch.from_numpy(rollout.real)))

    def _learn(self, updates: SoftUpdates, replay: Replay, agent: ActorCritic, streams: Streams) -> None:
        """Make the updates of one round, whose random numbers are drawn at once."""
        scale = agent.return_scale.to(updates.actors).gather(1, updates.task_of_sample)
        places = streams.uniforms(self.updates, updates.tasks, updates.samples // updates.tasks)
        noise = streams.normals(self.updates, 2, updates.samples, updates.distribution.dimensions)
        drawn = torch.from_numpy(places).to(updates.actors.device), torch.from_numpy(noise).to(updates.actors)
        for place, each in zip(*(numbers.unbind(dim=1) for numbers in drawn), strict=True):
            steps = replay.draw(place)
            updates.update(replace(steps, rewards=steps.rewards / scale), each)


def _check(agent: ActorCritic, subsets: Sequence[Sequence[int]], steps: int) -> None:
    if steps < 1:
        raise ValueError(f"cannot train for {steps} environment steps: ask for at least 1")
    sizes = sorted({len(subset) for subset in subsets})
    if not sizes or sizes[0] == 0 or len(subsets) != len(agent):
        raise ValueError(
            f"{len(agent)} policies have {len(subsets)} subsets, of {sizes} tasks: give each policy one that "
            "is not empty"
        )
    if len(sizes) > 1:
        raise ValueError(
            f"soft actor-critics of {sizes[0]} and of {sizes[-1]} tasks do not train in one stack: "
            "make a stack for each size, as train_each does"
        )
    squashed_gaussian(agent)
