"""Does the estimate tell who helps whom on MT10? All pairs of tasks are trained for real.

A pair tells more per step than a triple does, so the truth is what each task earns beside each other
task, compared with what it earns alone, by returns that are standardised task by task. `PairwiseAffinity`
reads both the truth and the estimates. All begins at one meta-policy, and there are two of them. "From
scratch" PPO stops where some tasks are half learned; what it has not found yet is the luck of its
exploration. "Cloned from experts" every task succeeds in 20 to 80 % of its episodes, and no luck is left.

An estimate is made twice, from different transitions: how far the two agree is its reliability. One without
bias reaches the ceiling, how well real training agrees with itself, times the root of its reliability; where
it stays below, first order is biased. Steps along the surrogate's solutions that are run in the simulator
("rollout") ask nothing of the first order but its direction.

Real trainings are kept in `runs/mt10-SCALE/seed-SEED/`, so that the study can take several sittings; after
changing how policies are trained, remove that folder.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import combinations, combinations_with_replacement
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.base import clone
from tqdm.auto import trange

from analysis import flops
from analysis.experts import Cloning
from analysis.provenance import noted
from analysis.study import kept_for, kept_table, mean_with_interval, plain
from analysis.trained import for_real, full_length, kept, pair_interactions, rank_correlation
from gradex import PPO, AffinityGraph, GroundTruth, MetaPolicy, SurrogateEstimator, TaskSuite
from gradex.affinity import RandomGrouping
from gradex.path_scores import PathScores, score_along
from gradex.rollout_scores import RolloutScore
from gradex.seeds import child
from gradex.surrogate import Interactions, SubsetScores
from gradex.trained_policy import TrainedPolicy

SEEDS = {"smoke": 1, "laptop": 3, "paper": 5}
_SCRATCH, _CLONED = STARTS = ("from scratch", "cloned from experts")
#: Estimates from other transitions that are averaged, to see what noise alone costs.
_TIMES = {"smoke": 2, "laptop": 16, "paper": 16}
_LOSS, _INTERACTIONS, _MANY, _ROLLOUT, _PATH_LOSS, _PATH = ESTIMATES = (
    "loss",
    "interactions",
    f"interactions, {_TIMES['laptop']} times the steps",
    "rollout",
    "loss, along the path",
    "interactions, along the path",
)
#: What `PolicyGradEx` reads by default.
DEFAULT = _PATH_LOSS
_K, _RANDOM_DRAWS = 3, 100


@dataclass(frozen=True)
class _Amount:
    """How much is trained, estimated and measured.

    Attributes
    ----------
    options : dict
        Of the suite.
    learner : PPO, optional
        By default what is recommended for the suite.
    meta_steps : int
        From scratch, in total.
    steps_per_task, replicates, episodes : int
        Of real training.
    transitions, path_transitions : int
        Per task, for estimates at the meta-policy and for those along the path to it, of all snapshots
        together.
    """

    options: dict[str, Any]
    learner: PPO | None
    meta_steps: int
    steps_per_task: int
    transitions: int = 4096
    path_transitions: int = 8192
    episodes: int = 32
    replicates: int = 2
    dimension: int = 400
    width: int = 64
    cloning: Cloning = field(default_factory=Cloning)
    rollouts: RolloutScore = field(default_factory=RolloutScore)


_AMOUNTS = {
    "smoke": _Amount(
        {"tasks": ["reach", "push", "drawer-close"], "horizon": 10},
        PPO(steps=40, copies=1, minibatches=4, epochs=1, standardise="task"),
        meta_steps=240,
        steps_per_task=40,
        transitions=40,
        path_transitions=120,
        episodes=2,
        dimension=20,
        width=8,
        cloning=Cloning(rounds=1, copies=2, updates=2, batch=32, critic_rounds=1),
        rollouts=RolloutScore(episodes=2),
    ),
    "laptop": _Amount({"horizon": 200}, None, 320_000, 16_000),
    "paper": _Amount({}, None, 2_000_000, 50_000, transitions=8192, replicates=4),
}


def compute(seed: int, scale: str) -> pd.DataFrame:
    """Give how estimates agree with real training, from both starts.

    Returns
    -------
    DataFrame
        Rows `what="meta"`: success and return of each task at the start. Rows `what="pair"`: of a task and
        its partner the affinity by real training (truth) and by each estimate. Rows `what="agreement"`, one
        for each estimate: rank correlation of the interactions with the truth (rank) and of two estimates
        (repeat), NMI of three groups with those of the truth (nmi). Rows `what="truth"`: the same of its two
        replicates (rank: the noise ceiling; nmi), and of random groups (chance). Row `what="cost"`, from
        scratch: operations of the estimate along the path, see `analysis.flops.costs`.
    """
    folder = kept_for(Path("runs") / f"mt10-{scale}" / f"seed-{seed}", _AMOUNTS[scale])
    tables = [_Run(_AMOUNTS[scale], _TIMES[scale], seed, start, folder).told() for start in STARTS]
    return pd.concat(tables, ignore_index=True).assign(seed=seed)


@dataclass(frozen=True)
class _Run:
    """One start of one seed."""

    amount: _Amount
    times: int
    seed: int
    start: str
    folder: Path

    @property
    def _name(self) -> str:
        return self.start.replace(" ", "-")

    @cached_property
    def meta(self) -> MetaPolicy:
        """Train or clone the meta-policy, or take over the one that is kept."""
        amount, suite = self.amount, TaskSuite.make("mt10", **self.amount.options)
        # To tell tasks apart that look alike, as reach and push do, a clone must be told which one it is.
        network = "mlp" if self.start == _SCRATCH else "one_hot_mlp"
        fresh = MetaPolicy(suite, network, amount.learner or "ppo", self.seed, width=amount.width)
        path = self.folder / f"meta-{self._name}.safetensors"
        if self.start == _SCRATCH:
            return kept(path, fresh, lambda meta, place: meta.fit(amount.meta_steps, folder=place))
        if not path.exists():
            with noted(path):
                amount.cloning.fit(fresh).save(path)
        return MetaPolicy.load(path)

    @property
    def subsets(self) -> list[tuple[int, ...]]:
        """Every task alone, and every pair."""
        tasks = range(len(self.meta.suite))
        return [*((task,) for task in tasks), *combinations(tasks, 2)]

    @cached_property
    def truth(self) -> GroundTruth:
        amount = self.amount
        truth = GroundTruth(amount.steps_per_task, amount.replicates, amount.episodes, seed=self.seed)
        return for_real(truth, self.meta, self.subsets, self.folder / f"truth-{self._name}")

    def told(self) -> pd.DataFrame:
        """Compare estimates with the truth."""
        measured = self.meta.evaluate(self.amount.episodes)[["task", "success", "return_mean"]]
        kinds = {"estimates": self._matrices, "more": self._from_many}
        estimates = pd.concat(
            kept_table(self.folder / f"{kind}-{self._name}.csv", partial(_twice, matrices))
            for kind, matrices in kinds.items()
        )
        names = [task.name for task in self.meta.suite.tasks]
        whole = (self.truth.scores(), *self.truth.halves())
        real, *halves = (self._read(scores.standardised()) for scores in whole)
        pairs = pd.DataFrame(list(combinations_with_replacement(names, 2)), columns=["task", "partner"])
        upper = np.triu_indices(len(names))
        pairs["truth"], rows = real.matrix[upper], [_ceiling(real, halves)]
        for estimate, part in estimates.groupby("estimate", sort=False):
            values = part.value.to_numpy().reshape(2, len(names), len(names))
            pairs[estimate] = values.mean(axis=0)[upper]
            graphs = [AffinityGraph(each) for each in values]
            rows.append({"what": "agreement", "estimate": estimate, **_agreement(graphs, real)})
        tables = [measured.assign(what="meta"), pairs.assign(what="pair"), pd.DataFrame(rows)]
        if len(self.meta.path_) > 1:
            tables.append(
                kept_table(self.folder / f"costs-{self._name}.csv", self._costs).assign(what="cost")
            )
        return pd.concat(tables, ignore_index=True).assign(start=self.start)

    def _matrices(self, replicate: int) -> dict[str, Float[np.ndarray, "n n"]]:
        """Give affinities by each estimate, from transitions of this replicate's own."""
        amount, path = self.amount, self.meta.path_
        end = self._along([self.meta], amount.transitions, replicate)
        [surrogate] = end.surrogates
        chance = child(self.seed, "rollouts", replicate)
        matrices = {
            _LOSS: self._read(end.scores),
            _INTERACTIONS: AffinityGraph.from_interactions(end.interactions),
            _ROLLOUT: self._read(amount.rollouts.scores(surrogate, self.meta, self.subsets, seed=chance)),
        }
        if len(path) > 1:
            whole = self._along(path, amount.path_transitions, replicate)
            matrices[_PATH_LOSS] = self._read(whole.scores)
            matrices[_PATH] = AffinityGraph.from_interactions(whole.interactions)
        return {name: graph.matrix for name, graph in matrices.items()}

    def _along(self, path: Sequence[TrainedPolicy], steps_per_task: int, replicate: int) -> PathScores:
        """Score all subsets at these snapshots."""
        estimator = SurrogateEstimator(self.amount.dimension, "khatri-rao", seed=self.seed)
        return score_along(path, self.subsets, estimator, steps_per_task, replicate=replicate)

    def _costs(self) -> pd.DataFrame:
        """Count the operations of the estimate along the path."""
        whole = self._along(self.meta.path_, self.amount.path_transitions, 0)
        return pd.DataFrame([flops.costs(self.meta, whole.surrogates, self.subsets)])

    def _from_many(self, replicate: int) -> dict[str, Float[np.ndarray, "n n"]]:
        """Average interactions at the meta-policy, of which many are cheap as no subset is scored."""
        estimator = SurrogateEstimator(self.amount.dimension, "khatri-rao", seed=self.seed)
        parts = []
        for number in trange(self.times, desc="estimates", delay=2, leave=False):
            own = child(self.seed, f"estimate {replicate} of many", number)
            transitions = self.meta.transitions(self.amount.transitions, seed=own)
            parts.append(clone(estimator).fit(self.meta, transitions).interactions())
        return {_MANY: AffinityGraph.from_interactions(Interactions.joined(parts)).matrix}

    def _read(self, scores: SubsetScores) -> AffinityGraph:
        return AffinityGraph.from_scores(scores, "pairwise")


