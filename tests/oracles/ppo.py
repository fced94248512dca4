"""PPO of one policy, sample by sample: torch.nn layers, torch.optim.Adam, and Python loops for the rest.

Only the random numbers are those of gradex: the simulator's, and the streams of actions and minibatches.
"""

from dataclasses import dataclass

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

from gradex.learners import PPO, ActorCritic
from gradex.policies import MLP, Network
from gradex.seeds import Streams
from gradex.tasks import TaskSuite
from tests.oracles import gae


def module(network: Network, parameters: Tensor) -> nn.Sequential:
    """Make the network that one row of parameters describes, in float64."""
    assert isinstance(network, MLP)
    layers: list[nn.Module] = []
    for layer in range(network.layers):
        inputs, outputs = network.shapes[f"{layer}.weight"]
        affine = nn.Linear(inputs, outputs, dtype=torch.float64)
        weight, bias, parameters = parameters.split(
            [inputs * outputs, outputs, parameters.numel() - (inputs + 1) * outputs]
        )
        with torch.no_grad():
            affine.weight.copy_(weight.reshape(inputs, outputs).T)
            affine.bias.copy_(bias)
        hidden = layer < network.layers - 1
        norm = [nn.LayerNorm(outputs, elementwise_affine=False)] if network.layer_norm and hidden else []
        layers += [affine, *norm, *([nn.Tanh()] if hidden else [])]
    return nn.Sequential(*layers)


def row(sequential: nn.Sequential) -> Tensor:
    """Give the parameters of a module in the order of a row."""
    affine = [layer for layer in sequential if isinstance(layer, nn.Linear)]
    return torch.cat([piece.detach().flatten() for layer in affine for piece in (layer.weight.T, layer.bias)])


@dataclass
class Sample:
    """One step of one environment."""

    observation: Tensor
    critic_input: Tensor
    action: Tensor
    reward: float
    terminated: bool
    ended: bool
    real: bool
    log_prob: Tensor
    value: float
    advantage: float = 0.0
    target: float = 0.0


