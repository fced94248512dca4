"""The meta-policy, the door through which everything later sees a trained policy."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradex.learners import (
    ActorCritic,
    Learner,
    Transitions,
    collect_transitions,
    evaluate,
    train_each,
)
from gradex.lineage import Lineage
from gradex.policies import ARCHITECTURES
from gradex.policies.policy import PolicyGradients
from gradex.seeds import child
from gradex.settings import Fitted, as_seeds, check_subset, plain, shown, whole
from gradex.store import not_finite, read_tensors, write_tensors
from gradex.surrogate.gradients import FactoredGradients
from gradex.tasks import TaskSuite

#: λ of the advantages of transitions.
GAE_LAMBDA = 0.95


class MetaPolicy(Fitted):
    """One policy for all tasks of a suite (PolicyGradEx, Sec. 3.1: θ*).

    Parameters
    ----------
    suite : TaskSuite
    network : {"mlp", "one_hot_mlp", "multi_head", "soft_modularization", "paco", "care"}
        Architecture of the policy. An "mlp" does not see the task, all others do. The critic has the same
        architecture, depth and width, but always sees the task.
    learner : {"ppo", "maml", "sac"} or Learner
        A name takes the settings recommended for the suite's family. What MAML trains is where adaptation
        begins, and `evaluate` shows it before any inner step; `MAML.adapt` takes them.
    seed : int
        Fixes weights, environments and actions.
    layers, width : int
        Number of affine layers (the paper's Table 1 uses four) and size of the hidden ones.

    Attributes
    ----------
    agent_ : ActorCritic
        A stack of one, after `fit`.
    history_ : pandas.DataFrame
        Learning curves: steps, policy, task, return_mean, episodes, success where the suite reports it, and
        explained_variance where a critic was trained.
    lineage : Lineage
        Where it comes from: suite, seed, start, parent, subset and steps; it is kept on disk too.

    Examples
    --------
    >>> from gradex import MetaPolicy, TaskSuite
    >>> suite = TaskSuite.make("navigation", n=4, groups=2)
    >>> meta = MetaPolicy(suite, layers=2, width=8).fit(steps=4_000)
    >>> meta.parameters.shape
    (52,)
    >>> meta.transitions(steps_per_task=100).advantages.shape  # these steps serve all
    (4, 100)
    >>> meta.adapt([0, 1], steps=2_000).steps  # of both trainings
    6144
    """

    agent_: ActorCritic
    history_: pd.DataFrame

    _fitting = "fit(steps=...)"
    _results = ("agent_", "history_")

    def __init__(
        self,
        suite: TaskSuite,
        network: str = "mlp",
        learner: str | Learner = "ppo",
        seed: int = 0,
        layers: int = 4,
        width: int = 64,
    ) -> None:
        given = {"suite": suite, "network": network, "learner": learner, "seed": seed}
        settings = plain(MetaPolicy, {**given, "layers": layers, "width": width})
        if network not in ARCHITECTURES:
            raise ValueError(f"unknown network {network!r}: choose {', '.join(map(repr, ARCHITECTURES))}")
        self.suite = suite
        self.network = network
        self.learner = Learner.named(learner, suite) if isinstance(learner, str) else learner
        self.layers = whole("layers", settings["layers"], 1)
        self.width = whole("width", settings["width"], 1)
        self.lineage = Lineage(suite, settings["seed"], settings["seed"])

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

    # ------------------------------------------------------------------ training
    def fit(self, steps: int | None = 200_000, folder: str | Path | None = None) -> "MetaPolicy":
        """Train on all tasks together from fresh weights.

        Parameters
        ----------
        steps : int or None
            Environment steps in total, over all tasks; None is the amount recommended for the suite.
        folder : path, optional
            Where to keep the training every 100,000 steps; one that was cut off goes on from there.
        """
        steps = self.suite.recommended.meta_steps if steps is None else steps
        everything = [range(len(self.suite))]
        [[fitted]] = self._train_each(None, everything, steps, [self.seed], folder=folder)
        return self._take(fitted.agent_, fitted.history_, fitted.lineage)

    def fit_each(
        self,
        subsets: Sequence[Sequence[int]],
        steps: int,
        snapshots: int = 1,
        seeds: Sequence[int] | None = None,
        folder: str | Path | None = None,
    ) -> list[list["MetaPolicy"]]:
        """Train from fresh weights once per subset, and keep what there is at several points along the way.

        Subsets of one size train in one stack. This policy stays as it is, fitted or not.

        Parameters
        ----------
        subsets : sequence of sequences of int
        steps : int
            Environment steps in total, over all subsets; every task of every subset gets the same share.
        snapshots : int
            Policies to keep of each training, equally far apart up to whole rollouts; the last is at the end.
        seeds : sequence of int, optional
            One per subset; by default this policy's seed for all: equal weights to start from, and common
            random numbers.
        folder : path, optional
            As for `fit`.

        Returns
        -------
        list of lists of MetaPolicy
            For each subset its snapshots, from early to late. Each knows the seed that it was trained with.
        """
        own = [self.seed] * len(subsets) if seeds is None else as_seeds(seeds)
        return self._train_each(None, subsets, steps, own, snapshots, folder)

    def initial(self, seeds: Sequence[int]) -> ActorCritic:
        """Give the stack of fresh policies with which training begins, one for each seed."""
        return self.learner.initial(self.suite, seeds, self.layers, self.width, self.network)

    def adapt(
        self, subset: Sequence[int], steps: int, seed: int | None = None, folder: str | Path | None = None
    ) -> "MetaPolicy":
        """Train on from this policy, on a subset of the tasks.

        Parameters
        ----------
        subset : sequence of int
        steps : int
            Environment steps in total.
        seed : int, optional
            By default derived from this policy's, so that the random numbers of `fit` do not come again; the
            new policy then keeps its seed, else it takes this one.
        folder : path, optional
            As for `fit`.
        """
        return self.adapt_each([subset], steps, None if seed is None else [seed], folder)[0]

    def adapt_each(
        self,
        subsets: Sequence[Sequence[int]],
        steps: int,
        seeds: Sequence[int] | None = None,
        folder: str | Path | None = None,
    ) -> list["MetaPolicy"]:
        """Train on from this policy once per subset, subsets of one size in one stack.

        Parameters
        ----------
        subsets : sequence of sequences of int
        steps : int
            Environment steps in total, over all subsets; every task of every subset gets the same share.
        seeds : sequence of int, optional
            As for `adapt`, one per subset; by default one for all, which gives common random numbers.
        folder : path, optional
            As for `fit`.
        """
        start = self._fitted()
        own = (
            [child(self.seed, "adaptation", self.steps)] * len(subsets) if seeds is None else as_seeds(seeds)
        )
        trained = self._train_each(start, subsets, steps, own, folder=folder)
        for (policy,) in trained if seeds is None else ():
            policy.lineage = replace(policy.lineage, seed=self.seed)
        return [policy for (policy,) in trained]

    def _train_each(
        self,
        start: ActorCritic | None,
        subsets: Sequence[Sequence[int]],
        steps: int,
        seeds: Sequence[int],
        snapshots: int = 1,
        folder: str | Path | None = None,
    ) -> list[list["MetaPolicy"]]:
        """Train from one policy, or from fresh ones of these seeds."""
        steps, snapshots = whole("steps", steps), whole("snapshots", snapshots)
        if len(subsets) == 0:
            raise ValueError("there is no subset to train on: give at least one")
        for subset in subsets:
            check_subset(subset, len(self.suite))
        if len(seeds) != len(subsets):
            raise ValueError(f"{len(subsets)} subsets have {len(seeds)} seeds: give one for each")
        begin = self.initial if start is None else (lambda each: start.repeat(len(each)))
        trained = train_each(self.learner, begin, self.suite, subsets, steps, seeds, snapshots, folder)
        rounds = self.learner.rounds(self.suite, subsets, steps)
        parent = None if start is None else start.fingerprint
        fitted = []
        for subset, seed, policies in zip(subsets, seeds, trained, strict=True):
            past = Lineage(self.suite, seed, seed) if start is None else replace(self.lineage, seed=seed)
            past = replace(past, parent=parent, subset=tuple(map(index, subset)))
            each = self.learner.round_steps(self.suite, [subset])
            taken = [rounds * (number + 1) // snapshots * each for number in range(snapshots)]
            lineages = [replace(past, steps=past.steps + own) for own in taken]
            fitted.append([self._with(*policy, own) for policy, own in zip(policies, lineages, strict=True)])
        return fitted

    def with_parameters(self, parameters: Float[np.ndarray, " p"]) -> "MetaPolicy":
        """Give this policy with other parameters; the critic stays, and so does where training began."""
        actors = torch.from_numpy(np.asarray(parameters, dtype=np.float32)).unsqueeze(0)
        return self._with(replace(self._fitted(), actors=actors), self.history_, self.lineage)

    @property
    def parameters(self) -> Float[np.ndarray, " p"]:
        """The policy's parameters as one vector, θ* after `fit`."""
        return self._fitted().actors[0].cpu().numpy().copy()

    def _with(self, agent: ActorCritic, history: pd.DataFrame, lineage: Lineage) -> "MetaPolicy":
        other = MetaPolicy(self.suite, self.network, self.learner, self.seed, self.layers, self.width)
        return other._take(agent, history, lineage)

    def _take(self, agent: ActorCritic, history: pd.DataFrame, lineage: Lineage) -> "MetaPolicy":
        self.agent_, self.history_, self.lineage = agent, history, lineage
        return self

    def _fitted(self) -> ActorCritic:
        return self.agent_

    def __repr__(self) -> str:
        fitted = "fitted" if self._is_fitted() else "not fitted"
        tasks = f"{len(self.suite)} task{'s' if len(self.suite) > 1 else ''}"
        return (
            f"<MetaPolicy on {tasks} of {self.suite.family!r}: network={self.network!r}, "
            f"learner={self.learner.name!r}, seed={self.seed}, {fitted}>"
        )

    # ------------------------------------------------------------------ looking at it
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
        return {task.name: float(shares.get(n, np.nan)) for n, task in enumerate(self.suite.tasks)}

    def evaluate(
        self,
        episodes: int = 32,
        choose: str = "sample",
        seed: int | None = None,
        suite: TaskSuite | None = None,
        subset: Sequence[int] | None = None,
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
        subset : sequence of int, optional
            Task indices; all by default.

        Returns
        -------
        pandas.DataFrame
            Columns task, return_mean, return_stderr, success (nan where the suite reports none; an episode
            succeeds if it is flagged at any step), episode_length.

        Raises
        ------
        ValueError
            If the suite has other observations, or other tasks than those that the network knows.
        """
        suite = self.suite if suite is None else suite
        if not isinstance(suite, TaskSuite):
            raise TypeError(f"suite is {shown(suite)}: give a TaskSuite")
        episodes = whole("episodes", episodes)
        if suite.observation_space.shape != self.suite.observation_space.shape:
            raise ValueError(
                f"this policy was fitted on {self.suite.family!r}: {suite.family!r} has other observations"
            )
        names = [task.name for task in suite.tasks]
        if self.network != "mlp" and names != [task.name for task in self.suite.tasks]:
            raise ValueError(
                f"a {self.network!r} network knows the tasks it was fitted on and no others: evaluate it on "
                "these, or fit an 'mlp'"
            )
        [seed] = [child(self.seed, "evaluation")] if seed is None else as_seeds([seed], "seed")
        chosen = range(len(suite)) if subset is None else subset
        check_subset(chosen, len(suite))
        return evaluate(self._fitted(), suite, [chosen], episodes, [seed], choose).drop(columns="policy")

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
            N / n; the paper uses 2048. No more are simulated, but for resets.
        copies : int, optional
            Environments per task, hence the least number of different episodes. By default 8 to 64, each of
            which runs for twice as many steps as there are environments: 32 for 2,048 steps. Steps of one
            episode err together, so many beginnings tell more than a few whole episodes. Choose fewer where
            tasks differ only in how their episodes end.
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
        """Differentiate log π(a | s) of these samples with respect to θ, batch by batch.

        Parameters
        ----------
        samples : Transitions
            In every task of the suite.
        rows : int array [k]
            Which of the samples.
        dtype : torch.dtype
            Precision of the gradients.
        """
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

    # ------------------------------------------------------------------ on disk
    @property
    def config(self) -> dict[str, Any]:
        """How this policy was made, in plain JSON types."""
        made = {"network": self.network, "learner": self.learner.config}
        return {**made, "layers": self.layers, "width": self.width, "lineage": self.lineage.config}

    def save(self, path: str | Path) -> None:
        """Write the policy to one safetensors file, described by JSON in its header.

        Raises
        ------
        ValueError
            If a number is not finite, or the file cannot be written.
        """
        tensors = self._fitted().tensors()
        if (name := not_finite(tensors)) is not None:
            raise ValueError(
                f"{name} is not finite, so nothing was written to {str(path)!r}: "
                "train anew with a smaller learning rate"
            )
        write_tensors(
            path, "policy", tensors, {**self.config, "history": self.history_.to_dict(orient="list")}
        )

    @classmethod
    def load(cls, path: str | Path, suite: TaskSuite | None = None) -> "MetaPolicy":
        """Read a policy back.

        Parameters
        ----------
        path : path
        suite : TaskSuite, optional
            Needed for suites made by `TaskSuite.from_gymnasium`, whose environments are code and not in the
            file. The scale of their observations is: it is that of training.

        Raises
        ------
        ValueError
            If the file is missing, damaged, or not one of ours, or the suite has other tasks than the policy.
        """
        tensors, told = read_tensors(path, "policy", "give a file that MetaPolicy.save wrote")
        try:
            past, learner = Lineage.of(told["lineage"], suite), Learner.from_config(told["learner"])
            meta = cls(past.suite, told["network"], learner, past.seed, told["layers"], told["width"])
            agent = meta.initial([past.start]).restored(tensors)
            return meta._take(agent, pd.DataFrame(dict(told["history"])), past)
        except KeyError as error:
            reason = f"{error} is missing"
        # Whatever the constructors of learners, suites and tables say about values that are not theirs.
        except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            reason = " ".join(str(error).split())
        raise ValueError(f"cannot read a policy from {str(path)!r}: {reason}")
