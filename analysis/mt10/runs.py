"""What a seed trains for real and estimates, from each start, and how far the two agree."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import combinations, combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.base import clone
from tqdm.auto import trange

from analysis import flops
from analysis.experts import Cloning
from analysis.provenance import noted
from analysis.study import kept_table
from analysis.trained import for_real, full_length, kept, pair_interactions, rank_correlation
from gradex import PPO, AffinityGraph, GroundTruth, MetaPolicy, SurrogateEstimator, TaskSuite
from gradex.affinity import RandomGrouping
from gradex.path_scores import PathScores, score_along
from gradex.rollout_scores import RolloutScore
from gradex.seeds import child
from gradex.surrogate import Interactions, SubsetScores
from gradex.trained_policy import TrainedPolicy

_SCRATCH, _CLONED = STARTS = ("from scratch", "cloned from experts")
#: Estimates from other transitions that are averaged, to see what noise alone costs.
TIMES = {"smoke": 2, "laptop": 16, "paper": 16}
_LOSS, _INTERACTIONS, MANY, _ROLLOUT, _PATH_LOSS, _PATH = ESTIMATES = (
    "loss",
    "interactions",
    f"interactions, {TIMES['laptop']} times the steps",
    "rollout",
    "loss, along the path",
    "interactions, along the path",
)
#: What `PolicyGradEx` reads by default.
DEFAULT = _PATH_LOSS
_K, _RANDOM_DRAWS = 3, 100


@dataclass(frozen=True)
class Amount:
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


@dataclass(frozen=True)
class Run:
    """One start of one seed."""

    amount: Amount
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
        """Train on every task and pair for real, or take over what is kept."""
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
        pairs["truth"], rows = real.matrix[upper], [ceiling(real, halves)]
        for estimate, part in estimates.groupby("estimate", sort=False):
            values = part.value.to_numpy().reshape(2, len(names), len(names))
            pairs[estimate] = values.mean(axis=0)[upper]
            graphs = [AffinityGraph(each) for each in values]
            rows.append({"what": "agreement", "estimate": estimate, **agreement(graphs, real)})
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
        return {MANY: AffinityGraph.from_interactions(Interactions.joined(parts)).matrix}

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


def ceiling(real: AffinityGraph, halves: Sequence[AffinityGraph]) -> dict[str, Any]:
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


def agreement(graphs: Sequence[AffinityGraph], real: AffinityGraph) -> dict[str, float]:
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