class OnePolicyPPO:
    """Trains the only policy of `agent` on the tasks `subset`."""

    def __init__(
        self, agent: ActorCritic, suite: TaskSuite, subset: list[int], seed: int, settings: PPO
    ) -> None:
        self.suite, self.settings = suite, settings
        self.places = [task for task in subset for _ in range(settings.copies)]
        self.actor = module(agent.policy.network, agent.actors[0, : agent.policy.network.size])
        self.critic = module(agent.critic, agent.critics[0])
        self.log_std = nn.Parameter(agent.actors[0, agent.policy.network.size :].clone().double())
        self.parameters = [*self.actor.parameters(), self.log_std, *self.critic.parameters()]
        self.optimiser = torch.optim.Adam(self.parameters, eps=1e-5)
        self.noise, self.dealing = Streams([seed], branch=1), Streams([seed], branch=2)
        self.simulator = suite[subset].simulator(settings.copies, seed)
        self.observation = self.simulator.reset()[0]
        self.resets = [False] * len(self.places)
        #: Mean and deviation of the returns of each task, once there are any.
        self.moments: dict[int, tuple[float, float]] = {}

    def train(self, rollouts: int) -> None:
        for iteration in range(rollouts):
            for group in self.optimiser.param_groups:
                group["lr"] = self.settings.learning_rate * (1 - 0.9 * iteration / rollouts)
            samples = self.rollout()
            for _ in range(self.settings.epochs):
                keys = self.dealing.uniforms(len(samples))[0]
                order = sorted(range(len(samples)), key=lambda place: keys[place])
                for hand in range(self.settings.minibatches):
                    self.update([samples[place] for place in order[hand :: self.settings.minibatches]])

    def distribution(self, observation: Tensor) -> torch.distributions.Distribution:
        outputs = self.actor(observation)
        if isinstance(self.suite.action_space, gymnasium.spaces.Discrete):
            return torch.distributions.Categorical(logits=outputs)
        return torch.distributions.Independent(torch.distributions.Normal(outputs, self.log_std.exp()), 1)

    def act(self, observation: Tensor, noise: np.ndarray) -> Tensor:
        distribution = self.distribution(observation)
        if isinstance(distribution, torch.distributions.Categorical):
            return (float(noise) > distribution.probs.cumsum(0)[:-1]).sum()
        return distribution.mean + distribution.stddev * torch.as_tensor(noise, dtype=torch.float64)

    def critic_input(self, place: int) -> Tensor:
        hot = [float(task == self.places[place]) for task in range(len(self.suite))]
        return torch.tensor([*self.observation[place].tolist(), *hot], dtype=torch.float64)

    @torch.no_grad()
    def rollout(self) -> list[Sample]:
        """Collect the samples of all environments, one environment after the other."""
        settings, space = self.settings, self.suite.action_space
        box = space if isinstance(space, gymnasium.spaces.Box) else None
        places = len(self.places)
        if box is None:
            noise = self.noise.uniforms(places, settings.steps)[0]
        else:
            noise = self.noise.normals(places, settings.steps, *box.shape)[0]
        noise = noise.astype(np.float32)
        columns: list[list[Sample]] = [[] for _ in self.places]
        for t in range(settings.steps):
            observations = [torch.tensor(each, dtype=torch.float64) for each in self.observation]
            inputs = [self.critic_input(place) for place in range(len(self.places))]
            actions = [self.act(each, noise[place, t]) for place, each in enumerate(observations)]
            commands = np.stack([action.numpy() for action in actions])
            if box is not None:
                commands = np.clip(commands, box.low, box.high).astype(np.float32)
            self.observation, rewards, terminated, truncated, _ = self.simulator.step(commands)
            for place, column in enumerate(columns):
                ended = bool(terminated[place] or truncated[place])
                log_prob = self.distribution(observations[place]).log_prob(actions[place])
                value = float(self.critic(inputs[place]))
                column.append(
                    Sample(
                        observations[place], inputs[place], actions[place], float(rewards[place]),
                        bool(terminated[place]), ended, not self.resets[place], log_prob, value,
                    )
                )  # fmt: skip
                self.resets[place] = ended
        last = [float(self.critic(self.critic_input(place))) for place in range(places)]
        self.measure_returns(columns, last)
        for place, column in enumerate(columns):
            mean, scale = self.moments[self.places[place]]
            advantages = self.advantages(column, last[place], mean, scale, settings.gae_lambda)
            for sample, advantage in zip(column, advantages, strict=True):
                sample.advantage = advantage / scale
                sample.target = (advantage + mean + scale * sample.value - mean) / scale
        groups = self.places if settings.standardise == "task" else [0] * places
        for group in set(groups):
            own = [column for column, its in zip(columns, groups, strict=True) if its == group]
            real = [sample.advantage for column in own for sample in column if sample.real]
            for sample in (sample for column in own for sample in column):
                sample.advantage = (sample.advantage - float(np.mean(real))) / (float(np.std(real)) + 1e-8)
        return [sample for column in columns for sample in column]

    def advantages(
        self, column: list[Sample], last: float, mean: float, scale: float, gae_lambda: float
    ) -> list[float]:
        """Give the advantages of one environment's steps, in units of reward."""
        return gae.advantages(
            [sample.reward for sample in column],
            [mean + scale * value for value in (*[sample.value for sample in column], last)],
            [sample.terminated for sample in column],
            [sample.ended for sample in column],
            self.suite.discount,
            gae_lambda,
        )

    def measure_returns(self, columns: list[list[Sample]], last: list[float]) -> None:
        """Let mean and deviation of the returns of each task follow those of this rollout."""
        for task in set(self.places):
            mean, scale = self.moments.get(task, (0.0, 0.0))
            returns = []
            for place, column in enumerate(columns):
                if self.places[place] == task:
                    advantages = self.advantages(column, last[place], mean, scale, 1.0)
                    returns += [
                        advantage + mean + scale * sample.value
                        for sample, advantage in zip(column, advantages, strict=True)
                        if sample.real
                    ]
            new_mean, new_square = (
                float(np.mean(returns)),
                float(np.var(returns)) + float(np.mean(returns)) ** 2,
            )
            if task in self.moments:  # a tenth of the new first and second moment
                square = 0.9 * (scale**2 + mean**2) + 0.1 * new_square
                mean = 0.9 * mean + 0.1 * new_mean
            else:
                mean, square = new_mean, new_square
            self.moments[task] = mean, float(np.sqrt(square - mean**2))

    def update(self, minibatch: list[Sample]) -> None:
        settings = self.settings
        losses = []
        for sample in minibatch:
            if not sample.real:
                continue
            distribution = self.distribution(sample.observation)
            ratio = (distribution.log_prob(sample.action) - sample.log_prob).exp()
            clipped = ratio.clamp(1 - settings.clip_range, 1 + settings.clip_range)
            gain = torch.minimum(ratio * sample.advantage, clipped * sample.advantage)
            error = 0.5 * (self.critic(sample.critic_input).squeeze() - sample.target) ** 2
            losses.append(settings.value_coef * error - gain - settings.entropy_coef * distribution.entropy())
        self.optimiser.zero_grad()
        torch.stack(losses).mean().backward()
        nn.utils.clip_grad_norm_(self.parameters, settings.max_norm)
        self.optimiser.step()

    @property
    def actors(self) -> Tensor:
        return torch.cat([row(self.actor), self.log_std.detach()])

    @property
    def critics(self) -> Tensor:
        return row(self.critic)
