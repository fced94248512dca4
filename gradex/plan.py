"""A plan: how many transitions it takes until groups can be trusted, from a pilot.

Groups can be trusted at E runs of a task where the conflict test finds a conflict, and clustering the
interactions gives the groups that it gives without noise. How often both happen is simulated, with

    interactions at E = s U + errors at E,

U the pilot's unbiased interactions, errors as `gradex.surrogate.interaction_noise` draws them. The pilot's
own errors look like signal: U varies more between tasks than the truth does. The factor s takes that out,
s² = 1 - E|errors|² / |U|², both centred over tasks, as only differences between tasks make groups.

The gradient noise scale of a task is B = tr(Σ) / |g|² (McCandlish et al. 2018, arXiv:1812.06162): at so much
data the noise of its gradient is as large as the gradient. Here it is measured in the metric of (H + λI)⁻¹,
that of the interactions: |g|² is their diagonal, over pairs of different runs, and so not inflated by noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from scipy.stats import norm

from gradex.affinity import AffinityGraph, fewest_groups
from gradex.affinity.conflict import conflict_test
from gradex.affinity.power import GroupPower, reached, shrunk
from gradex.pilot import Pilot
from gradex.seeds import child
from gradex.settings import real
from gradex.surrogate.interaction_noise import InteractionNoise

#: Draws of errors for the curve, and for each of the pilots that are simulated for the interval.
_DRAWS, _DRAWS_OF_A_PILOT, _PILOTS = 100, 25, 16
#: Draws of noise for the conflict test, as `fewest_groups` takes.
_NULL = 400
#: Share of simulated pilots within the interval.
_WITHIN = 0.8


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """How many transitions of each task it takes until groups can be trusted.

    Attributes
    ----------
    table : DataFrame
        One row per task: task; squared_gradient and its stderr, |g|² in the metric of the interactions; and
        the gradient noise scale in `episodes` and in `transitions`, of all snapshots together. It is
        infinite where no gradient was measured, |g|² <= 0.
    power : float
        Wanted chance that the conflict is found and the groups come out.
    p_value : float
        Of the pilot's conflict test.
    labels : int array [n]
        Groups of the pilot's interactions; all 0 where it shows no conflict.
    curve : DataFrame
        Columns transitions (per task) and power; empty without a conflict.
    pilot : int
        Transitions of the pilot, per task, of all snapshots together.
    needed, interval : float, tuple of two floats
        Transitions per task that give the power, of all snapshots together, and the 80 % interval of what
        other pilots as large as this would have told; nan where no conflict is known, infinite where the
        power is out of reach.
    seconds_per_transition : float
        Of the estimate, per transition of each task; nan where no time was taken.
    detectable : float
        The smallest conflict that an estimate as large as the pilot finds with the wanted power, as the mean
        interaction between the two halves over the mean of |g|²: 0 is no conflict, 1 are opposite gradients.
        Infinite where no gradient stands out.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.pilot import Pilot
    >>> from gradex.plan import make_plan
    >>> from gradex.surrogate import Interactions
    >>> rng = np.random.default_rng(0)
    >>> aims = [(1.5, 0.0), (1.5, 0.0), (-1.5, 0.0), (-1.5, 0.0)]
    >>> runs = tuple(rng.normal(aim, 2.0, size=(10, 2)) for aim in aims)
    >>> pilot = Pilot(Interactions(runs, common=False), transitions=640, episodes=np.full(4, 20.0))
    >>> plan = make_plan(pilot, ["a", "b", "c", "d"], k=2)
    >>> plan.labels.tolist(), 256 <= plan.transitions <= 2560
    ([0, 0, 1, 1], True)
    """

    table: pd.DataFrame
    power: float
    p_value: float
    labels: Int[np.ndarray, " n"]
    curve: pd.DataFrame
    pilot: int
    needed: float
    interval: tuple[float, float]
    seconds_per_transition: float
    detectable: float

    @property
    def transitions(self) -> int | None:
        """Transitions per task to take, of all snapshots together; None where no amount is known."""
        return int(np.ceil(self.needed)) if np.isfinite(self.needed) else None

    @property
    def seconds(self) -> float | None:
        """Seconds that the estimate from so many transitions takes here; None where that is not known."""
        known = self.needed * self.seconds_per_transition
        return float(known) if np.isfinite(known) else None

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the chance of trustworthy groups by transitions, with the wanted power and the interval.

        Raises
        ------
        ValueError
            If the pilot shows no conflict.
        """
        if not len(self.curve):
            raise ValueError("the pilot shows no conflict, so that there is no power to draw: take more runs")
        if ax is None:
            _, ax = plt.subplots(figsize=(4.5, 3.2), layout="constrained")
        blue, red = sns.color_palette("deep")[0], sns.color_palette("deep")[3]
        ax.plot(self.curve.transitions, self.curve.power, "o-", color=blue, markersize=4)
        ax.axhline(self.power, color="0.6", linewidth=1)
        ax.axvline(self.pilot, color="0.6", linewidth=1, linestyle="dashed", label="the pilot")
        if np.isfinite(self.needed):
            low, high = self.interval[0], min(self.interval[1], 2 * self.curve.transitions.max())
            reach = [[self.needed - low], [max(high - self.needed, 0.0)]]
            style = {"fmt": "o", "color": red, "capsize": 2, "zorder": 3}
            ax.errorbar([self.needed], [self.power], xerr=reach, label="needed", **style)
        ax.set(
            xscale="log", ylim=(-0.02, 1.02), xlabel="transitions per task", ylabel="chance of these groups"
        )
        ax.legend(frameon=False)
        sns.despine(ax=ax)
        return ax

    def summary(self) -> dict[str, object]:
        """Sum up in plain JSON types; None is what is not known or infinite."""
        numbers = {"needed": self.needed, "low": self.interval[0], "high": self.interval[1]}
        numbers |= {"detectable": self.detectable, "seconds": self.seconds or np.nan}
        rows = self.table.to_dict(orient="records")
        return {
            "power": self.power,
            "p_value": self.p_value,
            "labels": self.labels.tolist(),
            "pilot": self.pilot,
            **{name: _known(value) for name, value in numbers.items()},
            "tasks": [{str(name): _known(value) for name, value in row.items()} for row in rows],
        }

    @cached_property
    def _lines(self) -> list[str]:
        """Say what was found, and what follows."""
        scales = self.table.transitions[np.isfinite(self.table.transitions)]
        told = f"pilot of {self.pilot:,} transitions per task, conflict p = {self.p_value:.2g}"
        if len(scales):
            told += f"; gradient noise scale {scales.min():,.0f} to {scales.max():,.0f} transitions"
        if silent := len(self.table) - len(scales):
            told += f"; no gradient stands out of the noise in {silent} of {len(self.table)} tasks"
        if np.isnan(self.needed):
            least = "no conflict" if self.detectable > 1 else f"one of {self.detectable:.0%} of |g|² or more"
            return [
                told,
                "no conflict beyond doubt: no amount of transitions is known to find groups",
                f"a pilot as large as this finds {least} with {self.power:.0%} power"
                + ("" if self.detectable <= 1 else ": take more runs"),
            ]
        k = int(self.labels.max()) + 1
        if np.isinf(self.needed):
            most = self.curve.transitions.max()
            return [
                told,
                f"{k} groups cannot be trusted with {self.power:.0%} power by {most:,.0f} transitions",
            ]
        low, high = (f"{end:,.0f}" if np.isfinite(end) else "an unknown amount" for end in self.interval)
        line = f"{k} groups can be trusted with {self.power:.0%} power from {self.transitions:,} transitions "
        line += f"per task in all (80% of such pilots would say {low} to {high})"
        seconds = (
            [] if self.seconds is None else [f"the estimate then takes about {self.seconds:,.0f} s here"]
        )
        return [told, line, *seconds]

    def __repr__(self) -> str:
        return "\n".join([self.table.to_string(index=False, float_format="{:.3g}".format), *self._lines])

    def _repr_html_(self) -> str:
        lines = "".join(f"<p>{line}</p>" for line in self._lines)
        return self.table.to_html(index=False, float_format="{:.3g}".format) + lines


