"""Generalization: sharpness, gap and bound of trained policies (PolicyGradEx, Sec. 4.4 and 5, Fig. 2)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gradex.generalization.bound import PACBayes, perturbed_loss
from gradex.generalization.episodes import collect_episodes
from gradex.generalization.exact_trace import ExactTrace
from gradex.generalization.hessian import Hessian
from gradex.generalization.loss import PolicyGradientLoss
from gradex.generalization.measurement import Measurement
from gradex.generalization.samples import StackedSamples
from gradex.generalization.spectrum import lanczos
from gradex.generalization.trace import TraceEstimator, generator, random_signs
from gradex.learners import ActorCritic, Transitions
from gradex.meta_policy import MetaPolicy
from gradex.seeds import child
from gradex.settings import Estimator, check_subset, whole
from gradex.tasks import TaskSuite

#: Policies that are measured together; more take memory and save no time.
_STACK = 8
#: Purposes of seeds.
_TRAIN, _TEST = "training episodes", "test episodes"


class Generalization(Estimator):
    """Measure how sharp the policy-gradient loss is around a policy, and how it carries to unseen tasks.

    Both losses are means over tasks of the same `PolicyGradientLoss`, on whole episodes of the policy itself,
    with advantages that need no critic and have mean 0 and standard deviation 1 within each task (see
    `collect_episodes`). So test and training loss differ by what the tasks do, and by nothing in how they are
    measured. As every advantage is relative to its task, the loss tells how well what the policy finds
    probable agrees with what pays there, not how much it pays: that is what `MetaPolicy.evaluate` tells.

    Parameters
    ----------
    meta : MetaPolicy
    train : TaskSuite
        The tasks that it was trained on; after `meta.adapt(subset)` that is `suite[subset]`.
    test : TaskSuite
        Target tasks, for instance `suite.unseen(50, seed=0)`.
    loss : PolicyGradientLoss, optional
    trace : {"exact"} or TraceEstimator
        "exact" stands for ExactTrace(), which needs a multilayer perceptron; the others are Hutchinson(),
        HutchPlusPlus() and XTrace().
    bound : PACBayes, optional
    steps_per_task, copies : int
        Steps that are kept, and environments, for each task of either side.
    lanczos_steps : int
        Hessian-vector products for the largest eigenvalue, and as many for vᵀ[H]₊v.
    perturbations : int
        Draws of the perturbed loss.
    seed : int

    Notes
    -----
    All derivatives are taken in double precision: single precision was less than twice as fast here.

    Examples
    --------
    >>> from gradex import Generalization, MetaPolicy, TaskSuite
    >>> suite = TaskSuite.make("navigation", n=3)
    >>> meta = MetaPolicy(suite, layers=2, width=8).fit(steps=3_000)
    >>> measured = Generalization(meta, suite, suite.unseen(5, seed=0), steps_per_task=60, copies=4).measure()
    >>> measured.test_losses.shape
    (5,)
    >>> measured.gap == measured.test_loss - measured.train_loss
    True
    >>> measured.trace_products  # the trace of a perceptron is exact
    0
    """

    _results = ()

    def __init__(
        self,
        meta: MetaPolicy,
        train: TaskSuite,
        test: TaskSuite,
        loss: PolicyGradientLoss | None = None,
        trace: str | TraceEstimator = "exact",
        bound: PACBayes | None = None,
        steps_per_task: int = 2048,
        copies: int = 16,
        lanczos_steps: int = 40,
        perturbations: int = 8,
        seed: int = 0,
    ) -> None:
        self.meta = meta
        self.train = train
        self.test = test
        self.loss = loss
        self.trace = trace
        self.bound = bound
        self.steps_per_task = steps_per_task
        self.copies = copies
        self.lanczos_steps = lanczos_steps
        self.perturbations = perturbations
        self.seed = seed
        self._plain()

    def _check(self) -> None:
        if isinstance(self.trace, str) and self.trace != "exact":
            raise ValueError(
                f"unknown trace {self.trace!r}: choose 'exact', or give an estimator such as XTrace()"
            )
        for name in ("steps_per_task", "copies", "lanczos_steps", "perturbations"):
            whole(name, getattr(self, name), 1)
        for side, suite in (("train", self.train), ("test", self.test)):
            if suite.observation_space.shape != self.meta.suite.observation_space.shape:
                raise ValueError(
                    f"{side} is {suite.family!r}, with other observations than {self.meta.suite.family!r}: "
                    "give tasks of the family on which the policy was fitted"
                )

    def measure(self) -> Measurement:
        """Measure the policy."""
        return self.measure_each([self.meta])[0]

    def measure_each(
        self, metas: Sequence[MetaPolicy], subsets: Sequence[Sequence[int]] | None = None
    ) -> list[Measurement]:
        """Measure other policies in the same way, in stacks: along a training, or of many groups.

        Parameters
        ----------
        metas : sequence of MetaPolicy
            Of one architecture.
        subsets : sequence of sequences of int, optional
            Tasks of `train` on which each of them was trained; all by default.

        Returns
        -------
        list of Measurement
            One per policy; its numbers do not depend on its company.

        Raises
        ------
        ValueError
            If there is no policy, not one subset for each, or a network has no exact trace and this is asked
            for.
        """
        if len(metas) == 0:
            raise ValueError("there is no policy to measure: give at least one")
        subsets = [range(len(self.train))] * len(metas) if subsets is None else subsets
        if len(subsets) != len(metas):
            raise ValueError(f"{len(metas)} policies have {len(subsets)} subsets: give one for each")
        for subset in subsets:
            check_subset(subset, len(self.train))
        own, measured = self._plain(), dict[int, Measurement]()
        estimator = ExactTrace() if isinstance(own.trace, str) else own.trace
        if isinstance(estimator, ExactTrace):
            for meta in metas:
                estimator.check(_stacked([meta]).policy.network)
        for size in sorted({len(subset) for subset in subsets}):
            same = [index for index, subset in enumerate(subsets) if len(subset) == size]
            for first in range(0, len(same), _STACK):
                stack = same[first : first + _STACK]
                found = own._measure_stack([metas[i] for i in stack], [subsets[i] for i in stack])
                measured |= dict(zip(stack, found, strict=True))
        return [measured[index] for index in range(len(metas))]

    def _measure_stack(
        self, metas: Sequence[MetaPolicy], subsets: Sequence[Sequence[int]]
    ) -> list[Measurement]:
        loss = PolicyGradientLoss() if self.loss is None else self.loss
        pac_bayes = PACBayes() if self.bound is None else self.bound
        estimator = ExactTrace() if isinstance(self.trace, str) else self.trace
        agents = _stacked(metas)
        policy, theta = agents.policy, agents.actors.double()
        distance_vector = theta - _initial(metas).double()
        train = self._collect(agents, self.train, subsets, _TRAIN)
        test = self._collect(agents, self.test, [range(len(self.test))] * len(metas), _TEST)
        samples = StackedSamples.of(train)
        train_values = loss.evaluate(policy, theta, samples)
        train_losses, train_variance = _by_task(loss, train_values.numpy(), train, len(subsets[0]))
        test_values = loss.evaluate(policy, theta, StackedSamples.of(test))
        test_losses, test_variance = _by_task(loss, test_values.numpy(), test, len(self.test))
        gap_stderr = np.sqrt(train_variance + test_variance)

        hessian = Hessian(policy, loss, theta, samples)
        trace = estimator.estimate(hessian)
        random = random_signs(hessian, 1, generator(child(self.seed, "Lanczos vector")))
        starts = torch.cat([random, distance_vector.unsqueeze(2)], dim=2)
        quadrature = lanczos(hessian, starts, self.lanczos_steps)
        top, residual = quadrature.largest
        distances = torch.linalg.vector_norm(distance_vector, dim=1).numpy()
        forms = distances**2 * quadrature.positive[:, 1].numpy()

        bounds = []
        for row, losses in enumerate(train_losses):
            loss_range = loss.range(policy.distribution, train_values[row])
            known = (float(losses.mean()), loss_range)
            distance, episodes = float(distances[row]), len(np.unique(train[row].episodes))
            bounds.append(
                (
                    pac_bayes.isotropic(*known, float(trace.value[row]), distance, samples.count),
                    pac_bayes.isotropic(*known, float(trace.value[row]), distance, episodes),
                    pac_bayes.anisotropic(*known, float(forms[row]), distance, samples.count),
                )
            )
        sigmas = np.array([isotropic.sigma for isotropic, _, _ in bounds])
        perturbed = perturbed_loss(
            loss, policy, theta, samples, sigmas, self.perturbations, child(self.seed, "perturbations")
        )
        return [
            Measurement(
                float(trace.value[row]),
                float(trace.stderr[row]),
                trace.products,
                float(top[row]),
                float(residual[row]),
                train_losses[row],
                test_losses[row],
                float(gap_stderr[row]),
                *bounds[row],
                *(float(number[row]) for number in perturbed),
            )
            for row in range(len(metas))
        ]

    def _collect(
        self, agents: ActorCritic, suite: TaskSuite, subsets: Sequence[Sequence[int]], purpose: str
    ) -> list[Transitions]:
        seeds = [child(self.seed, purpose)] * len(subsets)
        return collect_episodes(agents, suite, subsets, self.steps_per_task, self.copies, seeds)


def _stacked(metas: Sequence[MetaPolicy]) -> ActorCritic:
    """Give one stack of all policies."""
    rows = [torch.from_numpy(meta.parameters) for meta in metas]
    agents = [meta.agent_ for meta in metas]
    if any(agent.policy != agents[0].policy for agent in agents):
        raise ValueError("policies of several architectures cannot be measured together: take one at a time")
    return replace(agents[0].repeat(len(agents)), actors=torch.stack(rows))


def _initial(metas: Sequence[MetaPolicy]) -> Float[Tensor, "policies p"]:
    """Give θ_0, the fresh weights with which the first training of each policy began.

    The prior's centre must not depend on the samples, nor on the tasks that they come from: a policy that was
    trained on from a meta-policy is as far from θ_0 as both trainings took it. Were the meta-policy taken for
    θ_0, the bound would be free of charge for all that was learnt on these very tasks before.
    """
    return metas[0].initial([meta.start for meta in metas]).actors


def _by_task(
    loss: PolicyGradientLoss,
    values: Float[np.ndarray, "policies N"],
    transitions: Sequence[Transitions],
    tasks: int,
) -> tuple[Float[np.ndarray, "policies tasks"], Float[np.ndarray, " policies"]]:
    """Average over each task, and give the variance of the mean over tasks, by episode.

    Samples come task by task, equally many of each, and the advantages of a task have mean 0 by construction:
    a baseline was subtracted. What of the loss is proportional to them, -A mean(log π), therefore varies from
    episode to episode but not in the mean, and is taken out. The rest is added up within an episode and
    squared, the variance of a mean over clusters. Without that step the error came out 5 to 15 times too
    large in repetitions, with it right to a tenth or so.
    """
    policies = len(transitions)
    spread = values.reshape(policies, tasks, -1)
    advantages, episodes = (
        np.stack([getattr(each, name) for each in transitions]).reshape(spread.shape)
        for name in ("advantages", "episodes")
    )
    slopes = np.zeros_like(spread)
    inside = (np.abs(advantages) < loss.advantage_limit) & (advantages != 0)
    np.divide(spread, advantages, out=slopes, where=inside)
    means = spread.mean(axis=2)
    residuals = spread - means[:, :, None] - slopes.mean(axis=2, keepdims=True) * advantages
    owner = np.arange(policies * tasks).reshape(policies, tasks, 1)
    number = (owner * (episodes.max() + 1) + episodes).ravel()
    _, first, cluster = np.unique(number, return_index=True, return_inverse=True)
    sums = np.bincount(cluster, residuals.ravel())
    of_cluster = first // spread.shape[2]
    count, square = (np.bincount(of_cluster, weights) for weights in (None, sums**2))
    variance = square * count / np.maximum(count - 1, 1) / spread.shape[2] ** 2
    return means, variance.reshape(policies, tasks).sum(axis=1) / tasks**2
