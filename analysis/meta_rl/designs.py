"""The suites on which representatives are compared, and how much of everything each gets."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gradex import MetaPolicy, TaskSuite
from gradex.learners import MAML, PPO, Adaptation
from gradex.seeds import child

#: On seed 100 of one reversed task in ten a constant rate ended higher than one that falls, 100 against 90
#: after 100 updates; on seeds 100 to 102 of CartPole by length a falling one did, by 2 of 200 after 20.
_ADAPTATION = Adaptation()
#: Of so few environment steps PPO makes about as many rounds as MAML.
_PPO = {"steps": 32}


@dataclass(frozen=True)
class Amount:
    """How much is trained and measured.

    Attributes
    ----------
    steps : int
        Environment steps of each meta-training, whatever the method.
    learner : MAML
    ppo : mapping
        Settings that are not the recommended ones.
    transitions, snapshots, projection_dim : int
        Of `PolicyGradEx`.
    layers, width : int
        Of the policy; networks that see the task get the width at which they have as many parameters.
    draws, draws_of_groups, meets : int
        Random sets of representatives, of any tasks and of one of each group; how many each target meets.
    targets, updates : int
    at : tuple of int
        After how many updates returns are kept.
    long_targets, long_updates : int
        So many targets go on, with the main methods; none if 0.
    adaptation : Adaptation
    """

    steps: int
    learner: MAML = field(default_factory=MAML)
    ppo: Mapping[str, Any] = field(default_factory=lambda: _PPO)
    transitions: int = 8192
    snapshots: int = 8
    projection_dim: int = 400
    layers: int = 3
    width: int = 32
    draws: int = 10
    draws_of_groups: int = 3
    meets: int = 1
    targets: int = 50
    updates: int = 20
    at: tuple[int, ...] = (0, 1, 5, 20)
    long_targets: int = 10
    long_updates: int = 200
    adaptation: Adaptation = _ADAPTATION

    def multi_task(self, suite: TaskSuite, network: str, width: int, seed: int) -> MetaPolicy:
        """Train a policy on all tasks by PPO."""
        learner = PPO(**{**suite.recommended.ppo, **self.ppo})
        meta = MetaPolicy(suite, network, learner, seed, self.layers, width)
        return meta.fit(self.steps, self.snapshots)


@dataclass(frozen=True)
class Design:
    """A suite of source tasks, and the law of its targets.

    Attributes
    ----------
    title : str
    family : str
    options : mapping
        Of the source tasks.
    law : mapping
        Options that differ in the suite whose law the targets follow.
    three : bool
        Whether to try three representatives too, however many groups there are.
    laptop : Amount
    """

    title: str
    family: str
    options: Mapping[str, Any]
    law: Mapping[str, Any] = field(default_factory=dict)
    three: bool = True
    laptop: Amount = Amount(200_000)

    def sources(self, seed: int, scale: str) -> TaskSuite:
        """Make the source tasks of a seed."""
        return TaskSuite.make(self.family, seed=seed, **self._options(scale))

    def targets(self, seed: int, scale: str) -> TaskSuite:
        """Draw the targets: the same for all seeds, but others where settings are chosen, from 100 on."""
        like = TaskSuite.make(self.family, seed=0, **{**self._options(scale), **self.law})
        return like.unseen(self.amount(scale).targets, child(seed // 100, "targets"))

    def amount(self, scale: str) -> Amount:
        """Give the amounts at a scale."""
        if scale == "smoke":
            return _SMOKE
        if scale == "laptop":
            return self.laptop
        return replace(self.laptop, steps=10 * self.laptop.steps, meets=self.laptop.draws, **_PAPER)

    def _options(self, scale: str) -> dict[str, Any]:
        options = {"n": 10, **self.options}
        if scale == "smoke":
            options["n"] = 4
            options |= {"horizon": 15} if "horizon" in options else {}
        if scale == "paper" and "horizon" in options:
            del options["horizon"]  # Gymnasium's own
        return options


_SMOKE = Amount(
    160, MAML(trajectories=2, tasks=2, epochs=1),
    {"steps": 16, "copies": 2, "minibatches": 2, "epochs": 1}, transitions=16, snapshots=1, projection_dim=16,
    layers=3, width=4, draws=2, draws_of_groups=1, targets=2, updates=2, at=(0, 1, 2), long_targets=0,
    adaptation=Adaptation(trajectories=2),
)  # fmt: skip
_PAPER: dict[str, Any] = {"layers": 4, "width": 64, "targets": 50, "long_targets": 50}
_CARTPOLE: dict[str, Any] = {"horizon": 100}
#: By part of the study.
DESIGNS = {
    "reversed": Design("CartPole, reversed motors", "cartpole", {**_CARTPOLE, "reversed": "half"}),
    "rare": Design(
        "CartPole, one of ten reversed,\ntargets half and half",
        "cartpole",
        {**_CARTPOLE, "reversed": 0.1},
        {"reversed": "half"},
    ),
    "lengths": Design("CartPole, 0.05 to 8 m", "cartpole", {**_CARTPOLE, "half_length": (0.05, 8.0)}),
    "paper_lengths": Design(
        "CartPole, 0.1 to 4 m (saturated)",
        "cartpole",
        _CARTPOLE,
        three=False,
        laptop=Amount(200_000, targets=20, long_targets=0),
    ),
    "objective": Design(
        "highway by objective",
        "highway",
        {"vary": "objective"},
        laptop=Amount(60_000, transitions=4096, long_targets=5),
    ),
    "density": Design(
        "highway by density",
        "highway",
        {"vary": "density"},
        three=False,
        laptop=Amount(60_000, transitions=4096, targets=20, long_targets=0),
    ),
    "gravity": Design(
        "LunarLander by gravity",
        "lunarlander",
        {"horizon": 150},
        three=False,
        laptop=Amount(60_000, transitions=2048, targets=10, long_targets=0),
    ),
}


def work(scale: str) -> float:
    """Count the environment steps of a seed, at most: equal sets of representatives train once."""
    steps = 0
    for design in DESIGNS.values():
        amount, horizon = design.amount(scale), design.sources(0, scale).horizon or 0
        rules = 1 + design.three
        sets = amount.draws + 2 * amount.draws_of_groups
        # By rule; then all tasks twice, medoids, the most helpful, PPO and two networks that see the task.
        trainings = sets + (rules - 1) * -(-sets // 2) + 7
        rows = amount.targets * (3 * amount.meets * rules + 8)
        updates = rows * (amount.updates + 1) + 5 * amount.long_targets * (amount.long_updates + 1)
        steps += trainings * amount.steps + updates * amount.adaptation.trajectories * horizon
    return steps
