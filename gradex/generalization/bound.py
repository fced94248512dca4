"""The PAC-Bayes bound of PolicyGradEx, Theorem 1, with every constant that can be known."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan, log, sqrt

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gradex.generalization.loss import LossRange, PolicyGradientLoss, StackedSamples
from gradex.policies import Policy
from gradex.seeds import Streams
from gradex.settings import check_finite, check_positive

#: ε that a bound is taken over, and standard deviations σ of the isotropic perturbation.
EPSILONS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
SIGMAS = tuple(2.0 ** (-exponent / 2) for exponent in range(41))


@dataclass(frozen=True)
class Bound:
    """An upper bound on a mean loss, and what it is made of.

    Attributes
    ----------
    value : float
        In units of the loss; the sum of the four terms.
    empirical_term : float
        (1 + ε) (L̂ - low) + low, where `low` is the lower end of the loss.
    curvature_term : float
        (1 + ε) tr(ΣH) / 2.
    divergence_term : float
        (1 + ε)² C KL(Q‖P) / (2 ε N).
    confidence_term : float
        (1 + ε)² C log(K / δ) / (2 ε N), K being the number of bounds that it was chosen from.
    epsilon, sigma : float
        ε, and the standard deviation of the perturbation along v = θ - θ_0.
    loss_range : LossRange
        C is its width.
    samples : int
        N.
    distance : float
        r = ‖θ - θ_0‖.
    delta : float
        δ: the chance, over samples, that the bound fails.

    Examples
    --------
    >>> from gradex.generalization import LossRange, PACBayes
    >>> bound = PACBayes().isotropic(0.1, LossRange(0.0, 1.0, True), trace=5.0, distance=1.0, samples=10_000)
    >>> bound.vacuous, bound.delta
    (False, 0.05)
    >>> terms = bound.empirical_term, bound.curvature_term, bound.divergence_term, bound.confidence_term
    >>> abs(bound.value - sum(terms)) < 1e-12
    True
    """

    value: float
    empirical_term: float
    curvature_term: float
    divergence_term: float
    confidence_term: float
    epsilon: float
    sigma: float
    loss_range: LossRange
    samples: int
    distance: float
    delta: float

    @property
    def vacuous(self) -> bool:
        """Whether it says no more than the loss's range does."""
        return self.value >= self.loss_range.high

    def measured(self, perturbed: float) -> float:
        """Give the bound with a measured L̂_Q in place of its expansion: no remainder is left out.

        Losses that L̂_Q averages must lie in `loss_range`, see `perturbed_loss`.
        """
        low, slack = self.loss_range.low, self.divergence_term + self.confidence_term
        return (1 + self.epsilon) * (perturbed - low) + low + slack


@dataclass(frozen=True)
class PACBayes:
    r"""PAC-Bayes bounds on the loss of a perturbed policy (PolicyGradEx, Theorem 1).

    For a loss in [0, C] on N independent samples, with the laws P = N(θ_0, Σ) and Q = N(θ, Σ) of parameters,
    v = θ - θ_0 and H the Hessian of the empirical loss at θ, with probability at least 1 - δ for every θ

        L_Q ≤ (1 + ε) [L̂ + tr(ΣH) / 2] + (1 + ε)² C (vᵀ Σ⁻¹ v / 2 + log(K/δ)) / (2 ε N),

    by McAllester's linear bound (2013, arXiv 1307.2118) with L̂_Q expanded to second order.

    Isotropic, Σ = σ² I. The best σ² = r √(C (1 + ε) / (2 ε N tr H)) depends on the samples. So σ is taken
    from `SIGMAS` and ε from `EPSILONS`, fixed beforehand, and δ is shared out to all K combinations (a union
    bound).

    Anisotropic, Σ free. With tr(Σ[H]₊) in place of tr(ΣH) the best Σ is σ² vvᵀ / r², along v only. Here σ and
    the direction of v come from the samples: this is the theorem's sharper form, a measure of sharpness along
    the way that training took, and no bound that may be claimed.

    What is not in the number, but in the theorem's ξ: the remainder of L̂_Q, and the step from L_Q to L(θ),
    which is below L_Q where the population's curvature, weighted with Σ, is positive. Where the curvature is
    small the best σ is large, and the remainder may be anything: `perturbed_loss` measures L̂_Q without
    expanding it, and `Bound.measured` puts that in its place.

    When it holds: the samples must be independent (steps of one episode are not, so it is also worth knowing
    with N the number of episodes), drawn by a law that stays the same for all Q (transitions come from π_θ
    itself), the loss a fixed function of a sample (baselines and scales of advantages come from the same
    episodes), its range certified, and θ_0 drawn without looking at them (fresh weights are).

    Attributes
    ----------
    delta : float
        δ.
    epsilons, sigmas : sequences of float
        What to choose from.

    Examples
    --------
    >>> from gradex.generalization import LossRange, PACBayes
    >>> known = {"loss": 0.1, "loss_range": LossRange(0.0, 1.0, True), "trace": 5.0, "distance": 1.0}
    >>> bounds = [PACBayes().isotropic(**known, samples=samples) for samples in (100, 10_000, 1_000_000)]
    >>> [round(bound.value, 2) for bound in bounds]
    [0.8, 0.18, 0.11]
    """

    delta: float = 0.05
    epsilons: Sequence[float] = EPSILONS
    sigmas: Sequence[float] = SIGMAS

    def __post_init__(self) -> None:
        if not 0 < self.delta < 1:
            raise ValueError(
                f"delta is {self.delta}: choose a chance of failure between 0 and 1, such as 0.05"
            )
        for name in ("epsilons", "sigmas"):
            values = getattr(self, name)
            if len(values) == 0 or min(values) <= 0:
                raise ValueError(f"{name} are {list(values)}: give at least one, all positive")

    def isotropic(
        self, loss: float, loss_range: LossRange, trace: float, distance: float, samples: int
    ) -> Bound:
        """Bound L_Q for Q = N(θ, σ² I) with the best σ.

        Parameters
        ----------
        loss : float
            L̂(θ).
        loss_range : LossRange
        trace : float
            α = tr H; a negative one is taken for 0.
        distance : float
            r = ‖θ - θ_0‖.
        samples : int
            N.

        Raises
        ------
        ValueError
            If a number is nan, the distance is negative, or there is no sample.
        """
        _check(distance, samples, loss=loss, trace=trace)
        grid = [(epsilon, sigma) for epsilon in self.epsilons for sigma in self.sigmas]
        return self._best(grid, loss, loss_range, trace, distance, samples)

    def anisotropic(
        self, loss: float, loss_range: LossRange, form: float, distance: float, samples: int
    ) -> Bound:
        """Evaluate the sharper form, with the best Σ; `form` is vᵀ[H]₊v, the rest as for `isotropic`."""
        _check(distance, samples, loss=loss, form=form)
        along = max(form, 0.0) / distance**2 if distance > 0 else 0.0
        grid = []
        for epsilon in self.epsilons:
            ratio = loss_range.width * (1 + epsilon) / (2 * epsilon * samples)
            best = (ratio * distance**2 / along) ** 0.25 if along * ratio > 0 else max(self.sigmas)
            grid.append((epsilon, best))
        return self._best(grid, loss, loss_range, along, distance, samples)

    def _best(
        self,
        grid: Sequence[tuple[float, float]],
        loss: float,
        loss_range: LossRange,
        curvature: float,
        distance: float,
        samples: int,
    ) -> Bound:
        """Give the lowest of the bounds for some (ε, σ); `curvature` is tr(ΣH) / σ²."""
        bounds = []
        for epsilon, sigma in grid:
            rate = (1 + epsilon) ** 2 * loss_range.width / (2 * epsilon * samples)
            terms = (
                (1 + epsilon) * (loss - loss_range.low) + loss_range.low,
                (1 + epsilon) * sigma**2 * max(curvature, 0.0) / 2,
                rate * distance**2 / (2 * sigma**2),
                rate * log(len(grid) / self.delta),
            )
            bounds.append(
                Bound(sum(terms), *terms, epsilon, sigma, loss_range, samples, distance, self.delta)
            )
        return min(bounds, key=lambda bound: bound.value)


