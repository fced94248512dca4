"""Generalization: sharpness, gap and bound of trained policies (PolicyGradEx, Sec. 4.4 and 5, Fig. 2)."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from gradex.generalization.bound import PACBayes, perturbed_loss
from gradex.generalization.episodes import collect_episodes
from gradex.generalization.exact_trace import ExactTrace
from gradex.generalization.hessian import Hessian
from gradex.generalization.loss import PolicyGradientLoss, StackedSamples, losses_by_task
from gradex.generalization.measurement import Measurement
from gradex.generalization.spectrum import lanczos
from gradex.generalization.trace import TraceEstimator, random_signs
from gradex.learners import ActorCritic, Transitions
from gradex.lineage import check_same_tasks, other_tasks
from gradex.meta_policy import MetaPolicy
from gradex.seeds import child
from gradex.settings import Estimator, as_subsets, whole
from gradex.tasks import TaskSuite
from gradex.tasks.checks import other_spaces
from gradex.tensors import without_autocast

#: Policies that are measured together; more take memory and save no time.
_STACK = 8


class Generalization(Estimator):
    """Measure how sharp the policy-gradient loss is around a policy, and how it carries to unseen tasks.

    Both losses are means over tasks of the same `PolicyGradientLoss`, on whole episodes of the policy itself,
    with advantages that need no critic (see `collect_episodes`). So test and training loss differ by what the
    tasks do, and by nothing in how they are measured. As every advantage is relative to its task, the loss
    tells how well what the policy finds probable agrees with what pays there, not how much it pays: that is
    what `MetaPolicy.evaluate` tells.

    Parameters
    ----------
    meta : MetaPolicy
    train : TaskSuite
        The tasks that it was trained on; after `meta.adapt(subset)` that is `suite[subset]`.
    test : TaskSuite
        Target tasks, for instance `suite.unseen(50, seed=0)`. A network that sees the task knows only those
        that it was fitted on: both sides then are some of these.
    loss : PolicyGradientLoss, optional
    trace : {"exact"} or TraceEstimator
        "exact" stands for ExactTrace(), which needs a multilayer perceptron; XTrace() estimates that of other
        networks, and Hutchinson() is the paper's.
    bound : PACBayes, optional
    steps_per_task, copies : int
        Steps that are kept, and environments, for each task of either side.
    lanczos_steps : int
        Hessian-vector products for the largest eigenvalue, and as many for vᵀ[H]₊v.
    perturbations : int
        Draws of the perturbed loss.
    seed : int

    Examples
    --------
    >>> from gradex import Generalization, MetaPolicy, TaskSuite
    >>> suite = TaskSuite.make("navigation", n=3)
    >>> meta = MetaPolicy(suite, layers=2, width=8).fit(steps=3_000)
    >>> measured = Generalization(meta, suite, suite.unseen(5, seed=0), steps_per_task=60, copies=4).measure()
    >>> measured.gap == measured.test_loss - measured.train_loss
    True
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
        for name, least in {"steps_per_task": 2, "copies": 2, "lanczos_steps": 1, "perturbations": 2}.items():
            whole(name, getattr(self, name), least)
        for side, suite in (("train", self.train), ("test", self.test)):
            if (other := other_spaces(suite, self.meta.suite)) is not None:
                raise ValueError(
                    f"{side} is {suite.family!r}, with {other}: give tasks of the family on which the policy "
                    f"was fitted, {self.meta.suite.family!r}"
                )

    def measure(self) -> Measurement:
        """Measure the policy."""
        return self.measure_each([self.meta])[0]

    def measure_each(
        self, metas: Sequence[MetaPolicy], subsets: Collection[Collection[int]] | None = None
    ) -> list[Measurement]:
        """Measure other policies in the same way, in stacks: along a training, or of many groups.

        Parameters
        ----------
        metas : sequence of MetaPolicy
            Of one architecture.
        subsets : sequence of collections of int, optional
            Tasks of `train` on which each of them was trained; all by default.

        Returns
        -------
        list of Measurement
            One per policy; its numbers do not depend on its company.

        Raises
        ------
        ValueError
            If there is no policy, not one subset for each, an exact trace is asked for and not known, or a
            network that sees the task does not know one.
        TypeError
            If a policy is given in place of a sequence.
        """
        if isinstance(metas, MetaPolicy):
            raise TypeError("one policy was given: give a sequence of policies, as in [meta]")
        if len(metas) == 0:
            raise ValueError("there is no policy to measure: give at least one")
        everything = [range(len(self.train))] * len(metas)
        subsets = as_subsets(everything if subsets is None else subsets, len(self.train))
        if len(subsets) != len(metas):
            raise ValueError(f"{len(metas)} policies have {len(subsets)} subsets: give one for each")
        own, measured = self._plain(), dict[int, Measurement]()
        estimator = ExactTrace() if isinstance(own.trace, str) else own.trace
        if isinstance(estimator, ExactTrace):
            for meta in metas:
                estimator.check(meta.agent_.policy.network)
        for size in sorted({len(subset) for subset in subsets}):
            same = [index for index, subset in enumerate(subsets) if len(subset) == size]
            environments = own.copies * max(size, len(own.test))
            together = min(own.train.fitting(environments) or _STACK, _STACK)
            for first in range(0, len(same), together):
                stack = same[first : first + together]
                chosen = [metas[i] for i in stack], [subsets[i] for i in stack]
                measured |= dict(zip(stack, own._measure_stack(*chosen, estimator), strict=True))
        return [measured[index] for index in range(len(metas))]

    @torch.inference_mode(False)  # nothing that a caller made in that mode can be differentiated
    @without_autocast()
    def _measure_stack(
        self, metas: Sequence[MetaPolicy], subsets: Sequence[Sequence[int]], estimator: TraceEstimator
    ) -> list[Measurement]:
        """Measure policies with equally many tasks."""
        loss = PolicyGradientLoss() if self.loss is None else self.loss
        pac_bayes = PACBayes() if self.bound is None else self.bound
        agents = _stacked(metas)
        train_suite, sources = _known(metas, "train", self.train)
        test_suite, targets = _known(metas, "test", self.test)
        places = [[sources[task] for task in subset] for subset in subsets]
        # In double precision: single precision was less than twice as fast here.
        policy, theta = agents.policy, agents.actors.double()
        # The prior's centre must not depend on the samples, nor on the tasks that they come from: θ_0 are the
        # fresh weights with which the first training of each policy began. With a meta-policy for θ_0 the
        # bound would be free of charge for all that was learnt on these very tasks before.
        moved = theta - metas[0].initial([meta.start for meta in metas]).actors.double()
        train = self._collect(agents, train_suite, places, "training episodes")
        test = self._collect(agents, test_suite, [targets] * len(metas), "test episodes")
        samples = StackedSamples.of(train)
        train_values = loss.evaluate(policy, theta, samples)
        test_values = loss.evaluate(policy, theta, StackedSamples.of(test))
        train_losses, train_variance = losses_by_task(loss, train_values, train, len(subsets[0]))
        test_losses, test_variance = losses_by_task(loss, test_values, test, len(self.test))

        hessian = Hessian(policy, loss, theta, samples)
        trace = estimator.estimate(hessian)
        random = random_signs(hessian, 1, child(self.seed, "Lanczos vector"))
        quadrature = lanczos(hessian, torch.cat([random, moved.unsqueeze(2)], dim=2), self.lanczos_steps)
        distances = torch.linalg.vector_norm(moved, dim=1).numpy()
        forms = distances**2 * quadrature.positive[:, 1].numpy()

        bounds = []
        for row, losses in enumerate(train_losses):
            known = (float(losses.mean()), loss.range(policy.distribution, train_values[row]))
            alpha, form, distance = float(trace.value[row]), float(forms[row]), float(distances[row])
            episodes = len(np.unique(train[row].episodes))
            isotropic = partial(pac_bayes.isotropic, *known, alpha, distance)
            anisotropic = pac_bayes.anisotropic(*known, form, distance, samples.count)
            bounds.append((isotropic(samples.count), isotropic(episodes), anisotropic))
        sigmas = np.array([each[0].sigma for each in bounds])
        seed = child(self.seed, "perturbations")
        ranges = [each[0].loss_range for each in bounds]
        perturbed = perturbed_loss(loss, policy, theta, samples, sigmas, self.perturbations, seed, ranges)
        top, gap_stderr = quadrature.largest, np.sqrt(train_variance + test_variance)
        return [
            Measurement(
                float(trace.value[row]),
                float(trace.stderr[row]),
                trace.products,
                float(top.value[row]),
                float(top.residual[row]),
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


def _known(metas: Sequence[MetaPolicy], side: str, suite: TaskSuite) -> tuple[TaskSuite, Sequence[int]]:
    """Give the suite in which to run policies of one architecture, and the places of these tasks there.

    A network that sees the task is told its place in the suite that it was fitted on, and knows no other.
    """
    network, own = metas[0].network, metas[0].suite
    if network == "mlp":
        return suite, range(len(suite))
    for meta in metas[1:]:
        check_same_tasks(own, meta.suite)
    names = [task.name for task in own.tasks]
    places = [names.index(task.name) for task in suite.tasks if task.name in names]
    other = "other tasks" if len(places) < len(suite) else other_tasks(own[places], suite)
    if other is not None:
        raise ValueError(
            f"a {network!r} network knows the tasks it was fitted on and no others, and {side} has {other}: "
            "give some of these, or fit an 'mlp'"
        )
    return own, places