def check_power(power: float) -> None:
    """Refuse a wanted chance that is none."""
    if not 0 < real("power", power) < 1:
        raise ValueError(f"power={power} is not between 0 and 1: give a chance such as 0.9")


def make_plan(
    pilot: Pilot,
    names: Sequence[str],
    k: int | str = "auto",
    power: float = 0.9,
    level: float = 0.05,
    seconds: float = np.nan,
    seed: int = 0,
) -> Plan:
    """Tell from a pilot how many transitions it takes until groups can be trusted.

    More transitions are more runs, each as long as the pilot's.

    Parameters
    ----------
    pilot : Pilot
    names : sequence of str
        Of the tasks.
    k : int or "auto"
        Number of groups; "auto" is the smallest of which none holds a conflict in the pilot.
    power : float
        Wanted chance, between 0 and 1.
    level : float
        Of the conflict test.
    seconds : float
        That the pilot's estimate took.
    seed : int

    Raises
    ------
    ValueError
        If the power is no probability, or k is no number of groups.
    """
    check_power(power)
    interactions, n = pilot.interactions, len(pilot.interactions)
    if k != "auto" and not (isinstance(k, int) and 1 <= k <= n):
        raise ValueError(f"k is {k!r} for {n} tasks: choose 1 to {n}, or 'auto'")
    matrix = np.asarray(interactions.matrix, dtype=np.float64)
    test = conflict_test(matrix, interactions.noise(_NULL, seed))
    noise = InteractionNoise.of(interactions, _DRAWS, seed)
    labels, power_of, needed, interval = np.zeros(n, dtype=np.int64), {}, np.nan, (np.nan, np.nan)
    if isinstance(k, str):
        graph = AffinityGraph.from_interactions(interactions, names)
        k = fewest_groups(interactions, graph.partition, level, _NULL, seed)[0].k
    if test.p_value <= level and k > 1:
        critical = float(np.quantile(test.null, level)) * pilot.runs
        finding = GroupPower(k, noise.at, critical)
        signal = shrunk(matrix, noise.at(pilot.runs))
        labels = finding.groups(signal)
        power_of = finding.curve(signal, power)
        needed = reached(power_of, power)
        # What other pilots would say, if the signal of this one were the truth.
        again = InteractionNoise.of(interactions, _PILOTS, child(seed, "other pilots")).at(pilot.runs)
        others = [shrunk(signal + errors, noise.at(pilot.runs)) for errors in again]
        told = [reached(finding.curve(other, power, _DRAWS_OF_A_PILOT), power) for other in others]
        ends = np.quantile(told, [(1 - _WITHIN) / 2, (1 + _WITHIN) / 2], method="nearest")
        interval = min(float(ends[0]), needed), max(float(ends[1]), needed)
    of_a_run = pilot.transitions / pilot.runs
    return Plan(
        _noise_scales(pilot, names),
        power,
        test.p_value,
        labels,
        pd.DataFrame({"transitions": [of_a_run * runs for runs in power_of], "power": [*power_of.values()]}),
        pilot.transitions,
        needed * of_a_run,
        (interval[0] * of_a_run, interval[1] * of_a_run),
        seconds / pilot.transitions,
        _detectable(matrix, test.labels, test.null, noise.at(pilot.runs), power, level),
    )


