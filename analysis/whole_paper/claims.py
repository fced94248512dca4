"""What the paper claims, and when it counts as reproduced.

PolicyGradEx, Tables 1 to 3, Figures 2 and 3, and the ablations of Sec. 4. A verdict is computed from numbers
by a rule; the sentence beside it is written by hand for this verdict, and shown with no other.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from analysis.whole_paper.findings import (
    AGREEMENT,
    BY_NUMBER,
    DISTANCES,
    MT10,
    RANDOM,
    RESIDUALS,
    SAVING,
    SHARING,
    SIMILAR,
    SOFT,
    Found,
    adapted,
    agreement,
    agreement_study,
    ahead,
    beyond_400,
    follows,
    in_paper,
    residual,
    study_of,
)

REPRODUCED, PARTLY, NOT = VERDICTS = ("reproduced", "partly", "not")


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


# ---------------------------------------------------------------------- claims
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
        agreement_study(suite),
        lambda table: agreement(table, suite, "nmi"),
        at_least(0.9, partly=0.7),
        "{:.2f}",
        reasons={NOT: "real training there hardly agrees with itself on three groups"},
    )
    operations = Claim(
        "Table 2",
        f"fewer operations, {suite}",
        SAVING[4],
        agreement_study(suite),
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
        lambda table: follows(table, "training", "trace", 1),
        everywhere,
        "{:.0f}",
        "the same trend",
        {PARTLY: "rank correlations with the error in loss; 0.53 on highway, 0.06 on MT10"},
    ),
    Claim(
        "Fig. 2b",
        "with more tasks the error falls",
        0.0,
        "generalization",
        lambda table: follows(table, "tasks", "tasks", -1),
        everywhere,
        "{:.0f}",
        "falls in meta-RL",
        {PARTLY: "the error in loss; in return it falls on two of five, both of CartPole"},
    ),
    Claim(
        "Fig. 3",
        "even source: goals all around are reached",
        90.0,
        "navigation",
        lambda table: adapted(table, "uniform", "all around"),
        at_least(1.0, partly=0.7),
        "{:.0f} %",
        "everywhere",
    ),
    Claim(
        "Fig. 3",
        "source on an arc: goals off it are reached",
        25.0,
        "navigation",
        lambda table: adapted(table, "partial", "off the arc"),
        at_most(1.0, partly=2),
        "{:.0f} %",
        "fails",
    ),
    Claim(
        "Fig. 3",
        "nine goals in ten on an arc: off it fewer are reached, by",
        0.0,
        "navigation",
        lambda table: adapted(table, "biased", "off the arc", "less_success"),
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
        beyond_400,
        nothing,
        "{:+.3f}",
        "nothing gained",
    ),
)
