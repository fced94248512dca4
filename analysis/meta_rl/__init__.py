"""Meta-learning on a few source tasks: one of each group, any, or all of them.

PolicyGradEx, Table 3, the control tasks. MAML trains on k representatives, and the policy adapts to 50 unseen
targets; k is what the groups say, and three as in the paper. The paper tells the return after 200 adaptation
steps and not what a step is: here it is one policy-gradient step on five fresh trajectories, each as long as
the horizon; where an episode ends early, others follow in it. All meta-trainings take equally many
environment steps. Choosing groups takes as many again, for the meta-policy and its transitions: that is not
counted, and random representatives do without.

Beside the paper's ranges, where everything is learnt before any adaptation, stand ranges that tell methods
apart: poles from 0.05 to 8 m, reversed motors, one reversed task of ten with targets half and half, and
highway by objective. Highway by density and LunarLander by gravity have no conflict: negative controls.
Settings were chosen on seeds from 100 upwards.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.meta_rl import sensitivity
from analysis.meta_rl.adapting import Trained, adapt_all, adapt_seeing, meta_train, seeing_policies
from analysis.meta_rl.designs import DESIGNS, work
from analysis.meta_rl.intervals import improvement, interquartile_mean, with_interval
from analysis.meta_rl.representatives import representatives
from analysis.study import plain
from gradex import PolicyGradEx

SEEDS = {"smoke": 1, "laptop": 5, "paper": 20}
_SENSITIVITY = "sensitivity"
PARTS = (*DESIGNS, _SENSITIVITY)
__all__ = ["PARTS", "SEEDS", "compute", "plot", "summary", "work"]

_OURS, _RANDOM, _SIMILAR = "MAML, PolicyGradEx", "MAML, random", "MAML, gradient similarity"
#: Of the figure, and how they are drawn.
_LINES = {
    _OURS: ("C3", "-", 2.2),
    _SIMILAR: ("C0", "-", 1.5),
    _RANDOM: ("0.45", "-", 1.5),
    "MAML, all tasks": ("C2", "-", 1.5),
    "first-order MAML, all tasks": ("C2", ":", 1.5),
    "multi-task PPO": ("C1", "--", 1.3),
    "soft modularization": ("C4", "--", 1.3),
    "PaCo": ("C5", "--", 1.3),
    "from scratch": ("0.7", ":", 1.5),
}
_COLUMNS = ("method", "rule", "k", "seed", "draw", "target", "episodes", "slowing", "area")


def compute(seed: int, scale: str, part: str) -> pd.DataFrame:
    """Meta-train by every method and adapt to the targets.

    Returns
    -------
    DataFrame
        method, rule (where k comes from: "auto", "three" or "none"), k (tasks of the meta-training), seed,
        draw (which of several sets of representatives), target, episodes and slowing (see `Adaptation`),
        after_0, after_1, ...: mean return after so many updates, and area: mean over the updates that all
        methods get.
    """
    if part == _SENSITIVITY:
        return _tidy(sensitivity.compute(seed, scale), seed)
    design = DESIGNS[part]
    suite, targets, amount = design.sources(seed, scale), design.targets(seed, scale), design.amount(scale)
    meta = amount.multi_task(suite, "mlp", amount.width, seed)
    amounts: dict[str, Any] = {"steps_per_task": amount.transitions, "snapshots": amount.snapshots}
    amounts |= {"projection_dim": amount.projection_dim, "group_steps": 0}
    run = PolicyGradEx(bootstrap=0, recursive=False, seed=seed, **amounts).fit(suite, meta)
    chosen = representatives(run, design.three, amount.draws, amount.draws_of_groups, seed)
    trained = [Trained("multi-task PPO", "none", len(suite), [meta.agent_])]
    trained += meta_train(suite, chosen, amount, seed)
    tables = [adapt_all(trained, targets, amount, seed)]
    tables += adapt_seeing(seeing_policies(suite, amount, seed), targets, amount, seed)
    own = amount.adaptation
    slowing = np.inf if own.slowing is None else own.slowing
    told = pd.concat(tables, ignore_index=True).assign(episodes=own.trajectories, slowing=slowing)
    return _tidy(told, seed)


def _tidy(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    return table.assign(seed=seed)[[*_COLUMNS, *_after(table)]].round(2)


def _after(table: pd.DataFrame) -> list[str]:
    """Give the columns of returns after so many updates, in order."""
    names = [name for name in table if name.startswith("after_")]
    return sorted(names, key=lambda name: int(name.removeprefix("after_")))


def _final(part: pd.DataFrame) -> str:
    """Give the last column that all methods have."""
    return next(name for name in reversed(_after(part)) if part[name].notna().all())


def _methods(part: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """Give the rows of each method and rule."""
    return {key: rows for key, rows in part.groupby(["method", "rule"], sort=False)}


def _scores(rows: pd.DataFrame, column: str) -> Float[np.ndarray, "seeds targets draws"]:
    """Arrange the scores of one method; draws of other seeds are others, but as many."""
    known = rows.dropna(subset=column).sort_values(["seed", "target", "draw"])
    return known[column].to_numpy().reshape(known.seed.nunique(), known.target.nunique(), -1)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give interquartile means with intervals, what PolicyGradEx gains, and what there was to gain.

    Returns
    -------
    DataFrame
        For each part, method and rule: k (mean over seeds); iqm, the interquartile mean over targets and
        seeds of the return after `updates`, with its 95 % interval; that of the area; gain and improvement:
        how much higher PolicyGradEx's random representatives are by the same rule, and how likely in a
        target; headroom: the best iqm of all methods less this one. Of the part on sensitivity a row for
        each setting, without comparisons.
    """
    tables = [_compared(part, rows) for part, rows in table.groupby("part", sort=False)]
    return pd.concat(tables, ignore_index=True)