def _twice(matrices: Callable[[int], dict[str, Float[np.ndarray, "n n"]]]) -> pd.DataFrame:
    """Estimate twice; give whole matrices, row by row."""
    tables = [
        pd.DataFrame({"estimate": name, "replicate": replicate, "value": matrix.ravel()})
        for replicate in range(2)
        for name, matrix in matrices(replicate).items()
    ]
    return pd.concat(tables, ignore_index=True)


def _ceiling(real: AffinityGraph, halves: Sequence[AffinityGraph]) -> dict[str, Any]:
    """Say how well real training agrees with itself, and random groups with it; nan if all are alike."""
    one, other = halves
    if any(graph.alike for graph in (real, one, other)):
        return {"what": "truth", "rank": np.nan, "nmi": np.nan, "chance": np.nan}
    groups = real.partition(k=_K).labels
    random = [RandomGrouping(draw).partition(real.matrix, _K) for draw in range(_RANDOM_DRAWS)]
    return {
        "what": "truth",
        "rank": full_length(rank_correlation(pair_interactions(one), pair_interactions(other))),
        "nmi": one.partition(k=_K).agreement(other.partition(k=_K).labels).nmi,
        "chance": float(np.mean([each.agreement(groups).nmi for each in random])),
    }


def _agreement(graphs: Sequence[AffinityGraph], real: AffinityGraph) -> dict[str, float]:
    """Compare two estimates with the truth, the mean over both, and with each other."""
    first, second = map(pair_interactions, graphs)
    repeat = rank_correlation(first, second)
    if any(graph.alike for graph in (real, *graphs)):
        return {"rank": np.nan, "repeat": repeat, "nmi": np.nan}
    wanted, groups = pair_interactions(real), real.partition(k=_K).labels
    return {
        "rank": float(np.mean([rank_correlation(each, wanted) for each in (first, second)])),
        "repeat": repeat,
        "nmi": float(np.mean([each.partition(k=_K).agreement(groups).nmi for each in graphs])),
    }