def _check(distance: float, samples: int, **numbers: float) -> None:
    """Refuse what no bound can be made of."""
    for name, value in numbers.items():
        if isnan(value):
            raise ValueError(f"{name} is nan: give a number")
    check_finite("distance", distance, least=0)
    check_positive("samples", samples)


def perturbed_loss(
    loss: PolicyGradientLoss,
    policy: Policy,
    parameters: Float[Tensor, "policies p"],
    samples: StackedSamples,
    sigma: Float[np.ndarray, " policies"],
    draws: int,
    seed: int,
    ranges: Sequence[LossRange] | None = None,
) -> tuple[Float[np.ndarray, " policies"], Float[np.ndarray, " policies"]]:
    """Measure L̂_Q for Q = N(θ, σ² I) by drawing from it, without expanding the loss.

    Parameters
    ----------
    loss, policy, parameters, samples
        As for `Hessian`.
    sigma : array [policies]
        σ of each policy.
    draws, seed : int
        At least 2 draws; each is used with both signs, which takes out odd orders.
    ranges : sequence of LossRange, optional
        One for each policy, beyond which losses count as its ends: a bound is one on such a loss. Without
        them a perturbed Gaussian policy may lose any amount, or gain it.

    Returns
    -------
    value, stderr : arrays [policies]

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from gradex import MetaPolicy, TaskSuite
    >>> from gradex.generalization import PolicyGradientLoss, StackedSamples, perturbed_loss
    >>> meta = MetaPolicy(TaskSuite.make("navigation", n=3), layers=2, width=4).fit(steps=1)
    >>> theta = torch.from_numpy(meta.parameters).double()[None]
    >>> samples = StackedSamples.of([meta.transitions(20, sharing="none")])
    >>> known = (PolicyGradientLoss(), meta.agent_.policy, theta, samples)
    >>> value, stderr = perturbed_loss(*known, sigma=np.zeros(1), draws=2, seed=0)
    >>> bool(abs(value[0] - PolicyGradientLoss().evaluate(*known[1:]).mean()) < 1e-9)
    True
    """
    if draws < 2:
        raise ValueError(f"draws={draws} is too few for a standard error: give at least 2")
    scale = torch.from_numpy(np.asarray(sigma)).to(parameters).unsqueeze(1)
    normals = Streams([seed]).normals(draws, parameters.shape[1])[0]
    spans = [(-inf, inf)] if ranges is None else [(each.low, each.high) for each in ranges]
    low, high = torch.from_numpy(np.array(spans)).to(parameters).T.unsqueeze(2)  # [policies, 1] each
    means = [
        torch.stack(
            [
                loss.evaluate(policy, parameters + step, samples).clamp(low, high).mean(dim=1)
                for step in (move, -move)
            ]
        )
        for move in (scale * torch.from_numpy(normal).to(parameters) for normal in normals)
    ]
    pairs = torch.stack(means).mean(dim=1)  # [draws, policies]
    return pairs.mean(dim=0).cpu().numpy(), (pairs.std(dim=0) / sqrt(draws)).cpu().numpy()
