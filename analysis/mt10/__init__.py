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

from pathlib import Path

import pandas as pd

from analysis.experts import Cloning
from analysis.mt10.reading import plot, summary
from analysis.mt10.runs import DEFAULT, STARTS, TIMES, Amount, Run
from analysis.study import kept_for
from gradex import PPO, TaskSuite
from gradex.rollout_scores import RolloutScore

SEEDS = {"smoke": 1, "laptop": 3, "paper": 5}
__all__ = ["DEFAULT", "SEEDS", "STARTS", "compute", "plot", "summary", "work"]

_AMOUNTS = {
    "smoke": Amount(
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
    "laptop": Amount({"horizon": 200}, None, 320_000, 16_000),
    "paper": Amount({}, None, 2_000_000, 50_000, transitions=8192, replicates=4),
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
    tables = [Run(_AMOUNTS[scale], TIMES[scale], seed, start, folder).told() for start in STARTS]
    return pd.concat(tables, ignore_index=True).assign(seed=seed)


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
    estimates = 2 * (1 + TIMES[scale]) * amount.transitions * n
    return amount.meta_steps + clones + 2 * (real + watched + estimates) + 2 * amount.path_transitions * n
