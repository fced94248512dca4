"""Slow and obvious versions of the surrogate, in float64."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gradex.policies import Policy


def log_prob_gradients(
    policy: Policy, parameters: Tensor, observations: Tensor, tasks: Tensor, actions: Tensor
) -> Tensor:
    """Differentiate log π of one sample after the other with respect to all parameters, by reverse mode."""

    def log_prob(theta: Tensor) -> Tensor:
        return policy.log_prob(theta[None], observations[None], tasks[None], actions[None])[0]

    return torch.autograd.functional.jacobian(log_prob, parameters)


def loss(theta: np.ndarray, signed: np.ndarray, weights: np.ndarray, regularization: float) -> float:
    """L_S(θ) of samples with signed features y g̃."""
    return float(np.mean(weights * np.logaddexp(0, -signed @ theta)) + regularization / 2 * theta @ theta)


def gradient(theta: np.ndarray, signed: np.ndarray, weights: np.ndarray, regularization: float) -> np.ndarray:
    """∇L_S(θ)."""
    return -(weights / (1 + np.exp(signed @ theta))) @ signed / len(signed) + regularization * theta


def newton(signed: np.ndarray, weights: np.ndarray, regularization: float) -> np.ndarray:
    """Minimise L_S by Newton's method, halving a step until it decreases the loss enough."""
    theta = np.zeros(signed.shape[1])
    for _ in range(100):
        slope = gradient(theta, signed, weights, regularization)
        if np.linalg.norm(slope) <= 1e-14:
            break
        sigma = 1 / (1 + np.exp(-signed @ theta))
        hessian = (signed.T * (weights * sigma * (1 - sigma))) @ signed / len(signed)
        step = -np.linalg.solve(hessian + regularization * np.eye(len(theta)), slope)
        t, here = 1.0, loss(theta, signed, weights, regularization)
        enough = 1e-4 * slope @ step
        while t > 1e-10 and loss(theta + t * step, signed, weights, regularization) > here + t * enough:
            t /= 2
        theta = theta + t * step
    return theta


def held_out_loss_scores(
    subsets: Sequence[Sequence[int]],
    signed: np.ndarray,
    weights: np.ndarray,
    tasks: np.ndarray,
    folds: np.ndarray,
    regularization: float,
) -> np.ndarray:
    """Fit each subset without a fold, score each task's samples of that fold, and so on over all folds."""
    per_task = np.full((len(subsets), tasks.max() + 1), np.nan)
    for number, subset in enumerate(subsets):
        values = np.full(len(tasks), np.nan)
        for fold in np.unique(folds):
            fitted = np.isin(tasks, subset) & (folds != fold)
            theta = newton(signed[fitted], weights[fitted], regularization)
            scored = np.isin(tasks, subset) & (folds == fold)
            values[scored] = -weights[scored] * np.logaddexp(0, -signed[scored] @ theta)
        for task in subset:
            per_task[number, task] = values[tasks == task].mean()
    return per_task
