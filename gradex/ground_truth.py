"""Ground truth: what policies trained for real on subsets earn (PolicyGradEx, Sec. 4, Table 2)."""

import warnings
from collections.abc import Iterator, Sequence
from operator import index
from pathlib import Path
from pickle import PicklingError
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from joblib import Parallel, delayed

from gradex.display import card, table
from gradex.learners import evaluate
from gradex.meta_policy import MetaPolicy
from gradex.progress import bar
from gradex.seeds import child, generator_for
from gradex.settings import Estimator, as_kind, as_seed, check_subsets, whole
from gradex.store import Store
from gradex.surrogate import SubsetScores
from gradex.surrogate.estimator import Subsets
from gradex.threads import one_thread

#: Environment steps of a unit, about: enough for a stack to pay, few enough to lose little when one is lost.
_UNIT_STEPS = 400_000
#: Resampled scores that `GroundTruth.scores` adds to tell how sure they are.
_DRAWS = 20


class GroundTruth(Estimator):
    """Train on from a meta-policy on each of m subsets of its tasks, for real, and see what every task earns.

    Policies of a replicate differ in nothing but their tasks: they see the same starts and draw the same
    noise (common random numbers). They train in stacks, each of which is a unit of work.

    Parameters
    ----------
    steps_per_task : int
        Environment steps of each task of each subset; rounded up to whole rollouts. A policy that trains on
        the mean weights of a subset, see `TaskSuite.linear`, takes as many in that mean.
    replicates : int
        Independent trainings of every subset.
    episodes : int
        Per trained policy and task, to measure what it earns.
    measure : {"return", "success"}
        Mean return, or the share of episodes that succeed.
    target_stderr : float, optional
        Stop before all replicates are done, after two or more, once the standard error of the subsets' scores
        is no more than this, as a root mean square over subsets.
    seed : int
    jobs : int
        Units of work at the same time, -1 for one per core or worker. They run in processes of this machine,
        or where `joblib.parallel_config` says; numbers do not depend on it.

    Attributes
    ----------
    subsets_ : tuple of tuples of int
    returns_ : array [replicates, m, n]
        Mean return (or success) of task i after training on subset S; nan where i is not in S.
    steps_ : int
        Environment steps of all trainings together.

    Examples
    --------
    >>> from gradex import GroundTruth, MetaPolicy, TaskSuite
    >>> meta = MetaPolicy(TaskSuite.make("navigation", n=3), layers=2, width=8).fit(steps=3_000)
    >>> truth = GroundTruth(steps_per_task=1_000, replicates=2, episodes=2, jobs=1)
    >>> truth.fit(meta, subsets=[(0, 1), (0, 2), (1, 2)]).returns_.shape
    (2, 3, 3)
    >>> truth.scores().score.shape
    (3,)
    """

    subsets_: tuple[tuple[int, ...], ...]
    returns_: Float[np.ndarray, "replicates m n"]
    steps_: int

    _fitting = "fit(meta, subsets)"
    _results = ("subsets_", "returns_", "steps_")

    def __init__(
        self,
        steps_per_task: int = 10_000,
        replicates: int = 2,
        episodes: int = 32,
        measure: str = "return",
        target_stderr: float | None = None,
        seed: int = 0,
        jobs: int = -1,
    ) -> None:
        self.steps_per_task = steps_per_task
        self.replicates = replicates
        self.episodes = episodes
        self.measure = measure
        self.target_stderr = target_stderr
        self.seed = seed
        self.jobs = jobs
        self._plain()

    def _check(self) -> None:
        whole("steps_per_task", self.steps_per_task, 1)
        whole("replicates", self.replicates, 1)
        whole("episodes", self.episodes, 2)
        as_seed(self.seed)
        if self.measure not in ("return", "success"):
            raise ValueError(f"unknown measure {self.measure!r}: choose 'return' or 'success'")
        if self.target_stderr is not None and not self.target_stderr > 0:
            raise ValueError(f"target_stderr is {self.target_stderr}: choose a positive number, or None")
        if self.target_stderr is not None and self.replicates < 2:
            raise ValueError("replicates=1 has no standard error: give at least 2, or no target_stderr")
        if self.jobs == 0:
            raise ValueError("jobs is 0: choose a number of units, or -1 for one per core")

    def _card(self) -> str:
        told = {"replicates": len(self.returns_), "environment steps": self.steps_}
        names = [", ".join(map(str, subset)) for subset in self.subsets_]
        means = {"subset": names, f"mean {self.measure}": np.nanmean(self.returns_, axis=(0, 2))}
        return card(f"GroundTruth of {len(names)} subsets", told, table(pd.DataFrame(means)))

    def fit(self, meta: MetaPolicy, subsets: Subsets, folder: str | Path | None = None) -> "GroundTruth":
        """Train and evaluate a policy for every subset and replicate.

        Parameters
        ----------
        meta : MetaPolicy
            Fitted; where training starts. One that has trained long on tasks in conflict has taken sides, and
            little training tells little of the other side: give more steps, or an earlier moment, such as
            `meta.path_[0]`.
        subsets : m sequences of int
        folder : path, optional
            Where finished units are kept; a run that was cut off goes on from them, with the same results,
            and further replicates can be added later.

        Raises
        ------
        ValueError
            If a subset is none, the folder holds the ground truth of something else, or the suite cannot be
            sent to the other processes of `jobs`.
        """
        own = self._plain()
        n = len(as_kind("meta", meta, MetaPolicy).suite)
        check_subsets(subsets, n)
        chosen = [tuple(sorted(map(index, subset))) for subset in subsets]
        units = list(own._units(chosen, meta))
        store = None
        if folder is not None:
            store = Store.open(folder, "ground truth", own._configuration(meta, chosen, units))
        finished = own._finished(meta, chosen, units, store)
        self.subsets_, self.returns_ = tuple(chosen), np.stack(finished)
        self.steps_ = len(finished) * sum(own._unit_steps(meta, chosen, rows) for rows in units)
        return self

    def _finished(
        self,
        meta: MetaPolicy,
        subsets: Sequence[Sequence[int]],
        units: Sequence[Int[np.ndarray, " _"]],
        store: Store | None,
    ) -> list[Float[np.ndarray, "m n"]]:
        """Train all replicates, or as many as it takes."""
        finished: list[Float[np.ndarray, "m n"]] = []
        # With a target, two replicates together tell the first standard error, then one more at a time.
        together = self.replicates if self.target_stderr is None else min(2, self.replicates)
        while len(finished) < self.replicates:
            replicates = range(len(finished), len(finished) + together)
            finished += self._train(meta, subsets, units, replicates, store)
            together = 1
            if self.target_stderr is not None:
                scores = np.nanmean(finished, axis=2)
                error = np.sqrt(scores.var(axis=0, ddof=1).mean() / len(finished))
                if error <= self.target_stderr:
                    break
        return finished

    def _units(self, subsets: Sequence[Sequence[int]], meta: MetaPolicy) -> Iterator[Int[np.ndarray, " _"]]:
        """Deal the subsets of each size out to units that fit into memory, as row numbers."""
        sizes = np.array([len(subset) for subset in subsets])
        for size in np.unique(sizes):
            rows = np.flatnonzero(sizes == size)
            policies = max(1, _UNIT_STEPS // (self.steps_per_task * int(size)))
            fitting = meta.suite.fitting(meta.learner.environments(int(size)))
            policies = policies if fitting is None else min(policies, fitting)
            yield from np.array_split(rows, -(-len(rows) // policies))

    def _unit_steps(
        self, meta: MetaPolicy, subsets: Sequence[Sequence[int]], rows: Int[np.ndarray, " _"]
    ) -> int:
        """Count the environment steps of one unit, in whole rounds."""
        own = [subsets[row] for row in rows]
        wanted = self.steps_per_task * sum(map(len, own))
        return meta.rounds(own, wanted) * meta.round_steps(own)

    def _train(
        self,
        meta: MetaPolicy,
        subsets: Sequence[Sequence[int]],
        units: Sequence[Int[np.ndarray, " _"]],
        replicates: Sequence[int],
        store: Store | None,
    ) -> list[Float[np.ndarray, "m n"]]:
        """Do what the store does not hold yet of some replicates."""
        results: dict[tuple[int, int], Float[np.ndarray, "unit n"]] = {}
        wanted = []
        for key in ((replicate, number) for replicate in replicates for number in range(len(units))):
            kept = None if store is None else store.read(_name(key), "remove it, and it comes again")
            if kept is None:
                wanted.append(key)
            else:
                results[key] = kept[0]["returns"].numpy()
        work = (
            delayed(_train_unit)(
                key,
                meta,
                [subsets[row] for row in units[key[1]]],
                self.steps_per_task,
                self.episodes,
                "return_mean" if self.measure == "return" else "success",
                child(self.seed, "training on subsets", key[0]),
                child(self.seed, "evaluation on subsets", key[0]),
            )
            for key in wanted
        )
        parallel = Parallel(n_jobs=min(self.jobs, len(wanted)) or 1, return_as="generator_unordered")
        with warnings.catch_warnings():
            # A worker that grows by hundreds of megabytes, as simulators do, is replaced with this warning.
            # Were it an error, the thread that replaces workers would end, and all would wait for ever.
            warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
            try:
                for key, returns in bar(parallel(work), "ground truth", total=len(wanted)):
                    results[key] = returns
                    if store is not None:
                        store.write(_name(key), {"returns": torch.from_numpy(returns)})
            except PicklingError as error:
                last = str(error.__cause__ or error).strip('"\n').rpartition("\n")[2]  # of a traceback
                why = f"the suite cannot be sent to other processes ({last})"
                raise ValueError(f"{why}: choose jobs=1, or make what pickle can send") from error
        everything = np.full((len(replicates), len(subsets), len(meta.suite)), np.nan)
        for (replicate, number), returns in results.items():
            everything[replicate - replicates[0], units[number]] = returns
        return list(everything)

    def _configuration(
        self,
        meta: MetaPolicy,
        subsets: Sequence[Sequence[int]],
        units: Sequence[Int[np.ndarray, " _"]],
    ) -> dict[str, Any]:
        names = ("steps_per_task", "episodes", "measure", "seed")
        return {
            **{name: getattr(self, name) for name in names},
            "meta": meta.config,
            "parameters": meta.agent_.fingerprint,
            "subsets": [list(subset) for subset in subsets],
            # Results from when such policies trained in all tasks of a subset are others.
            **({"mean_weights": True} if meta.by_objective else {}),
            # What the number of a file means.
            "units": [rows.tolist() for rows in units],
        }

    # ------------------------------------------------------------------ results
    def scores(self, replicates: Sequence[int] | None = None) -> SubsetScores:
        """Give the scores of the subsets as the surrogate gives its estimates, with draws of the trainings.

        They are in the units that tasks are paid in; where these differ, use `scores().standardised()`. Each
        subset's trainings are drawn again by themselves: what those of a replicate share by common random
        numbers is not in the spread.

        Parameters
        ----------
        replicates : sequence of int, optional
            Average over these only.
        """
        everything = self.returns_
        returns = everything if replicates is None else everything[list(replicates)]
        per_task = returns.mean(axis=0)
        draws = np.empty((0, *per_task.shape))
        if len(returns) > 1:
            # All tasks of a subset together. Of R trainings, R drawn with replacement spread by (R - 1) / R
            # too little.
            rng = generator_for(self._plain().seed, "bootstrap of trainings")
            chosen = rng.integers(len(returns), size=(_DRAWS, *returns.shape[:2], 1))
            drawn = np.take_along_axis(returns[None], chosen, axis=1).mean(axis=1)
            draws = per_task + np.sqrt(len(returns) / (len(returns) - 1)) * (drawn - per_task)
        return SubsetScores(self.subsets_, per_task, np.nanmean(per_task, axis=1), draws)

    def halves(self) -> tuple[SubsetScores, SubsetScores]:
        """Give the scores of even and of odd replicates, which agree as far as noise allows halves to.

        Raises
        ------
        ValueError
            If there is only one replicate.
        """
        count = len(self.returns_)
        if count < 2:
            raise ValueError("replicates=1 cannot be halved: give at least 2")
        return self.scores(range(0, count, 2)), self.scores(range(1, count, 2))


def _name(unit: tuple[int, int]) -> str:
    """Name the file of a unit, by its replicate and its number."""
    return "{}-{}".format(*unit)


def _train_unit(
    key: tuple[int, int],
    meta: MetaPolicy,
    subsets: Sequence[Sequence[int]],
    steps_per_task: int,
    episodes: int,
    column: str,
    training: int,
    evaluation: int,
) -> tuple[tuple[int, int], Float[np.ndarray, "unit n"]]:
    """Train a stack, subsets of one size, and measure it."""
    # One thread, whoever runs this: sums come out the same, and units side by side use the cores better.
    with one_thread():
        steps = steps_per_task * sum(len(subset) for subset in subsets)
        agents = meta.agent_.repeat(len(subsets))
        same = [training] * len(subsets)
        agents, _ = meta.learner.train(agents, *meta.stand_ins(subsets), steps, same, description=None)
        table = evaluate(agents, meta.suite, subsets, episodes, [evaluation] * len(subsets))
    if (silent := table[column].isna()).any():
        raise ValueError(f"task {table.task[silent].iloc[0]!r} reports no success: choose measure='return'")
    returns = np.full((len(subsets), len(meta.suite)), np.nan)
    returns[table.policy, np.concatenate([np.asarray(subset) for subset in subsets])] = table[column]
    return key, returns
