"""The paper's numbers, and how ours are read off the tables of studies.

PolicyGradEx, Tables 1 to 3, Figures 2 and 3, and the ablations of Sec. 4.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis import first_order, generalization, mt10, navigation, nmi
from analysis.study import confidence_interval


class Found(NamedTuple):
    """Ours, its 95 % interval over so many seeds; or on how many of so many suites something is found."""

    value: float
    low: float
    high: float
    seeds: int
    suites: int | None = None


#: A column of Tables 2 and 3 with studies of its own.
MT10 = "MT10"

# ---------------------------------------------------------------------- Table 1
#: Residuals in percent, by suite and by distance in percent.
DISTANCES = (0.1, 0.5, 1.0)
RESIDUALS = {suite: [100 * each for each in numbers] for suite, numbers in first_order.PAPER.items()}


def residual(
    table: pd.DataFrame, suite: str, distance: float, kind: str = "relative_to_change"
) -> Found | None:
    """Give the mean residual in percent, along PPO's steps, at a distance in percent."""
    part = table[(table.suite == suite) & (table.direction == "training")]
    part = part[np.isclose(part.distance, distance / 100)]
    return over_seeds(100 * part.groupby("seed")[kind].mean())


# ---------------------------------------------------------------------- Table 2
#: NMI at every depth, and how many times fewer operations by depth, both suites together.
AGREEMENT = {MT10: 0.76, "LunarLander": 0.73}
SAVING = {2: 21.0, 4: 24.0, 8: 26.0}


def agreement_study(suite: str) -> str:
    """Give the study that a column of Table 2 is read off."""
    return "mt10" if suite == MT10 else "nmi"


def agreement(table: pd.DataFrame, suite: str, column: str, layers: int = 4) -> Found | None:
    """Give a column, `nmi` or `saving`, of the study of this suite, as estimates are read by default."""
    if suite == MT10:
        own = table[(table.start == mt10.STARTS[0]) & (layers == 4)]
        part = own[own.estimate == mt10.DEFAULT] if column == "nmi" else own[own.what == "cost"]
    else:
        part = table[(table.suite == suite) & (table.layers == layers) & (table.affinity == nmi.READING)]
    if column not in part:
        return None
    found = over_seeds(part.set_index("seed")[column].dropna())
    return within(found, 1.0) if found is not None and column == "nmi" else found


# ---------------------------------------------------------------------- Table 3
ALL, HEADS, SOFT, PACO, CARE, RANDOM, SIMILAR, OURS = METHODS = (
    "one policy for all",
    "the same, a head for each task",
    "soft modularization",
    "PaCo",
    "CARE",
    "random groups",
    "gradient-similarity groups",
    "PolicyGradEx groups",
)
#: Success in percent on MT10, return after 200 steps of adaptation elsewhere, by column and method.
SHARING = {
    MT10: {ALL: 71.3, SOFT: 82.0, PACO: 73.1, CARE: 84.0, RANDOM: 58.2, SIMILAR: 69.6, OURS: 94.0},
    "CartPole": {ALL: 145.9, SOFT: 139.3, PACO: 144.5, RANDOM: 144.1, SIMILAR: 142.0, OURS: 159.2},
    "highway": {ALL: 140.0, SOFT: 141.3, PACO: 136.6, RANDOM: 143.4, SIMILAR: 135.6, OURS: 153.5},
    "LunarLander": {ALL: 53.8, SOFT: 66.1, PACO: 62.6, RANDOM: 73.1, SIMILAR: 80.8, OURS: 82.8},
}
#: What the studies call the methods that have other names there.
_IN_DOWNSTREAM = {ALL: "multi-task MLP", HEADS: "multi-head MLP"}
_IN_META_RL = {
    ALL: "multi-task PPO",
    RANDOM: "MAML, random",
    SIMILAR: "MAML, gradient similarity",
    OURS: "MAML, PolicyGradEx",
}
#: Its parts with the paper's own ranges of tasks.
_PARTS = {"CartPole": "paper_lengths", "highway": "density", "LunarLander": "gravity"}
#: Success in percent by number of groups.
BY_NUMBER = {1: 71.3, 2: 89.5, 3: 94.0, 4: 95.1}
_GROUPED = (RANDOM, SIMILAR, OURS)