def _noise_scales(pilot: Pilot, names: Sequence[str]) -> pd.DataFrame:
    """Give the gradient noise scale of every task."""
    squared = np.diag(pilot.interactions.matrix).astype(float)
    lengths = [float((own.astype(np.float64) ** 2).sum(axis=1).mean()) for own in pilot.interactions.vectors]
    runs = np.full(len(squared), np.inf)
    seen = squared > 0
    runs[seen] = np.maximum(np.array(lengths) - squared, 0.0)[seen] / squared[seen]
    return pd.DataFrame(
        {
            "task": list(names),
            "squared_gradient": squared,
            "stderr": np.diag(pilot.interactions.stderr),
            "episodes": runs * pilot.episodes / pilot.runs,
            "transitions": runs * pilot.transitions / pilot.runs,
        }
    )


def _detectable(
    matrix: Float[np.ndarray, "n n"],
    halves: Int[np.ndarray, " n"],
    null: Float[np.ndarray, " draws"],
    errors: Float[np.ndarray, "errors n n"],
    power: float,
    level: float,
) -> float:
    """Give the smallest conflict that the test finds with this power, as a share of the mean of |g|²."""
    alone = float(np.diag(matrix).mean())
    if alone <= 0:
        return np.inf
    spread = errors[:, halves[:, None] != halves].mean(axis=1).std()
    return float((norm.ppf(power) * spread - np.quantile(null, level)) / alone)


def _known(value: object) -> object:
    """Give None for numbers that JSON does not know."""
    return None if isinstance(value, float) and not np.isfinite(value) else value
