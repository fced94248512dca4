"""Does sharpness follow the generalization error? Along training, and by the number of tasks (Fig. 2).

Policies are trained from fresh weights on subsets of ten tasks, all policies of a suite together and every
task of every subset for as many environment steps, and measured on tasks that none of them has seen.

(a) Along training: one task, a group that contains it, and all tasks. The group is the planted one, or where
none is planted the task and its neighbours in the parameter that varies; of MT10, in its list, where alike
tasks stand together. Target tasks come from the suite's law, of MT10 they are Meta-World's other forty; where
groups are planted, only from those groups that the policy was trained on, as a policy for one direction of
the motor has no business with the other.

(b) By the number of tasks: random subsets, each inside the next larger one. They are samples of the suite's
law, so all target tasks count.

The error is measured twice, in loss and in return. The loss is normalised task by task: it tells how well
what a policy finds probable agrees with what pays. Returns are compared by what they gained over the policy
that takes all actions alike, as some tasks pay more than others whatever one does. Networks have three
affine layers, for which exact traces are cheap.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from analysis.generalization_scales import AMOUNTS, Amount, Setting
from analysis.study import confidence_interval, mean_with_interval
from gradex import Generalization, MetaPolicy, TaskSuite
from gradex.generalization import Measurement
from gradex.seeds import child, generator_for

SEEDS = {"smoke": 1, "laptop": 5, "paper": 20}
PARTS = tuple(AMOUNTS["laptop"].settings)
_LAYERS = 3

_PANELS = ("training", "tasks")
_ALONG = {"one task": ("C0", "o"), "a group": ("C1", "s"), "all tasks": ("C2", "^")}
_BOUNDS = ("bound", "bound_by_episode", "bound_measured", "bound_anisotropic")
#: What may follow the error, the two errors, and what correlations are taken with.
_MEASURES = ("steps", "tasks", "trace", "top_eigenvalue", *_BOUNDS)
_ERRORS = ("gap", "return_gap")
_FOLLOWED = (*_ERRORS, "trace")
_LABELS = {"trace": "trace of\nthe Hessian", "gap": "error in\nloss", "return_gap": "error in\nreturn"}
#: What the legend says of bands and of the numbers in the panels.
_BAND = "95 % interval of the mean over seeds"
_RHO: dict[str, Any] = {
    "label": "ρ: rank correlation with the trace, 95 % interval",
    "linestyle": "none",
}


# ---------------------------------------------------------------------- computing
def compute(seed: int, scale: str, part: str) -> pd.DataFrame:
    """Give one row per measured policy on a suite, none if the scale has not this suite or this seed of it.

    Returns
    -------
    DataFrame
        suite, seed, panel ("training" or "tasks"), setting, tasks (how many), chain, steps (for each task);
        the numbers of `gradex.generalization.Measurement`: trace, top_eigenvalue, losses, gap and its
        standard error, bounds, constants; train_return, test_return, and return_gap: what the former gained
        over the uniform policy less what the latter did.
    """
    amount = AMOUNTS[scale]
    setting = amount.settings.get(part)
    if setting is None or (setting.seeds is not None and seed >= setting.seeds):
        return pd.DataFrame(columns=["suite", "seed"])
    return pd.DataFrame([{"suite": part, "seed": seed, **row} for row in _rows(setting, amount, seed)])


def work(scale: str) -> float:
    """Count the environment steps of a seed, on average; what measures policies is not counted."""
    amount, steps = AMOUNTS[scale], 0.0
    for setting in amount.settings.values():
        tasks = (setting.chains or amount.chains) * sum(amount.numbers) + 3
        steps += setting.steps_per_task * tasks * (setting.seeds or SEEDS[scale]) / SEEDS[scale]
    return steps


@dataclass(frozen=True)
class _Run:
    """A policy on its way, and the tasks that it is trained on."""

    policy: MetaPolicy
    subset: list[int]
    place: dict[str, Any]


def _rows(setting: Setting, amount: Amount, seed: int) -> list[dict[str, Any]]:
    """Train all policies of a suite together, and measure them."""
    suite = TaskSuite.make(setting.family, seed=seed, **setting.options)
    rng = generator_for(seed, "chains")
    orders = [rng.permutation(len(suite)).tolist() for _ in range(setting.chains or amount.chains)]
    chains = [(chain, number) for chain in range(len(orders)) for number in amount.numbers]
    subsets = [orders[chain][:number] for chain, number in chains] + [_group(suite, orders[0][0])]
    seeds = [child(seed, "chain", chain) for chain, _ in chains] + [seed]
    trained = MetaPolicy(suite, learner=amount.learner, seed=seed, layers=_LAYERS).fit_each(
        subsets, setting.steps_per_task * sum(map(len, subsets)), amount.snapshots, seeds
    )
    targets = suite.unseen(amount.targets, seed)
    first = trained[0][0]
    uniform = first.with_parameters(np.zeros_like(first.parameters))
    episodes = setting.episodes or amount.episodes
    paid_anyway = [uniform.evaluate(episodes, suite=each).return_mean for each in (suite, targets)]
    runs: dict[tuple[int, ...], list[_Run]] = {}
    for name, index in zip(_ALONG, (chains.index((0, 1)), -1, chains.index((0, len(suite)))), strict=True):
        subset = subsets[index]
        for number, policy in enumerate(trained[index], start=1):
            steps = setting.steps_per_task * number // amount.snapshots
            place = {"panel": "training", "setting": name, "tasks": len(subset), "chain": 0, "steps": steps}
            runs.setdefault(_of_its_kind(targets, suite[subset]), []).append(_Run(policy, subset, place))
    for (chain, number), subset, policies in zip(chains, subsets, trained, strict=False):
        place = {"panel": "tasks", "setting": "random tasks", "tasks": number, "chain": chain}
        run = _Run(policies[-1], subset, {**place, "steps": setting.steps_per_task})
        runs.setdefault(tuple(range(len(targets))), []).append(run)
    rows = []
    for chosen, some in runs.items():
        for run, numbers in zip(some, _measured(some, suite, targets[chosen], amount, seed), strict=True):
            train = run.policy.evaluate(episodes, subset=run.subset).return_mean.mean()
            test = run.policy.evaluate(episodes, suite=targets[chosen]).return_mean.mean()
            anyway = paid_anyway[0][run.subset].mean() - paid_anyway[1][list(chosen)].mean()
            returns = {"train_return": train, "test_return": test, "return_gap": train - test - anyway}
            rows.append(run.place | numbers | returns)
    return rows


def _group(suite: TaskSuite, task: int) -> list[int]:
    """Give the tasks planted in one group with this one, or it and its two neighbours."""
    if suite.labels is not None:
        return np.flatnonzero(suite.labels == suite.labels[task]).tolist()
    first = min(max(task - 1, 0), len(suite) - 3)
    return list(range(first, first + 3))


def _of_its_kind(targets: TaskSuite, train: TaskSuite) -> tuple[int, ...]:
    """Give the targets from planted groups that are trained on, or all where none are planted."""
    if targets.labels is None or train.labels is None:
        return tuple(range(len(targets)))
    return tuple(np.flatnonzero(np.isin(targets.labels, train.labels)).tolist())


def _measured(
    runs: Sequence[_Run], suite: TaskSuite, targets: TaskSuite, amount: Amount, seed: int
) -> list[dict[str, Any]]:
    policies, subsets = [run.policy for run in runs], [run.subset for run in runs]
    measure = Generalization(
        policies[0],
        suite,
        targets,
        steps_per_task=amount.samples,
        lanczos_steps=12,
        perturbations=4,
        seed=seed,
    )
    return [_numbers(found) for found in measure.measure_each(policies, subsets)]


def _numbers(found: Measurement) -> dict[str, Any]:
    constants = {name: value for name, value in found.constants.items() if name != "alpha"}
    return {
        "trace": found.trace,
        "top_eigenvalue": found.top_eigenvalue,
        "top_eigenvalue_residual": found.top_eigenvalue_residual,
        "train_loss": found.train_loss,
        "test_loss": found.test_loss,
        "gap": found.gap,
        "gap_stderr": found.gap_stderr,
        "bound": found.bound,
        "bound_by_episode": found.isotropic_by_episode.value,
        "bound_measured": found.bound_measured,
        "bound_anisotropic": found.bound_anisotropic,
        "highest_loss": found.isotropic.loss_range.high,
        **constants,
    }


# ---------------------------------------------------------------------- reading
def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give rank correlations with the error, and how often bounds say anything.

    Along training the correlation is that within a training, averaged over the trainings of a seed; by number
    of tasks, and over all policies, it is over the policies of a seed. Means over seeds have 95 % intervals.

    Returns
    -------
    DataFrame
        suite, panel ("training", "tasks" or "all"), measure; gap, gap_low, gap_high: its rank correlation
        with the error in loss, return_gap, ... with the error in return, trace, ... with the trace;
        not_vacuous, below_uniform: the share of policies whose bound is below the largest possible loss, and
        below 0, the loss of the policy that takes all actions alike.
    """
    rows = []
    for suite, part in table.groupby("suite", sort=False):
        for panel in (*_PANELS, "all"):
            chosen = part if panel == "all" else part[part.panel == panel]
            unit = ["seed", "setting"] if panel == "training" else ["seed"]
            correlations = _rank_correlations(chosen, unit)
            for measure in _MEASURES:
                if chosen.groupby(unit)[measure].nunique().max() == 1:
                    continue
                row: dict[str, Any] = {"suite": suite, "panel": panel, "measure": measure}
                for followed in _FOLLOWED:
                    row |= _over_seeds(followed, correlations[measure, followed])
                if measure in _BOUNDS:
                    row["not_vacuous"] = (chosen[measure] < chosen.highest_loss).mean()
                    row["below_uniform"] = (chosen[measure] < 0).mean()
                rows.append(row | {"seeds": chosen.seed.nunique()})
    return pd.DataFrame(rows)


