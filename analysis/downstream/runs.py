"""The trainings of the study, each of which is kept, and what is measured of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.along import similarity_along
from analysis.trained import kept
from gradex import PPO, AffinityGraph, MetaPolicy, PolicyGradEx, TaskSuite
from gradex.affinity import RandomGrouping
from gradex.policies import matched_width

ONE = "soft modularization"
SHARED = "soft_modularization"
NETWORKS = {
    ONE: SHARED,
    "multi-task MLP": "one_hot_mlp",
    "multi-head MLP": "multi_head",
    "PaCo": "paco",
    "CARE": "care",
}
GROUPINGS = ("random groups", "gradient-similarity groups", "PolicyGradEx groups")
EACH = "one policy per task"
#: Points of a learning curve.
_POINTS = 10


@dataclass(frozen=True)
class Amount:
    """How much is trained and measured.

    Attributes
    ----------
    options : dict
        Of the suite.
    learner : PPO, optional
        By default what is recommended for the suite.
    layers, width : int
        Of soft modularization; the other networks get the width at which they have as many parameters.
    steps_per_task : int
        Before the groups part, and again after.
    numbers : tuple of int
        Of groups.
    draws : int
        Random groupings.
    transitions, episodes : int
        Per task: for the surrogate, and to measure success.
    """

    options: dict[str, Any]
    learner: PPO | None
    layers: int
    width: int
    steps_per_task: int
    numbers: tuple[int, ...]
    draws: int
    transitions: int
    episodes: int


@dataclass(frozen=True)
class Runs:
    """The trainings of one seed, each of which is kept."""

    amount: Amount
    seed: int
    folder: Path

    @cached_property
    def suite(self) -> TaskSuite:
        """Make the tasks."""
        return TaskSuite.make("mt10", **self.amount.options)

    def _policy(self, network: str) -> MetaPolicy:
        """Give an untrained policy of the same size as all others."""
        suite, amount = self.suite, self.amount
        shapes = (suite.observation_space.shape[0], 4, len(suite), amount.layers)
        shared = MetaPolicy(suite, SHARED, layers=amount.layers, width=amount.width).initial([0])
        width = matched_width(network, *shapes, shared.policy.network.size)
        return MetaPolicy(suite, network, amount.learner or "ppo", self.seed, amount.layers, width)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}-{self.amount.steps_per_task}.safetensors"

    def halfway(self, network: str) -> MetaPolicy:
        """Train a network on all tasks."""
        steps = self.amount.steps_per_task * len(self.suite)
        return kept(
            self._file(network),
            self._policy(network),
            lambda policy, folder: policy.fit(steps, folder=folder),
        )

    def trained(self, tasks: Sequence[int], network: str = SHARED) -> MetaPolicy:
        """Train on from there, on these tasks."""
        steps = self.amount.steps_per_task * len(tasks)
        path = self._file("-".join(map(str, [network, *tasks])))
        return kept(path, self.halfway(network), lambda half, folder: half.adapt(tasks, steps, folder=folder))

    @property
    def everything(self) -> tuple[int, ...]:
        """All tasks, as one group."""
        return tuple(range(len(self.suite)))

    @cached_property
    def estimate(self) -> PolicyGradEx:
        """Read affinities off the meta-policy's training."""
        return PolicyGradEx(
            k=min(self.amount.numbers),
            projection="khatri-rao",
            steps_per_task=self.amount.transitions,
            group_steps=0,
            bootstrap=0,
            seed=self.seed,
        ).fit(self.suite, self.halfway(SHARED))

    def groupings(self) -> list[tuple[str, tuple[tuple[int, ...], ...], int]]:
        """Give method, groups and draw."""
        amount, run = self.amount, self.estimate
        alone = tuple((task,) for task in self.everything)
        found: list[tuple[str, tuple[tuple[int, ...], ...], int]] = []
        similar = similarity_along(run.surrogates_)
        random, by_gradient, ours = GROUPINGS
        for k in amount.numbers:
            for draw in range(amount.draws):
                rival = RandomGrouping(self.seed * amount.draws + draw)
                found.append((random, run.graph_.partition(k=k, method=rival).groups, draw))
            found.append((by_gradient, similar.partition(k=k).groups, 0))
            found.append((ours, run.graph_.partition(k=k).groups, 0))
        return [*found, (EACH, alone, 0)]

    def told(
        self, groups: Sequence[Sequence[int]], method: str, draw: int = 0, network: str = SHARED
    ) -> pd.DataFrame:
        """Measure the policies of groups, each on its own tasks."""
        tables = []
        for number, tasks in enumerate(groups):
            policy = self.trained(tasks, network)
            measured = policy.evaluate(self.amount.episodes, subset=tasks)
            reached = measured[["task", "success", "return_mean"]]
            told = {"what": "evaluation", "group": number, "episodes": self.amount.episodes}
            curve = self._curve(policy, len(tasks), begun=self.amount.steps_per_task)
            tables += [reached.assign(**told), curve.assign(group=number)]
        return pd.concat(tables, ignore_index=True).assign(method=method, k=len(groups), draw=draw)

    def curve_halfway(self, method: str) -> pd.DataFrame:
        """Tell how a single network learned before groups part."""
        curve = self._curve(self.halfway(NETWORKS[method]), len(self.suite))
        return curve.assign(group=0, method=method, k=1, draw=0)

    def _curve(self, policy: MetaPolicy, tasks: int, begun: int = 0) -> pd.DataFrame:
        """Average a learning curve over pieces of the training, by task."""
        own, history = self.amount.steps_per_task, policy.history_
        piece = np.ceil(history.steps / tasks / own * _POINTS).clip(upper=_POINTS)
        sums = pd.DataFrame({name: history[name] * history.episodes for name in ("success", "return_mean")})
        sums = sums.assign(piece=piece, task=history.task, episodes=history.episodes)
        sums = sums.groupby(["piece", "task"]).sum()
        means = sums[["success", "return_mean"]].div(sums.episodes, axis=0).reset_index()
        names = {number: task.name for number, task in enumerate(self.suite.tasks)}
        steps = begun + means.piece * own / _POINTS
        return means.assign(task=means.task.map(names), steps=steps, what="curve").drop(columns="piece")


def affinities(graph: AffinityGraph) -> pd.DataFrame:
    """Give the affinity of every pair of tasks."""
    one, other = np.triu_indices(len(graph), 1)
    names = np.array(graph.names)
    pairs = {"task": names[one], "partner": names[other], "affinity": graph.matrix[one, other]}
    return pd.DataFrame(pairs).assign(what="affinity")
