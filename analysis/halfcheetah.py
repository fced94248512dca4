"""Conflict that is graded: HalfCheetah by target velocity, where nobody planted groups.

Targets that lie next to each other want nearly the same, so good groups are intervals of velocities. Which
ones, single-task policies tell: each runs in every task, and the best intervals are those in which the best
single policy of each earns the most, of all ways to cut the targets into three intervals.

Groups are estimated by the defaults, by steps of a fixed divergence, and by the defaults at the end of
meta-training alone. Repaired ones are those of the defaults, which train for half of the steps; then tasks
that do better under another group's policy move, and the policies train on.
"""

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import pearsonr
from sklearn.metrics import normalized_mutual_info_score

from analysis.along import fit_along, scores_along, similarity_along
from analysis.study import confidence_interval, plain
from analysis.trained import amounts, learner
from gradex import AffinityGraph, MetaPolicy, PolicyGradEx, TaskSuite
from gradex.affinity import RandomGrouping
from gradex.learners import Collector
from gradex.reassignment import reassign
from gradex.seeds import child
from gradex.surrogate import SurrogateEstimator

SEEDS = {"smoke": 1, "laptop": 3, "paper": 10}
#: Options of the suite; environment steps of the meta-policy, and those that every method gets to go on from
#: it (None is what is recommended for the suite); episodes of each policy that are measured; steps of an
#: estimate, each of which serves all tasks.
_AMOUNTS: dict[str, tuple[dict[str, Any], int | None, int, int]] = {
    "smoke": ({"n": 5, "horizon": 20}, 1000, 4, 128),
    "laptop": ({}, None, 64, 8192),
    "paper": ({}, None, 256, 8192),
}
_K = 3
_ONE, _RANDOM, _SIMILAR = "one policy for all", "random groups", "gradient-similarity groups"
_OURS, _FIXED, _END = "PolicyGradEx groups", "the same, fixed KL", "the same, at the end"
_REPAIRED = "the same, repaired"
_EQUAL, _BEST, _EACH = "equal intervals", "best intervals", "one policy per task"
_METHODS = (_ONE, _RANDOM, _SIMILAR, _OURS, _REPAIRED, _FIXED, _END, _EQUAL, _BEST, _EACH)
_ESTIMATED = (_SIMILAR, _OURS, _FIXED, _END)
#: Whose returns are drawn by target; others are near these.
_DRAWN = (_ONE, _OURS, _REPAIRED, _EACH)
#: What knows how tasks differ, or has a policy for each: the best of these says what there is to gain.
_INFORMED = (_EQUAL, _BEST, _EACH)

