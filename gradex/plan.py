"""A plan: how many transitions it takes until groups can be trusted.

An estimate of some size, the pilot, tells how likely one of any other size finds the same groups, and finds
them in conflict, see `gradex.affinity.power`. The conflict test compares the mean interaction between two
parts of the tasks, whose error falls as 1 / √m with the transitions, with noise, which falls as 1 / m.

The gradient noise scale of a task is B = tr(Σ) / |g|² (McCandlish et al. 2018, arXiv:1812.06162): with so
many transitions the noise of its gradient is as large as the gradient. It is taken in the metric of the
interactions, whose diagonal is |g|² without the noise that it would have if an episode met itself.
"""

from dataclasses import dataclass
from functools import cached_property

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from scipy.stats import norm

from gradex.affinity import (
    AffinityGraph,
    Bootstrap,
    Grouping,
    Partition,
    unrelated_test,
)
from gradex.affinity.power import SIZES, GroupPower, truth_behind
from gradex.affinity.significance import check_share
from gradex.seeds import generator_for
from gradex.settings import finite_or_none
from gradex.surrogate import Interactions

#: Draws of the affinities' errors, of noise for the conflict test, and of other pilots for the interval.
_DRAWS, _NOISE, _OTHERS = 40, 400, 12


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """How many transitions of each task it takes until groups can be trusted.

    All transitions are per task, those of all snapshots together, as `steps_per_task` counts them.

    Attributes
    ----------
    power : float
        Wanted chance that another estimate finds the same groups, in conflict.
    pilot : int
        Transitions that this plan stands on.
    groups : tuple of tuples of int
        That the pilot found.
    p_value : float
        Chance of a conflict as strong as the pilot's where there is none.
    curve : DataFrame
        By transitions: the chance that the groups come out, that the conflict is found, and the smaller of
        both, power. Empty where the pilot found no conflict.
    needed : float
        Transitions that give the wanted power: infinite where 256 times the pilot's do not, nan where the
        pilot found no conflict.
    interval : tuple of two floats
        What 80 % of other pilots of this size would say.
    seconds : float
        That the estimate from so many transitions takes here, without the meta-training.
    detectable : float
        Strength of the weakest conflict that the pilot finds with the wanted power, see
        `gradex.affinity.ConflictTest`; 1 are opposite gradients.
    noise_scale : DataFrame
        One row per task: task, squared_gradient with its stderr, and the gradient noise scale in transitions,
        which is infinite where no gradient stands out.

    Examples
    --------
    >>> from gradex import PolicyGradEx, TaskSuite
    >>> suite = TaskSuite.make("navigation", n=6, groups=2, seed=0)
    >>> grouping = PolicyGradEx(steps_per_task=512, meta_steps=20_000, group_steps=0).fit(suite)
    >>> plan = grouping.plan(power=0.9)
    >>> plan.groups, plan.pilot, plan.needed < 512
    (((0, 2, 5), (1, 3, 4)), 512, True)
    """

    power: float
    pilot: int
    groups: tuple[tuple[int, ...], ...]
    p_value: float
    curve: pd.DataFrame
    needed: float
    interval: tuple[float, float]
    seconds: float
    detectable: float
    noise_scale: pd.DataFrame

    @property
    def transitions(self) -> int | None:
        """Transitions to take, a whole number; None where no amount is known."""
        return int(np.ceil(self.needed)) if np.isfinite(self.needed) else None

    def to_dict(self) -> dict[str, object]:
        """Give all figures in plain JSON types; None is what is not known, or infinite."""
        numbers = {
            "needed": self.needed,
            "low": self.interval[0],
            "high": self.interval[1],
            "seconds": self.seconds,
            "detectable": self.detectable,
        }
        rows = self.noise_scale.to_dict(orient="records")
        return {
            "power": self.power,
            "pilot": self.pilot,
            "groups": [list(group) for group in self.groups],
            "p_value": self.p_value,
            **{name: finite_or_none(value) for name, value in numbers.items()},
            "curve": self.curve.to_dict(orient="records"),
            "noise_scale": [
                {str(name): finite_or_none(value) for name, value in row.items()} for row in rows
            ],
        }

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the chance of trustworthy groups by transitions, with what is needed and its interval.

        Raises
        ------
        ValueError
            If the pilot found no conflict.
        """
        if self.curve.empty:
            raise ValueError("the pilot found no conflict, so that there is no power to draw")
        if ax is None:
            _, ax = plt.subplots(figsize=(4.8, 3.2), layout="constrained")
        blue, orange, _, red = sns.color_palette("deep")[:4]
        for name, color in (("groups", blue), ("conflict", orange)):
            ax.plot(self.curve.transitions, self.curve[name], "o-", color=color, markersize=3, label=name)
        ax.axhline(self.power, color="0.7", linewidth=0.8)
        ax.axvline(self.pilot, color="0.5", linewidth=0.8, linestyle="dashed", label="pilot")
        if self.transitions is not None:
            low, high = self.interval[0], min(self.interval[1], self.curve.transitions.max())
            reach = [[max(self.needed - low, 0.0)], [max(high - self.needed, 0.0)]]
            ax.errorbar(
                [self.needed], [self.power], xerr=reach, fmt="o", color=red, capsize=2, label="needed"
            )
        rising = self.curve.transitions[self.curve.power < 1].max()  # beyond there is nothing to see
        shown = [value for value in (self.pilot, 2 * rising, self.interval[1]) if np.isfinite(value)]
        ends = self.curve.transitions.min() / 1.3, min(1.3 * max(shown), self.curve.transitions.max())
        ax.set(
            xscale="log",
            xlim=ends,
            ylim=(-0.02, 1.02),
            xlabel="transitions per task",
            ylabel="chance to be found",
        )
        ax.legend(frameon=False)
        sns.despine(ax=ax)
        return ax

    @cached_property
    def _lines(self) -> list[str]:
        scales = self.noise_scale.transitions
        known = scales[np.isfinite(scales)]
        lines = [f"pilot: {self.pilot:,} transitions per task"]
        if len(known):
            lines.append(f"gradient noise scale: {known.min():,.0f} to {known.max():,.0f} transitions")
        if silent := len(scales) - len(known):
            lines.append(f"no gradient stands out of the noise in {silent} of {len(scales)} tasks")
        if self.curve.empty:
            lines.append("no conflict that counts: nothing says how many transitions it takes to find groups")
            if self.detectable < 1:
                lines.append(f"a conflict of strength {self.detectable:.2f} would be found, {self._wanted}")
            else:
                lines.append(f"even opposite gradients would be missed, {self._wanted}: take a larger pilot")
            return lines
        if self.transitions is None:
            most = self.curve.transitions.max()
            return [
                *lines,
                f"{most:,.0f} transitions per task are not enough for these groups, {self._wanted}",
            ]
        ends = np.ceil(self.interval)
        low, high = (f"{end:,.0f}" if np.isfinite(end) else "no known number" for end in ends)
        lines.append(
            f"groups can be trusted from {self.transitions:,} transitions per task on, {self._wanted} "
            f"(80 % of such pilots would say {low} to {high})"
        )
        if np.isfinite(self.seconds):
            lines.append(f"the estimate then takes {self.seconds:,.0f} s here, without the meta-training")
        return lines

    @property
    def _wanted(self) -> str:
        return f"with {self.power:.0%} power"

    def __str__(self) -> str:
        return "\n".join(self._lines)

    __repr__ = __str__


def make_plan(
    graph: AffinityGraph,
    partition: Partition,
    bootstrap: Bootstrap,
    interactions: Interactions,
    pilot: int,
    power: float = 0.9,
    level: float = 0.05,
    seconds: float = np.nan,
    seed: int = 0,
    method: Grouping | None = None,
    common_share: float = 0.0,
) -> Plan:
    """Tell from one estimate how large one has to be.

    Parameters
    ----------
    graph, partition, bootstrap
        Affinities, the groups found in them, and draws of the affinities from episodes drawn again.
    interactions
        First-order interactions from the same episodes.
    pilot : int
        Transitions per task that all of this was estimated from.
    power, level : float
        Wanted chance, and the level of the conflict test, both between 0 and 1.
    seconds : float
        That the estimate took.
    seed : int
    method : Grouping, optional
        How the groups were found, if not by `SemidefiniteGrouping`.
    common_share : float
        If above 0, groups are not in conflict, but have less than this share in common. That they come out
        is all that is asked of them then.

    Raises
    ------
    ValueError
        If the power or the level is no chance.
    """
    check_share("power", power)
    check_share("level", level)
    test = AffinityGraph.from_interactions(interactions).conflict(_NOISE, seed)
    unrelated = unrelated_test(interactions, common_share, seed=seed) if common_share > 0 else None
    p_value = test.p_value if unrelated is None else unrelated.p_value
    parts = interactions.pooled([np.flatnonzero(test.labels == part).tolist() for part in (0, 1)])
    critical, stderr = float(np.quantile(test.null, level)), float(parts.stderr[0, 1])
    needed, interval, curve = np.nan, (np.nan, np.nan), pd.DataFrame()
    if p_value <= level and partition.k > 1:
        errors = bootstrap.matrices - bootstrap.matrices.mean(axis=0)
        # Draws with replacement vary less than new ones would, as they are from few clusters.
        errors = errors[:_DRAWS] * np.sqrt((interactions.freedom + 1) / interactions.freedom)
        # Noise, and the critical value with it, falls faster than the error of the mean.
        others = max(1, min(_OTHERS, len(errors) - 2))  # the draws that are left stand for their errors
        spread = norm.ppf((np.arange(others) + 0.5) / others)
        between = test.between + stderr * generator_for(seed, "other pilots").permutation([*spread])
        chances = norm.cdf(
            (critical / SIZES - np.array([test.between, *between])[:, None]) * np.sqrt(SIZES) / stderr
        )
        conflict, *conflicts = chances if unrelated is None else np.ones_like(chances)
        labels = partition.labels
        truth = truth_behind(graph.matrix, errors, labels)
        chance = GroupPower(truth, errors, labels, conflict, np.array(conflicts), method)
        found = [chance.groups(place) for place in range(len(SIZES))]
        curve = pd.DataFrame({"transitions": pilot * SIZES, "groups": found, "conflict": conflict})
        curve["power"] = curve[["groups", "conflict"]].min(axis=1)
        needed = pilot * chance.needed(power)
        low, high = chance.needed_by_others(power)
        interval = min(pilot * low, needed), max(pilot * high, needed)
    scale = _noise_scale(interactions, graph.names, pilot)
    weakest = (norm.ppf(power) * stderr - critical) / test.scale if test.scale > 0 else np.inf
    return Plan(
        power,
        pilot,
        partition.groups,
        p_value,
        curve,
        needed,
        interval,
        seconds * needed / pilot,
        weakest,
        scale,
    )


def _noise_scale(interactions: Interactions, names: tuple[str, ...], pilot: int) -> pd.DataFrame:
    """Give the gradient noise scale of every task."""
    squared = np.diag(interactions.matrix)
    lengths = np.array([np.square(own).sum(axis=1).mean() for own in interactions.vectors])
    clusters = np.array([len(own) for own in interactions.vectors])
    uneven = np.array([np.square(own).mean() for own in interactions.weights])
    runs = np.full(len(squared), np.inf)
    np.divide(np.maximum(lengths - uneven * squared, 0.0), squared, out=runs, where=squared > 0)
    return pd.DataFrame(
        {
            "task": list(names),
            "squared_gradient": squared,
            "stderr": np.diag(interactions.stderr),
            "transitions": runs * pilot / clusters,
        }
    )
