"""What the paper says, how ours is read off a study's table, and when it counts as reproduced.

PolicyGradEx, Tables 1 to 3, Figures 2 and 3, and the ablations of Sec. 4. A verdict is computed from numbers
by a rule; the sentence beside it is written by hand for this verdict, and shown with no other.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis import first_order, generalization, navigation, nmi
from analysis.study import confidence_interval

REPRODUCED, PARTLY, NOT = VERDICTS = ("reproduced", "partly", "not")


class Found(NamedTuple):
    """Ours, its 95 % interval over so many seeds; or on how many of so many suites something is found."""

    value: float
    low: float
    high: float
    seeds: int
    suites: int | None = None


#: From ours and the paper's number to a verdict.
Rule = Callable[[Found, float], str]


@dataclass(frozen=True)
class Claim:
    """A number or finding of the paper.

    Attributes
    ----------
    where, what : str
        Place in the paper, and what is claimed.
    paper : float
        The paper's number. Of a finding without one, what it takes to agree.
    study : str
    ours : callable
        From the study's table to ours, None if it has nothing to tell.
    rule : callable
    shown : str
        Format of a number with its unit.
    finding : str, optional
        The paper's words, where it gives no number.
    reasons : mapping of str to str
        By verdict, a sentence.
    exact : bool
        Whether one seed is enough, as it is counted and not measured.
    """

    where: str
    what: str
    paper: float
    study: str
    ours: Callable[[pd.DataFrame], Found | None]
    rule: Rule
    shown: str
    finding: str | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    exact: bool = False

    def verdict(self, found: Found) -> str | None:
        """Judge ours; None where one seed is too few to."""
        return self.rule(found, self.paper) if found.seeds > 1 or self.exact else None


# ---------------------------------------------------------------------- rules
def at_most(times: float, partly: float) -> Rule:
    """Reproduced if ours is no more than so many times the paper's, partly up to another multiple."""
    return lambda ours, paper: _verdict(ours.value <= times * paper, ours.value <= partly * paper)


def at_least(share: float, partly: float) -> Rule:
    """Reproduced if ours is no less than this share of the paper's, partly down to another share."""
    return lambda ours, paper: _verdict(ours.value >= share * paper, ours.value >= partly * paper)


def gain(ours: Found, paper: float) -> str:
    """Reproduced if ours is above 0 beyond its interval, and half of the paper's; partly if it is either."""
    beyond, half = ours.low > 0, ours.value >= paper / 2
    return _verdict(beyond and half, beyond or half)


def everywhere(ours: Found, paper: float) -> str:
    """Reproduced if it is so on every suite, partly if on some."""
    return _verdict(ours.value == ours.suites, ours.value > 0)


def nothing(ours: Found, paper: float) -> str:
    """Reproduced if ours is within 0.02 of the paper's; partly if its interval reaches there."""
    reaches = ours.low <= paper + 0.02 and ours.high >= paper - 0.02
    return _verdict(abs(ours.value - paper) <= 0.02, reaches)


def _verdict(reproduced: bool, partly: bool) -> str:
    return REPRODUCED if reproduced else PARTLY if partly else NOT


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
AGREEMENT = {"MT10": 0.76, "LunarLander": 0.73}
SAVING = {2: 21.0, 4: 24.0, 8: 26.0}


def agreement(table: pd.DataFrame, suite: str, column: str, layers: int = 4) -> Found | None:
    """Give a column of the study of agreement, as estimates are read by default."""
    part = table[(table.suite == suite) & (table.layers == layers) & (table.affinity == nmi.READING)]
    found = over_seeds(part.set_index("seed")[column].dropna())
    return _within(found, 1.0) if found is not None and column == "nmi" else found


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
MT10 = "MT10"
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
def _follows(table: pd.DataFrame, panel: str, measure: str, sign: int) -> Found | None:
    """Count the suites on which a rank correlation with the error in loss has this sign for sure."""
    told = generalization.summary(table)
    told = told[(told.panel == panel) & (told.measure == measure)]
    ends = sign * told[["gap_low", "gap_high"]]
    count = int((ends.min(axis=1) > 0).sum())
    return Found(count, count, count, int(told.seeds.max()), len(told)) if len(told) else None


def _adapted(table: pd.DataFrame, source: str, goals: str, column: str = "success") -> Found | None:
    told = navigation.summary(table)
    row = told[(told.source == source) & (told.goals == goals)].iloc[0]
    value, low, high = 100 * row[[column, f"{column}_low", f"{column}_high"]].to_numpy(dtype=float)
    found = Found(value, low, high, int(row.seeds))
    return _within(found, 100.0) if column == "success" else found


def _beyond_400(table: pd.DataFrame) -> Found | None:
    """Give what d = 1000 has over d = 400, as rank correlation with real training, by seed."""
    values = table[table.choice == "dimension"].assign(value=lambda rows: rows.value.astype(float))
    by_seed = values.pivot_table("rank", "seed", "value")
    return over_seeds(by_seed[1000.0] - by_seed[400.0]) if {400.0, 1000.0} <= set(by_seed) else None


