"""A policy for Meta-World that can do a little of everything: cloned from scripted experts.

What a policy learns from scratch depends on the luck of its exploration: tasks that it has not found yet tell
nothing of each other. Here every task stands somewhere between failure and success before PPO begins. Meta-
World has a scripted expert for each task; the clone imitates each at a speed of its own, slower where it
would always succeed, and is asked again wherever its own steps lead (DAgger, Ross et al. 2011).
"""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from tqdm.auto import trange

from gradex import MetaPolicy
from gradex.learners import Collector
from gradex.seeds import child, generator_for
from gradex.threads import threads_for

#: Standard deviation of the noise around an expert's action, which leaves PPO something to explore.
_NOISE = 0.3
#: How much a task's expert speeds up from one round to the next where nothing succeeds, and its slowest.
_CHANGE, _SLOWEST = 1.3, 0.05
#: Adam's learning rate falls from the first to the second.
_RATES = 1e-3, 2e-4


@dataclass(frozen=True)
class Cloning:
    """How long it takes.

    Attributes
    ----------
    rounds : int
        At most; of acting, asking the experts, and imitating all that they have said.
    copies : int
        Episodes of each task in a round.
    updates, batch : int
        Gradient steps of a round, and samples of each.
    critic_rounds : int
        Of PPO for the critic alone, which starts from nothing.
    within : tuple of float
        Shares of success at which a task is left as it is.
    """

    rounds: int = 40
    copies: int = 16
    updates: int = 600
    batch: int = 1024
    critic_rounds: int = 8
    within: tuple[float, float] = (0.2, 0.8)

    def fit(self, meta: MetaPolicy) -> MetaPolicy:
        """Clone the experts into the policy of a suite of Meta-World's tasks.

        Parameters
        ----------
        meta : MetaPolicy
            Not fitted; its settings are those of the clone.

        Returns
        -------
        MetaPolicy
            With a critic of its own; no training from rewards but that of the critic.
        """
        everything = range(len(meta.suite))
        steps = meta.learner.round_steps(meta.suite, [everything])
        clone = self._imitating(meta.fit(steps, snapshots=1))
        for number in range(self.critic_rounds):
            taught = clone.adapt(everything, steps, seed=child(meta.seed, "critic", number))
            clone = taught.with_parameters(clone.parameters)
        return clone

    def _imitating(self, meta: MetaPolicy) -> MetaPolicy:
        """Act, ask and imitate until all tasks are within reach, or keep what came closest."""
        tasks, rng = [task.name for task in meta.suite.tasks], generator_for(meta.seed, "cloning")
        speeds, seen, said = np.full(len(tasks), 0.5), list[np.ndarray](), list[np.ndarray]()
        actors = torch.from_numpy(meta.parameters)[None].requires_grad_()
        optimiser = torch.optim.Adam([actors])
        best, least = meta, np.inf
        for number in trange(self.rounds + 1, desc="cloning", delay=2, leave=False):
            clone = meta.with_parameters(actors.detach().numpy()[0])
            observations, success = self._acted(clone, child(meta.seed, "cloning", number))
            missing = self._outside(success)
            if missing.sum() <= least:  # of equals the one that has imitated for longer
                best, least = clone, missing.sum()
            if least == 0 or number == self.rounds:
                break
            middle = sum(self.within) / 2
            speeds = (speeds * _CHANGE ** ((middle - success) / middle)).clip(_SLOWEST, 1.0)
            first, last = _RATES
            optimiser.param_groups[0]["lr"] = first * (last / first) ** (number / self.rounds)
            seen.append(observations)
            said.append(advice(tasks, observations))
            self._imitate(actors, optimiser, clone, np.concatenate(seen, axis=1),
                          np.concatenate(said, axis=1) * speeds[:, None, None], rng)  # fmt: skip
        return best

    def _acted(
        self, policy: MetaPolicy, seed: int
    ) -> tuple[Float[np.ndarray, "n steps 39"], Float[np.ndarray, " n"]]:
        """Run whole episodes in every task; give what was seen, and the share of success."""
        suite = policy.suite
        with closing(Collector(suite, [range(len(suite))], self.copies, [seed])) as collector:
            assert suite.horizon is not None  # for the type checker
            rollout = collector.collect(policy.agent_, suite.horizon)
        assert rollout.success is not None  # for the type checker
        seen = rollout.observations[:-1, 0].double().numpy()
        seen = seen.reshape(len(seen), len(suite), self.copies, -1).transpose(1, 0, 2, 3)
        success = (rollout.success & rollout.real)[:, 0].any(axis=0).reshape(len(suite), self.copies)
        return seen.reshape(len(suite), -1, seen.shape[-1]), success.mean(axis=1)

    def _outside(self, success: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Say how far each task is from where it is to be."""
        low, high = self.within
        return np.maximum(0, np.maximum(low - success, success - high))

    def _imitate(
        self,
        actors: torch.Tensor,
        optimiser: torch.optim.Optimizer,
        clone: MetaPolicy,
        seen: Float[np.ndarray, "n steps 39"],
        said: Float[np.ndarray, "n steps 4"],
        rng: np.random.Generator,
    ) -> None:
        """Raise the probability of what the experts would have done, all tasks alike."""
        n, count, _ = seen.shape
        flat, actions = (torch.from_numpy(each.reshape(n * count, -1)).float() for each in (seen, said))
        policy = clone.agent_.policy
        with threads_for(self.batch):
            for _ in range(self.updates):
                rows = rng.integers(len(flat), size=self.batch)
                noise = torch.from_numpy(rng.normal(0, _NOISE, (self.batch, 4))).float()
                own = torch.from_numpy(rows // count)[None]
                chances = policy.log_prob(actors, flat[rows][None], own, (actions[rows] + noise)[None])
                optimiser.zero_grad()
                (-chances.mean()).backward()
                optimiser.step()


def advice(
    tasks: Sequence[str], observations: Float[np.ndarray, "n steps 39"]
) -> Float[np.ndarray, "n steps 4"]:
    """Say what Meta-World's scripted expert of each task would do, within the range of actions."""
    from metaworld.policies import ENV_POLICY_MAP

    experts: Mapping[str, Any] = ENV_POLICY_MAP
    with warnings.catch_warnings():
        # That it asks for more than the range allows.
        warnings.filterwarnings("ignore", message="Constant", category=UserWarning)
        said = [
            [experts[task]().get_action(each) for each in own]
            for task, own in zip(tasks, observations, strict=True)
        ]
    return np.clip(np.array(said), -1, 1)
