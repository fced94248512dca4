"""The meta-policy: how it is trained, trained on from, and kept."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from gradex.learners import ActorCritic, Learner, early_rounds, even_rounds, train_each
from gradex.lineage import Lineage
from gradex.policies import ARCHITECTURES
from gradex.policy_file import PolicyFile, check_same_training, refusing, write_policy
from gradex.seeds import child
from gradex.settings import as_seeds, as_subsets, plain, whole
from gradex.store import scratch
from gradex.tasks import TaskSuite
from gradex.tensors import from_torch
from gradex.trained_policy import TrainedPolicy


class MetaPolicy(TrainedPolicy):
    """One policy for all tasks of a suite (PolicyGradEx, Sec. 3.1: θ*).

    Parameters
    ----------
    suite : TaskSuite
    network : {"mlp", "one_hot_mlp", "multi_head", "soft_modularization", "paco", "care"}
        Architecture of the policy. An "mlp" does not see the task, all others do. The critic has the same
        architecture, depth and width, but always sees the task; or it has a head for each objective, where
        PPO trains an "mlp" on preferences, see `TaskSuite.linear`.
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
        Learning curves: steps, policy, task (-1 is the mean of several preferences), return_mean, episodes,
        success where the suite reports it, and explained_variance where a critic was trained.
    lineage : Lineage
        Where it comes from: suite, seed, start, parent, subset and steps; it is kept on disk too.

    Examples
    --------
    >>> from gradex import MetaPolicy, TaskSuite
    >>> suite = TaskSuite.make("navigation", n=4, groups=2)
    >>> meta = MetaPolicy(suite, layers=2, width=8).fit(steps=8_000)
    >>> meta.parameters.shape
    (52,)
    >>> [snapshot.steps for snapshot in meta.path_]  # one after each of two rounds
    [4096, 8192]
    >>> meta.transitions(steps_per_task=100).advantages.shape  # these steps serve all
    (4, 100)
    >>> meta.adapt([0, 1], steps=2_000).steps  # of both
    10240
    """

    _fitting = "fit(steps=...)"

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

    # ------------------------------------------------------------------ training
    def fit(
        self, steps: int | None = None, snapshots: int = 8, folder: str | Path | None = None
    ) -> "MetaPolicy":
        """Train on all tasks together from fresh weights, and keep what there is along the way in `path_`.

        Parameters
        ----------
        steps : int or None
            Environment steps in total, over all tasks; None is the amount recommended for the suite. A step
            on which an environment is only reset counts, too.
        snapshots : int
            Policies to keep, dense at the beginning, see `gradex.learners.early_rounds`; the last is at the
            end. Where the training has fewer rounds, one is kept after each of them.
        folder : path, optional
            Where to keep the training every 100,000 steps, and its snapshots; one that was cut off goes on
            from there, and ends with the same path.
        """
        steps, snapshots = self._amount(steps, snapshots)
        rounds = early_rounds(self.rounds(self._everything, steps), snapshots)
        [[*earlier, last]] = self._train_each(None, self._everything, steps, [self.seed], rounds, folder)
        return self._take(last.agent_, last.history_, last.lineage, earlier)

    def fit_or_load(self, steps: int | None, path: str | Path | None, snapshots: int = 8) -> "MetaPolicy":
        """Read the policy of this training from a file, or train it and leave it there.

        Parameters
        ----------
        steps, snapshots
            As for `fit`.
        path : path or None
            Beside it the training keeps what it goes on from if it is cut off; None keeps nothing.

        Raises
        ------
        ValueError
            If the policy in the file is one of other settings, or has another number of snapshots.
        """
        if path is None or not Path(path).exists():
            with scratch(path, "meta") as folder:
                self.fit(steps, snapshots, folder)
                if path is not None:
                    self.save(path)
            return self
        steps, snapshots = self._amount(steps, snapshots)
        found = MetaPolicy.load(path, self.suite)
        wanted = self.config | {"lineage": replace(self.lineage, steps=steps).config, "snapshots": snapshots}
        check_same_training(path, found.config | {"snapshots": len(found.path_)}, wanted)
        return found

    def _amount(self, steps: int | None, snapshots: int) -> tuple[int, int]:
        """Read for how many steps to train on all tasks, in whole rounds, and for how many snapshots."""
        steps = self.suite.recommended.meta_steps if steps is None else whole("steps", steps, 1)
        rounds = self.rounds(self._everything, steps)
        taken = rounds * self.round_steps(self._everything)
        return taken, min(whole("snapshots", snapshots, 1), rounds)

    def fit_each(
        self,
        subsets: Collection[Collection[int]],
        steps: int,
        snapshots: int = 1,
        seeds: Sequence[int] | None = None,
        folder: str | Path | None = None,
    ) -> list[list["MetaPolicy"]]:
        """Train from fresh weights once per subset, and keep what there is at several points along the way.

        Subsets of one size train in one stack. This policy stays as it is, fitted or not.

        Parameters
        ----------
        subsets, steps, folder
            As for `adapt_each`.
        snapshots : int
            Policies to keep of each training, equally far apart up to whole rollouts; the last is at the end.
        seeds : sequence of int, optional
            One per subset; by default this policy's seed for all: equal weights to start from, and common
            random numbers.

        Returns
        -------
        list of lists of MetaPolicy
            For each subset its snapshots, from early to late. Each knows the seed that it was trained with.
        """
        subsets = as_subsets(subsets, len(self.suite))
        own = [self.seed] * len(subsets) if seeds is None else as_seeds(seeds)
        return self._train_each(None, subsets, steps, own, snapshots, folder)

    def initial(self, seeds: Sequence[int]) -> ActorCritic:
        """Give the stack of fresh policies with which training begins, one for each seed."""
        return self.learner.initial(self.suite, seeds, self.layers, self.width, self.network)

    def adapt(
        self, subset: Collection[int], steps: int, seed: int | None = None, folder: str | Path | None = None
    ) -> "MetaPolicy":
        """Train on from this policy, on a subset of the tasks.

        Parameters
        ----------
        subset : collection of int
        steps : int
            Environment steps in total.
        seed : int, optional
            By default derived from this policy's, so that the random numbers of `fit` do not come again; the
            new policy then keeps its seed, else it takes this one.
        folder
            As for `fit`.
        """
        return self.adapt_each([subset], steps, None if seed is None else [seed], folder)[0]

    def adapt_each(
        self,
        subsets: Collection[Collection[int]],
        steps: int,
        seeds: Sequence[int] | None = None,
        folder: str | Path | None = None,
    ) -> list["MetaPolicy"]:
        """Train on from this policy once per subset, subsets of one size in one stack.

        Parameters
        ----------
        subsets : sequence of collections of int
        steps : int
            Environment steps in total, over all subsets; every task of every subset gets the same share, in
            which a step on which an environment is only reset counts, too.
        seeds : sequence of int, optional
            As for `adapt`, one per subset; by default one for all, which gives common random numbers.
        folder
            As for `fit`.
        """
        subsets = as_subsets(subsets, len(self.suite))
        common = child(self.seed, "adaptation", self.steps)
        own = [common] * len(subsets) if seeds is None else as_seeds(seeds)
        trained = self._train_each(self._fitted(), subsets, steps, own, folder=folder)
        for (policy,) in trained if seeds is None else ():
            policy.lineage = replace(policy.lineage, seed=self.seed)
        return [policy for (policy,) in trained]

    def _train_each(
        self,
        start: ActorCritic | None,
        subsets: Sequence[Sequence[int]],
        steps: int,
        seeds: Sequence[int],
        snapshots: int | Sequence[int] = 1,
        folder: str | Path | None = None,
    ) -> list[list["MetaPolicy"]]:
        """Train from one policy, or from fresh ones of these seeds."""
        steps = whole("steps", steps)
        if len(seeds) != len(subsets):
            raise ValueError(f"{len(subsets)} subsets have {len(seeds)} seeds: give one for each")
        begin = self.initial if start is None else (lambda each: start.repeat(len(each)))
        if not isinstance(snapshots, Sequence):
            snapshots = even_rounds(self.rounds(subsets, steps), whole("snapshots", snapshots))
        suite, members = self.stand_ins(subsets)
        trained = train_each(self.learner, begin, suite, members, steps, seeds, snapshots, folder)
        parent = None if start is None else start.fingerprint
        fitted = []
        for subset, seed, policies in zip(subsets, seeds, trained, strict=True):
            past = Lineage(self.suite, seed, seed) if start is None else replace(self.lineage, seed=seed)
            past = replace(past, parent=parent, subset=tuple(map(index, subset)))
            each = self.round_steps([subset])
            lineages = (replace(past, steps=past.steps + rounds * each) for rounds in snapshots)
            kept = zip(policies, lineages, strict=True)
            fitted.append([self._with(agent, self._of(curve, subset), own) for (agent, curve), own in kept])
        return fitted

    def on(self, suite: TaskSuite) -> "MetaPolicy":
        """Give this policy for other preferences over the same objectives, or raise a ValueError."""
        self._check_objectives(suite)
        earlier = [snapshot.on(suite) for snapshot in self._earlier]
        lineage = replace(self.lineage, suite=suite, subset=())
        return self._with(self._fitted(), self.history_, lineage, earlier, suite=suite)

    def with_parameters(self, parameters: Float[np.ndarray, " p"]) -> "MetaPolicy":
        """Give this policy with other parameters; the critic stays, and so does where training began."""
        copied = np.array(from_torch(parameters), dtype=np.float32)  # the caller may go on to write theirs
        agent, actors = self._fitted(), torch.from_numpy(copied)[None]
        if actors.shape != agent.actors.shape:
            shape = np.shape(parameters)
            raise ValueError(f"parameters are of shape {shape}: give {agent.actors.shape[1]} numbers")
        return self._with(replace(agent, actors=actors), self.history_, self.lineage)

    def _with(self, *trained: Any, suite: TaskSuite | None = None) -> "MetaPolicy":
        """Give a policy of these settings with what `_take` takes."""
        made = suite or self.suite, self.network, self.learner, self.seed, self.layers, self.width
        return MetaPolicy(*made)._take(*trained)

    def _take(
        self,
        agent: ActorCritic,
        history: pd.DataFrame,
        lineage: Lineage,
        earlier: Sequence["MetaPolicy"] = (),
    ) -> "MetaPolicy":
        self.agent_, self.history_, self.lineage, self._earlier = agent, history, lineage, tuple(earlier)
        return self

    @property
    def path_(self) -> tuple["MetaPolicy", ...]:
        """Snapshots of `fit`, from early to late, whole policies each; the last one is this policy itself.

        The path of a snapshot, or of any policy that `fit` has not trained, is itself alone.
        """
        self._fitted()
        return (*self._earlier, self)

    # ------------------------------------------------------------------ on disk
    def save(self, path: str | Path) -> None:
        """Write the policy and its path to one safetensors file, described by JSON in its header.

        Raises
        ------
        ValueError
            If a number is not finite, or the file cannot be written.
        """
        write_policy(path, self.path_)

    @classmethod
    def load(cls, path: str | Path, suite: TaskSuite | None = None) -> "MetaPolicy":
        """Read a policy back, with its path.

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
        file = PolicyFile.read(path, suite)
        with refusing(path):
            meta = cls(file.lineage.suite, seed=file.lineage.seed, **file.settings)
            *earlier, last = file.snapshots(meta.initial([file.lineage.start]))
            return meta._take(*last, [meta._with(*snapshot) for snapshot in earlier])
