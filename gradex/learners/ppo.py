"""Proximal policy optimisation of a whole stack of policies in one program (Schulman et al. 2017)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradex.learners.actor_critic import ActorCritic
from gradex.learners.adam import Adam
from gradex.learners.devices import update_device
from gradex.learners.learner import Learner, check_positive
from gradex.learners.progress import steps_bar
from gradex.learners.returns import EpisodeReturns, ReturnScale
from gradex.learners.rollouts import Collector, Layout, Rollout, discounted_advantages
from gradex.learners.threads import threads_for
from gradex.learners.training_folder import Continuation, configuration
from gradex.learners.transitions import Transitions, collect_transitions, critic_advantages
from gradex.policies import ActionDistribution, Bound, Memory
from gradex.streams import Streams
from gradex.tasks import TaskSuite

#: Samples of all policies together, and at least of each, that are evaluated at a time.
_CACHED, _LEAST = 2**11, 2**8


@dataclass(frozen=True)
class PPO(Learner):
    """Settings of PPO, and the training that they describe.

    Attributes
    ----------
    steps : int
        Length of a rollout, in steps of every environment.
    copies : int
        Environments per task.
    epochs, minibatches : int
        Passes over a rollout, and pieces of a pass.
    learning_rate : float
        Of Adam; falls linearly towards a tenth over the training.
    trace : float
        λ of generalised advantage estimation.
    clip : float
        ε of the clipped ratio.
    entropy, value : float
        Weights of the entropy bonus and of the critic's squared error.
    max_norm : float
        The gradient of each policy is scaled down to this norm.
    standardise : {"policy", "task"}
        Advantages of a rollout are brought to mean 0 and standard deviation 1 over all samples of a policy,
        or over those of each of its tasks, so that all tasks pull equally hard whatever they pay.
    """

    name = "ppo"

    steps: int = 128
    copies: int = 8
    epochs: int = 4
    minibatches: int = 16
    learning_rate: float = 1e-3
    trace: float = 0.95
    clip: float = 0.2
    entropy: float = 0.005
    value: float = 0.5
    max_norm: float = 0.5
    standardise: str = "policy"

    def __post_init__(self) -> None:
        super().__post_init__()
        for setting in ("steps", "copies", "epochs", "minibatches", "learning_rate", "max_norm"):
            check_positive(setting, getattr(self, setting))
        if self.standardise not in ("policy", "task"):
            raise ValueError(f"standardise is {self.standardise!r}: choose 'policy' or 'task'")
        if self.steps % self.minibatches:
            raise ValueError(
                f"{self.minibatches} minibatches do not divide {self.steps} steps: choose a divisor"
            )

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
        learning_rates: Sequence[float] | None = None,
        description: str | None = None,
        observe: Callable[[int, ActorCritic], object] | None = None,
        folder: str | Path | None = None,
        checkpoint_steps: int = 100_000,
    ) -> tuple[ActorCritic, pd.DataFrame]:
        if steps < 1:
            raise ValueError(f"cannot train for {steps} environment steps: ask for at least 1")
        per_rollout, rollouts = self.round_steps(suite, subsets), self.rounds(suite, subsets, steps)
        each = [self.learning_rate] * len(agent) if learning_rates is None else list(learning_rates)
        rates = torch.tensor(each, dtype=agent.actors.dtype)
        kept = Continuation(
            folder,
            # The learning rate depends on how long the training is.
            lambda: configuration(self, agent, suite, subsets, seeds, each, steps=rollouts * per_rollout),
            rollouts,
            per_rollout,
            checkpoint_steps,
        )
        parameters = torch.cat([agent.actors, agent.critics], dim=1).to(update_device())
        optimiser = Adam(parameters)

        def moved(agent: ActorCritic) -> ActorCritic:
            """Give the policies as updates have left them, to act with."""
            actors, critics = parameters.cpu().split([agent.policy.size, agent.critic.size], dim=1)
            return replace(agent, actors=actors, critics=critics)

        def state() -> dict[str, Tensor]:
            counted = {f"scale.{name}": tensor for name, tensor in scale.state().items()}
            own = {"parameters": parameters, "return_scale": agent.return_scale}
            return own | optimiser.state() | counted

        agent = agent.to("cpu")
        collector = Collector(suite, subsets, self.copies, kept.seeds(seeds))
        streams = Streams(kept.seeds(seeds), branch=2)
        scale = ReturnScale(collector.layout, suite.discount, agent.return_scale.numpy())
        episodes = EpisodeReturns(collector.layout, len(suite))
        if kept.state is not None:
            parameters.copy_(kept.state["parameters"])
            optimiser.restore(kept.state)
            scale.restore({name: kept.state[f"scale.{name}"] for name in scale.state()})
            agent = replace(moved(agent), return_scale=kept.state["return_scale"])
        bar = steps_bar(rollouts * per_rollout, description)
        with bar, threads_for(per_rollout // self.minibatches):
            bar.update(kept.begun * per_rollout)
            for iteration in range(kept.begun, rollouts):
                rollout = collector.collect(agent, self.steps)
                if iteration + 1 < rollouts:
                    collector.begin_resets()
                episodes.update(rollout, (iteration + 1) * per_rollout)
                agent = replace(
                    agent, return_scale=torch.from_numpy(scale.update(rollout)).to(agent.return_scale)
                )
                rate = rates * (1 - 0.9 * iteration / rollouts)
                self._improve(agent, rollout, collector.layout, suite.discount, streams, optimiser, rate)
                agent = moved(agent)
                bar.update(per_rollout)
                if observe is not None:
                    observe((iteration + 1) * per_rollout, agent.clone())
                kept.visit(iteration + 1, state, episodes.to_frame)
        collector.close()
        # Rows of the working matrix hold actor and critic side by side; what leaves is contiguous and nobody
        # else's.
        return agent.clone(), kept.whole(None if kept.finished else episodes.to_frame())

    def transitions(
        self, agent: ActorCritic, suite: TaskSuite, steps_per_task: int, copies: int, seed: int
    ) -> Transitions:
        def advantages_of(rollout: Rollout) -> Float[np.ndarray, "steps environments"]:
            return critic_advantages(agent, rollout, suite.discount, self.trace)

        return collect_transitions(agent, suite, steps_per_task, copies, seed, advantages_of)

    def _improve(
        self,
        agent: ActorCritic,
        rollout: Rollout,
        layout: Layout,
        discount: float,
        streams: Streams,
        optimiser: Adam,
        rate: Tensor,
    ) -> None:
        """Take the epochs of one rollout; `optimiser` holds the parameters."""
        batch = _Batch.of(agent, rollout, discount, self.trace, self.standardise)
        batch = batch.to(optimiser.parameters.device)
        padding = np.repeat(~layout.real, self.steps, axis=1)
        actors, critics = optimiser.parameters.split([agent.policy.size, agent.critic.size], dim=1)
        (actor, own), critic = agent.policy.bind(actors), agent.critic.bind(critics)
        distribution, memory = agent.policy.distribution, Memory()
        for _ in range(self.epochs):
            keys = streams.uniforms(padding.shape[1])
            for piece in batch.pieces(np.where(padding, np.inf, keys), self.minibatches):
                outputs, to_actor = actor.vjp(piece.observations, piece.tasks)
                values, to_critic = critic.vjp(piece.observations, piece.tasks)
                leaves = [leaf.detach().requires_grad_() for leaf in (outputs, values, *own.values())]
                named = dict(zip(own, leaves[2:], strict=True))
                loss = self._loss(distribution, leaves[0], named, leaves[1].squeeze(-1), piece)
                of_outputs, of_values, *of_own = torch.autograd.grad(loss.sum(), leaves)
                gradient = torch.cat(
                    [
                        to_actor.to_parameters(of_outputs),
                        *(each.flatten(1) for each in of_own),
                        to_critic.to_parameters(of_values),
                    ],
                    dim=1,
                    out=memory(optimiser.parameters, *optimiser.parameters.shape),
                )
                norm = gradient.norm(dim=1, keepdim=True)
                optimiser.step(gradient.mul_((self.max_norm / (norm + 1e-6)).clamp(max=1.0)), rate)

    def _loss(
        self,
        distribution: ActionDistribution,
        outputs: Float[Tensor, "policies batch o"],
        own: Mapping[str, Tensor],
        values: Float[Tensor, "policies batch"],
        batch: "_Batch",
    ) -> Float[Tensor, " policies"]:
        """Clipped surrogate, value error and entropy of every policy (Schulman et al. 2017, Eq. 9)."""
        ratio = (distribution.log_prob(outputs, own, batch.actions) - batch.log_probs).exp()
        clipped = ratio.clamp(1 - self.clip, 1 + self.clip)
        gain = torch.minimum(ratio * batch.advantages, clipped * batch.advantages)
        error = 0.5 * (values - batch.targets) ** 2
        bonus = distribution.entropy(outputs, own)
        each = self.value * error - gain - self.entropy * bonus
        return (batch.weights * each).sum(dim=1)


@dataclass(frozen=True)
class _Batch:
    """Samples of a stack, [policies, samples, ...].

    A policy's weights are 0 where there is no real step, and sum to 1.
    """

    observations: Tensor
    tasks: Tensor
    actions: Tensor
    log_probs: Tensor
    advantages: Tensor
    targets: Tensor
    weights: Tensor

    @classmethod
    @torch.no_grad()
    def of(
        cls, agent: ActorCritic, rollout: Rollout, discount: float, trace: float, standardise: str
    ) -> "_Batch":
        times, policies, environments, _ = rollout.observations.shape
        every = torch.from_numpy(rollout.tasks).unsqueeze(2).expand(policies, environments, times)
        # Environment-major, so that the padding stands at the end of a policy's samples.
        observations = rollout.observations.permute(1, 2, 0, 3)
        critic = agent.critic.bind(agent.critics)
        scaled = _in_pieces(critic, observations.flatten(1, 2), every.flatten(1, 2))
        values = scaled.reshape(policies, environments, times).permute(2, 0, 1).numpy()
        rewards = (rollout.rewards / agent.return_scale.numpy()[:, None]).astype(values.dtype)
        advantages = discounted_advantages(
            rewards, values, rollout.terminated, rollout.ended, discount, trace
        )

        def samples(array: Tensor) -> Tensor:
            return array.movedim(0, 2).flatten(1, 2)

        observations, tasks = observations[:, :, :-1].flatten(1, 2), every[:, :, :-1].flatten(1, 2)
        actions, real = samples(rollout.actions), samples(torch.from_numpy(rollout.real)).to(observations)
        advantage = samples(torch.from_numpy(advantages))
        targets = samples(torch.from_numpy(advantages + values[:-1]))
        weights = real / real.sum(dim=1, keepdim=True)
        advantage = _standardised(advantage, weights, tasks if standardise == "task" else None)
        actor, own = agent.policy.bind(agent.actors)
        outputs = _in_pieces(actor, observations, tasks)
        log_probs = agent.policy.distribution.log_prob(outputs, own, actions)
        return cls(observations, tasks, actions, log_probs, advantage, targets, weights)

    def to(self, device: torch.device) -> "_Batch":
        """Give the same samples on a device."""
        return _Batch(*(getattr(self, column.name).to(device) for column in fields(self)))

    def pieces(self, keys: Float[np.ndarray, "policies samples"], count: int) -> Iterator["_Batch"]:
        """Deal the samples into `count` random minibatches, in the order of their keys.

        Padding has infinite keys and goes last; the samples are dealt like cards, so every minibatch gets its
        share of them, and a policy's minibatches hold the same samples in any company. Each serves until the
        next is dealt.
        """
        order = torch.from_numpy(np.argsort(keys, axis=1)).to(self.tasks.device)
        hands = order.unflatten(1, (-1, count))
        # Places among the samples of all policies, one after the other.
        hands = hands + torch.arange(len(order), device=order.device)[:, None, None] * order.shape[1]
        columns = [getattr(self, column.name).flatten(0, 1) for column in fields(self)]
        memory = [Memory() for _ in columns]
        for hand in range(count):
            chosen = hands[:, :, hand]
            drawn = [
                torch.index_select(
                    column, 0, chosen.flatten(), out=own(column, chosen.numel(), *column.shape[1:])
                )
                for column, own in zip(columns, memory, strict=True)
            ]
            piece = _Batch(*(column.unflatten(0, chosen.shape) for column in drawn))
            share = piece.weights.sum(dim=1, keepdim=True)
            yield replace(piece, weights=piece.weights / share.clamp(min=1e-12))


def _in_pieces(
    network: Bound, observations: Float[Tensor, "policies samples f"], tasks: Int[Tensor, "policies samples"]
) -> Float[Tensor, "policies samples o"]:
    """Evaluate so few samples at a time that what passes through the network stays in the cache."""
    count = max(_LEAST, _CACHED // len(observations))
    pieces = zip(observations.split(count, dim=1), tasks.split(count, dim=1), strict=True)
    return torch.cat([network(*piece) for piece in pieces], dim=1)


def _standardised(
    values: Float[Tensor, "policies samples"],
    weights: Float[Tensor, "policies samples"],
    groups: Int[Tensor, "policies samples"] | None,
) -> Float[Tensor, "policies samples"]:
    """Bring a policy's samples, or each group of them, to weighted mean 0 and standard deviation 1."""

    def mean(numbers: Tensor) -> Tensor:
        if groups is None:
            return (weights * numbers).sum(dim=1, keepdim=True)
        sums = weights.new_zeros(len(weights), int(groups.max()) + 1)
        total = sums.scatter_add(1, groups, weights)
        return (sums.scatter_add(1, groups, weights * numbers) / total.clamp(min=1e-12)).gather(1, groups)

    centred = values - mean(values)
    return centred / (mean(centred**2).sqrt() + 1e-8)
