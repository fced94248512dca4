"""Rollouts: what a stack of policies meets when each acts in environments of its own tasks."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gradex.learners.actor_critic import ActorCritic
from gradex.learners.commands import commands_of
from gradex.learners.layout import Layout
from gradex.seeds import Streams, derive
from gradex.tasks import TaskSuite
from gradex.tasks.simulator import GoesOn, Resumable, Step, StepsAhead, seeds_of_copies
from gradex.tensors import without_autocast


@dataclass(frozen=True, eq=False)
class Rollout:
    """`steps` consecutive steps of every environment.

    Attributes
    ----------
    observations : Tensor [steps + 1, policies, environments, features]
        The last one is where the next rollout starts.
    actions : Tensor [steps, policies, environments, ...]
    rewards, terminated, ended : arrays [steps, policies, environments]
        `ended` is terminated or truncated.
    real : bool array [steps, policies, environments]
        False in the padding and in steps that only reset an environment.
    success : bool array [steps, policies, environments] or None
        Where the suite reports success.
    tasks : int array [policies, environments]
    objectives : array [steps, policies, environments, k] or None
        What the rewards of all tasks depend on, where the suite reports it: see `Family.rewards`.
    reported : bool array [steps, policies, environments] or None
        Where `success` was told; elsewhere it is False, and means nothing.

    Examples
    --------
    >>> from gradex import TaskSuite
    >>> from gradex.learners import ActorCritic, Collector
    >>> suite = TaskSuite.make("navigation", n=3, horizon=4)
    >>> collector = Collector(suite, [(0, 1, 2)], copies=2, seeds=[0])
    >>> rollout = collector.collect(ActorCritic.initial(suite, [0]), steps=10)
    >>> rollout.rewards.shape, rollout.steps  # without those that only reset: 4 and 4 of 10
    ((10, 1, 6), 48)
    """

    observations: Float[Tensor, "times policies environments features"]
    actions: Tensor
    rewards: Float[np.ndarray, "steps policies environments"]
    terminated: Bool[np.ndarray, "steps policies environments"]
    ended: Bool[np.ndarray, "steps policies environments"]
    real: Bool[np.ndarray, "steps policies environments"]
    success: Bool[np.ndarray, "steps policies environments"] | None
    tasks: Int[np.ndarray, "policies environments"]
    objectives: Float[np.ndarray, "steps policies environments k"] | None = None
    reported: Bool[np.ndarray, "steps policies environments"] | None = None

    @property
    def steps(self) -> int:
        """Environment steps taken, not counting resets."""
        return int(self.real.sum())

    @property
    def paid(self) -> Float[np.ndarray, "steps policies environments k"]:
        """What each objective paid, where the suite reports it; a step that only resets pays nothing."""
        if self.objectives is None:
            raise ValueError(
                "the simulator reports no info['objectives'], on which rewards depend, so tasks cannot share "
                "steps: ask for transitions with sharing='none'"
            )
        return self.objectives * self.real[..., None]

    @classmethod
    def joined(cls, pieces: Sequence["Rollout"]) -> "Rollout":
        """Put rollouts that one collector gave one after the other into one."""
        arrays: dict[str, Any] = {"success": None, "reported": None, "objectives": None}  # may be told
        told = [name for name in arrays if all(getattr(piece, name) is not None for piece in pieces)]
        names = ["rewards", "terminated", "ended", "real", *told]
        arrays |= {name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in names}
        arrays["observations"] = torch.cat(
            [*(piece.observations[:-1] for piece in pieces), pieces[-1].observations[-1:]]
        )
        return replace(pieces[-1], actions=torch.cat([piece.actions for piece in pieces]), **arrays)


class Collector:
    """Runs a stack of policies in one simulator and keeps its place between rollouts.

    Parameters
    ----------
    suite : TaskSuite
    subsets : sequence of sequences of int
        Task indices of each policy.
    copies : int
        Environments per task and policy.
    seeds : sequence of int
        One per policy; fixes its environments and its actions.
    first : int
        Number of the first copy, where those before it run in another collector.
    resumable : bool
        Whether `state` will be asked for: what a simulator cannot tell is then noted from the start.

    Examples
    --------
    >>> from gradex import TaskSuite
    >>> from gradex.learners import ActorCritic, Collector
    >>> suite = TaskSuite.make("cartpole", n=3)
    >>> collector = Collector(suite, [(0, 1), (2,)], copies=4, seeds=[0, 1])
    >>> tuple(collector.collect(ActorCritic.initial(suite, [0, 1]), steps=5).observations.shape)
    (6, 2, 8, 4)
    """

    def __init__(
        self,
        suite: TaskSuite,
        subsets: Sequence[Sequence[int]],
        copies: int,
        seeds: Sequence[int],
        first: int = 0,
        resumable: bool = False,
    ) -> None:
        # A suite may make its spaces anew whenever it is asked.
        self.suite, self._space = suite, suite.action_space
        members = [task for subset in subsets for task in subset]
        self._sizes, self._copies, self._first = [len(subset) for subset in subsets], copies, first
        self.simulator = suite[members].simulator(copies, self._each(seeds), first)
        self.layout = Layout.of(subsets, copies)
        mode = self.simulator.metadata.get("autoreset_mode")
        if mode != AutoresetMode.NEXT_STEP:
            raise ValueError(f"the simulator resets by {mode}: give one with AutoresetMode.NEXT_STEP")
        self._begin(seeds, self.simulator.reset()[0])
        self._noted: list[np.ndarray] | None = [] if resumable else None
        if resumable and isinstance(self.simulator, Resumable):
            self.simulator.begin_noting()
            self._noted = None

    def _each(self, seeds: Sequence[int]) -> list[int]:
        """Give the seed of every member of every subset."""
        return [seed for size, seed in zip(self._sizes, seeds, strict=True) for _ in range(size)]

    def _begin(self, seeds: Sequence[int], observation: np.ndarray) -> None:
        keys = derive(np.asarray(seeds, dtype=np.int64), self._first).tolist() if self._first else seeds
        self._streams = Streams(keys, branch=1)
        self._observation = self._spread_observation(observation)
        self._begins = np.zeros(self.layout.real.shape, dtype=bool)
        self._finish_resets: Callable[[], Step] | None = None
        self._commanded = np.empty(0)

    def renew(self, seeds: Sequence[int]) -> None:
        """Begin fresh episodes with these seeds, as a new collector would, but in the same simulator.

        EnvPool's cannot be seeded again: there each environment draws its next start from a generator of its
        own, so that episodes follow from the seeds it was made with and from what was done in it before.
        """
        if isinstance(self.simulator, GoesOn):
            self._begin(seeds, self.simulator.begin_episodes())
            return
        own = seeds_of_copies(self._each(seeds), self._copies, self._first).tolist()
        self._begin(seeds, self.simulator.reset(seed=own)[0])

    def _spread_observation(self, observation: np.ndarray) -> Tensor:
        return torch.from_numpy(self.layout.spread(np.asarray(observation, dtype=np.float32)))

    def _commands(self, actions: Tensor) -> np.ndarray:
        """Hand actions to the simulator in its own order and range."""
        return commands_of(actions.numpy()[self.layout.real], self._space)

    def _step(self, commands: np.ndarray) -> Step:
        self._commanded = commands
        if self._noted is not None:
            self._noted.append(commands)
        return self.simulator.step(commands)

    def begin_resets(self) -> None:
        """Let simulators reset before the next rollout, meanwhile, where all of them are about to.

        That is left to suites of which no episode ends before the others. With these it does not depend on
        a policy's company.
        """
        if not self.suite.resets_together or not self._begins[self.layout.real].all():
            return
        if isinstance(self.simulator, StepsAhead):
            self.simulator.step_async(self._commanded)  # a reset ignores its action
            self._finish_resets = self.simulator.step_wait
        else:
            self._finish_resets = partial(self.simulator.step, self._commanded)

    @torch.no_grad()
    @without_autocast()
    def collect(self, agent: ActorCritic, steps: int, choose: str = "sample") -> Rollout:
        """Take `steps` steps in every environment.

        Actions are drawn from the policy ("sample"), or the most probable ones are taken ("mode"), on the
        CPU, where the simulators are. An observation or a reward that is not finite raises a ValueError. The
        simulator is closed when this fails, whatever the reason.
        """
        if choose not in ("sample", "mode"):
            raise ValueError(f"actions are chosen by {choose!r}: use 'sample' or 'mode'")
        try:
            return self._collect(agent.to("cpu"), steps, choose)
        except BaseException:
            with suppress(Exception):  # what failed first matters
                self.close()
            raise

    def _collect(self, agent: ActorCritic, steps: int, choose: str) -> Rollout:
        finite = agent.actors.isfinite().all(dim=1).cpu().numpy()
        if not finite.all():  # discrete actions would hide it
            name = self._task_at(~finite[:, None] & self.layout.real)
            raise ValueError(
                f"a policy of task {name!r} has parameters that are not finite: its training diverged, lower "
                "the learning rate"
            )
        distribution = agent.policy.distribution
        noise = torch.from_numpy(self._noise(steps, distribution.noise_shape)).to(agent.actors)
        tasks = torch.from_numpy(self.layout.tasks)
        if self._finish_resets is not None:
            if self._noted is not None:
                self._noted.append(self._commanded)
            self._observation = self._spread_observation(self._finish_resets()[0])
            self._begins[:], self._finish_resets = False, None
        observations = agent.actors.new_empty(steps + 1, *self._observation.shape)
        observations[0] = self._observation
        actions, objectives = list[Tensor](), list[np.ndarray]()
        rewards = np.zeros((steps, *self.layout.real.shape))
        terminated, ended, begins, success, told = (np.zeros(rewards.shape, dtype=bool) for _ in range(5))
        for t in range(steps):
            outputs, own = agent.policy.outputs(agent.actors, observations[t], tasks)
            if choose == "mode":
                actions.append(distribution.mode(outputs))
            else:
                actions.append(distribution.sample(outputs, own, noise[t]))
            observation, reward, stop, cut, info = self._step(self._commands(actions[t]))
            observations[t + 1] = self._spread_observation(observation)
            begins[t] = self._begins
            rewards[t], terminated[t] = self.layout.spread(reward), self.layout.spread(stop)
            ended[t] = self._begins = self.layout.spread(stop | cut)
            if "success" in info:
                success[t] = self.layout.spread(np.asarray(info["success"], dtype=bool))
                # Simulators that gather infos say whose they have.
                told[t] = self.layout.spread(info.get("_success", np.ones(len(reward), dtype=bool)))
            if "objectives" in info:
                objectives.append(self.layout.spread(info["objectives"]))
        self._observation = observations[steps]
        acted, real = torch.stack(actions), self.layout.real & ~begins
        self._check_finite(observations, acted, rewards)
        succeeded, reported = (success, told) if told.any() else (None, None)
        told_of = {"objectives": np.stack(objectives) if objectives else None, "reported": reported}
        return Rollout(
            observations, acted, rewards, terminated, ended, real, succeeded, self.layout.tasks, **told_of
        )

    def _noise(self, steps: int, shape: tuple[int, ...]) -> np.ndarray:
        draw = self._streams.normals if shape else self._streams.uniforms
        # Environment-major, so that padding, which comes last, does not shift a policy's numbers.
        noise = draw(self.layout.real.shape[1], steps, *shape)
        return np.ascontiguousarray(np.moveaxis(noise, 2, 0)).astype(np.float32)

    def _check_finite(self, observations: Tensor, actions: Tensor, rewards: np.ndarray) -> None:
        if bool(observations.sum().isfinite()) and np.isfinite(rewards.sum()):
            return  # one number that is not would show in the sum
        seen = torch.isfinite(observations).all(dim=-1)
        chosen = torch.isfinite(actions).flatten(3).all(dim=-1) if actions.dim() > 3 else seen[:-1]
        if (wild := (seen[:-1] & ~chosen).any(dim=0).numpy()).any():
            raise ValueError(
                f"the policy chose an action that is not finite in task {self._task_at(wild)!r}: its "
                "training diverged, lower the learning rate"
            )
        for what, finite in (
            ("reward", np.isfinite(rewards).all(axis=0)),
            ("observation", seen.all(dim=0).numpy()),
        ):
            if not finite.all():
                name = self._task_at(~finite)
                raise ValueError(f"task {name!r} returned a {what} that is not finite: check its environment")

    def _task_at(self, places: np.ndarray) -> str:
        """Give the name of the first task with an environment at these places."""
        return self.suite.tasks[int(self.layout.tasks[places][0])].name

    def state(self) -> dict[str, Tensor]:
        """Give what another collector of the same making goes on from, if it is `resumable`."""
        if isinstance(self.simulator, Resumable):
            told = self.simulator.state()
        else:
            told = {"commands": np.array(self._noted)}
        told |= {"begins": self._begins, "commanded": self._commanded}
        told["draws"] = np.array(self._streams.draws)
        told["resets_ahead"] = np.array(self._finish_resets is not None)
        return {"observation": self._observation} | {n: torch.from_numpy(each) for n, each in told.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go to a `state` from the start; warn where an environment does not come back to where it was."""
        told = {name: each.numpy() for name, each in state.items()}
        if isinstance(self.simulator, Resumable):
            seen = self._spread_observation(self.simulator.restore(told))
        else:
            seen = self._observation
            for commands in told["commands"]:
                seen = self._spread_observation(self._step(commands)[0])
        self._observation, self._begins, self._commanded = seen, told["begins"], told["commanded"]
        self._streams.draws = int(told["draws"])
        moved = (seen != state["observation"]).any(dim=-1).numpy()
        if moved.any():
            warnings.warn(
                f"task {self._task_at(moved)!r} is not where it was: its environment depends on more than "
                "seeds and actions, so the training goes on from elsewhere",
                stacklevel=2,
            )
        if told["resets_ahead"]:
            self.begin_resets()

    def close(self) -> None:
        """Close the simulator."""
        self.simulator.close()