def _within(found: Found, highest: float) -> Found:
    """Cut an interval to what there can be: from 0 to the highest."""
    return found._replace(low=max(found.low, 0.0), high=min(found.high, highest))


def over_seeds(values: pd.Series) -> Found | None:
    """Give the mean of one value per seed, and Student's interval; None without a value."""
    if values.empty:
        return None
    return Found(float(values.mean()), *confidence_interval(values.to_numpy()), len(values))


def _of_table_1(suite: str) -> Claim:
    return Claim(
        "Table 1",
        f"first-order error at 1 % distance, {suite}",
        RESIDUALS[suite][-1],
        "first_order",
        lambda table: residual(table, suite, DISTANCES[-1]),
        at_most(2, partly=5),
        "{:.2f} %",
        reasons={REPRODUCED: "relative to the change, along PPO's steps"},
    )


def _of_table_2(suite: str) -> tuple[Claim, Claim]:
    groups = Claim(
        "Table 2",
        f"NMI of estimated with real groups, {suite}",
        AGREEMENT[suite],
        "nmi",
        lambda table: agreement(table, suite, "nmi"),
        at_least(0.9, partly=0.7),
        "{:.2f}",
        reasons={NOT: "real training there hardly agrees with itself on three groups"},
    )
    operations = Claim(
        "Table 2",
        f"fewer operations, {suite}",
        SAVING[4],
        "nmi",
        lambda table: agreement(table, suite, "saving"),
        at_least(0.5, partly=0.25),
        "{:.2g} times",
        reasons={NOT: "real training is on pairs, of which there are few, so there is less to save"},
        exact=True,
    )
    return groups, operations


def _of_table_3(column: str, rivals: Sequence[str], words: str, reasons: Mapping[str, str]) -> Claim:
    return Claim(
        "Table 3",
        f"{column}: PolicyGradEx ahead of {words}",
        in_paper(column, rivals),
        study_of(column),
        lambda table: ahead(table, column, rivals),
        gain,
        "{:+.1f} points" if column == MT10 else "{:+.1f}",
        reasons=reasons,
    )


_ON_MT10 = {NOT: "tasks there are solved in any company or in none"}
_LEARNED = "by then every method has nearly all that can be earned"
_ONE_GROUP = "tasks there are not in conflict: there is one group, and one task to practise on"
_IN_TABLE_3 = {
    MT10: _ON_MT10,
    "CartPole": dict.fromkeys((PARTLY, NOT), _LEARNED),
    "highway": dict.fromkeys((PARTLY, NOT), _ONE_GROUP),
    "LunarLander": dict.fromkeys((PARTLY, NOT), _ONE_GROUP),
}

CLAIMS: tuple[Claim, ...] = (
    *map(_of_table_1, RESIDUALS),
    *(claim for suite in AGREEMENT for claim in _of_table_2(suite)),
    *(
        claim
        for column in SHARING
        for claim in (
            _of_table_3(column, [SOFT], "soft modularization", _IN_TABLE_3[column]),
            _of_table_3(column, [RANDOM, SIMILAR], "both rival groupings", _IN_TABLE_3[column]),
        )
    ),
    Claim(
        "Fig. 2a",
        "along training the trace follows the error",
        0.0,
        "generalization",
        lambda table: _follows(table, "training", "trace", 1),
        everywhere,
        "{:.0f}",
        "the same trend",
        {NOT: "rank correlations with the error in loss are not above 0 beyond their intervals"},
    ),
    Claim(
        "Fig. 2b",
        "with more tasks the error falls",
        0.0,
        "generalization",
        lambda table: _follows(table, "tasks", "tasks", -1),
        everywhere,
        "{:.0f}",
        "falls in meta-RL",
        {PARTLY: "the error in loss; in return it falls on two of four; MT10 is not in the study"},
    ),
    Claim(
        "Fig. 3",
        "even source: goals all around are reached",
        90.0,
        "navigation",
        lambda table: _adapted(table, "uniform", "all around"),
        at_least(1.0, partly=0.7),
        "{:.0f} %",
        "everywhere",
    ),
    Claim(
        "Fig. 3",
        "source on an arc: goals off it are reached",
        25.0,
        "navigation",
        lambda table: _adapted(table, "partial", "off the arc"),
        at_most(1.0, partly=2),
        "{:.0f} %",
        "fails",
    ),
    Claim(
        "Fig. 3",
        "nine goals in ten on an arc: off it fewer are reached, by",
        0.0,
        "navigation",
        lambda table: _adapted(table, "biased", "off the arc", "less_success"),
        gain,
        "{:.0f} points",
        "weak",
    ),
    Claim(
        "ablation of k",
        "success of three groups above one policy",
        BY_NUMBER[3] - BY_NUMBER[1],
        "downstream",
        lambda table: ahead(table, MT10, [SOFT]),
        gain,
        "{:+.1f} points",
        reasons=_ON_MT10,
    ),
    Claim(
        "ablation of d",
        "d = 1000 above d = 400, rank correlation",
        0.0,
        "ablations",
        _beyond_400,
        nothing,
        "{:+.3f}",
        "nothing gained",
    ),
)
