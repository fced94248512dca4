"""Own environments, which gradex has no settings for: are kinds of tasks found by all defaults.

`PolicyGradEx` gets the environments by `TaskSuite.from_gymnasium` and nothing else: no number of groups, no
amount of training. On some of the suites there is one kind only, so that the right answer is "no groups".

"One look" is the same run before it looks at each group again (`recursive`). Gradient cosine reads the same
run and is told the number of kinds. No amount was chosen on these suites, and no feature was made for those
of `analysis.strangers.added`. Of the others three features were made for some, on seeds of 100 and more. That
each group is looked at again is for "reach" and "pendulum", of which three kinds came out as two. That
snapshots then count by the return at stake, `weighting="return"`, is for "distance" and "speed": tasks differ
by degrees within a kind, and the second look took them apart. That the first look does not count so was
decided after a rendering of seeds 0 to 2, where it erred on "distance". That groups need no conflict if they
have little in common, `common_share`, is for "corridor" and "lander", of which two kinds were left together.
How that is measured, and that it is asked within groups, too, is for kinds like those of "bandit, three
kinds" and "thrusters": some were left together next to a third one. That kinds must come into conflict late
in a training is for suites of `analysis.abstention`, which had been taken apart. That a conflict within a
group must last is for a suite that is not among these.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.abstention import gradient_cosine
from analysis.strangers import added, environments
from analysis.strangers.environments import Factory
from analysis.study import mean_with_interval, plain, wilson_interval
from analysis.trained import learner
from gradex import PolicyGradEx, TaskSuite
from gradex.seeds import generator_for

SEEDS = {"smoke": 1, "laptop": 5, "paper": 20}
_AMOUNTS: dict[str, dict[str, Any]] = {
    "smoke": {
        "meta_steps": 1000,
        "steps_per_task": 100,
        "snapshots": 2,
        "projection_dim": 10,
        "subsets": 30,
        "bootstrap": 2,
    },
    "laptop": {},
    "paper": {},
}
_METHODS = ("PolicyGradEx", "one look", "gradient cosine, k given")
_STYLES = (("C0", "o"), ("C1", "s"), ("0.5", "^"))
#: What the figure says in place of a name, and below.
_SAID = {
    "one look": "without looking at each group again",
    "gradient cosine, k given": "gradient cosine, told k",
}
_NOTE = "Of one kind: “no groups” is right; gradient cosine is missing, as it is told k, which is 1."


@dataclass(frozen=True)
class _Case:
    """A suite: how many tasks of each kind, and what makes their environments."""

    title: str
    kinds: tuple[int, ...]
    make: Callable[[list[int], np.random.Generator], list[Factory]]

    def suite(self, seed: int) -> TaskSuite:
        """Make the tasks of a seed, in any order."""
        rng = generator_for(seed, self.title)
        kinds = rng.permutation(np.repeat(np.arange(len(self.kinds)), self.kinds)).tolist()
        made = self.make(kinds, rng)
        return TaskSuite.from_gymnasium({f"task {i}": each for i, each in enumerate(made)}, groups=kinds)


_CASES = {
    "bandit": _Case("contextual bandit, 4 + 4", (4, 4), environments.bandits),
    "grid": _Case("grid world, 4 + 4", (4, 4), environments.grids),
    "poles": _Case("cart-pole in three units, 4 + 4", (4, 4), environments.poles),
    "distance": _Case("reach by distance, 4 + 4", (4, 4), environments.distances),
    "speed": _Case("sledge by speed, 4 + 4", (4, 4), environments.sledges),
    "corridor": _Case("corridor with key and door, 4 + 4", (4, 4), environments.corridors),
    "lander": _Case("lunar lander, engines swapped, 4 + 4", (4, 4), environments.landers),
    "bandit, three kinds": _Case("contextual bandit, 3 + 3 + 3", (3, 3, 3), environments.bandits),
    "thrusters": _Case("thrusters, 4 + 3 + 3", (4, 3, 3), environments.thrusters),
    "reach": _Case("reach in three units, 5 + 3 + 2", (5, 3, 2), environments.reaches),
    "pendulum": _Case("pendulum, 3 + 3 + 2", (3, 3, 2), environments.pendulums),
    "bandit, one kind": _Case("contextual bandit, 8", (8,), environments.bandits),
    "pendulum, one kind": _Case("pendulum by gravity, 8", (8,), environments.pendulums),
    "market": _Case("market, 4 + 4", (4, 4), added.markets),
    "tag": _Case("tag, chase or flee, 4 + 4", (4, 4), added.tags),
    "errands": _Case("errands in an order, 3 + 3 + 3", (3, 3, 3), added.errands),
    "arm": _Case("arm with a place, 3 + 3 + 3 + 3", (3, 3, 3, 3), added.arms),
    "market, one kind": _Case("market with momentum, 8", (8,), added.markets),
    "arm, one kind": _Case("arm with a place ahead, 8", (8,), added.arms),
}
PARTS = tuple(_CASES)
#: What a study at smoke scale has time for: one suite of each number of kinds, and of each way to act.
_SMOKE = ("bandit, one kind", "tag", "errands", "arm")


def compute(seed: int, scale: str, part: str) -> pd.DataFrame:
    """Give a row for each method on one suite; none at smoke scale for most suites.

    Returns
    -------
    DataFrame
        suite, kinds (how many there are), seed, method, k (groups found), nmi (with the kinds), right,
        verdict (its first words).
    """
    if scale == "smoke" and part not in _SMOKE:
        return pd.DataFrame(columns=["suite", "seed"])
    case = _CASES[part]
    suite = case.suite(seed)
    run = PolicyGradEx(group_steps=0, seed=seed, learner=learner(scale), **_AMOUNTS[scale]).fit(suite)
    found = {_METHODS[0]: run.partition_, _METHODS[1]: run.first_partition_}
    if len(case.kinds) > 1:
        found[_METHODS[2]] = gradient_cosine(run.surrogates_).partition(k=len(case.kinds))
    assert suite.labels is not None and run.verdict_ is not None  # for the type checker
    rows = []
    for method, partition in found.items():
        nmi = partition.agreement(suite.labels).nmi
        told = {"suite": case.title, "kinds": len(case.kinds), "seed": seed, "method": method}
        told |= {"k": partition.k, "nmi": nmi, "right": bool(np.isclose(nmi, 1))}
        rows.append(told | {"verdict": run.verdict_.partition(":")[0] if method == _METHODS[0] else ""})
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give on how many seeds each method is right, with Wilson's 95 % interval, its NMI and its answers."""
    rows = []
    for (suite, method), own in table.groupby(["suite", "method"], sort=False):
        right, seeds = int(own.right.sum()), len(own)
        low, high = wilson_interval(right, seeds)
        counts = own.k.value_counts().sort_index()
        told = {"suite": suite, "method": method, "kinds": own.kinds.iloc[0], "right": right, "seeds": seeds}
        told |= {"share": right / seeds, "low": low, "high": high} | mean_with_interval("nmi", own.nmi)
        rows.append(told | {"k_found": ", ".join(f"{k} ({times})" for k, times in counts.items())})
    return pd.DataFrame(rows)


