"""Model-agnostic meta-learning of a whole stack of policies in one program (Finn, Abbeel and Levine 2017)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradex.learners.actor_critic import ActorCritic
from gradex.learners.adam import Adam
from gradex.learners.adaptation import Adaptation, draw_seeds, policy_gradient_step, trajectory_length
from gradex.learners.batch import Batch
from gradex.learners.layout import Layout
from gradex.learners.learner import Job, Learner, Training
from gradex.learners.returns import EpisodeReturns
from gradex.learners.rollouts import Rollout
from gradex.policies import Policy
from gradex.seeds import Streams
from gradex.settings import check_finite, check_positive
from gradex.tasks import TaskSuite
from gradex.threads import one_thread

#: Of learning curves.
_COLUMNS = ("steps", "policy", "task", "inner_steps", "return_mean", "episodes", "success")


@Learner.register
@dataclass(frozen=True)
class MAML(Learner):
    """Settings of MAML, the meta-training and the adaptation that they describe.

    The defaults suit budgets of a few hundred thousand steps; they were chosen by hand on CartPoles of many
    lengths. Where the inner gradient is too noisy, take more trajectories, a smaller inner rate or both.

    Attributes
    ----------
    order : {"second", "first"}
        Whether the outer gradient goes through the gradient of the inner steps, or takes them for constant
        shifts (Finn et al. 2017, Sec. 5.2).
    inner_steps : int
        Policy-gradient steps that adapt the policy to a task.
    inner_rate : float
        α, the size of an inner step.
    trajectories : int
        Environments per task; every inner step, and the outer one, sees a fresh trajectory of each.
    tasks : int
        Tasks in a meta-batch, for each policy of the stack. Where a policy has fewer, some come more than
        once, with other random numbers.
    epochs : int
        Outer steps on one meta-batch.
    learning_rate : float
        Of the outer steps, by Adam; falls linearly towards a tenth over the training.
    gae_lambda : float
        λ of generalised advantage estimation.
    clip_range : float
        ε of the clipped ratio in the outer objective.
    max_norm : float
        The outer gradient of each policy is scaled down to this norm.

    Examples
    --------
    >>> from gradex import MetaPolicy, TaskSuite
    >>> from gradex.learners import MAML
    >>> suite = TaskSuite.make("navigation", n=4, goals="uniform")
    >>> learner = MAML(trajectories=5, tasks=4)
    >>> meta = MetaPolicy(suite, learner=learner, layers=2, width=8).fit(steps=1)
    >>> meta.steps
    1200
    """

    name = "maml"

    order: str = "second"
    inner_steps: int = 1
    inner_rate: float = 0.3
    trajectories: int = 5
    tasks: int = 6
    epochs: int = 3
    learning_rate: float = 6e-3
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    max_norm: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order not in ("second", "first"):
            raise ValueError(f"the order is {self.order!r}: choose 'second' or 'first'")
        for name in ("inner_steps", "trajectories", "tasks", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: ask for at least 1")
        for name in ("learning_rate", "clip_range", "max_norm"):
            check_positive(name, getattr(self, name))
        check_finite("learning_rate", self.learning_rate)
        check_positive("inner_rate", self.inner_rate)
        check_finite("inner_rate", self.inner_rate)
        check_finite("gae_lambda", self.gae_lambda, least=0, most=1)

    def begin(self, job: Job) -> Training:
        return _Training(self, job)

    @torch.inference_mode(False)  # or nothing that is met could be differentiated
    def adapt(
        self,
        agent: ActorCritic,
        suite: TaskSuite,
        tasks: Sequence[int],
        seeds: Sequence[int],
        inner_steps: int | None = None,
    ) -> tuple[ActorCritic, list[Rollout]]:
        """Adapt every policy of a stack, or a single one, to tasks of their own; see `Adaptation.phases`.

        Gives one policy per task, and what they met after 0, 1, ..., `inner_steps` steps: entry k is what
        step k + 1 learned from, and the last entry shows the adapted policies. By default there are as many
        steps as in training.
        """
        count = self.inner_steps if inner_steps is None else inner_steps
        with one_thread():
            met = list(self.adaptation().phases(agent, suite, tasks, seeds, count, once=True))
        return met[-1].agent, [phase.rollout for phase in met]

    def adaptation(self, trajectories: int | None = None, slowing: float | None = None) -> Adaptation:
        """Give the inner steps by themselves, as they are in training or on other amounts.

        Parameters
        ----------
        trajectories : int, optional
            By default as in training.
        slowing : float, optional
            How soon the inner rate falls, see `Adaptation`.

        Examples
        --------
        >>> from gradex.learners import MAML
        >>> MAML(inner_rate=0.2, gae_lambda=0.9).adaptation(trajectories=5)
        Adaptation(trajectories=5, rate=0.2, slowing=None, gae_lambda=0.9)
        """
        own = self.trajectories if trajectories is None else trajectories
        return Adaptation(own, self.inner_rate, slowing, self.gae_lambda)

    def round_steps(self, suite: TaskSuite, subsets: Sequence[Sequence[int]]) -> int:
        environments = len(subsets) * self.tasks * self.trajectories
        return environments * trajectory_length(suite) * (self.inner_steps + 1)

    def environments(self, tasks: int) -> int:
        return self.tasks * self.trajectories

    def objective(
        self, policy: Policy, actors: Float[Tensor, "policies p"], met: Sequence[Batch]
    ) -> Float[Tensor, " policies"]:
        """Outer objective: what the adapted policies gain, as a function of where they start.

        The mean over tasks of the clipped ratio (Schulman et al. 2017, Eq. 7) on the trajectories after
        adaptation, at the parameters to which the inner steps lead from θ: ProMP without its penalty
        (Rothfuss et al. 2019, ICLR, Sec. 6). With trajectories given, it is a plain function of θ, `actors`.
        `met` are the batches of each inner step and of the adapted policies, with rows (policy, task).
        """
        *before, after = met
        adapted = actors.repeat_interleave(len(after.weights) // len(actors), dim=0)
        for batch in before:
            second = actors.requires_grad and self.order == "second"
            adapted = policy_gradient_step(policy, adapted, batch, self.inner_rate, second)
        ratio = after.ratio(policy, adapted)
        clipped = ratio.clamp(1 - self.clip_range, 1 + self.clip_range)
        gain = torch.minimum(ratio * after.advantages, clipped * after.advantages)
        return (after.weights * gain).sum(dim=1).unflatten(0, (len(actors), -1)).mean(dim=1)

    def _draw(self, subsets: Sequence[Sequence[int]], streams: Streams) -> Int[np.ndarray, "policies tasks"]:
        """Draw a meta-batch from the subset of each policy, without repetition while it lasts."""
        sizes = np.array([len(subset) for subset in subsets])
        keys = streams.uniforms(int(sizes.max()))
        order = np.argsort(np.where(np.arange(sizes.max()) < sizes[:, None], keys, np.inf), axis=1)
        places = np.take_along_axis(order, np.arange(self.tasks) % sizes[:, None], axis=1)
        return np.stack([np.asarray(subset)[own] for subset, own in zip(subsets, places, strict=True)])


class _Training(Training):
    """Simulators begin anew with every meta-batch, so a training is its parameters and how often it drew."""

    #: On a busy machine a second thread made these batches thirty times slower.
    batch_size = 0

    def __init__(self, settings: MAML, job: Job) -> None:
        self._settings, self._job = settings, job
        self._streams = Streams(job.seeds, branch=2)
        self._optimiser = Adam(job.agent.actors, max_norm=settings.max_norm)
        self._tables: list[pd.DataFrame] = []

    def run_round(self, number: int, steps: int) -> None:
        settings, job, streams, optimiser = self._settings, self._job, self._streams, self._optimiser
        tasks = settings._draw(job.subsets, streams).ravel().tolist()
        fresh = draw_seeds(streams, settings.tasks).ravel().tolist()
        rows = replace(job.agent, actors=optimiser.rows).repeat(settings.tasks)
        phases = settings.adaptation().phases(rows, job.suite, tasks, fresh, settings.inner_steps)
        met, rollouts = zip(*((phase.batch, phase.rollout) for phase in phases), strict=True)
        self._tables += _earned(rollouts, settings.tasks, len(job.suite), steps)
        optimiser.learning_rate = settings.learning_rate * (1 - 0.9 * number / job.rounds)
        for _ in range(settings.epochs):
            optimiser.descend(-settings.objective(job.agent.policy, optimiser.parameters, met))

    @property
    def agent(self) -> ActorCritic:
        return replace(self._job.agent, actors=self._optimiser.rows.clone())

    def curve(self) -> pd.DataFrame:
        return pd.concat(self._tables, ignore_index=True)

    @property
    def moving(self) -> list[Tensor]:
        return [self._optimiser.rows]

    @property
    def parts(self) -> Mapping[str, Any]:
        return {"optimiser": self._optimiser}

    def state(self) -> dict[str, Tensor]:
        curve = self.curve()
        columns = {f"curve.{name}": torch.from_numpy(curve[name].to_numpy().copy()) for name in curve}
        return super().state() | columns | {"draws": torch.tensor(self._streams.draws, device="cpu")}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        super().restore(state)
        self._streams.draws = int(state["draws"])
        names = [name for name in _COLUMNS if f"curve.{name}" in state]
        self._tables = [pd.DataFrame({name: state[f"curve.{name}"].numpy() for name in names})]


def _earned(rollouts: Sequence[Rollout], tasks: int, n: int, steps: int) -> list[pd.DataFrame]:
    """Tabulate what the episodes of a meta-batch paid, one table for each number of inner steps."""
    tables = []
    for inner_steps, rollout in enumerate(rollouts):
        episodes = EpisodeReturns(Layout(rollout.tasks, np.ones(rollout.tasks.shape, dtype=bool)), n)
        episodes.update(rollout, steps)
        table = episodes.to_frame()
        table.insert(3, "inner_steps", inner_steps)
        tables.append(table.assign(policy=table.policy // tasks))
    return tables
