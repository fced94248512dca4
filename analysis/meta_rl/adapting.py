"""Policies from every method, and what they earn on the targets while they adapt."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from analysis.meta_rl.designs import Amount
from analysis.meta_rl.representatives import Chosen, Subset
from gradex import MetaPolicy, TaskSuite
from gradex.learners import ActorCritic
from gradex.policies import Network, Tape, matched_width
from gradex.seeds import Streams, child

#: Policies that meta-train in one stack: more would take gigabytes.
_TOGETHER = 8
#: Networks that see the task, by method.
SEEING = {"soft modularization": "soft_modularization", "PaCo": "paco"}
#: Those that go on adapting for long.
MAIN = (
    "multi-task PPO",
    "MAML, all tasks",
    "MAML, random",
    "MAML, gradient similarity",
    "MAML, PolicyGradEx",
)


@dataclass(frozen=True)
class SeenAs(Network):
    """A network that sees one of its source tasks in place of a target that it does not know.

    Attributes
    ----------
    network : Network
    stands_in : tuple of int
        Source task for each target.
    """

    network: Network
    stands_in: tuple[int, ...]

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """See `Network`."""
        return self.network.shapes

    def initial(self, streams: Streams) -> Tensor:
        """See `Network`."""
        return self.network.initial(streams)

    def forward(
        self, parameters: Tensor, observations: Tensor, tasks: Tensor, tape: Tape | None = None
    ) -> Tensor:
        """See `Network`."""
        seen = torch.tensor(self.stands_in, device=tasks.device)[tasks]
        return self.network.forward(parameters, observations, seen, tape)


@dataclass(frozen=True)
class Trained:
    """Policies of a method, each of which some targets meet.

    Attributes
    ----------
    method, rule : str
    k : int
        Number of tasks that it was meta-trained on.
    policies : list of ActorCritic
        A stack of one for each draw.
    """

    method: str
    rule: str
    k: int
    policies: list[ActorCritic]


def meta_train(suite: TaskSuite, chosen: Sequence[Chosen], amount: Amount, seed: int) -> Iterator[Trained]:
    """Meta-train on every set of tasks with equal budgets, each set once; then the two bounds."""
    everything = tuple(range(len(suite)))
    sets = list(dict.fromkeys(each for one in chosen for each in one.sets))
    second = _maml(suite, sets, amount, seed)
    for one in chosen:
        yield Trained(one.method, one.rule, len(one.sets[0]), [second[each] for each in one.sets])
    first = _maml(suite, [everything], replace(amount, learner=replace(amount.learner, order="first")), seed)
    yield Trained("first-order MAML, all tasks", "none", len(suite), [first[everything]])
    fresh = amount.learner.initial(suite, [seed], amount.layers, amount.width)
    yield Trained("from scratch", "none", 0, [fresh])


def _maml(suite: TaskSuite, sets: Sequence[Subset], amount: Amount, seed: int) -> dict[Subset, ActorCritic]:
    """Meta-train a policy on each set, in stacks: in any company it is the same."""
    found: dict[Subset, ActorCritic] = {}
    for start in range(0, len(sets), _TOGETHER):
        own = sets[start : start + _TOGETHER]
        seeds = [seed] * len(own)
        begin = amount.learner.initial(suite, seeds, amount.layers, amount.width)
        stack, _ = amount.learner.train(begin, suite, own, amount.steps * len(own), seeds)
        found |= {each: stack[row] for row, each in enumerate(own)}
    return found


def seeing_policies(suite: TaskSuite, amount: Amount, seed: int) -> dict[str, MetaPolicy]:
    """Train the networks that see the task on all tasks, with about as many parameters as the others."""
    space = suite.observation_space.shape[0], int(suite.action_space.n), len(suite)  # type: ignore[union-attr]
    plain = amount.learner.initial(suite, [0], amount.layers, amount.width).policy.size
    found = {}
    for method, network in SEEING.items():
        width = matched_width(network, *space, amount.layers, plain)
        found[method] = amount.multi_task(suite, network, max(2, width), seed)
    return found


# ---------------------------------------------------------------------- adaptation
def adapt_all(trained: Sequence[Trained], targets: TaskSuite, amount: Amount, seed: int) -> pd.DataFrame:
    """Adapt the policies of all methods to all targets in one stack; then the main ones for longer.

    A target meets `amount.meets` of a method's draws, or all if there are fewer.
    """
    cells = [
        (one, draw, target)
        for one in trained
        for target in range(len(targets))
        for draw in _met(target, len(one.policies), amount.meets)
    ]
    table = _adapted(cells, targets, amount, seed, amount.updates, amount.at)
    if amount.long_targets:
        few = [
            (one, draw, target)
            for one in trained
            if one.method in MAIN and one.rule != "three"
            for target in range(amount.long_targets)
            for draw in _met(target, len(one.policies), 1)
        ]
        last = amount.long_updates
        longer = _adapted(few, targets, amount, seed, last, (last,)).drop(columns="area")
        table = table.merge(longer, how="left", on=["method", "rule", "k", "draw", "target"])
    return table


def adapt_seeing(
    policies: Mapping[str, MetaPolicy], targets: TaskSuite, amount: Amount, seed: int
) -> Iterator[pd.DataFrame]:
    """Adapt networks that see the task, each target in place of the source task that did best in it.

    For that every source task is tried in one episode of the target. These episodes are paid for: those of
    ten source tasks take the place of the first two updates of five episodes each.
    """
    once = replace(amount.adaptation, trajectories=1)
    seeds = _seeds(range(len(targets)), seed, "which source")
    for method, meta in policies.items():
        agent, n = meta.agent_, len(meta.suite)
        earned = [
            once.returns(_seen_as(agent, [source] * len(targets)), targets, range(len(targets)), seeds, 0)[0]
            for source in range(n)
        ]
        own = _seen_as(agent, np.argmax(earned, axis=0).tolist())
        cells = [(Trained(method, "none", n, [own]), 0, target) for target in range(len(targets))]
        each = amount.adaptation.trajectories
        tried = [np.mean(earned[first : first + each], axis=0) for first in range(0, n, each)]
        yield _adapted(cells, targets, amount, seed, amount.updates, amount.at, tried)


def _seen_as(agent: ActorCritic, sources: Sequence[int]) -> ActorCritic:
    policy = replace(agent.policy, network=SeenAs(agent.policy.network, tuple(sources)))
    return replace(agent, policy=policy)


def _met(target: int, draws: int, meets: int) -> list[int]:
    """Say which draws a target meets: each draw is met by as many targets as any other."""
    count = min(draws, meets)
    return [(target + number * draws // count) % draws for number in range(count)]


def _seeds(targets: Sequence[int], seed: int, purpose: str) -> list[int]:
    """Give equal seeds to equal targets: methods meet the same starts, and draw the same noise."""
    return [child(seed, purpose, target) for target in targets]


def _adapted(
    cells: Sequence[tuple[Trained, int, int]],
    targets: TaskSuite,
    amount: Amount,
    seed: int,
    updates: int,
    at: Sequence[int],
    before: Sequence[Float[np.ndarray, " rows"]] = (),
) -> pd.DataFrame:
    """Adapt a row for each method, draw and target; tell returns at these updates and the mean of all.

    What was earned `before` the first update took the place of as many.
    """
    rows = ActorCritic.joined([one.policies[draw] for one, draw, _ in cells])
    met = [target for *_, target in cells]
    seeds = _seeds(met, seed, "adaptation")
    left = max(0, updates - len(before))
    adapted: Float[np.ndarray, "times rows"] = amount.adaptation.returns(rows, targets, met, seeds, left)
    returns = np.concatenate([*(own[None] for own in before), adapted])[: updates + 1]
    known = [(one.method, one.rule, one.k, draw, target) for one, draw, target in cells]
    table = pd.DataFrame(known, columns=["method", "rule", "k", "draw", "target"])
    for step in at:
        table[f"after_{step}"] = returns[step]
    return table.assign(area=returns.mean(axis=0))
