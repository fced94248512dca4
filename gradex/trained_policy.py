"""A trained policy as everything later sees it: its parameters, returns, transitions and gradients."""

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from gradex.display import card, picture
from gradex.learners import ActorCritic, Learner, Transitions, collect_transitions, evaluate
from gradex.lineage import Lineage
from gradex.policies.policy import PolicyGradients
from gradex.seeds import child
from gradex.settings import Fitted, as_seeds, as_subsets, shown, whole
from gradex.surrogate.gradients import FactoredGradients
from gradex.tasks import TaskSuite
from gradex.tasks.checks import other_spaces

#: λ of the advantages of transitions.
GAE_LAMBDA = 0.95
#: In learning curves, stands for the mean of several tasks where a policy trains on that.
MEAN_TASK = -1
#: Tasks that have a learning curve of their own in a notebook.
_MOST_CURVES = 20


class TrainedPolicy(Fitted):
    """One policy for the tasks of a suite, wherever it comes from; it keeps the `Model` protocol."""

    suite: TaskSuite
    network: str
    learner: Learner
    layers: int
    width: int
    lineage: Lineage
    agent_: ActorCritic
    history_: pd.DataFrame

    _results = ("agent_", "history_")

    @property
    def seed(self) -> int:
        """Seed of the last training that was given one, or of the first to come."""
        return self.lineage.seed

    @property
    def start(self) -> int:
        """Seed of the weights with which the first training began, wherever `adapt` has led since."""
        return self.lineage.start

    @property
    def steps(self) -> int:
        """Environment steps of all trainings that led here."""
        return self.lineage.steps

    @property
    def config(self) -> dict[str, Any]:
        """How this policy was made, in plain JSON types."""
        made = {"network": self.network, "learner": self.learner.config}
        return {**made, "layers": self.layers, "width": self.width, "lineage": self.lineage.config}

    @property
    def parameters(self) -> Float[np.ndarray, " p"]:
        """The policy's parameters as one vector, θ* after `fit`."""
        return self._fitted().actors[0].cpu().numpy().copy()

    def _fitted(self) -> ActorCritic:
        return self.agent_

    def __repr__(self) -> str:
        fitted = "fitted" if self._is_fitted() else "not fitted"
        tasks = f"{len(self.suite)} task{'s' if len(self.suite) > 1 else ''}"
        return (
            f"<{type(self).__name__} on {tasks} of {self.suite.family!r}: network={self.network!r}, "
            f"learner={self.learner.name!r}, seed={self.seed}, {fitted}>"
        )

    def _repr_html_(self) -> str:
        kind, fitted = type(self).__name__, self._is_fitted()
        facts = {"suite": self.suite.family, "tasks": len(self.suite), "network": self.network}
        facts |= {"learner": self.learner.name, "seed": self.seed, "fitted": fitted}
        if not fitted:
            return card(kind, facts)
        facts |= {"parameters": len(self.parameters), "environment steps": self.steps}
        curves = self.history_.dropna(subset="return_mean")
        curve = ""
        if curves.steps.nunique() > 1:
            curve = picture(partial(_draw_curve, curves), "learning curve: mean return against steps")
        return card(kind, facts, curve)

    @property
    def explained_variance(self) -> dict[str, float] | None:
        """Share of the variance of each task's returns that the critic explains, by name of the task.

        The mean over the last tenth of the training. 1 is perfect, 0 no better than a constant and below 0
        worse: what a task's advantages then say is the critic's noise. PPO compares with discounted returns,
        continued by the critic where an episode was cut off, SAC with the targets of its critics. None where
        no critic was trained, and nan for tasks of which no episode ended, or all paid the same.
        """
        if "explained_variance" not in self.history_:
            return None
        late = self.history_[self.history_.steps > 0.9 * self.history_.steps.max()]
        shares = late.groupby("task").explained_variance.mean()
        others = shares.get(MEAN_TASK, np.nan)
        return {task.name: float(shares.get(n, others)) for n, task in enumerate(self.suite.tasks)}

    # ------------------------------------------------------------------ what trains it
    @property
    def by_objective(self) -> bool:
        """Whether it trains on the mean weights of its tasks, see `TaskSuite.linear`."""
        return self.learner.by_objective(self.suite, self.network)

    def rounds(self, subsets: Sequence[Sequence[int]], steps: int) -> int:
        """Count the rounds of trainings on these subsets that take at least `steps` environment steps."""
        return self.learner.rounds(*self.stand_ins(subsets), steps)

    def round_steps(self, subsets: Sequence[Sequence[int]]) -> int:
        """Count the environment steps of one round of trainings on these subsets, of all together."""
        return self.learner.round_steps(*self.stand_ins(subsets))

    @property
    def _everything(self) -> list[range]:
        """All tasks, as the only subset to train on."""
        return [range(len(self.suite))]

    def _of(self, curve: pd.DataFrame, subset: Sequence[int]) -> pd.DataFrame:
        """Name in a learning curve what it is of, where a task of mean weights stood for a subset."""
        return curve.assign(task=subset[0] if len(subset) == 1 else MEAN_TASK) if self.by_objective else curve

    def _check_objectives(self, suite: TaskSuite) -> None:
        """Refuse a suite with other objectives, or any if this policy does not train on mean weights."""
        if not self.by_objective:
            raise ValueError(
                f"a {self.network!r} network trained by {self.learner.name!r} on {self.suite.family!r} knows "
                "its own tasks only: give an 'mlp' trained by 'ppo' on preferences over objectives"
            )
        own, other = (
            f"{each.family!r} on the scale {each.scale.tolist()} with discount {each.discount}"
            if each.linear
            else f"{each.family!r}"
            for each in (self.suite, suite)
        )
        if own != other:
            raise ValueError(f"this policy knows the objectives of {own}, not {other}: give such a suite")

    def stand_ins(self, subsets: Sequence[Sequence[int]]) -> tuple[TaskSuite, Sequence[Sequence[int]]]:
        """Give the suite and the subsets that a learner sees: themselves, or a task of mean weights for each.

        The mean of weighted sums is the sum by mean weights, so nothing is lost, and a subset of a thousand
        tasks needs no more environments than one task.
        """
        if not self.by_objective:
            return self.suite, subsets
        means = [self.suite.weights[list(subset)].mean(axis=0) for subset in subsets]
        return self.suite.with_weights(np.array(means)), [(row,) for row in range(len(means))]

    def evaluate(
        self,
        episodes: int = 32,
        choose: str = "sample",
        seed: int | None = None,
        suite: TaskSuite | None = None,
        subset: Collection[int] | None = None,
    ) -> pd.DataFrame:
        """Run the policy for whole episodes in every task.

        Parameters
        ----------
        episodes : int
            Per task. Episode e of every task starts from the same random numbers.
        choose : {"sample", "mode"}
            Draw actions from the policy (R_i(θ) is its expected return), or take the most probable ones.
        seed : int, optional
            By default derived from this policy's seed.
        suite : TaskSuite, optional
            Other tasks of the same family, for instance unseen ones if the network does not see the task.
        subset : collection of int, optional
            Task indices, of a set in order; all by default.

        Returns
        -------
        pandas.DataFrame
            Columns task, return_mean, return_stderr, success (nan for a task that reports none; an episode
            succeeds if it is flagged at any step), episode_length.

        Raises
        ------
        ValueError
            If the suite has other observations or actions, or other tasks than those that the network knows.
        """
        suite = self.suite if suite is None else suite
        if not isinstance(suite, TaskSuite):
            raise TypeError(f"suite is {shown(suite)}: give a TaskSuite")
        episodes = whole("episodes", episodes)
        if (other := other_spaces(suite, self.suite)) is not None:
            raise ValueError(
                f"this policy was fitted on {self.suite.family!r}, {suite.family!r} has {other}: give tasks "
                "with the same"
            )
        names = [task.name for task in suite.tasks]
        if self.network != "mlp" and names != [task.name for task in self.suite.tasks]:
            raise ValueError(
                f"a {self.network!r} network knows the tasks it was fitted on and no others: evaluate it on "
                "these, or fit an 'mlp'"
            )
        [seed] = [child(self.seed, "evaluation")] if seed is None else as_seeds([seed], "seed")
        chosen = as_subsets([range(len(suite)) if subset is None else subset], len(suite))
        return evaluate(self._fitted(), suite, chosen, episodes, [seed], choose).drop(columns="policy")

    def transitions(
        self,
        steps_per_task: int = 2048,
        copies: int | None = None,
        seed: int | None = None,
        gae_lambda: float = GAE_LAMBDA,
        sharing: str = "auto",
    ) -> Transitions:
        """Collect steps of this policy with their advantages (PolicyGradEx, Algorithm 1, step 2).

        The advantage of a step is measured against a linear baseline, fitted to the returns of the same
        task's other episodes: it needs no critic, and is the same whatever unit a task is paid in.

        Where tasks differ in reward only, as in navigation, a policy that does not see the task does the same
        in all of them. Its steps then serve all tasks: N = steps_per_task, and each has an advantage in
        every task.

        Parameters
        ----------
        steps_per_task : int
            N / n; the paper uses 2048. Four times as many are simulated, to see what is paid late, unless
            episodes are over sooner. A step is kept the more likely the larger its advantage, which is
            divided by that chance.
        copies : int, optional
            Environments per task, hence the least number of different episodes. By default 8 to 64, of each
            of which twice as many steps are kept as there are environments: 32 for 2,048 steps. Of each a
            step is kept at least, so there are never more than steps. Steps of one episode err together, so
            many beginnings tell more than a few whole episodes. Choose fewer where tasks differ only in how
            their episodes end.
        seed : int, optional
            By default derived from this policy's seed.
        gae_lambda : float
            λ of generalised advantage estimation. 1 is unbiased; below it the baseline's errors count, and
            the noise of what comes late counts less.
        sharing : {"auto", "none"}
            "none" collects steps for each task even where one set could serve all.
        """
        [seed] = [child(self.seed, "collection")] if seed is None else as_seeds([seed], "seed")
        steps_per_task = whole("steps_per_task", steps_per_task)
        copies = None if copies is None else whole("copies", copies)
        return collect_transitions(
            self._fitted(), self.suite, steps_per_task, copies, seed, gae_lambda, sharing
        )

    # ------------------------------------------------------------------ what the surrogate asks for
    @property
    def layout(self) -> list[tuple[int, int]]:
        """Shapes of the matrices that make up a gradient of log π, in the order of the parameters."""
        return self._gradients.layout

    def gradients(
        self, samples: Transitions, rows: Int[np.ndarray, " k"], dtype: torch.dtype
    ) -> Iterator[FactoredGradients]:
        """Differentiate log π(a | s) of some rows of the samples with respect to θ, batch by batch.

        The samples are to be in every task of the suite, and in no other; a ValueError says which are not.
        """
        spaces = {"observations": self.suite.observation_space, "actions": self.suite.action_space}
        for name, space in spaces.items():
            shape = np.shape(getattr(samples, name, ()))[1:]
            if shape != space.shape:
                raise ValueError(
                    f"samples have {name} of shape {shape} where the policy has {space.shape}: "
                    "collect transitions on this policy's suite"
                )
        n, found = len(self.suite), samples.n
        if found > n:
            raise ValueError(
                f"transitions name tasks beyond 0 to {n - 1}: collect them on this policy's suite"
            )
        if found < n:
            raise ValueError(f"task {found} has no samples: collect some in every task of the suite")
        return self._gradients.gradients(samples, rows, dtype)

    def log_prob(
        self, parameters: Float[Tensor, "stack p"], samples: Transitions, rows: Int[np.ndarray, " k"]
    ) -> Float[Tensor, "stack k"]:
        """Give log π(a | s) of these samples at some parameters each, in their precision."""
        return self._gradients.log_prob(parameters, samples, rows)

    @property
    def _gradients(self) -> PolicyGradients:
        agent = self._fitted()
        return PolicyGradients(agent.policy, agent.actors[0])


def _draw_curve(curves: pd.DataFrame, ax: Axes) -> None:
    """Draw the mean return of every task, if they are few, and of all together."""
    for _, own in curves.groupby("task") if curves.task.nunique() <= _MOST_CURVES else ():
        ax.plot(own.steps, own.return_mean, color="0.8", linewidth=0.8)
    together = curves.groupby("steps").return_mean.mean()
    ax.plot(together.index, together.to_numpy(), color="C0")
    ax.set(xlabel="environment steps", ylabel="mean return")
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.spines[["top", "right"]].set_visible(False)
