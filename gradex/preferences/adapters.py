"""Objectives in groups, each with an adapter: how far groups can be relied on, and what adapters reach."""

from copy import deepcopy
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gradex.affinity import AffinityGraph, Bootstrap, Partition
from gradex.affinity.found_groups import verdict
from gradex.display import card, folded, picture, table
from gradex.preferences.direct import DirectPreferences
from gradex.preferences.pairs import PreferencePairs
from gradex.settings import Estimator
from gradex.surrogate import SubsetScores, SurrogateEstimator

#: Objectives whose interactions a notebook draws.
_SHOWN = 20


class GroupAdapters(Estimator):
    """Groups of objectives that were found by estimates of their interactions, with parameters for each."""

    preferences_: DirectPreferences
    surrogate_: SurrogateEstimator
    scores_: SubsetScores
    graph_: AffinityGraph
    interactions_: AffinityGraph
    conflicts_: list[float]
    bootstrap_: Bootstrap | None
    partition_: Partition
    parameters_: Float[Tensor, "groups p"]
    seconds_: dict[str, float]

    seed: int

    @property
    def groups_(self) -> tuple[tuple[int, ...], ...]:
        """Objectives of each group."""
        return self.partition_.groups

    @property
    def labels_(self) -> Int[np.ndarray, " n"]:
        """Group of each objective."""
        return self.partition_.labels

    @property
    def verdict_(self) -> str | None:
        """What may be relied on, in a sentence, see `PolicyGradEx.verdict_`."""
        return verdict(
            self.partition_, self.interactions_, self.conflicts_, self._plain().seed,
            things="objectives", one_for_all="one adapter for all", remedy="label more pairs",
        )  # fmt: skip

    def adapter(self, group: int) -> dict[str, Tensor]:
        """Give the parameters of a group by their names, as `module.load_state_dict(…, strict=False)` has it.

        Raises
        ------
        ValueError
            If there is no such group.
        """
        groups = len(self.groups_)
        if not 0 <= group < groups:
            raise ValueError(f"there is no group {group}: choose 0 to {groups - 1}")
        return self.preferences_.named(self.parameters_[group], self.preferences_.given)

    def module(self, group: int) -> nn.Module:
        """Give a copy of the language model with the parameters of a group."""
        tuned = deepcopy(self.preferences_.given)
        tuned.load_state_dict(self.adapter(group), strict=False)
        return tuned

    def evaluate(
        self, pairs: PreferencePairs | None = None, reference: nn.Module | None = None
    ) -> pd.DataFrame:
        """Tell how well each objective does with the adapter of its group, and did at the start.

        Parameters
        ----------
        pairs : PreferencePairs, optional
            Of the same objectives, better ones that no adapter was trained on; by default those of the fit.
        reference : torch.nn.Module, optional
            θ_ref; by default that of the fit.

        Returns
        -------
        pandas.DataFrame
            Columns objective, group, loss, accuracy (how often the preferred answer has the larger margin),
            loss_at_start, accuracy_at_start.

        Raises
        ------
        ValueError
            If the pairs have other objectives.
        """
        own = self.preferences_
        if pairs is not None and pairs.names != own.pairs.names:
            raise ValueError(f"pairs of {list(pairs.names)} are given for {list(own.pairs.names)}")
        if pairs is not None or reference is not None:
            own = own.on(own.pairs if pairs is None else pairs, reference)
        start = torch.from_numpy(own.model.parameters)[None].to(self.parameters_)
        found = own.evaluate(torch.cat([start, self.parameters_])).set_index(["row", "objective"])
        rows: list[dict[str, Any]] = []
        for objective, (name, group) in enumerate(zip(own.pairs.names, self.labels_, strict=True)):
            after, before = found.loc[(group + 1, objective)], found.loc[(0, objective)]
            told = {"objective": name, "group": int(group), **after}
            rows.append(told | {f"{key}_at_start": value for key, value in before.items()})
        return pd.DataFrame(rows)

    def _card(self) -> str:
        names = self.preferences_.pairs.names
        groups = {
            "group": range(len(self.groups_)),
            "objectives": [", ".join(names[each] for each in group) for group in self.groups_],
        }
        facts = {
            "objectives": len(names),
            "pairs": len(self.preferences_.pairs),
            "parameters that are trained": self.parameters_.shape[1],
            "verdict": self.verdict_,
            "seconds": sum(self.seconds_.values()),
        }
        parts = [table(pd.DataFrame(groups))]
        if len(names) <= _SHOWN:
            drawn = picture(self.interactions_.plot, "interactions of the objectives", (4.6, 4))
            parts.append(folded("interactions", drawn))
        return card(f"DPOGrouping: {len(self.groups_)} groups", facts, *parts)