@matplotlib.rc_context({"font.size": 9})
def plot(table: pd.DataFrame) -> Figure:
    """Draw for each suite the NMI of every method, a mark per seed, and their mean."""
    kinds = dict(zip(table.suite, table.kinds, strict=True))
    suites = list(kinds)
    figure = Figure(figsize=(7.0, 1.3 + 0.5 * len(suites)), layout="constrained")
    ax = figure.subplots()
    for place, (method, (color, marker)) in enumerate(zip(_METHODS, _STYLES, strict=True)):
        for row, suite in enumerate(suites):
            own = table[(table.suite == suite) & (table.method == method)].nmi.to_numpy()
            if not len(own):
                continue
            at = row + 0.22 * (place - 1)
            places = at + np.linspace(-0.06, 0.06, len(own))
            ax.scatter(own, places, s=9, color=color, marker=marker, alpha=0.5)
            ax.plot(own.mean(), at, "|", color=color, markersize=11, markeredgewidth=2.2)
        ax.plot([], [], marker, color=color, markersize=5, label=_SAID.get(method, method))
    ax.set(xlabel="NMI with the kinds: a mark per seed, a bar for the mean", xlim=(-0.03, 1.03))
    names = [f"{suite} of one kind" if kinds[suite] == 1 else suite for suite in suites]
    ax.set(yticks=range(len(suites)), yticklabels=names, ylim=(len(suites) - 0.5, -0.5))
    plain(ax)
    for edge in range(1, len(suites)):
        ax.axhline(edge - 0.5, color="0.92", linewidth=0.8)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    if 1 in kinds.values():
        figure.supxlabel(_NOTE, fontsize="small")
    return figure