def study_of(column: str) -> str:
    """Give the study that a column of Table 3 is read off."""
    return "downstream" if column == MT10 else "meta_rl"


def sharing(table: pd.DataFrame, column: str, method: str, k: int = 3) -> pd.Series:
    """Give success in percent or mean return, by seed; empty if there is none.

    Parameters
    ----------
    table : DataFrame
        Of the study of this column: `downstream` for MT10; for the others `meta_rl`, read after the most
        updates that all methods of Table 3 have.
    column, method : str
    k : int
        Number of groups on MT10; the nearest that there is, the smaller of two.
    """
    if column == MT10:
        part = table[(table.what == "evaluation") & (table.method == _IN_DOWNSTREAM.get(method, method))]
        if method in _GROUPED and len(part):
            part = part[part.k == min(sorted(set(part.k)), key=lambda number: abs(number - k))]
        return 100 * part.groupby("seed").success.mean()
    names = {each: _IN_META_RL.get(each, each) for each in METHODS}
    part = table[(table.part == _PARTS[column]) & table.method.isin(names.values()) & (table.rule != "three")]
    known = [name for name in table if name.startswith("after_") and len(part) and part[name].notna().all()]
    if not known:
        return pd.Series(dtype=float)
    last = max(known, key=lambda name: int(name.removeprefix("after_")))
    return part[part.method == names[method]].groupby("seed")[last].mean()


def ahead(table: pd.DataFrame, column: str, rivals: Sequence[str]) -> Found | None:
    """Give by how much PolicyGradEx is ahead of the mean of rivals, paired by seed."""
    others = pd.concat([sharing(table, column, rival) for rival in rivals], axis=1)
    return over_seeds((sharing(table, column, OURS) - others.mean(axis=1, skipna=False)).dropna())


def in_paper(column: str, rivals: Sequence[str]) -> float:
    """Give the same difference in the paper."""
    numbers = SHARING[column]
    return numbers[OURS] - float(np.mean([numbers[rival] for rival in rivals]))


# ---------------------------------------------------------------------- figures and ablations
def follows(table: pd.DataFrame, panel: str, measure: str, sign: int) -> Found | None:
    """Count the suites on which a rank correlation with the error in loss has this sign for sure."""
    told = generalization.summary(table)
    told = told[(told.panel == panel) & (told.measure == measure)]
    ends = sign * told[["gap_low", "gap_high"]]
    count = int((ends.min(axis=1) > 0).sum())
    return Found(count, count, count, int(told.seeds.max()), len(told)) if len(told) else None


def adapted(table: pd.DataFrame, source: str, goals: str, column: str = "success") -> Found | None:
    """Give a share of goals in percent, after adaptation from a source of tasks."""
    told = navigation.summary(table)
    row = told[(told.source == source) & (told.goals == goals)].iloc[0]
    value, low, high = 100 * row[[column, f"{column}_low", f"{column}_high"]].to_numpy(dtype=float)
    found = Found(value, low, high, int(row.seeds))
    return within(found, 100.0) if column == "success" else found


def beyond_400(table: pd.DataFrame) -> Found | None:
    """Give what d = 1000 has over d = 400, as rank correlation with real training, by seed."""
    values = table[table.choice == "dimension"].assign(value=lambda rows: rows.value.astype(float))
    by_seed = values.pivot_table("rank", "seed", "value")
    return over_seeds(by_seed[1000.0] - by_seed[400.0]) if {400.0, 1000.0} <= set(by_seed) else None


def within(found: Found, highest: float) -> Found:
    """Cut an interval to what there can be: from 0 to the highest."""
    return found._replace(low=max(found.low, 0.0), high=min(found.high, highest))


def over_seeds(values: pd.Series) -> Found | None:
    """Give the mean of one value per seed, and Student's interval; None without a value."""
    if values.empty:
        return None
    return Found(float(values.mean()), *confidence_interval(values.to_numpy()), len(values))
