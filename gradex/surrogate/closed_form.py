"""Affinities without any subset: the surrogate solved by hand (after PolicyGradEx, Sec. 3.1, Eq. (4)).

Near θ = 0 the logistic loss of a sample is w (log 2 - ½ y g̃·θ + ⅛ (g̃·θ)² + O(|θ|⁴)). With the means over the
samples of task i

    gᵢ = ½ mean w y g̃,    Hᵢ = ¼ mean w g̃g̃ᵀ,

and g_S, H_S the same over all samples of a subset S, the fit is a ridge regression,

    θ̂_S = A⁻¹ g_S,    A = H_S + λI,

its minimum log 2 mean w - ½ g_Sᵀ A⁻¹ g_S, and what the score of S gains over that of no step (the loss that
θ̂_S saves, without the ridge)

    f̂(S) = g_Sᵀ θ̂_S - ½ θ̂_Sᵀ H_S θ̂_S = ½ g_Sᵀ A⁻¹ g_S + ½ λ |θ̂_S|².

The larger λ, the closer λ |θ̂_S|² comes to g_Sᵀ A⁻¹ g_S, and A to what it is with the curvature H of all tasks
in place of H_S; the relative error is of order 1/λ. For tasks with equally many samples then

    f̂(S) ≈ g_Sᵀ (H + λI)⁻¹ g_S = |S|⁻² Σ_{i, j in S} gᵢᵀ (H + λI)⁻¹ gⱼ:

a sum over pairs, whose coefficients are inner products of the tasks' policy gradients as the natural
gradient (Amari 1998) takes them, H playing the Fisher matrix. A pair's interaction is known without fitting
a single subset; subsets add how curvature differs between tasks, and what the logistic loss has beyond
second order. For pairs of tasks on CartPole, where we looked, nearly all that they add is the former, H_S
in place of H.

The diagonal says how far a task gets alone. For the score of a subset that is difficulty, not interaction;
in groups it counts all the same, and can hide them, as on reversed CartPole. What compares with an affinity
from subsets is what is off the diagonal, without its additive part (`python -m analysis closed_form`).
"""

import numpy as np
from jaxtyping import Float, Int


def natural_gradient_affinity(
    features: Float[np.ndarray, "N d"],
    labels: Float[np.ndarray, " N"],
    weights: Float[np.ndarray, " N"],
    tasks: Int[np.ndarray, " N"],
    folds: Int[np.ndarray, " N"],
    hessian: Float[np.ndarray, "d d"],
    regularization: float,
) -> Float[np.ndarray, "n n"]:
    """Compute gᵢᵀ (H + λI)⁻¹ gⱼ for all pairs of tasks, symmetric.

    With several folds one factor comes from a fold and the other from the samples outside of it, as held-out
    scores do: the noise of a gradient then does not count as its length.

    Parameters
    ----------
    features, labels, weights, tasks, folds : arrays [N, ...]
        The samples. Every task has samples in every fold; a single fold means in-sample.
    hessian : array [d, d]
        H, the mean of ¼ w g̃g̃ᵀ over all samples.
    regularization : float
        λ.
    """
    n, count = int(tasks.max()) + 1, int(folds.max()) + 1
    sizes = np.zeros((count, n, 1))
    totals = np.zeros((count, n, features.shape[1]))
    for task in range(n):
        for fold in range(count):
            own = np.flatnonzero((tasks == task) & (folds == fold))
            totals[fold, task] = (0.5 * labels[own] * weights[own]) @ features[own]
            sizes[fold, task] = len(own)
    inside = totals / sizes
    outside = inside if count == 1 else (totals.sum(axis=0) - totals) / (sizes.sum(axis=0) - sizes)
    natural = np.linalg.solve(hessian + regularization * np.eye(len(hessian)), outside.mT)
    affinity = ((sizes / sizes.sum(axis=0)) * inside @ natural).sum(axis=0)
    return (affinity + affinity.T) / 2