def by_setting(table: pd.DataFrame) -> pd.DataFrame:
    """Give means at the end of training by suite and setting, and how many bounds are not vacuous."""
    ends = table[table.steps == table.groupby("suite").steps.transform("max")].copy()
    for bound in _BOUNDS:
        ends[f"{bound}_not_vacuous"] = ends[bound] < ends.highest_loss
    kept = ends.drop(columns=["part", "seed", "chain", "steps", "seconds"], errors="ignore")
    return kept.groupby(["suite", "panel", "setting", "tasks"], sort=False).mean()


def _rank_correlations(table: pd.DataFrame, unit: Sequence[str]) -> pd.DataFrame:
    """Give Spearman's correlations: a row per seed, columns (measure, what it may follow)."""
    columns = list(dict.fromkeys((*_MEASURES, *_FOLLOWED)))
    rows = {
        key: part[columns].corr("spearman").loc[list(_MEASURES), list(_FOLLOWED)].stack(future_stack=True)
        for key, part in table.groupby(list(unit))
    }
    return pd.DataFrame(rows).T.groupby(level=0).mean()


def _over_seeds(name: str, values: pd.Series) -> dict[str, float]:
    """Give the mean correlation over the seeds that have one, and its interval, cut to what there can be."""
    values = values.dropna()
    if len(values) == 0:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"), np.nan)
    return {column: float(np.clip(end, -1, 1)) for column, end in mean_with_interval(name, values).items()}