Groups = Sequence[tuple[int, ...]]


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give one row per method and task.

    Every method goes on from the same meta-policy, which does not see the task, for the same number of
    environment steps, every task with the same share of them.

    Returns
    -------
    DataFrame
        Columns seed, method, task, velocity (target, m/s), group and return_mean of the task. Then, the same
        in all rows of a method: mean_return over tasks; intervals, whether each group is one; nmi with the
        best intervals; headroom_share, the gain over one policy for all, as a share of what the best of equal
        intervals, best intervals and one policy per task gains (nan where that is nothing). And where groups
        are estimated: reliability, the correlation of the interactions by two estimates from different
        episodes; held_out_gain, what the surrogate's steps add on average to the score of samples that they
        were not fitted to.
    """
    options, steps, episodes, transitions = _AMOUNTS[scale]
    suite = TaskSuite.make("halfcheetah", seed=seed, **options)
    everything = tuple(range(len(suite)))
    meta = MetaPolicy(suite, learner=learner(scale), seed=seed).fit(steps)
    common = amounts(scale, k=_K, group_steps=0, bootstrap=0, seed=seed)
    settings: dict[str, dict[str, Any]] = {
        _OURS: {"steps_per_task": transitions},
        _FIXED: {"steps_per_task": transitions, "score": "improvement"},
        _END: {"steps_per_task": transitions, "snapshots": 1},
    }
    runs = {method: PolicyGradEx(**{**common, **own}).fit(suite, meta) for method, own in settings.items()}
    groups: dict[str, Groups] = {
        _ONE: (everything,),
        _RANDOM: runs[_OURS].graph_.partition(k=_K, method=RandomGrouping(seed)).groups,
        _SIMILAR: similarity_along(runs[_OURS].surrogates_).partition(k=_K).groups,
        **{method: run.groups_ for method, run in runs.items()},
        _EQUAL: tuple(tuple(map(int, part)) for part in np.array_split(everything, _K)),
        _EACH: tuple((task,) for task in everything),
    }
    earned: dict[tuple[int, ...], Float[np.ndarray, " tasks"]] = {}
    total = suite.recommended.group_steps if steps is None else steps

    def train() -> None:
        """Train a policy for each group that has none yet, and see what it earns in every task."""
        new = sorted({group for parts in groups.values() for group in parts} - earned.keys())
        tasks = sum(map(len, new))
        policies = meta.adapt_each(new, total * tasks // len(suite)) if new else []
        earned.update(
            {group: _returns(policy, episodes) for group, policy in zip(new, policies, strict=True)}
        )

    train()
    groups[_BEST] = best_intervals(np.stack([earned[group] for group in groups[_EACH]]), _K)
    train()
    groups[_REPAIRED], repaired = _repaired(meta, groups[_OURS], total, episodes)
    labels = {method: _labels(groups[method]) for method in _METHODS}
    returns = {m: [earned[group] for group in groups[m]] for m in _METHODS if m != _REPAIRED}
    returns[_REPAIRED] = repaired
    own = {m: np.stack(returns[m])[labels[m], list(everything)] for m in _METHODS}
    mean = {method: float(each.mean()) for method, each in own.items()}
    headroom = max(mean[method] for method in _INFORMED) - mean[_ONE]
    names, targets = zip(*((task.name, task.parameters["velocity"]) for task in suite), strict=True)
    reliability = _reliabilities(runs, meta)
    tables = []
    for method in _METHODS:
        tasks = {"task": names, "velocity": targets, "group": labels[method], "return_mean": own[method]}
        told = {
            "mean_return": mean[method],
            "intervals": _are_intervals(groups[method]),
            "nmi": normalized_mutual_info_score(labels[_BEST], labels[method]),
            "headroom_share": (mean[method] - mean[_ONE]) / headroom if headroom > 0 else np.nan,
            "reliability": reliability.get(method, np.nan),
            "held_out_gain": _held_out_gain(runs[method]) if method in runs else np.nan,
        }
        tables.append(pd.DataFrame({"seed": seed, "method": method, **tasks, **told}))
    return pd.concat(tables, ignore_index=True)


def _repaired(
    meta: MetaPolicy, groups: Groups, steps: int, episodes: int
) -> tuple[Groups, list[Float[np.ndarray, " tasks"]]]:
    """Train groups for half of the steps, move tasks between them, and train on; give what policies earn."""
    half = meta.adapt_each(groups, steps // 2)
    moved = reassign(half, _labels(groups).tolist(), episodes, meta.seed).groups
    share = steps // 2 / len(meta.suite)
    policies = [each.adapt(group, round(share * len(group))) for each, group in zip(half, moved, strict=True)]
    return moved, [_returns(policy, episodes) for policy in policies]


def _returns(policy: MetaPolicy, episodes: int) -> Float[np.ndarray, " tasks"]:
    """Give what a policy earns in every task; the same episodes serve all, as only rewards differ."""
    suite = policy.suite
    assert suite.horizon is not None  # for the type checker
    collector = Collector(suite, [(0,)], episodes, [child(policy.seed, "evaluation")])
    rollout = collector.collect(policy.agent_, suite.horizon)  # whole episodes: none ends before
    collector.close()
    assert rollout.objectives is not None  # for the type checker
    return suite.rewards(rollout.objectives).sum(axis=1).mean(axis=(1, 2))


def best_intervals(singles: Float[np.ndarray, "policies tasks"], k: int) -> tuple[tuple[int, ...], ...]:
    """Cut the tasks into the k intervals in which single-task policies earn most.

    Parameters
    ----------
    singles : array [policies, tasks]
        What each policy earns in every task.
    k : int
        At most as many as there are tasks.

    Returns
    -------
    tuple of tuples of int
        An interval is worth what the best policy for it, one for all of its tasks, earns there.

    Examples
    --------
    >>> from analysis.halfcheetah import best_intervals
    >>> best_intervals([[3, 2, 0, 0], [0, 0, 2, 2]], k=2)
    ((0, 1), (2, 3))
    """
    earned = np.asarray(singles)
    n = earned.shape[1]
    before = np.pad(earned.cumsum(axis=1), ((0, 0), (1, 0)))  # what a policy earns in the tasks before one
    worth = {(i, j): (before[:, j] - before[:, i]).max() for i, j in combinations(range(n + 1), 2)}
    # Dynamic programming: the best cuts of the first `end` tasks into one interval more.
    best: dict[int, tuple[float, tuple[int, ...]]] = {
        end: (worth[0, end], (0, end)) for end in range(1, n + 1)
    }
    for parts in range(2, k + 1):
        best = {
            end: max((best[cut][0] + worth[cut, end], (*best[cut][1], end)) for cut in range(parts - 1, end))
            for end in range(parts, n + 1)
        }
    cuts = best[n][1]
    return tuple(tuple(range(*ends)) for ends in pairwise(cuts))


def _labels(groups: Groups) -> np.ndarray:
    labels = np.zeros(sum(map(len, groups)), dtype=np.int64)
    for number, group in enumerate(groups):
        labels[list(group)] = number
    return labels


def _are_intervals(groups: Groups) -> bool:
    return all(max(group) - min(group) == len(group) - 1 for group in groups)


def _reliabilities(runs: dict[str, PolicyGradEx], meta: MetaPolicy) -> dict[str, float]:
    """Correlate, by method, the interactions of all pairs of tasks by two estimates from other episodes."""
    found: dict[str, list[np.ndarray]] = {method: [] for method in _ESTIMATED}
    for number in range(2):
        for method, run in runs.items():
            estimator = SurrogateEstimator(run.projection_dim, score=run.surrogate_.score, seed=run.seed)
            again = child(run.seed, "reliability", number)
            surrogates = fit_along(estimator, meta.path_, run.steps_per_task, again)
            graphs = {method: AffinityGraph.from_scores(scores_along(surrogates, run.scores_.subsets))}
            if method == _OURS:
                graphs[_SIMILAR] = similarity_along(surrogates)
            for name, graph in graphs.items():
                found[name].append(graph.interaction().matrix[np.triu_indices(len(graph), 1)])
    return {method: float(pearsonr(*pair).statistic) for method, pair in found.items()}


def _held_out_gain(run: PolicyGradEx) -> float:
    """Give the mean score of all subsets and tasks, less that of standing still."""
    losses = [-np.log(2) * each.weights.mean(axis=1) for each in run.surrogates_]
    still = 0.0 if run.score == "improvement" else np.mean(losses, axis=0)
    return float(np.nanmean(run.scores_.per_task - still))


def _by_seed(table: pd.DataFrame) -> pd.DataFrame:
    return table.groupby(["method", "seed"], sort=False).first().reset_index()


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give means over seeds, and on how many seeds the groups are intervals."""
    rows = []
    for method, part in _by_seed(table).groupby("method", sort=False):
        low, high = confidence_interval(part.mean_return.to_numpy())
        means = part[["headroom_share", "nmi", "reliability", "held_out_gain"]].mean()
        told = {"method": method, "return": part.mean_return.mean(), "low": low, "high": high}
        rows.append({**told, **means, "intervals": int(part.intervals.sum()), "seeds": len(part)})
    return pd.DataFrame(rows)


