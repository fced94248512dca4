"""What the studies of the ground truth share: groups of a suite, and real training on the same subsets.

Trainings are kept in `runs/trained-SCALE/`, and every study takes over what another has trained there; after
changing how policies are trained, remove that folder.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import spearmanr

from analysis.along import TruthAlong
from analysis.provenance import noted
from gradex import PPO, AffinityGraph, GroundTruth, MetaPolicy, PolicyGradEx, TaskSuite
from gradex.seeds import child
from gradex.store import difference, write_table
from gradex.surrogate.estimator import Subsets

#: At smoke scale: little of everything, so that a study shows in seconds that it works.
_SMALL_PPO = PPO(steps=64, copies=2, epochs=1, minibatches=4)
_SMALL_ESTIMATE = {"steps_per_task": 256, "projection_dim": 50, "snapshots": 2}


def learner(scale: str) -> PPO | str:
    """Give the learner of a scale: what is recommended for the suite, unless it is the smoke scale."""
    return _SMALL_PPO if scale == "smoke" else "ppo"


def amounts(scale: str, **settings: Any) -> dict[str, Any]:
    """Give settings of `PolicyGradEx` for a scale: these and its defaults, unless it is the smoke scale."""
    return {**settings, **_SMALL_ESTIMATE, "learner": _SMALL_PPO} if scale == "smoke" else settings


@dataclass(frozen=True)
class Setting:
    """A suite, and how much of everything it gets.

    Attributes
    ----------
    family : str
    options : dict
    k : int
        Number of groups.
    steps_per_task : int
        Of real training on a subset, for each of its tasks, after the meta-policy.
    replicates, episodes : int
        Of real training.
    meta_steps : int, optional
        By default what is recommended for the suite.
    layers : tuple of int
        Depths of the policy to compare.
    transitions : int
        Per task, for the estimate, of all snapshots of the meta-policy's training together.
    subsets : int
        At most; fewer where there are not so many.
    seeds, depth_seeds : int, optional
        Fewer than the study's own, where training takes long: in all, and of depths other than four layers.
    learner : PPO or str
        Of the policies.
    dimension : int
        Of projected gradients, at most as many as the policy has parameters.
    """

    family: str
    options: dict[str, Any]
    k: int
    steps_per_task: int
    replicates: int = 2
    episodes: int = 16
    meta_steps: int | None = None
    layers: tuple[int, ...] = (4,)
    transitions: int = 8192
    subsets: int = 200
    seeds: int | None = None
    depth_seeds: int | None = 3
    learner: PPO | str = "ppo"
    dimension: int = 400

    def has(self, seed: int, layers: int) -> bool:
        """Tell whether this seed is one of those for this depth."""
        limits = (self.seeds, None if layers == 4 else self.depth_seeds)
        return all(limit is None or seed < limit for limit in limits)


_LAPTOP = {
    "navigation": Setting("navigation", {"n": 12}, 3, 4096, layers=(2, 4, 8)),
    "reversed CartPole": Setting(
        "cartpole", {"n": 10, "reversed": "half"}, 2, 4096, replicates=4, layers=(2, 4, 8)
    ),
    "highway by objective": Setting(
        "highway", {"n": 10, "vary": "objective"}, 2, 4096, replicates=4, layers=(2, 4, 8)
    ),
    # Landers that hover fly on for 1000 steps, so that watching them takes longer than training them.
    "reversed LunarLander": Setting("lunarlander", {"n": 8, "reversed": "half"}, 2, 4096, episodes=4),
    # Trained for longer, all policies earn all there is (seed 100).
    "CartPole": Setting("cartpole", {"n": 10}, 3, 4096, meta_steps=100_000, layers=(2, 4, 8)),
    "highway by density": Setting("highway", {"n": 10}, 3, 4096, layers=(2, 4, 8), seeds=3),
    "LunarLander": Setting("lunarlander", {"n": 10}, 3, 4096, seeds=3),
}
_LITTLE: dict[str, Any] = {
    "episodes": 4, "meta_steps": 2000, "transitions": 256, "learner": _SMALL_PPO, "dimension": 50
}  # fmt: skip
_SMOKE = {
    "navigation": Setting("navigation", {"n": 6}, 3, 256, layers=(2,), **_LITTLE),
    "reversed CartPole": Setting("cartpole", {"n": 6, "reversed": "half"}, 2, 256, layers=(2, 4), **_LITTLE),
}
_PAPER = {
    name: replace(
        each,
        steps_per_task=50_000,
        replicates=4,
        episodes=64,
        meta_steps=None,
        layers=(2, 4, 8),
        seeds=None,
        depth_seeds=None,
    )
    for name, each in _LAPTOP.items()
}
#: Settings by scale and suite.
SETTINGS = {"smoke": _SMOKE, "laptop": _LAPTOP, "paper": _PAPER}


#: Suites whose policy takes sides: little training from the end of a long one tells little of the other side.
TAKES_SIDES = ("reversed CartPole", "reversed LunarLander")


@dataclass(frozen=True)
class Trained:
    """A grouping from estimates, and real training on the subsets that were estimated."""

    grouping: PolicyGradEx
    truth: GroundTruth | TruthAlong


def train(scale: str, suite: str, seed: int, layers: int = 4, along: bool = False) -> Trained:
    """Group a suite from estimates, then train on the same subsets for real.

    Parameters
    ----------
    scale, suite : str
        Of `SETTINGS`.
    seed : int
    layers : int
        Of the policy.
    along : bool
        Train once from every snapshot of the meta-training, in place of several times from its end.
    """
    setting = SETTINGS[scale][suite]
    folder = Path("runs") / f"trained-{scale}" / f"{suite.replace(' ', '-')}-{layers}-layers-seed-{seed}"
    meta = prepare(setting, seed, layers, folder / f"meta-{setting.meta_steps}.safetensors")
    # The smallest policies have fewer parameters than the paper's 400 dimensions.
    dimension = min(setting.dimension, len(meta.parameters))
    grouping = PolicyGradEx(
        k=setting.k,
        subsets=setting.subsets,
        projection_dim=dimension,
        steps_per_task=setting.transitions,
        group_steps=0,
        bootstrap=0,
        seed=seed,
    ).fit(meta.suite, meta=meta)
    subsets = grouping.scores_.subsets
    if not along:
        truth = GroundTruth(setting.steps_per_task, setting.replicates, setting.episodes, seed=seed)
        return Trained(grouping, for_real(truth, meta, subsets, folder))
    parts = []
    for number, start in enumerate(meta.path_):
        own = child(seed, "training from a snapshot", number)
        truth = GroundTruth(setting.steps_per_task, 1, setting.episodes, seed=own)
        parts.append(for_real(truth, start, subsets, folder / f"from-snapshot-{number}"))
    return Trained(grouping, TruthAlong(tuple(parts)))


def for_real(truth: GroundTruth, meta: MetaPolicy, subsets: Subsets, folder: Path) -> GroundTruth:
    """Train on subsets for real, or take over what is kept, and note what the training takes."""
    path = folder / f"scores-of-{truth.replicates}.csv"
    if path.exists():
        return truth.fit(meta, subsets, folder)
    with noted(path):
        scores = truth.fit(meta, subsets, folder).scores()
        names = [" ".join(map(str, subset)) for subset in scores.subsets]
        write_table(path, pd.DataFrame({"subset": names, "score": scores.score}))
    return truth


def prepare(setting: Setting, seed: int, layers: int, path: Path) -> MetaPolicy:
    """Train the meta-policy of a suite, or take over the one that is kept."""
    suite = TaskSuite.make(setting.family, seed=seed, **setting.options)
    fresh = MetaPolicy(suite, "mlp", setting.learner, seed, layers)
    return kept(path, fresh, lambda meta, folder: meta.fit(setting.meta_steps, folder=folder))


def kept(path: Path, policy: MetaPolicy, train: Callable[[MetaPolicy, Path], MetaPolicy]) -> MetaPolicy:
    """Train a policy and keep it, or take over the one that is kept.

    Parameters
    ----------
    path : Path
    policy : MetaPolicy
        What training begins with.
    train : callable
        Takes it, and a folder in which a training that was cut off goes on.

    Raises
    ------
    ValueError
        If a policy of other settings is kept there.
    """
    if path.exists():
        found = MetaPolicy.load(path)
        parent = policy.agent_.fingerprint if hasattr(policy, "agent_") else None
        past = replace(found.lineage, seed=policy.seed, start=policy.start, parent=parent)
        other = difference(found.config, {**policy.config, "lineage": past.config})
        if other is not None:
            raise ValueError(f"{str(path)!r} was trained with other settings, {other}: remove its folder")
        return found
    folder = path.with_suffix("")
    with noted(path):
        trained = train(policy, folder)
        trained.save(path)
    shutil.rmtree(folder)
    return trained


# ---------------------------------------------------------------------- agreement
def pair_interactions(graph: AffinityGraph) -> Float[np.ndarray, " pairs"]:
    """Give the interactions, pair by pair."""
    return graph.interaction().matrix[np.triu_indices(len(graph), 1)]


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Give Spearman's rank correlation; nan where one of both is all alike, so that nothing has a rank."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(spearmanr(first, second).statistic)


def full_length(half: float) -> float:
    """Give the most that an estimate can correlate with all replicates, from the halves' correlation.

    Spearman and Brown: two halves that correlate by r make a whole of reliability 2r / (1 + r), and nothing
    correlates with the whole by more than its root. For ranks this holds roughly.
    """
    return float(np.sqrt(max(0.0, 2 * half / (1 + half)))) if half > -1 else 0.0