def _compared(name: str, part: pd.DataFrame) -> pd.DataFrame:
    final, rows = _final(part), []
    cases = _methods(part) if name != _SENSITIVITY else _settings(part)
    best = max(interquartile_mean(_scores(own, final)) for own in cases.values())
    for key, own in cases.items():
        scores = _scores(own, final)
        row = {"part": name, "method": key[0], "rule": key[1], "k": own.groupby("seed").k.first().mean()}
        row |= {"updates": int(final.removeprefix("after_")), "seeds": len(scores)}
        row |= with_interval("iqm", interquartile_mean, [scores])
        row["area"] = interquartile_mean(_scores(own, "area"))
        rule = "three" if key[1] == "three" else "auto"
        if name != _SENSITIVITY and key[0] != _OURS:
            ours = _scores(cases[_OURS, rule], final)
            row |= with_interval("gain", _gain, [ours, scores])
            row |= with_interval("improvement", improvement, [ours, scores])
        rows.append(row | {"headroom": best - row["iqm"]})
    return pd.DataFrame(rows)


def _settings(part: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """Give the rows of each number of episodes and each way in which the rate falls."""
    words = {np.inf: "constant rate"}
    return {
        (f"{int(episodes)} episodes", words.get(slowing, f"rate / (1 + step / {slowing:g})")): rows
        for (episodes, slowing), rows in part.groupby(["episodes", "slowing"], sort=False)
    }


def _gain(
    ours: Float[np.ndarray, "seeds targets draws"], theirs: Float[np.ndarray, "seeds targets others"]
) -> float:
    return interquartile_mean(ours) - interquartile_mean(theirs)


# ---------------------------------------------------------------------- the figure
@matplotlib.rc_context({"font.size": 8, "axes.titlesize": 8.5, "legend.fontsize": 7.5})
def plot(table: pd.DataFrame) -> Figure:
    """Draw adaptation curves of each suite, interquartile means over targets and seeds, and the intervals."""
    parts = {str(name): rows for name, rows in table.groupby("part", sort=False)}
    suites = [name for name in parts if name != _SENSITIVITY]
    count = len(parts)
    columns = min(4, count)
    lines = -(-count // columns)
    figure = Figure(figsize=(2.6 * columns + 0.3, 2.5 * lines + 0.9), layout="constrained")
    panels = list(np.atleast_1d(figure.subplots(lines, columns)).ravel())
    for ax, name in zip(panels, suites, strict=False):
        _draw_curves(ax, parts[name])
        ax.set_title(DESIGNS[name].title)
    if _SENSITIVITY in parts:
        _draw_sensitivity(panels[len(suites)], parts[_SENSITIVITY])
    for ax in panels[count:]:
        ax.remove()
    if suites:
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(5, columns + 1), frameon=False)
    for ax in panels[:count:columns]:
        ax.set_ylabel("return (interquartile mean)")
    return figure


def _draw_curves(ax: Axes, part: pd.DataFrame) -> None:
    """Draw a line for each method with k by itself, and at the last update that all have an interval."""
    cases, after, final = _methods(part), _after(part), _final(part)
    after = [name for name in after if part[name].notna().any()]
    for place, (method, (color, style, width)) in enumerate(_LINES.items()):
        own = cases.get((method, "auto"), cases.get((method, "none")))
        if own is None:
            continue
        known = [name for name in after if own[name].notna().any()]
        means = [interquartile_mean(_scores(own, name)) for name in known]
        at = np.arange(len(known))
        ax.plot(at, means, style, color=color, linewidth=width, label=method.removeprefix("MAML, "))
        (row,) = [with_interval("iqm", interquartile_mean, [_scores(own, final)])]
        where = after.index(final) + 0.05 * (place - len(_LINES) / 2)
        ax.vlines(where, row["iqm_low"], row["iqm_high"], color=color, linewidth=1.2)
    _label_updates(ax, after)


def _draw_sensitivity(ax: Axes, part: pd.DataFrame) -> None:
    """Draw a line for each number of episodes, dashed where the rate stays."""
    after = _after(part.dropna(axis=1, how="all"))
    numbers = sorted(part.episodes.unique())
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(numbers)))
    for color, episodes in zip(shades, numbers, strict=True):
        named = "1 episode" if episodes == 1 else f"{int(episodes)} episodes"
        for slowing, own in part[part.episodes == episodes].groupby("slowing"):
            means = [interquartile_mean(_scores(own, name)) for name in after]
            style, label = ("--", None) if np.isinf(slowing) else ("-", named)
            ax.plot(range(len(after)), means, style, color=color, linewidth=1.4, label=label)
    _label_updates(ax, after)
    ax.legend(frameon=False, loc="best", handlelength=1.2)
    ax.set_title("episodes per update;\ndashed: the rate does not fall")


def _label_updates(ax: Axes, after: Sequence[str]) -> None:
    plain(ax)
    ax.set_xticks(range(len(after)), [name.removeprefix("after_") for name in after])
    ax.set_xlabel("updates")