def plot(table: pd.DataFrame) -> Figure:
    """Draw returns by method and by target, and the groups."""
    seeds = table.seed.nunique()
    figure = Figure(figsize=(12, 3.4 + 0.1 * seeds), layout="constrained")
    methods, targets, groups = figure.subplots(1, 3, width_ratios=(1.1, 1.2, 1))
    _draw_methods(methods, _by_seed(table))
    _draw_targets(targets, table)
    _draw_groups(groups, table)
    return figure


def _draw_methods(ax: Axes, by_seed: pd.DataFrame) -> None:
    for row, method in enumerate(_METHODS):
        values = by_seed[by_seed.method == method].sort_values("seed").mean_return.to_numpy()
        ax.scatter(values, row + np.linspace(-0.25, 0.25, len(values)), s=8, color="0.65", zorder=1)
        if len(values) > 2:  # two tell no interval worth drawing
            ax.plot(confidence_interval(values), [row, row], color=f"C{row}", linewidth=2, zorder=2)
        ax.scatter(values.mean(), row, s=36, color=f"C{row}", zorder=3)
    ax.set(xlabel="return, mean over tasks", yticks=range(len(_METHODS)), yticklabels=_METHODS)
    ax.invert_yaxis()
    plain(ax)


def _draw_targets(ax: Axes, table: pd.DataFrame) -> None:
    looks = iter([("o", "-"), ("s", "--"), ("^", "-."), ("v", ":"), ("D", "-")])  # apart in grey, too
    for number, method in enumerate(_METHODS):
        if method in _DRAWN:
            own = table[table.method == method]
            mean = own.groupby(own.velocity.round(6)).return_mean.mean()  # seeds differ by rounding
            marker, line = next(looks)
            ax.plot(mean.index, mean, line, color=f"C{number}", marker=marker, markersize=3.5, label=method)
    ax.set(xlabel="target velocity, m/s", ylabel="return")
    ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    plain(ax)


def _draw_groups(ax: Axes, table: pd.DataFrame) -> None:
    """Draw the groups of the methods that choose some, a row for each seed."""
    row, ticks = 0, {}
    for method in (*_ESTIMATED, _REPAIRED, _BEST):
        ticks[row + (table.seed.nunique() - 1) / 2] = method
        for _, part in table[table.method == method].groupby("seed"):
            order = {group: number for number, group in enumerate(part.group.unique())}
            colors = [str(0.1 + 0.35 * (order[group] % 3)) for group in part.group]  # greys
            ax.scatter(part.velocity, [row] * len(part), c=colors, marker="s", s=14)
            row += 1
        row += 1
    ax.set(xlabel="target velocity, m/s", yticks=list(ticks), yticklabels=ticks.values())
    ax.set(title="groups by seed")
    ax.invert_yaxis()
    plain(ax)