# ---------------------------------------------------------------------- drawing
def plot(table: pd.DataFrame) -> Figure:
    """Draw trace and both errors along training above, by number of tasks below; means and 95 % bands.

    The numbers in the panels are rank correlations of the trace with that error, and their intervals.
    """
    suites = list(dict.fromkeys(table.suite))
    told = summary(table)
    told = told[told.measure == "trace"].set_index(["suite", "panel"])
    figure = Figure(figsize=(1.2 + 2.3 * len(suites), 8.9), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=(1.02, 1))
    titles = ("(a) along training", "(b) by the number of tasks")
    for name, part, title in zip(_PANELS, halves, titles, strict=True):
        part.suptitle(title, x=0.01, ha="left", fontweight="bold")
        panels = part.subplots(len(_LABELS), len(suites), sharex="col", squeeze=False)
        for column, suite in enumerate(suites):
            chosen = table[(table.suite == suite) & (table.panel == name)]
            chosen = chosen.assign(thousands=chosen.steps / 1000)
            for ax, value in zip(panels[:, column], _LABELS, strict=True):
                _draw(ax, chosen, value, "thousands" if name == "training" else "tasks")
                if value in _ERRORS:
                    mean, low, high = told.loc[(suite, name), [value, f"{value}_low", f"{value}_high"]]
                    note = f"ρ = {mean:.2f} ({low:.2f} to {high:.2f})".replace("-", "\N{MINUS SIGN}")
                    ax.set_title(note, fontsize=8, pad=2, loc="right")
                if column == 0:
                    ax.set_ylabel(_LABELS[value])
            panels[0, column].set_title(suite)
            panels[-1, column].set_xlabel("thousand steps for each task" if name == "training" else "tasks")
        part.align_ylabels()
        lines = [line for line in panels[0, 0].get_lines() if not line.get_label().startswith("_")]
        handles = [*lines, Patch(color="0.5", alpha=0.3, linewidth=0, label=_BAND), Line2D([], [], **_RHO)]
        part.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def _draw(ax: Axes, table: pd.DataFrame, value: str, by: str) -> None:
    for setting, part in table.groupby("setting", sort=False):
        of_seeds = part.groupby([by, "seed"])[value].mean().unstack()
        low, high = np.transpose([confidence_interval(values) for values in of_seeds.to_numpy()])
        color, marker = _ALONG.get(setting, ("0.3", "o"))
        ax.fill_between(of_seeds.index, low, high, color=color, alpha=0.2, linewidth=0)
        ax.plot(
            of_seeds.index, of_seeds.mean(axis=1), color=color, marker=marker, markersize=3, label=setting
        )
    ax.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.grid(axis="y", color="0.9")
    ax.spines[["top", "right"]].set_visible(False)
