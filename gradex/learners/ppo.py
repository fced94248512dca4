"""Proximal policy optimisation of a whole stack of policies in one program (Schulman et al. 2017)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gradex.learners.actor_critic import ActorCritic
from gradex.learners.adam import Adam
from gradex.learners.batch import Batch
from gradex.learners.critic import judge
from gradex.learners.layout import Layout
from gradex.learners.learner import (
    Job,
    Learner,
    SimulatedTraining,
    Training,
    update_device,
)
from gradex.seeds import Streams
from gradex.settings import check_finite, check_positive
from gradex.tasks import TaskSuite


@Learner.register
@dataclass(frozen=True)
class PPO(Learner):
    """Settings of PPO, and the training that they describe.

    Attributes
    ----------
    steps : int
        Length of a rollout, in steps of every environment. One on which it is only reset counts, too.
    copies : int
        Environments per task.
    epochs, minibatches : int
        Passes over a rollout, and pieces of a pass.
    learning_rate : float
        Of Adam; falls linearly towards a tenth over the training.
    gae_lambda : float
        λ of generalised advantage estimation.
    clip_range : float
        ε of the clipped ratio.
    entropy_coef, value_coef : float
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
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    entropy_coef: float = 0.005
    value_coef: float = 0.5
    max_norm: float = 0.5
    standardise: str = "task"

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers = ("steps", "copies", "epochs", "minibatches", "learning_rate", "max_norm", "clip_range")
        for setting in numbers:
            check_positive(setting, getattr(self, setting))
        for setting in ("learning_rate", "entropy_coef"):
            check_finite(setting, getattr(self, setting))
        check_finite("value_coef", self.value_coef, least=0)
        check_finite("gae_lambda", self.gae_lambda, least=0, most=1)
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

    def by_objective(self, suite: TaskSuite, network: str) -> bool:
        return suite.linear and network == "mlp"

    def begin(self, job: Job) -> Training:
        return _Training(self, job)

    def _improve(
        self, agent: ActorCritic, batch: Batch, layout: Layout, streams: Streams, optimiser: Adam
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
        assert batch.targets is not None  # for the type checker
        actors, critics = rows.split([agent.policy.size, agent.critic.size], dim=1)
        outputs, own = agent.policy.outputs(actors, batch.observations, batch.tasks)
        values = agent.critic.forward(critics, batch.observations, batch.tasks)
        distribution = agent.policy.distribution
        ratio = batch.ratio_of(distribution.log_prob(outputs, own, batch.actions))
        clipped = ratio.clamp(1 - self.clip_range, 1 + self.clip_range)
        gain = torch.minimum(ratio * batch.advantages, clipped * batch.advantages)
        error = 0.5 * (values - batch.targets).square().mean(dim=2)
        bonus = distribution.entropy(outputs, own)
        each = self.value_coef * error - gain - self.entropy_coef * bonus
        return (batch.weights * each).sum(dim=1)


class _Training(SimulatedTraining):
    """Actors and critics move side by side, in the rows of one matrix."""

    def __init__(self, settings: PPO, job: Job) -> None:
        super().__init__(job, settings.copies)
        self._settings, agent = settings, job.agent
        self.batch_size = job.round_steps // settings.minibatches
        start = torch.cat([agent.actors, agent.critics], dim=1).to(update_device())
        self._optimiser = Adam(start, max_norm=settings.max_norm)
        self._streams = Streams(job.seeds, branch=2)
        self._acting = agent.to("cpu")

    def run_round(self, number: int, steps: int) -> None:
        settings = self._settings
        rollout = self.collector.collect(self._acting, settings.steps)
        if number + 1 < self.job.rounds:
            self.collector.begin_resets()
        judged = judge(self._acting, rollout, self.job.suite, settings.gae_lambda)
        self.episodes.update(rollout, steps, judged.explained_variance)
        agent = judged.agent
        batch = Batch.of(agent, rollout, judged.advantages, judged.targets, settings.standardise)
        self._optimiser.learning_rate = settings.learning_rate * (1 - 0.9 * number / self.job.rounds)
        settings._improve(agent, batch, self.layout, self._streams, self._optimiser)
        self._acting = self._moved(agent)

    def _moved(self, agent: ActorCritic) -> ActorCritic:
        """Give the policies as updates have left them, to act with."""
        actors, critics = self._optimiser.rows.cpu().split([agent.policy.size, agent.critic.size], dim=1)
        return replace(agent, actors=actors, critics=critics)

    @property
    def agent(self) -> ActorCritic:
        return self._acting.clone()

    @property
    def moving(self) -> list[Tensor]:
        return [self._optimiser.rows]

    @property
    def parts(self) -> Mapping[str, Any]:
        return {**super().parts, "optimiser": self._optimiser}

    def state(self) -> dict[str, Tensor]:
        units = {name: getattr(self._acting, name) for name in ("return_mean", "return_scale")}
        return super().state() | units | {"draws": torch.tensor(self._streams.draws, device="cpu")}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        super().restore(state)
        self._streams.draws = int(state["draws"])
        mean, scale = state["return_mean"], state["return_scale"]
        self._acting = replace(self._moved(self._acting), return_mean=mean, return_scale=scale)
