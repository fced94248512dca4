"""The training loop, and what a learner must give for it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pandas as pd
import torch
from torch import Tensor

from gradex.learners.actor_critic import ActorCritic
from gradex.learners.continuation import Continuation
from gradex.learners.layout import Layout
from gradex.learners.returns import EpisodeReturns
from gradex.learners.rollouts import Collector
from gradex.progress import bar
from gradex.settings import plain_fields
from gradex.tasks import TaskSuite
from gradex.tensors import without_autocast
from gradex.threads import threads_for

_Class = TypeVar("_Class", bound="type[Learner]")


@dataclass(frozen=True)
class Job:
    """What is to be trained, on which tasks, and for how long; see `Learner.train`.

    There are `rounds` rounds in all, of `round_steps` environment steps of all policies. The state of the
    training will be asked for only if it is `resumable`.
    """

    agent: ActorCritic
    suite: TaskSuite
    subsets: Sequence[Sequence[int]]
    seeds: Sequence[int]
    rounds: int
    round_steps: int
    resumable: bool


class Training(ABC):
    """A training that has begun: what a learner gives to the loop of `Learner.train`."""

    #: Samples in a batch, which tell how many threads are worthwhile.
    batch_size: int = 0

    @abstractmethod
    def run_round(self, number: int, steps: int) -> None:
        """Act and learn once; `steps` environment steps have been taken by its end."""

    @property
    @abstractmethod
    def agent(self) -> ActorCritic:
        """The stack as it is now, on the CPU and in memory of its own."""

    @property
    def moving(self) -> Iterable[Tensor]:
        """What updates move, and must stay finite; a training need not tell."""
        return ()

    @abstractmethod
    def curve(self) -> pd.DataFrame:
        """Give the learning curves so far."""

    @property
    @abstractmethod
    def parts(self) -> Mapping[str, Any]:
        """What changes along a training, by name: objects with methods `state` and `restore`."""

    def state(self) -> dict[str, Tensor]:
        """Give the state of all parts."""
        states = {name: part.state() for name, part in self.parts.items()}
        return {f"{name}.{each}": x for name, state in states.items() for each, x in state.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to a `state`."""
        for name, part in self.parts.items():
            part.restore(_cut(state, name))

    def close(self) -> None:  # noqa: B027 - not every training has something to close
        """Close simulators, where any are open."""


class SimulatedTraining(Training):
    """A training in simulators that go on from round to round."""

    def __init__(self, job: Job, copies: int) -> None:
        self.job, self._copies = job, copies
        self.layout = Layout.of(job.subsets, copies)
        self.episodes = EpisodeReturns(self.layout, len(job.suite))
        self._kept: dict[str, Tensor] = {}

    @cached_property
    def collector(self) -> Collector:
        """Runs the simulators, which a training that is finished does not need."""
        job = self.job
        made = Collector(job.suite, job.subsets, self._copies, job.seeds, resumable=job.resumable)
        if self._kept:
            made.restore(self._kept)
        return made

    def curve(self) -> pd.DataFrame:
        return self.episodes.to_frame()

    @property
    def parts(self) -> Mapping[str, Any]:
        return {"episodes": self.episodes}

    def state(self) -> dict[str, Tensor]:
        acting = {f"collector.{name}": tensor for name, tensor in self.collector.state().items()}
        return super().state() | acting

    def restore(self, state: Mapping[str, Tensor]) -> None:
        super().restore(state)
        self._kept = _cut(state, "collector")

    def close(self) -> None:
        if "collector" in vars(self):
            self.collector.close()


