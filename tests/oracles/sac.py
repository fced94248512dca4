"""SAC of one policy, sample by sample: torch.nn layers, torch.optim.Adam, lists, and Python loops.

Only the random numbers are those of gradex: the simulator's, and the streams of actions and batches.
"""

import copy
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Normal, TanhTransform

from gradex.learners import SAC, ActorCritic
from gradex.policies import Twin
from gradex.seeds import Streams
from gradex.tasks import TaskSuite
from tests.oracles.ppo import module, row


class Step(NamedTuple):
    """One step of one environment; the action is in [-1, 1]."""

    observation: list[float]
    action: Tensor
    reward: float
    following: list[float]
    terminated: bool
    task: int


class OnePolicySAC:
    """Trains the only policy of `agent` on the tasks `subset`."""

    def __init__(
        self, agent: ActorCritic, suite: TaskSuite, subset: list[int], seed: int, settings: SAC
    ) -> None:
        self.suite, self.settings, self.seed, self.subset = suite, settings, seed, subset
        self.places = [task for task in subset for _ in range(settings.copies)]
        assert isinstance(agent.critic, Twin)
        member = agent.critic.network
        self.actor = module(agent.policy.network, agent.actors[0])
        self.critics = [module(member, half) for half in agent.critics[0].split(member.size)]
        halves = agent.more["target_critics"][0].split(member.size)
        self.targets = [module(member, half) for half in halves]
        self.log_temperature = nn.Parameter(agent.more["log_temperature"][0].clone())
        self.critic_parameters = [each for critic in self.critics for each in critic.parameters()]
        self.actor_adam, self.critic_adam, self.temperature_adam = (
            torch.optim.Adam(parameters, lr=settings.learning_rate)
            for parameters in (self.actor.parameters(), self.critic_parameters, [self.log_temperature])
        )
        self.noise = Streams([seed], branch=1)
        self.simulator = suite[subset].simulator(settings.copies, seed)
        self.observation = self.simulator.reset()[0]
        self.resets = [False] * len(self.places)
        self.rings: dict[int, list[Step]] = {task: [] for task in subset}
        self.added = dict.fromkeys(subset, 0)
        #: Discounted rewards up to every step, by task, and those of the episodes that run.
        self.discounted: dict[int, list[float]] = {task: [] for task in subset}
        self.running = [0.0] * len(self.places)
        self.scales: dict[int, float] = {}
        space = suite.action_space
        self.low, self.high = (torch.tensor(end, dtype=torch.float64) for end in (space.low, space.high))
        self.target_entropy = -len(space.low) if settings.target_entropy is None else settings.target_entropy

    def train(self, rounds: int) -> None:
        settings = self.settings
        samples = -(-settings.batch // len(self.subset))
        for number in range(rounds):
            self.collect()
            if (number + 1) * settings.steps * settings.copies < settings.start:
                continue
            self.keep_scales()
            streams = Streams([self.seed], branch=3 + number)
            places = streams.uniforms(settings.updates, len(self.subset), samples)[0]
            noise = streams.normals(settings.updates, 2, samples * len(self.subset), len(self.low))[0]
            for update in range(settings.updates):
                batch = [
                    self.rings[task][int(place * len(self.rings[task]))]
                    for task, chosen in zip(self.subset, places[update], strict=True)
                    for place in chosen
                ]
                self.update(batch, torch.tensor(noise[update]))

    @torch.no_grad()
    def collect(self) -> None:
        settings = self.settings
        noise = self.noise.normals(len(self.places), settings.steps, len(self.low))[0].astype(np.float32)
        for t in range(settings.steps):
            actions = [
                self.draw(observation.tolist(), torch.tensor(noise[place, t], dtype=torch.float64))[0]
                for place, observation in enumerate(self.observation)
            ]
            commands = [self.low + (action + 1) / 2 * (self.high - self.low) for action in actions]
            before = self.observation
            self.observation, rewards, terminated, truncated, _ = self.simulator.step(
                torch.stack(commands).numpy().astype(np.float32)
            )
            for place, task in enumerate(self.places):
                if not self.resets[place]:
                    self.running[place] = self.suite.discount * self.running[place] + float(rewards[place])
                    self.discounted[task].append(self.running[place])
                    step = Step(
                        before[place].tolist(), actions[place], float(rewards[place]),
                        self.observation[place].tolist(), bool(terminated[place]), task,
                    )  # fmt: skip
                    self.remember(task, step)
                self.resets[place] = bool(terminated[place] or truncated[place])
                if self.resets[place]:
                    self.running[place] = 0.0

    def keep_scales(self) -> None:
        """Settle what a task's reward is divided by, if it has paid anything yet."""
        for task in self.subset:
            sums = self.discounted[task]
            if task not in self.scales and any(sums):
                self.scales[task] = float(np.std(sums))

    def scale(self, task: int) -> float:
        """Give what a reward of this task is divided by."""
        least = max(map(abs, self.discounted[task])) / 30
        return max(self.scales.get(task, 1.0), least) / self.settings.reward_scale

    def remember(self, task: int, step: Step) -> None:
        ring, place = self.rings[task], self.added[task] % self.settings.capacity
        if place == len(ring):
            ring.append(step)
        else:
            ring[place] = step
        self.added[task] += 1

    def draw(self, observation: list[float], noise: Tensor) -> tuple[Tensor, Tensor]:
        """Give an action in [-1, 1] and its log-density."""
        mean, log_std = self.actor(torch.tensor(observation, dtype=torch.float64)).chunk(2)
        normal = Normal(mean, log_std.clamp(-20, 2).exp())
        u = normal.mean + normal.stddev * noise
        action = torch.tanh(u)
        jacobian = TanhTransform().log_abs_det_jacobian(u, action)
        return action, (normal.log_prob(u) - jacobian).sum()

    def value(
        self, critics: list[nn.Sequential], observation: list[float], action: Tensor, task: int
    ) -> Tensor:
        hot = [float(task == other) for other in range(len(self.suite))]
        known = torch.tensor(observation, dtype=torch.float64), action, torch.tensor(hot, dtype=torch.float64)
        return torch.cat([critic(torch.cat(known)) for critic in critics])

    def update(self, batch: list[Step], noise: Tensor) -> None:
        temperatures = self.log_temperature.exp().detach()
        critic_losses = []
        for step, each in zip(batch, noise[0], strict=True):
            with torch.no_grad():
                action, log_density = self.draw(step.following, each)
                following = self.value(self.targets, step.following, action, step.task).min()
                soft = following - temperatures[step.task] * log_density
                target = step.reward / self.scale(step.task) + (
                    0.0 if step.terminated else self.suite.discount * soft
                )
            values = self.value(self.critics, step.observation, step.action, step.task)
            critic_losses.append(0.5 * ((values - target) ** 2).sum())
        self.descend(self.critic_adam, self.critic_parameters, critic_losses)

        actor_losses, excess = [], []
        for step, each in zip(batch, noise[1], strict=True):
            action, log_density = self.draw(step.observation, each)
            value = self.value(self.critics, step.observation, action, step.task).min()
            actor_losses.append(temperatures[step.task] * log_density - value)
            excess.append((step.task, float(log_density.detach()) + self.target_entropy))
        self.descend(self.actor_adam, list(self.actor.parameters()), actor_losses)

        temperature_losses = [
            -self.log_temperature[task] * np.mean([each for other, each in excess if other == task])
            for task in self.subset
        ]
        self.temperature_adam.zero_grad()
        torch.stack(temperature_losses).sum().backward()
        self.temperature_adam.step()

        for target, critic in zip(self.targets, self.critics, strict=True):
            for slow, fast in zip(target.parameters(), critic.parameters(), strict=True):
                slow.data = (1 - self.settings.tau) * slow.data + self.settings.tau * fast.data

    def descend(
        self, optimiser: torch.optim.Optimizer, parameters: list[nn.Parameter], losses: list[Tensor]
    ) -> None:
        # Whatever another loss left behind is cleared first.
        optimiser.zero_grad()
        torch.stack(losses).mean().backward()
        if self.settings.max_norm is not None:
            nn.utils.clip_grad_norm_(parameters, self.settings.max_norm)
        optimiser.step()

    def rows(self) -> dict[str, Tensor]:
        return {
            "actors": row(self.actor),
            "critics": torch.cat([row(critic) for critic in self.critics]),
            "target_critics": torch.cat([row(target) for target in self.targets]),
            "log_temperature": copy.deepcopy(self.log_temperature.data),
        }
