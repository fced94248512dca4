"""What each of several policies earns in every task, in paired episodes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from gradex.learners import ActorCritic, run_episodes
from gradex.learners.evaluation import serves_all
from gradex.lineage import other_tasks
from gradex.settings import as_kind, as_seed, whole
from gradex.trained_policy import TrainedPolicy


@dataclass(frozen=True, eq=False)
class CrossEvaluation:
    """Undiscounted returns of each of several policies in every task, and lengths in environment steps.

    Episodes are paired: episode e of a task has the same random numbers under every policy. They are `shared`
    where those of one task served all.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.cross_evaluation import CrossEvaluation
    >>> seen = CrossEvaluation(np.array([[[1.0, 3.0]], [[2.0, 6.0]]]), np.full((2, 1, 2), 30.0))
    >>> seen.mean.tolist(), seen.stderr.tolist(), seen.best.tolist(), seen.steps
    ([[2.0], [4.0]], [[1.0], [2.0]], [1], 120)
    """

    returns: Float[np.ndarray, "policies n episodes"]
    lengths: Float[np.ndarray, "policies n episodes"]
    shared: bool = False

    @property
    def mean(self) -> Float[np.ndarray, "policies n"]:
        """Mean return."""
        return self.returns.mean(axis=2)

    @property
    def stderr(self) -> Float[np.ndarray, "policies n"]:
        """Standard error of the mean return, over episodes."""
        return self.returns.std(axis=2, ddof=1) / np.sqrt(self.returns.shape[2])

    @property
    def scale(self) -> Float[np.ndarray, " n"]:
        """Standard deviation of each task's returns over the episodes of all policies together."""
        return self.returns.std(axis=(0, 2))

    @property
    def best(self) -> Int[np.ndarray, " n"]:
        """The policy that earns the most in each task, the first of equals: the E-step of EM clustering."""
        return self.mean.argmax(axis=0)

    @property
    def steps(self) -> int:
        """Environment steps that this took."""
        return int(self.lengths[:, :1].sum() if self.shared else self.lengths.sum())

    def under(self, labels: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n episodes"]:
        """Give what every task earns under the policy that its label names."""
        return self.returns[labels, np.arange(len(labels))]


def cross_evaluate(policies: Sequence[TrainedPolicy], episodes: int, seed: int) -> CrossEvaluation:
    """Run every policy in every task for 2 episodes or more each, with common random numbers.

    A ValueError refuses policies that differ in their tasks or networks.

    Examples
    --------
    >>> from gradex import MetaPolicy, TaskSuite
    >>> from gradex.cross_evaluation import cross_evaluate
    >>> meta = MetaPolicy(TaskSuite.make("navigation", n=3), layers=2, width=8).fit(3_000)
    >>> cross_evaluate(meta.adapt_each([(0, 2), (1,)], 3_000), episodes=4, seed=0).mean.shape
    (2, 3)
    """
    episodes, seed = whole("episodes", episodes, 2), as_seed(seed)
    if len(as_kind("policies", policies, Sequence)) == 0:
        raise ValueError("there are no policies to run: give at least one")
    first = policies[0]
    for number, policy in enumerate(policies):
        if (other := other_tasks(policy.suite, first.suite)) is not None:
            raise ValueError(
                f"policy {number} has other tasks than policy 0, with {other}: give those of one suite"
            )
        sizes = [(each.network, each.layers, each.width) for each in (policy, first)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"policy {number} has network {sizes[0]}, policy 0 has {sizes[1]}: give those of one network"
            )
    n, stack = len(first.suite), ActorCritic.joined([policy.agent_ for policy in policies])
    # Policies with equal seeds and subsets meet the same starts and the same noise, so that they are paired.
    run = run_episodes(stack, first.suite, [range(n)] * len(policies), episodes, [seed] * len(policies))
    shape = (len(policies), n, episodes)
    shared = serves_all(stack, first.suite)
    return CrossEvaluation(run.returns.reshape(shape), run.lengths.reshape(shape), shared)