def _cut(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Give the part of a state that has this name."""
    prefix = f"{name}."
    return {each.removeprefix(prefix): tensor for each, tensor in state.items() if each.startswith(prefix)}


class Learner(ABC):
    """A way to train policies. Concrete learners are frozen dataclasses of their settings, with a name.

    One of your own says in `begin` what a training is made of; `Learner.register` makes its name known.

    Examples
    --------
    >>> from gradex import TaskSuite
    >>> from gradex.learners import PPO, Learner
    >>> suite = TaskSuite.make("navigation", n=3)
    >>> Learner.named("ppo", suite) == PPO()
    True
    >>> PPO().rounds(suite, subsets=[(0, 1), (0, 2)], steps=10_000)
    3
    """

    name: ClassVar[str]
    #: Whether settings change along a training, so that a longer one is another one from the start.
    anneals: ClassVar[bool] = True
    #: By name.
    registered: ClassVar[dict[str, "type[Learner]"]] = {}

    def __post_init__(self) -> None:
        """Make the settings plain Python values, or refuse them by name."""
        plain_fields(self)

    @staticmethod
    def register(learner: _Class) -> _Class:
        """Make a class of learners known by its name."""
        Learner.registered[learner.name] = learner
        return learner

    @staticmethod
    def named(name: str, suite: TaskSuite) -> "Learner":
        """Give the learner of this name, with the settings recommended for the suite if it has any."""
        if name not in Learner.registered:
            known = ", ".join(map(repr, Learner.registered))
            raise ValueError(
                f"unknown learner {name!r}: choose {known}, or give a PPO(...) with settings of your own"
            )
        return Learner.registered[name](**(suite.recommended.ppo if name == "ppo" else {}))

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> "Learner":
        """Give the learner that a `config` describes."""
        settings = dict(config)
        return Learner.registered[settings.pop("name")](**settings)

    @property
    def config(self) -> dict[str, Any]:
        """Name and settings in plain JSON types; `from_config` reads it."""
        return {"name": self.name, **asdict(self)}  # type: ignore[call-overload]

    def initial(
        self, suite: TaskSuite, seeds: Sequence[int], layers: int = 4, width: int = 64, network: str = "mlp"
    ) -> ActorCritic:
        """Make one fresh policy per seed, with whatever else this learner trains."""
        by_objective = self.by_objective(suite, network)
        return ActorCritic.initial(suite, seeds, layers, width, network, by_objective)

    def by_objective(self, suite: TaskSuite, network: str) -> bool:
        """Tell whether policies of this architecture train on mean weights, see `TaskSuite.linear`."""
        return False

    @abstractmethod
    def round_steps(self, suite: TaskSuite, subsets: Sequence[Sequence[int]]) -> int:
        """Count the environment steps of one round of all policies: to act, and to learn from it."""

    @abstractmethod
    def environments(self, tasks: int) -> int:
        """Count the environments that a policy with this many tasks acts in at the same time."""

    @abstractmethod
    def begin(self, job: Job) -> Training:
        """Begin a training."""

    def rounds(self, suite: TaskSuite, subsets: Sequence[Sequence[int]], steps: int) -> int:
        """Count the rounds that take at least `steps` environment steps."""
        return -(-steps // self.round_steps(suite, subsets))

    # A caller may be in a mode in which nothing is differentiated, or not precisely; it is theirs afterwards.
    @torch.inference_mode(False)
    @torch.enable_grad()
    @without_autocast()
    def train(
        self,
        agent: ActorCritic,
        suite: TaskSuite,
        subsets: Sequence[Sequence[int]],
        steps: int,
        seeds: Sequence[int],
        description: str | None = None,
        observe: Callable[[int, ActorCritic], object] | None = None,
        folder: str | Path | None = None,
        checkpoint_steps: int = 100_000,
    ) -> tuple[ActorCritic, pd.DataFrame]:
        """Train policy p of the stack on the tasks `subsets[p]`, all policies together.

        PPO and SAC make their updates on a CUDA device if there is one; what is given back is on the CPU.

        Parameters
        ----------
        agent : ActorCritic
        suite : TaskSuite
        subsets : sequence of sequences of int
            Task indices of each policy. They may differ in number, but not for SAC.
        steps : int
            Environment steps in total, over all policies; rounded up to whole rounds. A step on which an
            environment is only reset counts, too.
        seeds : sequence of int
            One for each policy. A policy trains to the same parameters in any company.
        description : str, optional
            Of the progress bar; None draws none.
        observe : callable, optional
            Called after every round with the environment steps taken so far and the stack, which is its to
            keep.
        folder : path, optional
            Where to keep the training. A later call with the same arguments goes on from there, SAC also with
            more `steps`, and ends with the same bits as if it had not been cut off. Environments are brought
            back to where they were by their seeds and actions: Gymnasium's by those of the running episodes,
            all others by those of the whole training, which takes as long as it took to simulate. One that
            depends on anything else, such as a clock, the global generator or the episodes before, ends up
            elsewhere; a warning then says so.
        checkpoint_steps : int
            Environment steps between two visits to the folder.

        Returns
        -------
        ActorCritic
        pandas.DataFrame
            Columns steps, policy, task, return_mean, episodes, and success where the suite reports it: the
            episodes that ended in each round. PPO and SAC add explained_variance, what their critics knew of
            returns beforehand, and MAML inner_steps, after how many of these the episodes were.

        Raises
        ------
        ValueError
            If there are no steps, not one subset for each policy, the folder holds another training, or the
            training diverges.
        """
        if steps < 1:
            raise ValueError(f"cannot train for {steps} environment steps: ask for at least 1")
        sizes = sorted({len(subset) for subset in subsets})
        if not sizes or sizes[0] == 0 or len(subsets) != len(agent):
            raise ValueError(
                f"{len(agent)} policies have {len(subsets)} subsets, of {sizes} tasks: give each policy one "
                "that is not empty"
            )
        per_round, rounds = self.round_steps(suite, subsets), self.rounds(suite, subsets, steps)
        training = self.begin(Job(agent, suite, subsets, seeds, rounds, per_round, folder is not None))

        def identity() -> dict[str, Any]:
            return {
                "learner": self.config,
                "suite": suite.config,
                "subsets": [[int(task) for task in subset] for subset in subsets],
                "seeds": [int(seed) for seed in seeds],
                "networks": f"{agent.policy}, {agent.critic}",
                "start": agent.fingerprint,
                **({"steps": rounds * per_round} if self.anneals else {}),
            }

        kept = Continuation(folder, identity, rounds, per_round, checkpoint_steps)
        if kept.state is not None:
            training.restore(kept.state)
        whole = rounds * per_round
        shown = bar(description=description, total=whole, delay=0, unit=" steps", unit_scale=True)
        with closing(training), shown, threads_for(training.batch_size):
            shown.update(kept.begun * per_round)
            for done in range(kept.begun + 1, rounds + 1):
                training.run_round(done - 1, done * per_round)
                if not all(bool(rows.isfinite().all()) for rows in training.moving):
                    raise ValueError(
                        f"the training diverged within {done * per_round} environment steps, its parameters "
                        "are not finite any more: lower the learning rate"
                    )
                shown.update(per_round)
                if observe is not None:
                    observe(done * per_round, training.agent)
                kept.visit(done, training.state, training.curve)
        return training.agent, training.curve()


def update_device() -> torch.device:
    """Give the device for updates: CUDA's if there is one.

    Simulators and the policies that act in them stay on the CPU, and so does what a training gives back.
    `CUDA_VISIBLE_DEVICES=` in the environment keeps everything there.
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
