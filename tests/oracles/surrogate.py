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


def held_out_transfers(
    signed: np.ndarray, weights: np.ndarray, tasks: np.ndarray, folds: np.ndarray, regularization: float
) -> np.ndarray:
    """Fit one task after the other without a fold, see how much loss it saves every task on that fold.

    Where there is a single fold, nothing is held out.
    """
    n = tasks.max() + 1
    transfers = np.empty((n, n))
    for fitted in range(n):
        saved = np.empty(len(tasks))
        for fold in np.unique(folds):
            held = folds == fold
            own = (tasks == fitted) & (held if held.all() else ~held)
            theta = newton(signed[own], weights[own], regularization)
            saved[held] = weights[held] * (np.log(2) - np.logaddexp(0, -signed[held] @ theta))
        for task in range(n):
            transfers[task, fitted] = saved[tasks == task].mean()
    return transfers


def factor_products(
    signed: np.ndarray, weights: np.ndarray, tasks: np.ndarray, regularization: float
) -> np.ndarray:
    """gᵢᵀ (H + λI)⁻¹ gⱼ of every pair, with g half of a task's mean of w y g̃."""
    hessian = sum(weight * np.outer(each, each) for each, weight in zip(signed, weights, strict=True))
    inverse = np.linalg.inv(hessian / len(signed) / 4 + regularization * np.eye(signed.shape[1]))
    names = np.unique(tasks)
    pulls = [np.mean(weights[tasks == task] * signed[tasks == task].T, axis=1) / 2 for task in names]
    return np.array([[first @ inverse @ second for second in pulls] for first in pulls])
