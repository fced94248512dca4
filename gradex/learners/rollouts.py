"""Rollouts: what a stack of policies meets when each acts in environments of its own tasks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gradex.learners.actor_critic import ActorCritic
from gradex.seeds import Streams, derive
from gradex.tasks import TaskSuite
from gradex.tasks.simulator import Step, StepsAhead


@dataclass(frozen=True)
class Layout:
    """Which environments belong to which policy.

    Policies may have different numbers of environments; rows are padded to the longest and the padding
    carries no weight.

    Attributes
    ----------
    tasks : int array [policies, environments]
        Task index of each place (0 in the padding).
    real : bool array [policies, environments]
        False in the padding.

    Examples
    --------
    >>> from gradex.learners import Layout
    >>> Layout.of(subsets=[(0, 2), (1,)], copies=2).tasks.tolist()
    [[0, 0, 2, 2], [1, 1, 0, 0]]
    """

    tasks: Int[np.ndarray, "policies environments"]
    real: Bool[np.ndarray, "policies environments"]

    @classmethod
    def of(cls, subsets: Sequence[Sequence[int]], copies: int) -> "Layout":
        """Give every policy `copies` environments of each task of its subset."""
        lengths = np.array([len(subset) * copies for subset in subsets])
        real = np.arange(lengths.max()) < lengths[:, None]
        tasks = np.zeros(real.shape, dtype=np.int64)
        tasks[real] = np.repeat(np.concatenate([np.asarray(subset) for subset in subsets]), copies)
        return cls(tasks, real)

    def spread(self, flat: np.ndarray) -> np.ndarray:
        """Arrange an array over environments [E, ...] as [policies, environments, ...], padded with zeros."""
        if self.real.all():
            return flat.reshape(*self.real.shape, *flat.shape[1:])
        spread = np.zeros((*self.real.shape, *flat.shape[1:]), dtype=flat.dtype)
        spread[self.real] = flat
        return spread


@dataclass(frozen=True)
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

    @property
    def steps(self) -> int:
        """Environment steps taken, not counting resets."""
        return int(self.real.sum())

    @classmethod
    def joined(cls, pieces: Sequence["Rollout"]) -> "Rollout":
        """Put rollouts that one collector gave one after the other into one."""
        last = pieces[-1]
        rewards, terminated, ended, real = (
            np.concatenate([getattr(piece, name) for piece in pieces])
            for name in ("rewards", "terminated", "ended", "real")
        )
        told = {
            name: [array for piece in pieces if (array := getattr(piece, name)) is not None]
            for name in ("success", "objectives")
        }
        return cls(
            torch.cat([*(piece.observations[:-1] for piece in pieces), last.observations[-1:]]),
            torch.cat([piece.actions for piece in pieces]),
            rewards,
            terminated,
            ended,
            real,
            np.concatenate(told["success"]) if len(told["success"]) == len(pieces) else None,
            last.tasks,
            np.concatenate(told["objectives"]) if len(told["objectives"]) == len(pieces) else None,
        )


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
    ) -> None:
        self.suite = suite
        # A suite may make its spaces anew whenever it is asked.
        self._space = suite.action_space
        members = [task for subset in subsets for task in subset]
        each = [seed for subset, seed in zip(subsets, seeds, strict=True) for _ in subset]
        self.simulator = suite[members].simulator(copies, each, first)
        self.layout = Layout.of(subsets, copies)
        mode = self.simulator.metadata.get("autoreset_mode")
        if mode != AutoresetMode.NEXT_STEP:
            raise ValueError(f"the simulator resets by {mode}: give one with AutoresetMode.NEXT_STEP")
        keys = derive(np.asarray(seeds, dtype=np.int64), first).tolist() if first else seeds
        self._streams = Streams(keys, branch=1)
        self._observation = self._spread_observation(self.simulator.reset()[0])
        self._begins = np.zeros(self.layout.real.shape, dtype=bool)
        self._finish_resets: Callable[[], Step] | None = None
        self._commanded = np.empty(0)

    def _spread_observation(self, observation: np.ndarray) -> Tensor:
        return torch.from_numpy(self.layout.spread(np.asarray(observation, dtype=np.float32)))

    def _commands(self, actions: Tensor) -> np.ndarray:
        """Hand actions to the simulator in its own order and range."""
        flat = actions.numpy()[self.layout.real]
        space = self._space
        if isinstance(space, gymnasium.spaces.Discrete):
            return flat + space.start
        inside = np.clip(flat, space.low, space.high)
        return (np.rint(inside) if np.issubdtype(space.dtype, np.integer) else inside).astype(space.dtype)

    def begin_resets(self) -> None:
        """Let simulators reset before the next rollout, meanwhile, where all of them are about to.

        That is left to suites of which no episode ends before the others. With these it does not depend on
        a policy's company.
        """
        if not self.suite.resets_together or not self._begins[self.layout.real].all():
            return
        # A reset ignores its action.
        if isinstance(self.simulator, StepsAhead):
            self.simulator.step_async(self._commanded)
            self._finish_resets = self.simulator.step_wait
        else:
            self._finish_resets = partial(self.simulator.step, self._commanded)

    @torch.no_grad()
    def collect(self, agent: ActorCritic, steps: int, choose: str = "sample") -> Rollout:
        """Take `steps` steps in every environment.

        Parameters
        ----------
        agent : ActorCritic
            Acts on the CPU, where the simulators are.
        steps : int
        choose : {"sample", "mode"}
            Draw actions from the policy, or take the most probable one.

        Raises
        ------
        ValueError
            If a simulator returns an observation or a reward that is not finite. The simulator is closed when
            this fails, whatever the reason.
        """
        if choose not in ("sample", "mode"):
            raise ValueError(f"actions are chosen by {choose!r}: use 'sample' or 'mode'")
        try:
            return self._collect(agent.to("cpu"), steps, choose)
        except BaseException:
            self.close()
            raise

    def _collect(self, agent: ActorCritic, steps: int, choose: str) -> Rollout:
        distribution = agent.policy.distribution
        policies, environments = self.layout.real.shape
        # Noise is drawn for the real places only, so that padding does not shift a policy's stream.
        noise = torch.from_numpy(self._noise(steps, environments, distribution)).to(agent.actors)
        tasks = torch.from_numpy(self.layout.tasks)
        shape = (steps, policies, environments)
        observations = agent.actors.new_empty(steps + 1, policies, environments, self._observation.shape[-1])
        actions: list[Tensor] = []
        rewards, terminated, ended, begins, success = (
            np.zeros(shape, dtype=d) for d in (float, bool, bool, bool, bool)
        )
        reports_success = False
        objectives: list[np.ndarray] = []
        if self._finish_resets is not None:
            self._observation = self._spread_observation(self._finish_resets()[0])
            self._begins[:], self._finish_resets = False, None
        observations[0] = self._observation
        for t in range(steps):
            outputs, own = agent.policy.outputs(agent.actors, observations[t], tasks)
            action = (
                distribution.mode(outputs)
                if choose == "mode"
                else distribution.sample(outputs, own, noise[t])
            )
            self._commanded = self._commands(action)
            observation, reward, stop, cut, info = self.simulator.step(self._commanded)
            observations[t + 1] = self._spread_observation(observation)
            actions.append(action)
            begins[t] = self._begins
            rewards[t], terminated[t] = self.layout.spread(reward), self.layout.spread(stop)
            self._begins = self.layout.spread(stop | cut)
            ended[t] = self._begins
            if "success" in info:
                reports_success = True
                success[t] = self.layout.spread(np.asarray(info["success"], dtype=bool))
            if "objectives" in info:
                objectives.append(self.layout.spread(info["objectives"]))
        self._observation = observations[steps]
        self._check_finite(observations, rewards)
        return Rollout(
            observations,
            torch.stack(actions),
            rewards,
            terminated,
            ended,
            self.layout.real & ~begins,
            success if reports_success else None,
            self.layout.tasks,
            np.stack(objectives) if objectives else None,
        )

    def _noise(self, steps: int, environments: int, distribution: object) -> np.ndarray:
        shape = distribution.noise_shape  # type: ignore[attr-defined]
        draw = self._streams.normals if shape else self._streams.uniforms
        # Environment-major, so that a policy with fewer environments sees the same numbers without the
        # padding.
        noise = draw(environments, steps, *shape)
        return np.ascontiguousarray(np.moveaxis(noise, 2, 0)).astype(np.float32)

    def _check_finite(self, observations: Tensor, rewards: np.ndarray) -> None:
        if bool(observations.sum().isfinite()) and np.isfinite(rewards.sum()):
            return  # one number that is not would show in the sum
        for what, finite in (
            ("reward", np.isfinite(rewards).all(axis=0)),
            ("observation", torch.isfinite(observations).all(dim=-1).all(dim=0).numpy()),
        ):
            if not finite.all():
                task = self.suite.tasks[int(self.layout.tasks[~finite][0])].name
                raise ValueError(f"task {task!r} returned a {what} that is not finite: check its environment")

    def close(self) -> None:
        """Close the simulator."""
        self.simulator.close()


def discounted_advantages(
    rewards: Float[np.ndarray, "steps *shape"],
    values: Float[np.ndarray, "times *shape"],
    terminated: Bool[np.ndarray, "steps *shape"],
    ended: Bool[np.ndarray, "steps *shape"],
    discount: float,
    trace: float,
) -> Float[np.ndarray, "steps *shape"]:
    """Generalised advantage estimation (Schulman et al. 2016, Eq. 16).

    An episode that was cut off is continued by the critic's value of its final observation; one that
    terminated is not. With next-step autoreset the final observation is the next entry of `values`, so both
    cases need no more than their flags.

    Parameters
    ----------
    rewards, terminated, ended : arrays [steps, ...]
    values : array [steps + 1, ...]
    discount, trace : float
        γ and λ.

    Examples
    --------
    >>> import numpy as np
    >>> from gradex.learners import discounted_advantages
    >>> ends = np.array([False, True])  # an episode of two steps, and a critic that knows nothing
    >>> discounted_advantages(np.ones(2), np.zeros(3), ends, ends, discount=0.5, trace=1.0)
    array([1.5, 1. ])
    """
    surprise = rewards + discount * values[1:] * ~terminated - values[:-1]
    decay = discount * trace * ~ended
    advantages = np.empty_like(surprise)
    running = np.zeros_like(surprise[0])
    for t in range(len(rewards) - 1, -1, -1):
        running = surprise[t] + decay[t] * running
        advantages[t] = running
    return advantages