def work(scale: str) -> float:
    """Count the environment steps of a seed, both starts together."""
    amount = _AMOUNTS[scale]
    suite = TaskSuite.make("mt10", **amount.options)
    n, horizon = len(suite), suite.horizon
    assert horizon is not None  # for the type checker
    cloning = amount.cloning
    clones = (cloning.rounds + 1 + cloning.critic_rounds) * cloning.copies * n * horizon
    real = amount.replicates * amount.steps_per_task * n**2
    watched = (amount.episodes * n + 2 * amount.rollouts.episodes * n * (n + 1)) * horizon
    estimates = 2 * (1 + _TIMES[scale]) * amount.transitions * n
    return amount.meta_steps + clones + 2 * (real + watched + estimates) + 2 * amount.path_transitions * n


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Give agreement with real training by start and estimate, mean over seeds with 95 % intervals.

    An estimate without bias would reach `rank_ceiling` times the root of `repeat`.
    """
    rows = []
    for start, part in table.groupby("start", sort=False):
        truth, meta = part[part.what == "truth"], part[part.what == "meta"]
        told = {
            "start": start,
            "success": meta.success.mean(),
            "rank_ceiling": truth["rank"].mean(),
            "nmi_halves": truth.nmi.mean(),
            "nmi_chance": truth.chance.mean(),
        }
        for estimate, own in part[part.what == "agreement"].groupby("estimate", sort=False):
            found = {"estimate": estimate, "seeds": len(own)}
            for name in ("rank", "repeat", "nmi"):
                found |= mean_with_interval(name, own[name])
            rows.append(found | told)
    return pd.DataFrame(rows)


@matplotlib.rc_context({"font.size": 8, "axes.titlesize": 9})
def plot(table: pd.DataFrame) -> Figure:
    """Draw agreement with the truth by estimate, and the pairs themselves, a row for each start."""
    figure = Figure(figsize=(7.2, 5.2), layout="constrained")
    panels = figure.subplots(len(STARTS), 2, width_ratios=(1.5, 1), squeeze=False)
    for (left, right), start in zip(panels, STARTS, strict=True):
        own = table[table.start == start]
        _draw_agreement(left, own)
        _draw_pairs(right, own[own.what == "pair"])
        left.set_title(start)
    panels[-1, 0].set_xlabel("rank correlation")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def _draw_agreement(ax: Axes, table: pd.DataFrame) -> None:
    """Draw a dot for each seed, and the means."""
    told = table[table.what == "agreement"]
    ceiling = table[table.what == "truth"]["rank"].mean()
    estimates = [each for each in ESTIMATES if (told.estimate == each).any()]  # no path leads to a clone
    for row, estimate in enumerate(estimates):
        own = told[told.estimate == estimate]
        for column, shift, color, label in (
            ("rank", -0.12, "C0", "with real training"),
            ("repeat", 0.12, "C1", "of two estimates"),
        ):
            places = np.full(len(own), row + shift)
            ax.plot(own[column], places, "o", color=color, markersize=3, alpha=0.5)
            ax.plot(own[column].mean(), row + shift, "D", color=color, markersize=5,
                    label=label if row == 0 else None)  # fmt: skip
    ax.axvline(ceiling, color="0.3", linewidth=1, linestyle=":", label="most that noise of the truth allows")
    ax.axvline(0, color="0.7", linewidth=0.8)
    ax.set(xlim=(-0.6, 1.05), ylim=(-0.5, len(estimates) - 0.5))
    ax.set(yticks=range(len(estimates)), yticklabels=estimates)
    ax.invert_yaxis()
    plain(ax)


def _draw_pairs(ax: Axes, pairs: pd.DataFrame) -> None:
    """Draw every pair of every seed: the affinity by the most precise estimate, and by real training."""
    apart = pairs[pairs.task != pairs.partner]
    for (seed, own), marker in zip(apart.groupby("seed"), "osx+d", strict=False):
        ax.plot(own[_MANY] / own[_MANY].std(), own.truth / own.truth.std(), marker, color="0.35",
                markersize=3, fillstyle="none", markeredgewidth=0.7, label=f"seed {seed}")  # fmt: skip
    ax.legend(frameon=False, handletextpad=0.1, borderpad=0)
    ax.axhline(0, color="0.7", linewidth=0.8)
    ax.axvline(0, color="0.7", linewidth=0.8)
    ax.set(xlabel="by interactions, in SD", ylabel="by real training, in SD", title="affinity of pairs")
    plain(ax)
