"""Scores of subsets by evaluation: what a policy earns after a step along the solution of each subset.

The loss of a surrogate holds to first order. Here the solution is lifted to the parameters, and the policy
that it leads to is run. This asks nothing of the expansion, but it costs whole episodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from jaxtyping import Float

from gradex.learners import run_episodes
from gradex.progress import bar
from gradex.seeds import child, generator_for
from gradex.settings import as_seed, plain_fields, whole
from gradex.surrogate import Score, SubsetScores, SurrogateEstimator
from gradex.surrogate.scores import SCORES, check_divergence
from gradex.trained_policy import TrainedPolicy

#: The name of `RolloutScore()`.
ROLLOUT = "rollout"
#: Environments that run at once, at most: more of them are no faster.
_TOGETHER = 1024


@final
@dataclass(frozen=True)
class RolloutScore:
    """How a subset is scored by evaluation.

    Attributes
    ----------
    divergence : float
        Length of each step, as Kullback-Leibler divergence to second order, ½ mean (g·Δθ)² over the samples
        of the subset; see `gradex.surrogate.Score`.
    episodes : int
        Per policy and task, 2 or more. m subsets of α tasks, each of n tasks alone, and the policy itself in
        all tasks take (m α + 2 n) x `episodes` whole episodes at every snapshot: of ten tasks with all 120
        subsets of three 48,640 at eight snapshots. In CartPole these took half a minute of one core; where
        every episode lasts 500 steps it is five times as much.

    Examples
    --------
    >>> from gradex import PolicyGradEx
    >>> from gradex.rollout_scores import RolloutScore
    >>> PolicyGradEx(score=RolloutScore(episodes=64)).config["score"]["episodes"]
    64
    """

    divergence: float = 0.01
    episodes: int = 16

    def __post_init__(self) -> None:
        plain_fields(self)
        check_divergence(self.divergence)
        whole("episodes", self.episodes, 2)

    @staticmethod
    def named(score: "str | Score | RolloutScore") -> "RolloutScore | None":
        """Give what a setting `score` asks for; None where the surrogate scores by itself."""
        if isinstance(score, str) and score not in (*SCORES, ROLLOUT):
            known = [*SCORES, ROLLOUT]
            raise ValueError(f"unknown score {score!r}: choose one of {known}, or give a Score")
        return RolloutScore() if score == ROLLOUT else score if isinstance(score, RolloutScore) else None

    def scores(
        self,
        surrogate: SurrogateEstimator,
        snapshot: TrainedPolicy,
        subsets: Sequence[Sequence[int]],
        draws: int = 0,
        seed: int = 0,
    ) -> SubsetScores:
        """Score subsets, see `score_by_rollout`."""
        return score_by_rollout(surrogate, snapshot, subsets, self.divergence, self.episodes, draws, seed)


def score_by_rollout(
    surrogate: SurrogateEstimator,
    snapshot: TrainedPolicy,
    subsets: Sequence[Sequence[int]],
    divergence: float = 0.01,
    episodes: int = 16,
    draws: int = 0,
    seed: int = 0,
) -> SubsetScores:
    """Score subsets by what the policy gains in each task after a step along their solution.

    Random numbers are common: episode e of a task starts alike and draws the same noise for every policy, so
    that equal policies earn the same. The gain is the mean difference of returns to the policy at θ*. It is
    given in units of the standard deviation of the task's returns over the episodes of all policies together,
    as tasks may pay in different units; it is 0 where all of them earn the same.

    Parameters
    ----------
    surrogate : SurrogateEstimator
        Fitted to the snapshot. Steps are those of `SurrogateEstimator.steps`, on all samples.
    snapshot : TrainedPolicy
        The policy at θ*.
    subsets : m sequences of int
    divergence, episodes
        See `RolloutScore`.
    draws : int
        Also score this often with the episodes drawn again (Efron 1979), the same ones for all tasks and
        subsets. Steps stay what they are, so this is the spread by evaluation alone: that of the transitions
        which the steps were fitted to is not in it.
    seed : int

    Raises
    ------
    TypeError, ValueError
        If a setting cannot be, or the surrogate is one of other tasks or parameters.

    Examples
    --------
    >>> from gradex import MetaPolicy, SurrogateEstimator, TaskSuite
    >>> from gradex.rollout_scores import score_by_rollout
    >>> meta = MetaPolicy(TaskSuite.make("navigation", n=3), layers=2, width=8).fit(3_000)
    >>> surrogate = SurrogateEstimator(20).fit(meta, meta.transitions(256))
    >>> score_by_rollout(surrogate, meta, [(0, 1), (2,)], episodes=4).per_task.shape
    (2, 3)
    """
    episodes, draws, seed = whole("episodes", episodes, 2), whole("draws", draws, 0), as_seed(seed)
    n, theta = len(snapshot.suite), snapshot.parameters
    steps = surrogate.steps(subsets, divergence)
    if (surrogate.samples_.n, steps.shape[1]) != (n, len(theta)):
        raise ValueError(
            f"the surrogate has {surrogate.samples_.n} tasks and {steps.shape[1]} parameters, the policy {n} "
            f"and {len(theta)}: give the policy that the surrogate was fitted to"
        )
    policies = np.concatenate([theta[None], theta + steps]).astype(np.float32)
    returns = _returns(snapshot, policies, [range(n), *subsets], episodes, child(seed, "rollouts"))
    scale = np.array([np.nanstd(own) for own in returns.transpose(1, 0, 2)])
    gains = (returns[1:] - returns[0]) / np.where(scale > 0, scale, 1)[:, None]
    times = generator_for(seed, "bootstrap of rollouts").multinomial(
        episodes, np.full(episodes, 1 / episodes), size=draws
    )
    per_task = gains.mean(axis=2)
    drawn = np.moveaxis(gains @ times.T / episodes, 2, 0)
    sets = tuple(tuple(sorted(int(task) for task in subset)) for subset in subsets)
    return SubsetScores(sets, per_task, np.nanmean(per_task, axis=1), drawn)


def _returns(
    snapshot: TrainedPolicy,
    policies: Float[np.ndarray, "policies p"],
    subsets: Sequence[Sequence[int]],
    episodes: int,
    seed: int,
) -> Float[np.ndarray, "policies n episodes"]:
    """Run every policy in the tasks of its subset; nan elsewhere.

    Each task has a place of its own in the stack: noise goes by place, so it is the same in any company.
    """
    suite = snapshot.suite
    places = [(policy, int(task)) for policy, subset in enumerate(subsets) for task in subset]
    together = max(1, min(_TOGETHER // episodes, suite.fitting(episodes) or len(places)))
    returns = np.full((len(policies), len(suite), episodes), np.nan)
    for first in bar(range(0, len(places), together), "rollouts"):
        rows, tasks = np.array(places[first : first + together]).T
        stack = replace(snapshot.agent_.repeat(len(rows)), actors=torch.from_numpy(policies[rows]))
        own = [(task,) for task in tasks.tolist()]
        returns[rows, tasks] = run_episodes(stack, suite, own, episodes, [seed] * len(rows)).returns
    return returns
