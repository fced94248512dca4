"""Proximal policy optimisation of a whole stack of policies in one program (Schulman et al. 2017)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from gradex.learners.actor_critic import ActorCritic
from gradex.learners.adam import Adam
from gradex.learners.batch import Batch, critic_estimates, task_returns
from gradex.learners.continuation import Continuation, configuration
from gradex.learners.devices import update_device
from gradex.learners.learner import Learner, check_positive
from gradex.learners.progress import steps_bar
from gradex.learners.returns import EpisodeReturns, TaskReturns
from gradex.learners.rollouts import Collector, Layout, Rollout
from gradex.seeds import Streams
from gradex.tasks import TaskSuite
from gradex.threads import threads_for


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
    standardise : {"task", "policy"}
        Advantages of a rollout are brought to mean 0 and standard deviation 1 over the samples of each task,
        so that all tasks pull equally hard however far they are learnt, or over all samples of a policy.
        There they are in units of the deviation of each task's returns, and a task that is nearly solved,
        whose returns vary little, pulls harder than one that is getting lost.

    Examples
    --------
    >>> from gradex import PPO, MetaPolicy, TaskSuite
    >>> meta = MetaPolicy(TaskSuite.make("navigation", n=3), learner=PPO(copies=4, epochs=2))
    >>> meta.learner.environments(tasks=3)
    12
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
    standardise: str = "task"

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
        description: str | None = None,
        observe: Callable[[int, ActorCritic], object] | None = None,
        folder: str | Path | None = None,
        checkpoint_steps: int = 100_000,
    ) -> tuple[ActorCritic, pd.DataFrame]:
        if steps < 1:
            raise ValueError(f"cannot train for {steps} environment steps: ask for at least 1")
        per_rollout, rollouts = self.round_steps(suite, subsets), self.rounds(suite, subsets, steps)
        kept = Continuation(
            folder,
            # The learning rate depends on how long the training is.
            lambda: configuration(self, agent, suite, subsets, seeds, steps=rollouts * per_rollout),
            rollouts,
            per_rollout,
            checkpoint_steps,
        )
        start = torch.cat([agent.actors, agent.critics], dim=1).to(update_device())
        optimiser = Adam(start, max_norm=self.max_norm)

        def moved(agent: ActorCritic) -> ActorCritic:
            """Give the policies as updates have left them, to act with."""
            actors, critics = optimiser.rows.cpu().split([agent.policy.size, agent.critic.size], dim=1)
            return replace(agent, actors=actors, critics=critics)

        def state() -> dict[str, Tensor]:
            own = {name: getattr(agent, name) for name in ("return_mean", "return_scale")}
            return optimiser.state() | own

        agent = agent.to("cpu")
        collector = Collector(suite, subsets, self.copies, kept.seeds(seeds))
        streams = Streams(kept.seeds(seeds), branch=2)
        episodes = EpisodeReturns(collector.layout, len(suite))
        if kept.state is not None:
            optimiser.restore(kept.state)
            mean, scale = (kept.state[name] for name in ("return_mean", "return_scale"))
            agent = replace(moved(agent), return_mean=mean, return_scale=scale)
        bar = steps_bar(rollouts * per_rollout, description)
        with bar, threads_for(per_rollout // self.minibatches):
            bar.update(kept.begun * per_rollout)
            for iteration in range(kept.begun, rollouts):
                rollout = collector.collect(agent, self.steps)
                if iteration + 1 < rollouts:
                    collector.begin_resets()
                estimates = critic_estimates(agent, rollout)
                agent, returns = _rescaled(agent, rollout, estimates, suite)
                done = (iteration + 1) * per_rollout
                episodes.update(rollout, done, returns.explained_variance)
                optimiser.learning_rate = self.learning_rate * (1 - 0.9 * iteration / rollouts)
                batch = Batch.of(agent, rollout, estimates, suite.discount, self.trace, self.standardise)
                self._improve(agent, batch, collector.layout, streams, optimiser)
                agent = moved(agent)
                bar.update(per_rollout)
                if observe is not None:
                    observe(done, agent.clone())
                kept.visit(iteration + 1, state, episodes.to_frame)
        collector.close()
        # Rows of the working matrix hold actor and critic side by side; what leaves is contiguous and nobody
        # else's.
        return agent.clone(), kept.whole(None if kept.finished else episodes.to_frame())

    def _improve(
        self,
        agent: ActorCritic,
        batch: Batch,
        layout: Layout,
        streams: Streams,
        optimiser: Adam,
    ) -> None:
        """Take the epochs of one rollout; `optimiser` holds the parameters."""
        batch = batch.to(optimiser.rows.device)
        padding = np.repeat(~layout.real, self.steps, axis=1)
        for _ in range(self.epochs):
            keys = streams.uniforms(padding.shape[1])
            for piece in batch.pieces(np.where(padding, np.inf, keys), self.minibatches):
                optimiser.descend(self._loss(agent, optimiser.parameters, piece))

    def _loss(
        self, agent: ActorCritic, rows: Float[Tensor, "policies both"], batch: Batch
    ) -> Float[Tensor, " policies"]:
        """Clipped surrogate, value error and entropy of every policy (Schulman et al. 2017, Eq. 9)."""
        actors, critics = rows.split([agent.policy.size, agent.critic.size], dim=1)
        outputs, own = agent.policy.outputs(actors, batch.observations, batch.tasks)
        values = agent.critic.forward(critics, batch.observations, batch.tasks).squeeze(-1)
        distribution = agent.policy.distribution
        ratio = (distribution.log_prob(outputs, own, batch.actions) - batch.log_probs).exp()
        clipped = ratio.clamp(1 - self.clip, 1 + self.clip)
        gain = torch.minimum(ratio * batch.advantages, clipped * batch.advantages)
        error = 0.5 * (values - batch.targets) ** 2
        bonus = distribution.entropy(outputs, own)
        each = self.value * error - gain - self.entropy * bonus
        return (batch.weights * each).sum(dim=1)


def _rescaled(
    agent: ActorCritic,
    rollout: Rollout,
    estimates: Float[np.ndarray, "times policies environments"],
    suite: TaskSuite,
) -> tuple[ActorCritic, TaskReturns]:
    """Let the critics' units follow the returns of each task; also say what the critics knew of these."""
    mean, scale = task_returns(agent, rollout.tasks)
    returns = TaskReturns.of(rollout, mean + scale * estimates, suite.discount, len(suite))
    known = (rows.double().numpy() for rows in (agent.return_mean, agent.return_scale))
    new_mean, new_scale = (torch.from_numpy(array).to(agent.return_scale) for array in returns.scale(*known))
    return replace(agent, return_mean=new_mean, return_scale=new_scale), returns
