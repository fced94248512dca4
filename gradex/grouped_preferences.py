"""Preferences in groups, each with a policy: what it is worth, and to whom."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from matplotlib.axes import Axes

from gradex.affinity import AffinityFactors, AffinityGraph, KernelKMeans
from gradex.comparison import Comparison
from gradex.cross_evaluation import cross_evaluate
from gradex.group_policies import GroupPolicies
from gradex.meta_policy import MetaPolicy
from gradex.path_objectives import PathObjectives, single_objectives
from gradex.preference_drawing import draw_preferences
from gradex.seeds import child
from gradex.settings import finite_or_none, whole

#: Groups are told from noise where that is as likely as this at most.
NOISE_LEVEL = 0.05
#: An arm of a comparison has a policy for each task.
MOST_COMPARED = 100


class GroupedPreferences(GroupPolicies):
    """Groups of preferences over the same objectives, which were found by the interactions of these."""

    objectives_: PathObjectives
    factors_: AffinityFactors
    graph_: AffinityGraph
    p_value_: float
    start_: MetaPolicy

    @property
    def verdict_(self) -> str | None:
        """What may be relied on, in a sentence; None where it takes draws and `bootstrap` is 0.

        There are "no groups" where gradients do not differ beyond noise from preference to preference.
        """
        partition = self._fitted()
        if self.p_value_ > NOISE_LEVEL:
            given = f"; do not rely on these {partition.k}" if partition.k > 1 else ""
            return f"no groups: one policy for all, as gradients differ by no more than noise{given}"
        return partition.verdict_naming([task.name for task in self.suite_.tasks])

    def covered(self, k_max: int = 10) -> pd.DataFrame:
        """Tell what k policies are worth, as far as first-order interactions know: the larger, the better.

        Parameters
        ----------
        k_max : int

        Returns
        -------
        pandas.DataFrame
            Columns k and share: of what one policy for each preference gains over one for all. Up to second
            order, and at the snapshots: it helps to choose k, and says little of what policies will earn.
        """
        self._fitted()
        share = self._covered(whole("k_max", k_max, 1))
        return pd.DataFrame({"k": range(1, len(share) + 1), "share": share})

    def values(self, episodes: int = 64) -> Float[np.ndarray, "k K"]:
        """Run every group's policy, and give its mean return in each objective.

        What a policy earns for any preference is the sum by its weights.

        Parameters
        ----------
        episodes : int
            Per policy.

        Raises
        ------
        ValueError
            If no policies were trained, with `group_steps=0`.
        """
        policies = [policy.on(single_objectives(self.suite_)) for policy in self._trained()]
        return cross_evaluate(policies, episodes, child(self._plain().seed, "values of objectives")).mean

    def reassigned(
        self, episodes: int = 64, utilities: Sequence[Callable[[Any], float]] | None = None
    ) -> Int[np.ndarray, " n"]:
        """Give each preference the group whose policy earns the most for it: a step of Lloyd's algorithm.

        It costs no training, and a few episodes of each policy, whatever the number of preferences. Unlike
        `repair` it asks for no confirmation by other episodes.

        Parameters
        ----------
        episodes : int
            Per policy.
        utilities : sequence of callables, optional
            One for each preference, where weights stand for utilities that are not linear, see
            `gradex.tasks.marginal_weights`.
        """
        values, n = self.values(episodes), len(self.suite_)
        if utilities is None:
            return (self.suite_.weights @ values.T).argmax(axis=1)
        if len(utilities) != n:
            raise ValueError(f"{len(utilities)} utilities for {n} preferences: give one for each")
        return np.array([[float(each(value)) for value in values] for each in utilities]).argmax(axis=1)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the preferences, each in the colour of its group; see `gradex.preference_drawing`."""
        return draw_preferences(self.suite_.weights, self.labels_, self.suite_.objectives, ax)

    def report(self) -> dict[str, Any]:
        """Sum up the run in plain JSON types, as `PolicyGradEx.report` does.

        `covered` is the share that so many groups cover, see `covered`, `p_value` is that of the verdict, and
        `mean_weights` are what each group trains on.
        """
        weights = self.suite_.weights
        return {
            **super().report(),
            "covered": finite_or_none(float(self._covered(self._fitted().k)[-1])),
            "p_value": self.p_value_,
            "objectives": list(self.suite_.objectives),
            "mean_weights": [weights[list(group)].mean(axis=0).tolist() for group in self.groups_],
        }

    def _covered(self, k_max: int) -> Float[np.ndarray, " k_max"]:
        return KernelKMeans(self._plain().seed).covered(self.factors_, min(k_max, len(self.suite_)))

    @property
    def _start(self) -> MetaPolicy:
        return self.start_

    def _compare(self, episodes: int, folder: str | Path | None) -> Comparison:
        if (n := len(self.suite_)) > MOST_COMPARED:
            raise ValueError(
                f"compare=True trains a policy for each of {n} preferences: compare on a suite of at most "
                f"{MOST_COMPARED}"
            )
        return super()._compare(episodes, folder)
