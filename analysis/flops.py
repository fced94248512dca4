"""Floating-point operations of matrix products, by formula.

A counter sees the products of some libraries and not those of others, so that what it counts depends on the
processor. Here shapes tell: a layer of i inputs and o outputs takes 2 i o operations a sample to evaluate,
as many for the derivative by its weights, and as many for that by its inputs, which the first layer does not
need.
"""

from collections.abc import Collection, Sequence
from math import prod

import numpy as np

from gradex import MetaPolicy, SurrogateEstimator
from gradex.learners import PPO
from gradex.policies import Network, Policy


def evaluation(network: Network) -> float:
    """Count what it takes to evaluate a perceptron on one sample."""
    return 2.0 * sum(prod(shape) for shape in _weights(network))


def sensitivities(network: Network) -> float:
    """Count what it takes to go back from the result of a perceptron to the result of its first layer."""
    return evaluation(network) - 2.0 * prod(_weights(network)[0])


def training_step(meta: MetaPolicy) -> float:
    """Count what one environment step of a training costs, acting and updates together.

    A step is acted once, valued and its probability taken once, and every epoch evaluates actor and critic
    again, goes back through them and takes derivatives by all weights. One more value closes a rollout.

    Raises
    ------
    ValueError
        If the policy is not trained by PPO.
    """
    learner, agent = meta.learner, meta.agent_
    if not isinstance(learner, PPO):
        raise ValueError(
            f"operations of {type(learner).__name__} are not known: give a policy trained by PPO"
        )
    actor, critic = agent.policy.network, agent.critic
    updates = sum(2 * evaluation(network) + sensitivities(network) for network in (actor, critic))
    looks = 2 * evaluation(actor) + (1 + 1 / learner.steps) * evaluation(critic)
    return looks + learner.epochs * updates


def features(policy: Policy, dimension: int, projection: str) -> float:
    """Count what one sample's projected gradient costs.

    Parameters
    ----------
    policy : Policy
    dimension : int
        d.
    projection : {"gaussian", "khatri-rao"}
    """
    own = sum(prod(shape) for shape in policy.distribution.parameters.values())
    numbers = policy.size
    if projection == "khatri-rao":
        numbers = own + sum(sum(shape) for shape in _weights(policy.network))
    return evaluation(policy.network) + sensitivities(policy.network) + 2.0 * dimension * numbers


def scores(
    estimator: SurrogateEstimator, subsets: Collection[Sequence[int]], tolerance: float = 1e-4
) -> float:
    """Count what it takes to fit and score subsets, by the iterations that they take on all samples.

    An iteration is two products of the samples with d numbers, margins and gradient, and two with matrices of
    d x d, its preconditioner. Before come the Hessian and every task's gradient of every fold at 0, after the
    scores. Samples that serve several tasks of a subset are multiplied once.
    What subsets go on to calculate that have converged before others is not counted.
    """
    count, dimension = estimator.features.shape
    iterations = estimator.solve(subsets, tolerance).iterations
    blocks = estimator.samples_.blocks()
    serving = [(set(block.tasks.tolist()), len(block.rows)) for block in blocks]
    samples = np.array([sum(rows for tasks, rows in serving if tasks & set(each)) for each in subsets], float)
    pulls = sum(block.advantages.size for block in blocks)
    before = 2.0 * dimension * (count * dimension + pulls * estimator.folds)
    fits = estimator.folds * (iterations * (4.0 * samples * dimension + 4.0 * dimension**2)).sum()
    return float(before + fits + 2.0 * dimension * samples.sum())


def costs(
    meta: MetaPolicy, surrogates: Sequence[SurrogateEstimator], subsets: Collection[Sequence[int]]
) -> dict[str, float]:
    """Compare what estimates along the path take with full training (the paper's Table 2).

    Full training is what the paper compares with: every subset is trained for as many steps per task as the
    meta-policy. The features are counted twice, with the dense projection of the paper and with the
    structured one. Simulation is not counted, nor the choice of the ridge: four fits of each task by itself,
    at low precision.
    """
    steps = int(meta.history_.steps.max())
    step, samples = training_step(meta), sum(len(each.samples_) for each in surrogates)
    dense, fewer = (
        samples * features(meta.agent_.policy, surrogates[0].projection_dim, projection)
        for projection in ("gaussian", "khatri-rao")
    )
    regressions = sum(scores(each, subsets) for each in surrogates)
    full = step * steps / len(meta.suite) * sum(map(len, subsets))
    own = step * steps + regressions
    return {
        "subsets": len(subsets),
        "meta_steps": steps,
        "flops_meta": step * steps,
        "flops_features": dense,
        "flops_scores": regressions,
        "flops_full": full,
        "saving": full / (own + dense),
        "saving_khatri_rao": full / (own + fewer),
        "saving_per_subset": full / regressions,
    }


def _weights(network: Network) -> list[tuple[int, ...]]:
    return [shape for name, shape in network.shapes.items() if name.endswith(".weight")]
